"""A hub with a database of its own whose processes run beside each other, between two servers that obey the test."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from memoryhub.settings import BASE_DIR
from tests import original_store
from tests.servers.faulty import Answer, Faulty
from tests.syncjobs import peace

SLUG = "planner"
LONG = 90.0  # seconds that a busy machine may need for anything


templates: dict[str, str] = {}  # the database with all tables, made by the first test of a session: by server


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The DATABASE_URL of a database for one test: a file, or one on the PostgreSQL server that the tests run on."""
    server = os.environ.get("DATABASE_URL", "")
    if not server:
        if "" in templates:
            shutil.copy(templates[""], folder / "hub.sqlite3")
        yield f"sqlite:///{folder / 'hub.sqlite3'}"
        return
    name = f"faults_{uuid4().hex[:12]}"
    with administer() as execute:
        execute(f"CREATE DATABASE {name} TEMPLATE {templates.get(server, 'template1')}")
    yield f"{server.rpartition('/')[0]}/{name}"
    with administer() as execute:
        execute(f"DROP DATABASE {name} WITH (FORCE)")


def keep_as_template(troupe: Troupe) -> None:
    server = os.environ.get("DATABASE_URL", "")
    if server:
        templates[server] = f"faults_template_{os.getpid()}"
        with administer() as execute:
            execute(f"CREATE DATABASE {templates[server]} TEMPLATE {troupe.database_url.rpartition('/')[2]}")
    else:
        templates[server] = str(Path(tempfile.mkdtemp(prefix="memoryhub-template-")) / "hub.sqlite3")
        atexit.register(shutil.rmtree, Path(templates[server]).parent, ignore_errors=True)
        with closing(sqlite3.connect(troupe.path)) as source, closing(sqlite3.connect(templates[server])) as target:
            source.backup(target)


@contextmanager
def administer() -> Iterator[Callable[[str], Any]]:
    """Statements to the PostgreSQL server, outside of any transaction."""
    import environ
    import psycopg

    said = environ.Env.db_url_config(os.environ["DATABASE_URL"])
    arguments = {"host": said["HOST"], "port": said["PORT"], "user": said["USER"], "password": said["PASSWORD"]}
    given = {name: value for name, value in arguments.items() if value}
    with psycopg.connect(dbname="postgres", autocommit=True, **given) as connection:
        yield connection.execute


