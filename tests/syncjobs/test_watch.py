from datetime import timedelta
from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from blocks import actions
from blocks.models import Memory
from memoryhub.models import SyncMode
from syncjobs import leases
from syncjobs.models import Lease, RunStatus, SyncRun
from syncjobs.tasks import enqueue_run, push, sync
from syncjobs.watch import Watch, interval

pytestmark = pytest.mark.django_db


def carry_out(queue: str = "sync") -> None:
    """Let a worker take what is queued, on the test's own connection (it would close it between two tasks)."""
    with patch("django_tasks_db.management.commands.db_worker.close_old_connections"):
        call_command(
            "db_worker", queue_name=queue, batch=True, interval=0, startup_delay=False, reload=False, verbosity=0
        )


def queued(queue: str) -> int:
    return DBTaskResult.objects.filter(status="READY", queue_name=queue).count()


def ago(seconds: float):
    return timezone.now() - timedelta(seconds=seconds)


def test_a_project_synced_by_hand_is_left_alone(world):
    Watch().round()
    assert queued("sync") == 0


def test_a_continuous_project_is_synced_and_a_look_that_finds_nothing_leaves_no_run(world):
    world.project.sync_mode = SyncMode.CONTINUOUS
    world.project.save()
    world.create("a text")
    watch = Watch()
    watch.round()
    watch.round()
    assert queued("sync") == 1
    carry_out()
    assert SyncRun.objects.get().status == RunStatus.DONE
    SyncRun.objects.all().delete()
    enqueue_run(world.project, trigger="watch")
    carry_out()
    assert not SyncRun.objects.exists()


def test_a_project_synced_every_hour_waits_for_the_hour(world):
    world.project.sync_mode, world.project.sync_minutes = SyncMode.EVERY, 60
    world.project.save()
    world.synced()
    watch = Watch()
    assert watch.round()
    assert queued("sync") == 0
    world.project.connections.update(looked_at=ago(3601))
    SyncRun.objects.update(finished_at=ago(3601))
    assert watch.round()
    assert queued("sync") == 1


def test_a_run_whose_worker_died_is_recorded_and_queued_again(world):
    run = SyncRun.objects.create(
        project=world.project, trigger="button", status=RunStatus.RUNNING, started_at=ago(60), beat_at=ago(60)
    )
    Lease.objects.create(name=leases.of_project(world.project.pk), holder="m:1:x", expires_at=ago(1))
    Watch().round()
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert "died" in run.errors[0]["error"]
    assert SyncRun.objects.get(status=RunStatus.QUEUED).trigger == "button"
    assert queued("sync") == 1


def test_a_run_that_lives_is_left_alone(world):
    SyncRun.objects.create(
        project=world.project, trigger="button", status=RunStatus.RUNNING, started_at=ago(60), beat_at=ago(60)
    )
    leases.acquire([leases.of_project(world.project.pk)], leases.new_holder())
    Watch().round()
    assert SyncRun.objects.get().status == RunStatus.RUNNING


def test_a_queued_run_that_no_task_knows_is_queued_again(world):
    SyncRun.objects.create(project=world.project, trigger="button", created_at=ago(60))
    watch = Watch()
    assert watch.round()
    assert queued("sync") == 1
    assert watch.round()
    assert queued("sync") == 1


def test_an_edit_whose_push_died_is_pushed_again(world):
    memory = world.create("a text")
    DBTaskResult.objects.all().delete()
    Memory.objects.update(waiting_since=ago(20))
    Watch().round()
    assert queued("push") == 1
    carry_out("push")
    memory.refresh_from_db()
    assert (memory.sync_state, memory.waiting_since) == ("synced", None)
    assert [thing.state["text"] for thing in world.letta.things.values() if thing.uuid] == ["a text"]


def test_only_one_watch_acts(world):
    assert Watch().round()
    Lease.objects.update(holder="another:1:machine")
    assert not Watch().round()


def test_long_deleted_memories_are_purged_and_others_not(world):
    old, recent = world.create("old"), world.create("recent")
    actions.delete([old, recent], user=None)
    world.synced()
    Memory.objects.filter(pk=old.pk).update(deleted_at=timezone.now() - timedelta(days=31))
    Watch().round()
    assert list(Memory.objects.all()) == [recent]


def test_the_pause_grows_with_the_cost_of_a_look_and_with_failures(world):
    world.project.sync_mode = SyncMode.CONTINUOUS
    world.synced()
    world.project.connections.update(look_seconds=0.01)
    assert interval(world.project, None) == 5
    world.project.connections.update(look_seconds=1.0)
    assert interval(world.project, None) == 20
    for _ in range(3):
        latest = SyncRun.objects.create(project=world.project, trigger="watch", status=RunStatus.FAILED)
    assert interval(world.project, latest) == 160


def test_a_busy_push_comes_back_to_the_queue(world):
    memory = world.create("a text")
    leases.acquire([leases.of_memory(memory.pk)], leases.new_holder())
    DBTaskResult.objects.all().delete()
    push.call([memory.pk])
    assert queued("push") == 1


def test_a_busy_project_keeps_its_run_queued(world):
    run = enqueue_run(world.project, trigger="button")
    DBTaskResult.objects.all().delete()
    leases.acquire([leases.of_project(world.project.pk)], leases.new_holder())
    sync.call(run.pk)
    run.refresh_from_db()
    assert (run.status, queued("sync")) == (RunStatus.QUEUED, 1)
