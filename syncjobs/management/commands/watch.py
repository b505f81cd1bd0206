"""Start due syncs, and queue again what a dead worker left."""

from __future__ import annotations

import logging
import signal
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from syncjobs.watch import Watch

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Looks every second which projects are due for a sync (continuous, or every N minutes) and queues it; queues "
        "again what a dead worker left. One is enough; more than one do no harm. Stops on SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one round, then stop")
        parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two rounds")

    def handle(self, **options: Any) -> None:
        watch = Watch()
        signal.signal(signal.SIGTERM, self._stop)
        try:
            while True:
                close_old_connections()
                try:
                    watch.round()
                except Error as error:  # the database is locked or away: it comes back, and nothing was begun
                    logger.warning("the database did not answer (%s): trying again", error)
                if options["once"]:
                    break
                time.sleep(options["interval"])
        except KeyboardInterrupt:
            pass
        finally:
            watch.stop()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt
