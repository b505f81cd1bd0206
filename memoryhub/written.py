"""Whether anything was written to the database, asked so often that the question has to cost nothing."""

from __future__ import annotations

import time

from django.db import connection


class Written:
    """Whether something may have been written to the database. longest: seconds until that is so in any case."""

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.version: tuple[int, int] | None = None
        self.asked = float("-inf")

    def since(self) -> bool:
        """Whether that may be so since it last was."""
        before, self.version = self.version, data_version()
        if self.version is not None and self.version == before and time.monotonic() - self.asked < self.longest:
            return False
        self.asked = time.monotonic()
        return True


def data_version() -> tuple[int, int] | None:
    """What changes when another connection writes, and when ours is another one; None: nobody can say."""
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return id(connection.connection), int(cursor.fetchone()[0])
