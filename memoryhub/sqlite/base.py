"""The database backend that `settings.DATABASES` names for SQLite: Django's, and a look at the file.

To connect takes longer than most questions, so connections stay open for some time. One that stays open would go on
writing into a file that somebody has moved away, to put a backup in its place. So each is looked at before it is used
again (`CONN_HEALTH_CHECKS`), and is made anew where its file is not the one that lies there now.
"""

from __future__ import annotations

import os
from typing import Any

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    _file: tuple[int, int] | None = None  # which one the connection has open

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        made = super().get_new_connection(conn_params)
        self._file = self._there()
        return made

    def is_usable(self) -> bool:
        return super().is_usable() and self._file == self._there()

    def _there(self) -> tuple[int, int] | None:
        """The device and number of the file that lies there now; None without one, as of a database in memory."""
        try:
            found = os.stat(self.settings_dict["NAME"])
        except (OSError, ValueError):
            return None
        return found.st_dev, found.st_ino
