"""The worker of the queue, which outlives its database: it waits until that is back."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django_tasks_db.management.commands import db_worker

logger = logging.getLogger(__name__)
PAUSE = 2.0  # seconds between two tries


class Command(db_worker.Command):
    def handle(self, **options: Any) -> None:
        while True:
            try:
                super().handle(**options)
            except (OperationalError, InterfaceError) as error:
                logger.warning("the database did not answer (%s): trying again", str(error).strip())
                connection.close_if_unusable_or_obsolete()
                close_old_connections()
                time.sleep(PAUSE)
            else:
                return
