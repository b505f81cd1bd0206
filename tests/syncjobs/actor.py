"""Runs commands of the hub beside each other, each in a process of its own: `python -m tests.syncjobs.actor FOLDER`.

Reads one JSON object a line and answers with one. Django is loaded once; each command is a fork, which begins at once.

    {"do": "use", "name": "..."}                             what the database is called from now on
    {"do": "start", "args": ["sync_memory"], "lease": 2, "wait": 1, "pages": 5}      -> its process id
    {"do": "end", "pid": 17}                                                         -> [exit code, out, error]
    {"do": "call", "name": "edit", "args": {...}}                                    -> what it says (see `people`)
    {"do": "facts", "slug": "planner"}, {"do": "waiting"}                            -> Facts; what is not done yet

    {"do": "suspects"}, {"do": "confirm"}                    -> what the settings page asks; as its button

lease: seconds a lease lives. late: seconds after which a write was held up.
wait: seconds SQLite waits for a lock. pages: by which the SQLite file may grow.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

LOADED = ["chromadb.api.fastapi", "letta_client", "blocks.stores.chroma", "blocks.stores.letta", "syncjobs.run"]


def set_up(order: dict[str, Any]) -> None:
    from django.db import connection
    from django.db.backends.signals import connection_created

    import blocks.stores.chroma
    import blocks.stores.chroma_write
    import blocks.stores.letta_writes
    from syncjobs import leases
    from tests.original_store import cheap_vectors

    blocks.stores.chroma.embed = cheap_vectors
    leases.SECONDS = order.get("lease", leases.SECONDS)
    if "late" in order:
        blocks.stores.chroma_write.FRESH = blocks.stores.letta_writes.FRESH = order["late"]
        blocks.stores.chroma_write.TOO_LATE = blocks.stores.letta_writes.TOO_LATE = order["late"]
    if "wait" in order:
        connection.settings_dict["OPTIONS"]["timeout"] = order["wait"]
    if "pages" in order:

        def fill(connection: Any, **kwargs: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA page_count")
                (count,) = cursor.fetchone()
                cursor.execute(f"PRAGMA max_page_count = {count + order['pages']}")

        connection_created.connect(fill, weak=False)


def use(name: str) -> None:
    from django.db import connection

    connection.close()
    connection.settings_dict["NAME"] = name


def start(order: dict[str, Any], folder: Path) -> int:
    from django.db import connection

    connection.close()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    out, error = (folder / f"{os.getpid()}.out").open("w"), (folder / f"{os.getpid()}.error").open("w")
    with out, error, redirect_stdout(out), redirect_stderr(error):
        from django.core.management import CommandError, call_command

        try:
            set_up(order)
            call_command(*order["args"])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except CommandError as failed:  # as `manage.py` shows it
            print(f"CommandError: {failed}", file=sys.stderr)
            code = failed.returncode
        except BaseException:
            traceback.print_exc()
    os._exit(code)


def end(order: dict[str, Any], folder: Path) -> list[Any]:
    _, status = os.waitpid(order["pid"], 0)
    texts = [(folder / f"{order['pid']}.{name}").read_text() for name in ("out", "error")]
    return [os.waitstatus_to_exitcode(status), *texts]


def answer(order: dict[str, Any], folder: Path) -> Any:
    if order["do"] == "use":
        return use(order["name"])
    if order["do"] == "start":
        return start(order, folder)
    if order["do"] == "end":
        return end(order, folder)
    if order["do"] == "call":
        from tests.syncjobs import people

        return getattr(people, order["name"])(**order["args"])
    if order["do"] == "waiting":
        return waiting()
    if order["do"] in ("suspects", "confirm"):
        return suspects(confirm=order["do"] == "confirm")
    from tests.syncjobs import peace

    return peace.facts_of(order["slug"]).as_json()


def waiting() -> list[int]:
    """Tasks that wait, runs that wait or go on, memories that wait."""
    from django_tasks_db.models import DBTaskResult

    from blocks.models import Memory
    from syncjobs.models import SyncRun

    tasks, runs = DBTaskResult.objects.filter(status="READY"), SyncRun.objects.filter(status__in=["queued", "running"])
    return [tasks.count(), runs.count(), Memory.objects.exclude(waiting_since=None).count()]


def suspects(*, confirm: bool) -> list[str]:
    from syncjobs import sides
    from syncjobs.models import Connection

    rows = list(Connection.objects.exclude(suspect=""))
    said = [row.suspect for row in rows]
    if confirm:
        for row in rows:
            sides.confirm(row)
    return said


def main(folder: Path) -> None:
    import django

    django.setup()
    for name in LOADED:
        import_module(name)
    for line in sys.stdin:
        from django.db import connection

        print(json.dumps(answer(json.loads(line), folder)), flush=True)
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
