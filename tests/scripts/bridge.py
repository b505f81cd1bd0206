"""Runs letta_memory_bridge.py as a shell does, and stands in for a hub."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest.mock import patch

import letta_memory_bridge
from tests.contract.letta import serving

SCRIPT = Path(__file__).resolve().parents[2] / "letta_memory_bridge.py"
OURS = ("LETTA_", "CHROMA_", "MEMORYHUB_", "COLUMNS", "DJANGO_")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | more


@dataclass
class Done:
    """What a command left: both its outputs and its exit code."""

    stdout: str
    stderr: str
    returncode: int


def bridge(*arguments: str, stdin: str | bytes = "", **env: str) -> Done:
    """The command with these arguments and variables, in this process: starting Python takes longer than all of it."""
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(one, "utf-8", newline="") for one in raw)
    given = io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin), "utf-8")
    with (
        patch.dict(os.environ, environment(**env), clear=True),
        patch.multiple(sys, stdin=given, stdout=out, stderr=err),
    ):
        try:
            code = letta_memory_bridge.main(arguments)
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
    out.flush()
    err.flush()
    return Done(raw[0].getvalue().decode(), raw[1].getvalue().decode(), code)


def shell(*arguments: str, **env: str) -> Done:
    """The command in a process of its own."""
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, env=environment(**env), timeout=300)
    return Done(done.stdout.decode(), done.stderr.decode(), done.returncode)


@contextmanager
def fake_hub(*runs: dict[str, Any], slug: str = "planner", refuse: str = "") -> Iterator[tuple[str, list[str]]]:
    """A hub that answers what is asked about syncs: (address, what it was asked).

    runs: the run as it is told at each look, the last one for good. refuse: words of a 401 to everything.
    """
    asked: list[str] = []
    left = list(runs)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if refuse:
                self.reply(401, {"detail": refuse})
            elif self.path == "/api/project":
                self.reply(200, {"slug": slug, "name": slug.title(), "role": "editor"})
            elif (self.command, self.path) == ("POST", "/api/sync"):
                self.reply(202, {"id": 12, "status": "queued", "url": "/run/12"})
            elif self.path == "/api/sync/12":
                self.reply(200, {"id": 12, "url": "/run/12"} | (left.pop(0) if len(left) > 1 else left[0]))
            else:
                self.reply(404, {"detail": "Not found."})

        def reply(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("WWW-Authenticate", 'Bearer realm="Memory Hub"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url, asked
