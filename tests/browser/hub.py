"""The hub as it runs in production: its own processes, on a database file that the tests look into."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import connections
from django.db.utils import load_backend
from django.test import Client

from memoryhub.settings import BASE_DIR
from tests.servers.letta_server import free_port

# On Linux it is stopped when the tests are, however they end (PR_SET_PDEATHSIG is 1).
ENDS_WITH_US = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
START_SECONDS = 180  # 5 on a machine that does nothing else
PASSWORD = "correct horse battery"


class Hub:
    """`manage.py start`: web server, both workers and watch. `url` is its address while it runs."""

    def __init__(self, folder: Path, chroma_url: str) -> None:
        self.folder, self.chroma_url, self.port = folder, chroma_url, free_port()
        self.database = folder / "hub.sqlite3"
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "hub.log"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        ours = ("DJANGO_", "MEMORYHUB_", "DEBUG", "HTTPS", "CHROMA_", "EMAIL_URL", "ALLOWED_HOSTS", "LOG_LEVEL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "MEMORYHUB_ENV_FILE": os.devnull,
            "MEMORYHUB_DATA": str(self.folder),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "SECRET_KEY": settings.SECRET_KEY,  # the same as here: sessions and keys made here are good there
            "FIELD_KEYS": ",".join(settings.FIELD_KEYS),
            "CHROMA_URL": self.chroma_url,
            "PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
        }

    def start(self) -> Hub:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ENDS_WITH_US, "manage.py", "start"],
                cwd=BASE_DIR,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the hub did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/healthz", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(60)
        self.process = None

    @contextmanager
    def paused(self, queue: str) -> Iterator[None]:
        """Inside, one of the workers ('push', 'sync') stands still, so that what waits for it can be looked at."""
        worker = self.worker(queue)
        worker.suspend()
        while not self.may_be_written():  # it was stopped while it wrote: nobody else could
            worker.resume()
            time.sleep(0.05)
            worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    def may_be_written(self) -> bool:
        with closing(sqlite3.connect(self.database, timeout=1, isolation_level=None)) as connection:
            try:
                connection.execute("begin immediate")
                connection.execute("rollback")
            except sqlite3.OperationalError:
                return False
        return True

    def worker(self, queue: str) -> psutil.Process:
        assert self.process is not None
        words = f"--queue-name {queue}"
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if words in " ".join(child.cmdline()):
                return child
        raise LookupError(f"no worker for {queue}")

    @contextmanager
    def models(self) -> Iterator[None]:
        """Inside, the models of this thread are those of the running hub."""
        before = connections["default"]
        named = {"ENGINE": SQLITE, "NAME": str(self.database), "OPTIONS": OPTIONS}
        complete = connections.configure_settings({"default": named})["default"]
        fresh = load_backend(SQLITE).DatabaseWrapper(complete, "default")
        connections["default"] = fresh
        try:
            yield
        finally:
            fresh.close()
            connections["default"] = before


SQLITE = "django.db.backends.sqlite3"
OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 60,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA reverse_unordered_selects=ON;",  # see tests/settings.py
}


def account(name: str, **fields: str | bool) -> User:
    """Somebody who can sign in with PASSWORD."""
    hashed = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1000)
    return User.objects.get_or_create(username=name, defaults={"password": hashed, **fields})[0]


def session_of(user: User) -> str:
    """The cookie of somebody who signed in."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def wait(condition: Callable[[], object], seconds: float = 90) -> None:
    """Until the hub's processes have done what they were asked to."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
