"""A real Chroma server (`chroma run`), started once a session by the first test that asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.servers.letta_server import free_port

START_SECONDS = 60


class ChromaServer:
    """`chroma run` on a folder of its own; `url` is its address while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ChromaServer:
        program = Path(sys.executable).parent / "chroma"
        command = [str(program), "run", "--host", "127.0.0.1", "--path", str(self.folder), "--port", str(self.port)]
        with self.log.open("ab") as log:
            environment = os.environ | {"ANONYMIZED_TELEMETRY": "False"}
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"chroma run did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def chroma_server() -> Iterator[str]:
    """The base URL of a real Chroma server. Shared: a test works in a `collection` of its own."""
    with tempfile.TemporaryDirectory(prefix="chroma-") as folder:
        server = ChromaServer(Path(folder) / "data").start()
        yield server.url
        server.stop()


@pytest.fixture
def fresh_chroma_server(tmp_path: Path) -> Iterator[ChromaServer]:
    """A Chroma server for one test alone, which may stop and start it."""
    server = ChromaServer(tmp_path / "data").start()
    yield server
    server.stop()


@pytest.fixture
def collection() -> str:
    """The name of a collection that no other test uses; it does not exist yet."""
    return f"memory-{uuid4().hex}"
