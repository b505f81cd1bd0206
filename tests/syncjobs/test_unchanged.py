"""Looks of continuous sync that find everything as it was, and everything that makes them look again in full."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from blocks import actions
from memoryhub.models import LocalStore, Project
from syncjobs import unchanged
from syncjobs.models import Connection, RunStatus, SyncRun
from syncjobs.run import start
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def quiet(world: World) -> World:
    """A project with a memory in step everywhere, and a look that found nothing to do."""
    unchanged.forget(world.project)
    world.create("one", title="One")
    world.synced()
    look(world)
    return world


def look(world: World) -> list[str]:
    """One look of continuous sync; how each side was read, Letta first."""
    world.letta.looks, world.local.looks = [], []
    world.project.refresh_from_db()
    run = SyncRun.objects.create(project=world.project, trigger="watch")
    start(run)
    assert run.status == RunStatus.DONE, run.errors
    return [*world.letta.looks, *world.local.looks]


def test_nothing_is_compared_while_nothing_changes(quiet: World) -> None:
    assert look(quiet) == ["glance", "glance"]
    assert look(quiet) == ["glance", "glance"]
    quiet.everywhere("one")


def test_a_look_that_finds_nothing_is_noted(quiet: World) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    quiet.project.connections.update(looked_at=long_ago, look_seconds=None, look_cpu=None, look_error="old")
    look(quiet)
    for connection in quiet.project.connections.all():
        assert (connection.looked_at or long_ago) > long_ago
        assert connection.look_seconds is not None
        assert connection.look_cpu is not None
        assert (connection.look_error, connection.items) == ("", 1)


def test_every_change_on_a_side_is_taken_in(quiet: World) -> None:
    (block,) = quiet.letta.things
    for side in ("letta", "local"):
        quiet.servers[side].edit(next(iter(quiet.servers[side].things)), text=f"changed on {side}")
        look(quiet)
        quiet.everywhere(f"changed on {side}")
    quiet.letta.put("new", slug="planner")
    look(quiet)
    quiet.everywhere("changed on local", "new")
    look(quiet)
    quiet.letta.remove(block)
    look(quiet)
    quiet.everywhere("new")


CHANGES: dict[str, Callable[[World], object]] = {
    "an edit": lambda world: world.edit(world.memory(), text="two"),
    "a new memory": lambda world: world.create("another"),
    "a deletion": lambda world: actions.delete([world.memory()], user=None),
    "kept local": lambda world: world.edit(world.memory(), shared=False),
    "another rule": lambda world: Project.objects.update(letta_rule="tag:team"),
    "another direction": lambda world: Project.objects.update(local_direction="to_side"),
    "another address": lambda world: LocalStore.objects.update(collection="other"),
    "a neighbour": lambda world: Project.objects.create(slug="new", name="New", local_store=world.project.local_store),
    "a replica": lambda world: world.memory().replicas.filter(connection__side="letta").update(version=99),
    "a confirmed server": lambda world: Connection.objects.filter(side="local").update(identity="another"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_the_hub_counts_as_one(quiet: World, change: str) -> None:
    assert look(quiet) == ["glance", "glance"]
    before = fingerprint(quiet)
    CHANGES[change](quiet)
    assert fingerprint(quiet) != before


def fingerprint(world: World) -> str:
    from syncjobs.sides import open_sides

    project = Project.objects.select_related("letta_server", "local_store").get(pk=world.project.pk)
    return unchanged.fingerprint(project, open_sides(project))


def test_what_agents_do_with_a_block_and_its_digest_counts(quiet: World) -> None:
    (block,) = quiet.letta.things
    quiet.letta.attached[block] = ["ada"]
    assert look(quiet)[0] == "look"
    assert quiet.project.connections.get(side="letta").agents == {block: [{"id": "ada", "name": "ada"}]}
    look(quiet)
    quiet.letta.digests["planner"] = "somebody else's"
    assert look(quiet)[0] == "look"
    assert quiet.letta.digests["planner"] != "somebody else's"


def test_a_side_that_cannot_be_read_is_not_taken_for_unchanged(quiet: World) -> None:
    quiet.letta.look_fails = True
    run = SyncRun.objects.create(project=quiet.project, trigger="watch")
    start(run)
    assert run.status == RunStatus.FAILED
    assert quiet.project.connections.get(side="letta").look_error == "the list fails"
    quiet.letta.look_fails = False
    assert look(quiet) == ["look", "look"]


def test_everything_is_compared_again_after_a_while(quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = unchanged.time.monotonic()
    monkeypatch.setattr("syncjobs.unchanged.time.monotonic", lambda: now + unchanged.TRUSTED + 1)
    assert look(quiet) == ["look", "look"]


def test_a_run_that_somebody_asks_for_compares_everything(quiet: World) -> None:
    quiet.letta.looks = []
    quiet.synced()
    assert quiet.letta.looks == ["look"]


def test_an_item_missing_from_the_list_is_asked_for_each_time(quiet: World) -> None:
    """It was hidden, and nothing in the list would show that it was deleted since."""
    (thing,) = quiet.letta.things.values()
    thing.hidden = True
    for _ in range(3):
        run = SyncRun.objects.create(project=quiet.project, trigger="watch")
        start(run)
    assert quiet.letta.looks[-1] == "look"


def test_an_edit_during_a_glance_is_not_undone(quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sides were read before the edit was pushed: what they showed then is not what somebody changed there."""
    memory, done = quiet.memory(), list[bool]()

    def push_meanwhile() -> None:
        if not done:
            done.append(True)
            quiet.push(quiet.edit(memory, text="two"))

    quiet.local.put("new", slug="planner")
    during(monkeypatch, push_meanwhile)
    look(quiet)
    assert done
    look(quiet)
    quiet.everywhere("two", "new")
    assert [revision.text.text for revision in memory.revisions.order_by("number")] == ["one", "two"]


def during(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    """Let something happen between the look at the sides and what follows from it."""
    from syncjobs import run as runs

    def glance(*args: object) -> object:
        looks = original(*args)
        happen()
        return looks

    original: Callable[..., object] = runs.glance
    monkeypatch.setattr(runs, "glance", glance)
