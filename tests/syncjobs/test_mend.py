"""A half-written record of ours that no journal knows of: written whole again, or removed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from blocks import actions
from syncjobs.models import Intent, Replica
from tests.syncjobs.fakes import LOCAL
from tests.syncjobs.world import World, history, quiet

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A project with one memory, whose record is torn."""
    world = World().install(monkeypatch)
    world.create("text")
    world.synced()
    world.local.only().problem = "torn"
    return world


def test_it_is_written_whole_when_it_is_found_again(world: World) -> None:
    first = world.run()
    assert (first.status, [error["side"] for error in first.errors]) == ("failed", [LOCAL])
    assert world.local.only().problem == "torn", "somebody may be in the middle of writing it"
    world.synced()
    assert not world.local.only().problem
    world.everywhere("text")
    assert quiet(world.run())
    assert not Intent.objects.filter(outcome="").exists()


def given_up(world: World, minutes: int = 0) -> None:
    """A write that a process sent before it died: nothing of it was there when it was read back."""
    memory, connection = world.memory(), world.project.connections.get(side=LOCAL)
    closed = timezone.now() - timedelta(minutes=minutes)
    Intent.objects.create(memory=memory, connection=connection, op="update", outcome="dropped", closed_at=closed)


def test_it_is_written_whole_at_once_where_our_own_write_came_late(world: World) -> None:
    given_up(world)
    world.synced()
    world.everywhere("text")
    assert quiet(world.run())


def test_a_late_create_is_finished_at_once(world: World) -> None:
    """The record carries the memory's mark, and no run has linked it."""
    Replica.objects.filter(connection__side=LOCAL).delete()
    given_up(world)
    world.synced()
    world.everywhere("text")
    assert world.memory().replicas.get(connection__side=LOCAL).external_id == world.local.only().id
    assert quiet(world.run())


def test_a_late_create_of_what_was_archived_since_is_removed(world: World) -> None:
    thing = world.local.only()
    actions.archive([world.memory()], user=None)
    Replica.objects.filter(connection__side=LOCAL).delete()
    given_up(world)
    world.synced()
    assert thing.id not in world.local.things
    assert quiet(world.run())


def test_what_was_given_up_long_ago_says_nothing(world: World) -> None:
    given_up(world, minutes=6)
    assert world.run().status == "failed"
    assert world.local.only().problem == "torn"


def test_what_another_program_wrote_into_one_that_nobody_knows_is_kept(world: World) -> None:
    """After an older copy of the hub's database was put back, say."""
    Replica.objects.filter(connection__side=LOCAL).delete()
    world.local.only().strays = ((0, 4, "theirs"),)
    world.synced()
    world.everywhere("text")
    assert "theirs" in history(world.memory())


def test_it_gets_what_the_hub_has_by_now(world: World) -> None:
    world.run()
    world.edit(world.memory(), text="edited")
    world.synced()
    world.everywhere("edited")


def test_it_is_removed_where_the_memory_was_archived(world: World) -> None:
    world.run()
    actions.archive([world.memory()], user=None)
    world.synced()
    assert not world.local.things
    assert not world.letta.things


def test_nothing_is_written_to_a_side_that_is_only_read(world: World) -> None:
    world.run()
    world.project.local_direction = "from_side"
    world.project.save()
    assert world.run().status == "failed"
    assert world.local.only().problem == "torn"


def test_what_is_whole_again_by_then_is_left_alone(world: World) -> None:
    """Somebody wrote it between the look and the repair."""
    world.run()
    written = len(world.local.written)
    thing = world.local.only()
    world.local.before_compare = lambda write: pytest.fail("nothing has to be written")
    thing.problem = ""
    world.synced()
    assert len(world.local.written) == written


def test_another_unreadable_record_is_not_touched(world: World) -> None:
    world.local.only().problem = "its text contains a NUL character"
    world.run()
    assert world.run().status == "failed"
    assert world.local.only().problem
