"""Whether anything was written to the database, as its readers ask."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from memoryhub import written
from memoryhub.written import Written


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(written.time, "monotonic", lambda: now[0])
    return now


def test_the_queue_is_asked_when_something_was_written(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter([7, 7, 7, 8, 8])
    monkeypatch.setattr(written, "data_version", lambda: next(versions))
    asked = Written(1.0)
    assert [asked.since() for _ in range(5)] == [True, False, False, True, False]


def test_the_queue_is_asked_once_a_second(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "data_version", lambda: 7)
    asked = Written(1.0)
    assert asked.since()
    clock[0] += 0.9
    assert not asked.since()
    clock[0] += 0.2
    assert asked.since()
    assert not asked.since()


def test_where_the_database_does_not_say_it_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "data_version", lambda: None)
    asked = Written(1.0)
    assert asked.since()
    assert asked.since()


def test_sqlite_says_when_another_connection_wrote(tmp_path: Path) -> None:
    ours = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    theirs = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    ours.execute("CREATE TABLE t (x)")

    def version() -> int:
        return int(ours.execute("PRAGMA data_version").fetchone()[0])

    before = version()
    assert version() == before
    theirs.execute("INSERT INTO t VALUES (1)")
    assert version() != before
    ours.close()
    theirs.close()
