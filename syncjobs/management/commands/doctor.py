"""Check everything the hub needs, and say what to do about what is wrong."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from syncjobs.doctor import checks


class Command(BaseCommand):
    help = (
        "Check database, migrations, worker, watch, every server and store, and versions: one line each, with what to "
        "do. Exit code 1 if anything is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=5.0, metavar="SECONDS", help="for a worker to answer")

    def handle(self, **options: Any) -> None:
        wrong = 0
        for check in checks(options["wait"]):
            mark = "ok   " if check.ok else "WRONG"
            wrong += not check.ok
            self.stdout.write(f"{mark}  {check.what}: {check.found}" + (f" -> {check.help}" if check.help else ""))
        if wrong:
            raise SystemExit(1)