class Troupe:
    """letta, chroma: what stands before the servers. said, deleted: see `peace.check`."""

    slug = SLUG

    def __init__(self, folder: Path, database_url: str, letta: Faulty, chroma: Faulty, collection: str) -> None:
        self.letta, self.chroma, self.collection = letta, chroma, collection
        self.path = folder / "hub.sqlite3"
        self.database_url = database_url
        self.said: set[str] = set()
        self.deleted: set[str] = set()
        self.number = 0
        self.actor = shared_actor()
        self.running: list[int] = []

    def begin(self) -> None:
        self.order(
            do="use", name=str(self.path) if self.database_url.startswith("sqlite") else name_in(self.database_url)
        )
        if os.environ.get("DATABASE_URL", "") not in templates:
            self.do("migrate", "--verbosity", "0")
            keep_as_template(self)
        sides = ("--letta-url", self.letta.url, "--chroma-url", self.chroma.url, "--collection", self.collection)
        self.do("setup_project", self.slug, *sides)

    def close(self) -> None:
        for pid in list(self.running):
            self.kill(pid)

    def order(self, **order: Any) -> Any:
        assert self.actor.stdin
        assert self.actor.stdout
        self.actor.stdin.write(json.dumps(order) + "\n")
        self.actor.stdin.flush()
        answer = self.actor.stdout.readline()
        assert answer, "the actor ended"
        return json.loads(answer)

    # --- processes

    def start(self, *args: str, **how: Any) -> int:
        pid: int = self.order(do="start", args=args, **how)
        self.running.append(pid)
        return pid

    def end(self, pid: int) -> tuple[int, str, str]:
        code, out, error = self.order(do="end", pid=pid)
        self.running.remove(pid)
        return code, out, error

    def do(self, *args: str, **how: Any) -> str:
        code, out, error = self.end(self.start(*args, **how))
        assert code == 0, out + error
        return out

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.end(pid)

    def stop_at(self, pid: int, server: Faulty, method: str, part: str) -> None:
        """Stop a process, as with Ctrl-Z, when it has asked for this and before it hears the answer."""
        seen: list[str] = []

        def rule(asked: str, path: str) -> Answer | None:
            if asked == method and part in path and not seen:
                seen.append(path)
                os.kill(pid, signal.SIGSTOP)
            return None

        server.rule = rule
        until(lambda: bool(seen))
        server.rule = lambda method, path: None

    # --- people

    def text(self) -> str:
        self.number += 1
        text = f"Note {self.number}\n" + f"It says something about {self.number}.\n" * 40
        self.said.add(text)
        return text

    def create(self, count: int = 1) -> list[str]:
        states = [{"title": f"Title {uuid4().hex[:8]}", "text": self.text()} for _ in range(count)]
        uuids: list[str] = self.call("create", states=states)
        return uuids

    def edit(self, *uuids: str) -> None:
        self.call("edit", texts={uuid: self.text() for uuid in uuids})

    def archive(self, *uuids: str) -> None:
        self.deleted.update(uuids)
        self.call("archive", uuids=uuids)

    def call(self, name: str, **args: Any) -> Any:
        return self.order(do="call", name=name, args={"slug": self.slug, **args})

    # --- what must hold

    def sync(self) -> dict[str, Any]:
        (result,) = json.loads(self.do("sync_memory", "--json"))
        assert (result["status"], result["errors"]) == ("done", [])
        return dict(result)

    def at_peace(self) -> None:
        self.sync()
        self.check()
        peace.check_quiet(self.sync())

    def check(self) -> None:
        facts = peace.Facts(**self.order(do="facts", slug=self.slug))
        rows = original_store.open_server(self.chroma.target).get_collection(self.collection)
        sides = {
            peace.LETTA: peace.blocks_of(self.letta.target, self.slug),
            peace.LOCAL: peace.records_of(rows, self.slug),
        }
        peace.check(facts, sides, acknowledged=self.said, deleted=self.deleted)
        query: dict[str, str | int] = {"tags": f"memhub:digest:{self.slug}", "limit": 50}
        assert len(self.letta.client.get("/v1/blocks/", params=query).json()) == 1


def name_in(database_url: str) -> str:
    return database_url.rpartition("/")[2]


@cache
def shared_actor() -> subprocess.Popen[str]:
    """One a session: it takes seconds to start, and uses the database of the test that goes on."""
    folder = tempfile.mkdtemp(prefix="memoryhub-actor-")
    left_out = ("DJANGO_SETTINGS_MODULE",)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in left_out},
        "DJANGO_SETTINGS_MODULE": "memoryhub.settings",
        "MEMORYHUB_ENV_FILE": os.devnull,
        "MEMORYHUB_DATA": folder,
        "SECRET_KEY": "only-for-tests",
        "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
        "PYTHONPATH": str(BASE_DIR),
        "STORE_TIMEOUT": "30",
    }
    actor = subprocess.Popen(
        [sys.executable, "-m", "tests.syncjobs.actor", folder],
        cwd=BASE_DIR,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def end() -> None:
        actor.communicate(timeout=LONG)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return actor


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


@contextmanager
def troupe_of(folder: Path, letta_url: str, chroma_url: str, collection: str, slug: str = SLUG) -> Iterator[Troupe]:
    with Faulty(letta_url) as letta, Faulty(chroma_url) as chroma, database(folder) as url:
        troupe = Troupe(folder, url, letta, chroma, collection)
        troupe.slug = slug
        try:
            troupe.begin()
            yield troupe
        finally:
            troupe.close()
