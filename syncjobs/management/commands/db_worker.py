"""The worker of the queue: costs next to nothing while nothing is queued, and outlives its database."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django_tasks_db.management.commands import db_worker

from memoryhub.written import Written

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
        written = Written(LONGEST)
        while worker.running:
            if written.since():
                worker.run()
            if worker.running:
                time.sleep(options["interval"])
