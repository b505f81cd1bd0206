"""The hub's own database locked, full or gone in the middle of a run, and there again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.faulty import Answer
from tests.servers.letta_faithful import faithful_letta
from tests.syncjobs.troupe import Troupe, administer, troupe_of, until

pytestmark = pytest.mark.contract
POSTGRES = bool(os.environ.get("DATABASE_URL"))
on_sqlite = pytest.mark.skipif(POSTGRES, reason="about a file")
on_postgres = pytest.mark.skipif(not POSTGRES, reason="about a server")


@pytest.fixture
def troupe(tmp_path: Path, chroma_server: str, collection: str) -> Iterator[Troupe]:
    with faithful_letta() as (url, _), troupe_of(tmp_path, url, chroma_server, collection) as troupe:
        yield troupe


def busy(troupe: Troupe) -> None:
    uuids = troupe.create(8)
    troupe.sync()
    troupe.edit(*uuids[:3])
    troupe.archive(uuids[3])
    troupe.create(2)


def at_the_first_write(troupe: Troupe, happens: Callable[[], None], *, server: str = "letta") -> None:
    """When the next request comes that writes."""
    seen: list[str] = []

    def rule(method: str, path: str) -> Answer | None:
        if method in ("PATCH", "POST", "DELETE") and not path.endswith("/get") and not seen:
            seen.append(path)
            happens()
        return None

    getattr(troupe, server).rule = rule


def fails_with_a_sentence(troupe: Troupe, **how: float) -> str:
    code, out, error = troupe.end(troupe.start("sync_memory", "--json", **how))
    troupe.letta.rule = troupe.chroma.rule = lambda method, path: None
    assert code == 1, out + error
    assert "Traceback" not in error
    assert "The hub's database" in error
    assert "Nothing is lost" in error
    return error


@on_sqlite
@pytest.mark.parametrize("server", ["letta", "chroma"])
def test_locked_for_longer_than_we_wait(troupe: Troupe, server: str) -> None:
    busy(troupe)
    other = sqlite3.connect(troupe.path, isolation_level=None, check_same_thread=False, timeout=60)

    def lock() -> None:
        other.execute("BEGIN IMMEDIATE")

    at_the_first_write(troupe, lock, server=server)
    assert "locked" in fails_with_a_sentence(troupe, wait=0.3)
    other.execute("ROLLBACK")
    other.close()
    troupe.at_peace()


@on_sqlite
def test_full_in_the_middle(troupe: Troupe) -> None:
    for pages in (0, 2, 5, 10, 20):
        busy(troupe)
        code, out, error = troupe.end(troupe.start("sync_memory", pages=pages))
        assert "Traceback" not in error, error
        assert code in (0, 1)
        if pages == 0:
            assert (code, "full" in error) == (1, True), out + error
    troupe.at_peace()


@on_sqlite
def test_a_file_that_is_away(troupe: Troupe) -> None:
    busy(troupe)

    def move() -> None:
        for path in troupe.path.parent.glob("hub.sqlite3*"):
            path.rename(path.with_name(path.name.replace("hub.sqlite3", "away.sqlite3")))

    def put_back() -> None:
        for path in troupe.path.parent.glob("hub.sqlite3*"):  # an empty one was made in its place
            path.unlink()
        for path in troupe.path.parent.glob("away.sqlite3*"):
            path.rename(path.with_name(path.name.replace("away.sqlite3", "hub.sqlite3")))

    worker = troupe.start("db_worker", "--queue-name", "push", "--interval", "0.1", "--no-startup-delay", "--no-reload")
    move()
    assert "migrate" in fails_with_a_sentence(troupe)
    put_back()
    troupe.create(2)
    until(lambda: troupe.order(do="waiting")[0] == 0)  # the worker is there still
    troupe.kill(worker)
    troupe.at_peace()


@on_postgres
@pytest.mark.parametrize("server", ["letta", "chroma"])
def test_connections_ended_in_the_middle(troupe: Troupe, server: str) -> None:
    busy(troupe)
    at_the_first_write(troupe, lambda: end_connections(troupe), server=server)
    fails_with_a_sentence(troupe)
    troupe.at_peace()


@on_postgres
def test_a_server_that_takes_no_connections_and_comes_back(troupe: Troupe) -> None:
    busy(troupe)
    worker = troupe.start("db_worker", "--queue-name", "push", "--interval", "0.1", "--no-startup-delay", "--no-reload")

    def away() -> None:
        allow(troupe, "false")
        end_connections(troupe)

    at_the_first_write(troupe, away)
    fails_with_a_sentence(troupe)
    fails_with_a_sentence(troupe)
    allow(troupe, "true")
    troupe.create(2)
    until(lambda: troupe.order(do="waiting")[0] == 0)
    troupe.kill(worker)
    troupe.at_peace()


def name_of(troupe: Troupe) -> str:
    return troupe.database_url.rpartition("/")[2]


def end_connections(troupe: Troupe) -> None:
    with administer() as execute:
        execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(troupe)}'")


def allow(troupe: Troupe, allowed: str) -> None:
    with administer() as execute:
        execute(f"ALTER DATABASE {name_of(troupe)} ALLOW_CONNECTIONS {allowed}")
