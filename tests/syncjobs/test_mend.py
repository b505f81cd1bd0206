"""A half-written record of ours that no journal knows of: written whole again, or removed."""

from __future__ import annotations

import pytest

from blocks import actions
from syncjobs.models import Intent
from tests.syncjobs.fakes import LOCAL
from tests.syncjobs.world import World, quiet

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
