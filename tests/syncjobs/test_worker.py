"""The worker that `make run` starts: when it asks the queue."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.core.management import call_command
from django_tasks_db.management.commands import db_worker as original
from django_tasks_db.models import DBTaskResult

from syncjobs.management.commands import db_worker
from syncjobs.tasks import enqueue_run
from tests.syncjobs.world import World


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(db_worker.time, "monotonic", lambda: now[0])
    return now


def test_the_queue_is_asked_when_something_was_written(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter([7, 7, 7, 8, 8])
    monkeypatch.setattr(db_worker, "data_version", lambda: next(versions))
    written = db_worker.Written()
    assert [written.since() for _ in range(5)] == [True, False, False, True, False]


def test_the_queue_is_asked_once_a_second(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_worker, "data_version", lambda: 7)
    written = db_worker.Written()
    assert written.since()
    clock[0] += 0.9
    assert not written.since()
    clock[0] += 0.2
    assert written.since()
    assert not written.since()


def test_where_the_database_does_not_say_it_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_worker, "data_version", lambda: None)
    written = db_worker.Written()
    assert written.since()
    assert written.since()


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


@pytest.mark.django_db
def test_what_is_queued_is_carried_out_until_a_signal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue_run(world.project, trigger="button")
    workers: list[original.Worker] = []
    monkeypatch.setattr(original.Worker, "configure_signals", lambda worker: workers.append(worker))
    monkeypatch.setattr(original, "close_old_connections", lambda: None)  # it would close the test's own
    monkeypatch.setattr(db_worker.time, "sleep", lambda seconds: setattr(workers[0], "running", False))
    call_command("db_worker", queue_name="sync,default", interval=0.3, reload=False, verbosity=0)
    assert DBTaskResult.objects.get().status == "SUCCESSFUL"
    assert world.project.runs.get().status == "done"
