"""Waiting as long as a server that has too much to do asks for (429 with Retry-After)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock

LONGEST = 10.0  # seconds; a server that wants more is left for a later run


def seconds_in(header: str | None) -> float:
    """What Retry-After asks for, in seconds: a number of them, or a date. Nothing usable counts as 1 second."""
    if not header:
        return 1.0
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return 1.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


class Patience:
    """When the next call to one server may be made; for several threads."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._lock = Lock()

    def asked_for(self, header: str | None) -> None:
        """The server asked to be left alone for a while."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + min(seconds_in(header), LONGEST))

    def wait(self) -> None:
        """Until the server may be called again."""
        left = self._free_at - time.monotonic()
        if left > 0:
            time.sleep(left)
