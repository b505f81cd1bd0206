"""What the tests of rag_tools.py share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import rag_tools
from memoryhub.settings import BASE_DIR
from tests.servers.web import WebServer

SCRIPT = BASE_DIR / "rag_tools.py"
OURS = ("LETTA_", "CHROMA_", "MEMORYHUB_", "DJANGO_")


def environment(**more: str) -> dict[str, str]:
    """For a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"PYTHONPATH": str(BASE_DIR)} | more


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing is known from before, and nothing of this machine's is touched."""
    for name in [name for name in os.environ if name.startswith(("LETTA_", "CHROMA_", "MEMORYHUB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORYHUB_SPOOL", str(tmp_path / "spool.jsonl"))
    monkeypatch.setenv("MEMORYHUB_TIMEOUT", "60")
    rag_tools.places.clear()
    rag_tools.told.clear()
    yield
    for place in rag_tools.places.values():
        place.http.close()


class Agent:
    """The environment of an agent; `env` is what its processes get."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hub: WebServer, url: str, token: str) -> None:
        self.monkeypatch, self.hub, self.token = monkeypatch, hub, token
        self.env = {"MEMORYHUB_URL": url, "MEMORYHUB_TOKEN": token}

    def here(self) -> None:
        """From now on this process is the agent."""
        for name, value in self.env.items():
            self.monkeypatch.setenv(name, value)

    def memories(self, **query: str) -> list[dict[str, Any]]:
        """What the hub itself says, in the order it came in."""
        sign = {"Authorization": f"Bearer {self.token}"}
        found: list[dict[str, Any]] = []
        given = {"order": "changed", "limit": "200"} | query
        while True:
            answer = httpx.get(f"{self.hub.url}/api/memories", params=given, headers=sign, timeout=60, trust_env=False)
            found += answer.raise_for_status().json()["items"]
            if not answer.json()["next"]:
                return found[::-1]
            given["cursor"] = answer.json()["next"]

    def python(self, code: str, **more: str) -> subprocess.Popen[str]:
        """A process of the agent's."""
        env = environment(**self.env, MEMORYHUB_SPOOL=os.environ["MEMORYHUB_SPOOL"], MEMORYHUB_TIMEOUT="60") | more
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, env=env)

    def shell(self, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        env = environment(**self.env, MEMORYHUB_SPOOL=os.environ["MEMORYHUB_SPOOL"]) | more
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=300)


@pytest.fixture
def agent(hub_server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """Agent editor of the project planner; this process is it."""
    found = Agent(monkeypatch, hub_server, hub_server.url, hub_server.tokens["editor"])
    found.here()
    return found


@pytest.fixture(scope="session")
def other_token(hub_server: WebServer) -> str:
    """Of another agent of the same project."""
    command = [sys.executable, "manage.py", "create_token", "planner", "Agent B", "--json"]
    made = subprocess.run(command, cwd=BASE_DIR, env=hub_server.environment(), check=True, capture_output=True)
    token: str = json.loads(made.stdout)["token"]
    return token


def spooled() -> list[dict[str, Any]]:
    """What waits, as the file says."""
    path = Path(os.environ["MEMORYHUB_SPOOL"])
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in map(json.loads, lines) if "memory" in line]
