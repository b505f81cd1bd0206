"""Runs commands of the hub in children that can be killed at any chosen point: `python -m tests.syncjobs.victim`.

Reads one JSON object a line and answers with one. Django is loaded once; each command runs in a fork of its own, so
that it starts at once and can be killed without harm to the next.

    {"do": "manage", "args": ["sync_memory", "--json"], "kill": {"at": 17}}
    {"do": "push", "slug": "planner", "kill": ...}           what waits, as a worker of the queue does
    {"do": "call", "name": "edit", "args": {...}}            a function of tests.syncjobs.people

kill: `at`, the number of the point at which the child kills itself (from 1); `within`: count only points within this
part ("recover"); `label`: count only points whose label begins so; `after`: seconds after which it is killed from
outside. settings: Django's, replaced in the child.

A point is before and after each commit, each write outside a transaction, and each HTTP request: before it is sent,
and after it was answered, before anybody has looked at the answer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

HERE = ("syncjobs/", "blocks/", "memoryhub/")
WRITES = ("INSERT", "UPDATE", "DELETE")
ROWS_A_CALL = 4  # so that a record of a few chunks takes several calls
LOADED = ["chromadb.api.fastapi", "letta_client", "blocks.stores.chroma", "blocks.stores.letta", "syncjobs.run"]
LOADED += ["syncjobs.management.commands.sync_memory", "tests.original_store"]
CHROMA_WRITES = ("/add", "/upsert", "/update", "/delete")


class Points:
    """Counts the points of this process, writes them down, and kills it at the chosen one."""

    def __init__(self, path: Path, kill: dict[str, Any]) -> None:
        self.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.at, self.within, self.label = kill.get("at", 0), kill.get("within", ""), kill.get("label", "")
        self.parts: list[str] = []
        self.count = 0
        self.lock = threading.Lock()

    def reach(self, label: str) -> None:
        with self.lock:
            os.write(self.log, json.dumps([self.parts[-1] if self.parts else "", label]).encode() + b"\n")
            if (self.within and self.within not in self.parts) or not label.startswith(self.label):
                return
            self.count += 1
            if self.count == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, label: str, work: Callable[[], Any]) -> Any:
        self.reach(f"before {label}")
        result = work()
        self.reach(f"after {label}")
        return result


def place(frame: FrameType | None) -> str:
    """The innermost line of the hub's own code."""
    while frame is not None:
        name = frame.f_code.co_filename
        for room in HERE:
            if f"/{room}" in name and "/site-packages/" not in name:
                return f"{Path(name).stem}.{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def watch_database(points: Points) -> None:
    from django.db import connection
    from django.db.backends.base.base import BaseDatabaseWrapper

    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def committing(self: BaseDatabaseWrapper) -> Any:
        return points.around(f"commit in {place(sys._getframe(1))}", lambda: commit(self))

    def executing(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if context["connection"].in_atomic_block or not sql.startswith(WRITES):
            return execute(sql, params, many, context)
        return points.around(f"write in {place(sys._getframe(1))}", lambda: execute(sql, params, many, context))

    BaseDatabaseWrapper._commit = committing  # type: ignore[attr-defined]
    connection.execute_wrappers.append(executing)


def watch_network(points: Points) -> None:
    import httpx

    handle = httpx.HTTPTransport.handle_request

    def handling(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = points.around(call_of(request), lambda: handle(self, request))
        return answer

    httpx.HTTPTransport.handle_request = handling  # type: ignore[method-assign]


def call_of(request: Any) -> str:
    """What a request is, without ids: `letta PATCH block`, `chroma upsert`; writes of any kind begin with `write`."""
    path = request.url.path
    if "/api/v2/" in path:
        last = path.rstrip("/").rpartition("/")[2]
        writes = path.endswith(CHROMA_WRITES) or (request.method == "POST" and last == "collections")
        return f"{'write' if writes else 'read'} chroma {request.method} {last if request.method == 'POST' else ''}"
    kind = "/".join(part for part in path.split("/")[2:] if part and "-" not in part)
    return f"{'read' if request.method == 'GET' else 'write'} letta {request.method} {kind}"


def watch_recovery(points: Points) -> None:
    import syncjobs.push
    import syncjobs.run

    recover = syncjobs.run.recover

    def recovering(*arguments: Any) -> None:
        points.parts.append("recover")
        try:
            recover(*arguments)
        finally:
            points.parts.pop()

    syncjobs.run.recover = syncjobs.push.recover = recovering  # type: ignore[assignment]


# --- one command


def run_child(order: dict[str, Any], folder: Path) -> int:
    """In the fork: carry out an order; what it prints and what it reaches lies in `folder`."""
    from django.conf import settings

    import blocks.stores.chroma
    import blocks.stores.chroma_rows
    from tests.original_store import cheap_vectors

    for name, value in order.get("settings", {}).items():
        setattr(settings, name, value)
    blocks.stores.chroma.embed = cheap_vectors
    blocks.stores.chroma_rows.MANY_IDS = ROWS_A_CALL
    out, error = (folder / "out").open("w"), (folder / "error").open("w")
    with out, error, redirect_stdout(out), redirect_stderr(error):
        try:
            return carry_out(order, folder)
        except SystemExit as ended:
            return int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            return 70


def carry_out(order: dict[str, Any], folder: Path) -> int:
    if order["do"] == "call":
        from tests.syncjobs import people

        print(json.dumps(getattr(people, order["name"])(**order["args"])))
        return 0
    points = Points(folder / "points", order.get("kill") or {})
    watch_database(points)
    watch_network(points)
    watch_recovery(points)
    if order["do"] == "push":
        push_waiting(order["slug"])
    else:
        from django.core.management import call_command

        call_command(*order["args"])
    return 0


def push_waiting(slug: str) -> None:
    """As a worker of the queue does for what people changed."""
    from blocks.models import Memory
    from syncjobs.push import push

    waiting = Memory.objects.filter(project__slug=slug, waiting_since__isnull=False)
    push(waiting.order_by("pk").values_list("pk", flat=True))


def fork(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    for name in ("out", "error", "points"):
        (folder / name).unlink(missing_ok=True)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(run_child(order, folder))
    after = (order.get("kill") or {}).get("after")
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)  # not reaped yet: the number is still this child's
    _, status = os.waitpid(pid, 0)
    points = folder / "points"
    return {
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "code": os.waitstatus_to_exitcode(status),
        "out": (folder / "out").read_text() if (folder / "out").exists() else "",
        "error": (folder / "error").read_text() if (folder / "error").exists() else "",
        "points": [json.loads(line) for line in points.read_text().splitlines()] if points.exists() else [],
        "seconds": time.monotonic() - began,
    }


def main() -> None:
    import django

    django.setup()
    for name in LOADED:
        import_module(name)
    assert threading.active_count() == 1, "a fork would lose threads"
    folder = Path(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line), folder)), flush=True)


if __name__ == "__main__":
    main()
