"""The worker that `make run` starts: when it asks the queue."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django_tasks_db.management.commands import db_worker as original
from django_tasks_db.models import DBTaskResult

from syncjobs.management.commands import db_worker
from syncjobs.tasks import enqueue_run
from tests.syncjobs.world import World


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
