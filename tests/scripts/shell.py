"""The lines of docs/agents.md for the end of a shell, a home folder to try them in, and a hub that never answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from queue import Queue
from textwrap import dedent
from threading import Thread

from memoryhub.settings import BASE_DIR
from tests.scripts.bridge import SCRIPT
from tests.servers.web import WebServer

TOKEN = "mhub_secretsecret"
GUIDE = SCRIPT.with_name("docs") / "agents.md"


def section(title: str) -> str:
    """The examples of a part of the guide, as they are typed in."""
    return "".join(examples(title))


def examples(title: str) -> list[str]:
    """One by one: each is what stands between two paragraphs."""
    part = GUIDE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.findall(r"(?:^(?: {4}.*)?\n)+", part + "\n", re.MULTILINE)
    return [dedent(one).strip("\n") + "\n" for one in found if one.strip()]


def filled(lines: str, url: str, token: str = TOKEN) -> str:
    """Examples with the hub's address and a token."""
    return lines.replace("http://127.0.0.1:8000", url).replace("mhub_...", token)


HOOK, IN_FRONT = section("When a shell ends").rsplit("trap", 1)[0], section("When a shell ends").splitlines()[-1]


class Silent:
    """A hub that takes calls and never answers. asked: the first line of each."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked: Queue[bytes] = Queue()
        self.held: list[socket.socket] = []
        Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            try:
                call = self.listener.accept()[0]
            except OSError:
                return
            self.held.append(call)
            self.asked.put(call.recv(65536).partition(b"\r\n")[0])

    def stop(self) -> None:
        self.listener.close()
        for call in self.held:
            call.close()


def home_with_bridge(folder: Path) -> Path:
    """A home folder of somebody who has Python, the bridge, and nothing else."""
    shutil.copy(SCRIPT, folder)
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    return folder


def shell_environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "TERM": "dumb"}


def manage(hub: WebServer, *arguments: str) -> str:
    """What a command of the hub prints."""
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=BASE_DIR, env=hub.environment(), check=True, text=True, stdout=subprocess.PIPE, timeout=600
    ).stdout


def token(hub: WebServer, slug: str, name: str) -> str:
    return str(json.loads(manage(hub, "create_token", slug, name, "--json"))["token"])
