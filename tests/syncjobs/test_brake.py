"""The brake, and approving exactly the list a run stopped at."""

import json
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from blocks.models import Memory
from memoryhub.models import Role
from syncjobs.models import RunStatus, SyncRun
from tests.conftest import person
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


def vanish(world: World, texts: set[str]) -> None:
    """Delete the blocks of some memories on the server."""
    for id in [id for id, thing in world.letta.things.items() if thing.state["text"] in texts]:
        del world.letta.things[id]


@pytest.fixture
def braked(world: World) -> SyncRun:
    """A run that stopped: 8 of 20 blocks are gone."""
    for number in range(20):
        world.create(f"memory {number}")
    world.synced()
    vanish(world, {f"memory {number}" for number in range(8)})
    run = world.run()
    assert run.status == RunStatus.BRAKED
    return run


def archived() -> set[str]:
    return set(Memory.objects.archived().values_list("text", flat=True))


def sync(*arguments: str) -> tuple[int, dict[str, Any]]:
    out, code = StringIO(), 0
    try:
        call_command("sync_memory", "--json", *arguments, stdout=out)
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, json.loads(out.getvalue())[0]


def test_a_braked_run_keeps_its_list_and_changes_nothing(world: World, braked: SyncRun):
    assert archived() == set()
    assert len(world.local.things) == 20
    letta = {name for name in braked.removals if name.startswith("letta:")}
    assert len(letta) == 8


def test_what_is_on_the_list_may_go(world: World, braked: SyncRun):
    assert world.run(approves=braked).status == RunStatus.DONE
    assert archived() == {f"memory {number}" for number in range(8)}
    assert len(world.local.things) == 12


def test_more_than_the_list_stops_again_with_a_new_list(world: World, braked: SyncRun):
    vanish(world, {f"memory {number}" for number in range(8, 16)})
    again = world.run(approves=braked)
    assert (again.status, archived()) == (RunStatus.BRAKED, set())
    assert set(again.removals) > set(braked.removals)
    assert world.run(approves=again).status == RunStatus.DONE
    assert len(archived()) == 16


def test_even_one_more_than_the_list_stops_again(world: World, braked: SyncRun):
    """What is on the list may go, and nothing else."""
    vanish(world, {"memory 19"})
    again = world.run(approves=braked)
    assert (again.status, archived()) == (RunStatus.BRAKED, set())
    assert "1 more than on the approved list" in again.errors[-1]["error"]
    assert world.run(approves=again).status == RunStatus.DONE
    assert len(archived()) == 9


def test_the_whole_list_can_be_looked_at_however_long_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, client: Client
):
    monkeypatch.setattr("syncjobs.foresee.SHOWN_STEPS", 6)
    monkeypatch.setattr("syncjobs.run.SHOWN_STEPS", 6)
    monkeypatch.setattr("syncjobs.views.sync.GOING_ON_PAGE", 4)
    for number in range(20):
        world.create(f"memory {number:02}")
    world.synced()
    for number in range(10):
        world.edit(Memory.objects.get(text=f"memory {number:02}"), tags=["first in the plan"])
    vanish(world, {f"memory {number}" for number in range(10, 20)})
    run = world.run()
    assert {step["op"] for step in run.steps} == {"archive", "delete"}
    client.force_login(person("olga", world.project, Role.OWNER))
    url, seen = reverse("run", args=["planner", run.pk]), ""
    for query in ("", "?from=4"):
        seen += client.get(url + query).text
    assert all(f"memory {number}" in seen for number in range(10, 20))
    assert "1 to 4 of 7 memories" in seen
    out = StringIO()
    with suppress(SystemExit):
        call_command("sync_memory", "--project", "planner", "-v", "2", stdout=out)
    assert all(f"memory {number}" in out.getvalue() for number in range(10, 20))


def test_an_emptied_side_can_be_approved(world: World, braked: SyncRun):
    world.letta.things.clear()
    emptied = world.run(approves=braked)
    assert "shows nothing" in emptied.errors[-1]["error"]
    assert world.run(approves=emptied).status == RunStatus.DONE
    assert len(archived()) == 20


def test_the_command_approves_by_number(world: World, braked: SyncRun):
    code, result = sync("--project", world.project.slug)
    latest = SyncRun.objects.latest("pk")
    assert code == 3
    assert f"--approve {latest.pk}" in result["errors"][-1]
    code, result = sync("--project", world.project.slug, "--approve", str(latest.pk))
    assert (code, result["archived"], result["deleted"]) == (0, 8, 8)


def test_only_a_braked_run_of_that_project_can_be_approved(world: World, braked: SyncRun):
    with pytest.raises(CommandError, match="no run"):
        sync("--project", world.project.slug, "--approve", "4711")
    another = World("another", share=world)
    with pytest.raises(CommandError, match="no run"):
        sync("--project", another.project.slug, "--approve", str(braked.pk))


def said_by_the_command(*arguments: str) -> str:
    out = StringIO()
    with suppress(SystemExit):
        call_command("sync_memory", "--project", "planner", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_says_what_it_would_have_done_and_how_to_go_on(world: World, braked: SyncRun):
    said = said_by_the_command()
    latest = SyncRun.objects.latest("pk")
    assert "s: nothing changed; would have 8 deleted, 8 archived, 12 unchanged" in said
    assert f"the page of run {latest.pk} in the hub, or -v 2 here" in said
    assert f"sync_memory --project planner --approve {latest.pk} does exactly it" in said
    assert (latest.counters["deleted"], latest.counters["archived"]) == (0, 0)
    assert "8 deleted, 8 archived, 12 unchanged" in said_by_the_command("--dry-run")


def test_one_open_conflict_is_one(world: World):
    memories = [world.create(text) for text in ("one", "two")]
    world.synced()
    for number, memory in enumerate(memories, 1):
        id = next(id for id, thing in world.letta.things.items() if thing.uuid == memory.uuid)
        world.letta.edit(id, text="theirs")
        world.edit(memory, text="mine")
        assert f"  {number} open conflict{'s'[: number > 1]}, to be" in said_by_the_command()


@pytest.mark.parametrize("argument", ["--no-wait", "--dry-run"])
def test_the_command_says_of_a_dead_server_what_is_safe_and_what_to_do(world: World, argument: str):
    world.create("one")
    world.synced()
    world.letta.down = True
    said = said_by_the_command(argument)
    assert "letta: Cannot be reached. Nothing there was changed, and nothing counts as deleted;" in said
    assert said.strip().endswith("Is the letta server running?")
