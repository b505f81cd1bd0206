"""The worker of the queue: costs next to nothing while nothing is queued, and outlives its database."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django_tasks_db.management.commands import db_worker

logger = logging.getLogger(__name__)
PAUSE = 2.0  # seconds between two tries
LONGEST = 1.0  # seconds until the queue is asked though nothing was written: a task may be queued for later


class Command(db_worker.Command):
    def handle(self, **options: Any) -> None:
        while True:
            try:
                if options["batch"] or options["reload"] or options["max_tasks"]:
                    super().handle(**options)
                else:
                    self._serve(**options)
            except (OperationalError, InterfaceError) as error:
                logger.warning("the database did not answer (%s): trying again", str(error).strip())
                connection.close_if_unusable_or_obsolete()
                close_old_connections()
                time.sleep(PAUSE)
            else:
                return

    def _serve(self, *, queue_name: str, exclude_queues: str, verbosity: int, **options: Any) -> None:
        """Ask for tasks only when something was written, or a second has passed; until a signal comes."""
        self.configure_logging(verbosity)
        worker = db_worker.Worker(
            queue_names=queue_name.split(","),
            excluded_queue_names=exclude_queues.split(",") if exclude_queues else [],
            batch=True,  # `run` comes back when nothing is left
            startup_delay=False,
            **{name: options[name] for name in ("interval", "backend_name", "max_tasks", "worker_id")},
        )
        worker.configure_signals()
        logger.info("working on %s", queue_name)
        db_worker.logger.setLevel(logging.WARNING)  # it would tell of every time it asks
        written = Written()
        while worker.running:
            if written.since():
                worker.run()
            if worker.running:
                time.sleep(options["interval"])


class Written:
    """Whether something may have been written to the database."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.asked = float("-inf")

    def since(self) -> bool:
        """Whether that may be so since it last was; once a second it may always be."""
        before, self.version = self.version, data_version()
        if self.version is not None and self.version == before and time.monotonic() - self.asked < LONGEST:
            return False
        self.asked = time.monotonic()
        return True


def data_version() -> int | None:
    """A number that changes when another connection writes (for as long as ours is open); None: nobody can say."""
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return int(cursor.fetchone()[0])
