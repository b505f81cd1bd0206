"""Install and start a real Letta server for one test session.

Installed once into a cache folder of its own (`MEMORYHUB_TEST_CACHE`, else ~/.cache/memoryhub-tests), behind a
lock, under a name made of what is installed; every session gets its own folder, port and PostgreSQL.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "letta-requirements.txt"
START_SECONDS = 600  # 15 on a machine that does nothing else; a busy one takes minutes


class ServerFailed(Exception):
    """The server could not be installed or started; carries the end of its log."""


def cache_folder() -> Path:
    chosen = os.environ.get("MEMORYHUB_TEST_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "memoryhub-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install() -> Path:
    """The Python of an environment with the pinned packages, made at first use.

    The environment is built in place and stamped last, so that an interrupted installation starts again.
    """
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = cache_folder() / f"letta-{key}"
    with locked(venv.with_suffix(".lock")):
        if not (venv / "installed").exists():
            shutil.rmtree(venv, ignore_errors=True)
            build(venv)
            (venv / "installed").touch()
    return venv / "bin" / "python"


def build(venv: Path) -> None:
    python = venv / "bin" / "python"
    run([sys.executable, "-m", "venv", str(venv)])
    try:
        run([sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(python), "-r", str(REQUIREMENTS)])
    except ServerFailed:  # uv reads other settings than pip (index, proxy)
        run([str(python), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LettaServer:
    """A running server: `url`, `password`, `stop()`."""

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="memhub-letta-"))  # short: a socket's path is limited
        self.log = self.folder / "letta.log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> LettaServer:
        try:
            self._launch(install())
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self, python: Path) -> None:
        # The embedded PostgreSQL gives up root for a user of its own, who must reach the folder.
        self.folder.chmod(0o711)
        template = python.parent.parent.with_suffix(".tar")
        arguments = [str(self.folder), str(self.port), str(template), *([self.password] if self.password else [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), str(HERE / "letta_run.py"), *arguments],
                env=clean_environment(self.folder),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def _wait_until_healthy(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while not healthy(self.url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"Letta did not start. The end of its log:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def clean_environment(folder: Path) -> dict[str, str]:
    """Ours without what would configure Letta, Django or another PostgreSQL; temporary files go to the folder."""
    foreign = ("LETTA_", "PG", "DJANGO_", "PYTHON", "VIRTUAL_ENV", "XDG_RUNTIME_DIR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder), "PYTHONUNBUFFERED": "1"}


def healthy(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/v1/health/", timeout=2) as reply:
            return bool(json.load(reply)["status"] == "ok")
    except (OSError, ValueError, KeyError):
        return False
