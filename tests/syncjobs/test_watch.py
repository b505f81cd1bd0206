from datetime import timedelta
from types import SimpleNamespace
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
from syncjobs.run import start
from syncjobs.tasks import enqueue_run, push, sync
from syncjobs.watch import Watch, interval
from tests.syncjobs.fakes import FakeStore

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
    world.synced()
    memory = world.create("a text")
    DBTaskResult.objects.all().delete()
    Memory.objects.update(waiting_since=ago(20))
    Watch().round()
    assert queued("push") == 1
    carry_out("push")
    memory.refresh_from_db()
    assert (memory.sync_state, memory.waiting_since) == ("synced", None)
    assert [thing.state["text"] for thing in world.letta.things.values() if thing.uuid] == ["a text"]


def test_the_first_push_to_a_server_is_a_run_that_sees_what_is_there(world):
    world.letta.put("the same", label="same", slug="planner")
    world.create("the same", title="Same")
    carry_out("push")
    assert len(world.letta.things) == 1
    assert (queued("sync"), SyncRun.objects.get().trigger) == (1, "edit")
    carry_out()
    world.everywhere("the same")
    world.create("another")
    carry_out("push")
    world.everywhere("another", "the same")
    assert SyncRun.objects.count() == 1


def test_while_the_first_run_is_under_way_an_edit_waits_for_the_next(world):
    world.create("one")
    world.synced()
    world.project.connections.update(stamped=0)
    SyncRun.objects.create(project=world.project, trigger="button", status=RunStatus.RUNNING)
    world.create("two")
    carry_out("push")
    assert world.letta.texts() == ["one"]
    assert SyncRun.objects.get(status=RunStatus.QUEUED).trigger == "edit"


def test_a_side_that_was_seen_to_be_empty_needs_no_run(world):
    world.synced()
    world.create("one")
    carry_out("push")
    world.everywhere("one")
    assert SyncRun.objects.count() == 1


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


@pytest.fixture
def continuous(world):
    world.project.sync_mode = SyncMode.CONTINUOUS
    world.project.save()
    return world.synced()


def test_the_pause_grows_with_the_cost_of_a_look(continuous):
    connections = continuous.project.connections
    connections.update(look_seconds=0.01, look_cpu=0.01)
    assert interval(continuous.project) == 4
    connections.filter(side="letta").update(look_seconds=2.0)
    assert interval(continuous.project) == 6
    connections.filter(side="local").update(look_cpu=1.5)
    assert interval(continuous.project) == pytest.approx(15.1)
    connections.update(look_seconds=1000.0)
    assert interval(continuous.project) == 300


def test_a_connection_of_the_past_costs_nothing(continuous):
    continuous.project.connections.create(side="letta", address="http://old:8283", look_seconds=100.0, failures=5)
    continuous.project.connections.exclude(address="http://old:8283").update(look_seconds=0.01, look_cpu=0.01)
    assert interval(continuous.project) == 4


def look(world):
    """One look of continuous sync; what became of its run, None where it left none."""
    run = SyncRun.objects.create(project=world.project, trigger="watch")
    start(run)
    return SyncRun.objects.filter(pk=run.pk).first()


@pytest.fixture
def clock(monkeypatch):
    """A function that lets seconds pass for whoever asks when a side is tried again."""
    now = [0.0]
    monkeypatch.setattr("syncjobs.outages.time", SimpleNamespace(monotonic=lambda: now[0]))

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def test_the_pause_doubles_while_all_sides_are_down(continuous, clock):
    continuous.letta.down = continuous.local.down = True
    pauses = []
    for _ in range(8):
        look(continuous)
        pauses.append(interval(continuous.project))
        clock(pauses[-1])
    assert pauses == [8, 16, 32, 64, 128, 256, 300, 300]
    continuous.letta.down = continuous.local.down = False
    look(continuous)
    assert interval(continuous.project) == 4


def tries(world, seconds, clock):
    """When a side that is down is tried, while the project is looked at as often as it says."""
    found, passed, reach = [], 0.0, FakeStore._reach
    with patch.object(FakeStore, "_reach", autospec=True) as asked:
        asked.side_effect = reach
        while passed < seconds:
            asked.reset_mock()
            look(world)
            if any(call.args[0].side == "letta" for call in asked.call_args_list):
                found.append(passed)
            passed += interval(world.project)
            clock(interval(world.project))
    return found


def test_a_side_that_is_down_is_tried_less_often_and_the_other_goes_on(continuous, clock):
    continuous.create("one")
    continuous.synced()
    continuous.letta.down = True
    assert tries(continuous, 70.0, clock) == [0, 8, 24, 56]
    assert interval(continuous.project) == 4
    continuous.local.edit(continuous.local.only().id, text="two")
    look(continuous)
    assert continuous.memory().text == "two"
    assert "cannot be reached" in continuous.project.connections.get(side="letta").look_error
    continuous.letta.down = False
    clock(300)
    assert look(continuous).status == RunStatus.DONE
    continuous.everywhere("two")


def test_what_somebody_asks_for_tries_every_side(continuous, clock):
    continuous.letta.down = True
    look(continuous)
    look(continuous)
    assert continuous.project.connections.get(side="letta").failures == 1
    continuous.run()
    assert continuous.project.connections.get(side="letta").failures == 2
    continuous.letta.down = False
    assert continuous.run().status == RunStatus.DONE


def test_nothing_counts_as_gone_on_a_side_that_was_spared(continuous, clock):
    continuous.create("one")
    continuous.synced()
    continuous.letta.down = True
    look(continuous)
    continuous.letta.down = False
    continuous.letta.things.clear()
    assert look(continuous).errors
    assert continuous.memory().live
    assert len(continuous.local.things) == 1


def test_a_project_that_is_synced_every_few_minutes_spares_no_side(continuous):
    continuous.project.sync_mode = SyncMode.EVERY
    continuous.project.save()
    continuous.letta.down = True
    look(continuous)
    continuous.letta.down = False
    assert look(continuous) is None


def test_a_side_that_is_down_leaves_one_failed_run(continuous):
    continuous.letta.down = True
    first, last = look(continuous), look(continuous)
    assert last.status == RunStatus.FAILED
    assert list(SyncRun.objects.filter(trigger="watch")) == [last]
    assert first.errors == last.errors


def test_an_item_that_cannot_be_read_does_not_slow_the_others_down(continuous):
    continuous.letta.put("a text", slug="planner").problem = "cannot be understood"
    assert look(continuous).status == RunStatus.FAILED
    assert interval(continuous.project) == 4


def test_the_pause_doubles_while_runs_stop_at_the_brake_or_break(continuous):
    for _ in range(2):
        SyncRun.objects.create(
            project=continuous.project, trigger="watch", status=RunStatus.BRAKED, finished_at=timezone.now()
        )
    assert interval(continuous.project) == 16
    SyncRun.objects.create(
        project=continuous.project,
        trigger="watch",
        status=RunStatus.FAILED,
        finished_at=timezone.now(),
        errors=[{"memory": "", "title": "", "side": "", "error": "stopped by ValueError"}],
    )
    assert interval(continuous.project) == 32


def test_a_busy_push_comes_back_to_the_queue(world):
    world.synced()
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
