"""What a run does, in the hub and on both sides, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.utils import timezone

from blocks import actions
from blocks.models import Memory, SyncState, Text, digest_of
from blocks.standing import in_step
from blocks.stores.base import Write
from syncjobs import leases
from syncjobs import run as runs
from syncjobs.conflicts import resolve
from syncjobs.foresee import preview
from syncjobs.models import Connection, Digest, Intent, Lease, Replica
from syncjobs.push import push
from syncjobs.recover import UNDER_WAY
from syncjobs.sides import confirm
from tests.syncjobs.fakes import LETTA, LOCAL, Crash, FakeLetta, Fault
from tests.syncjobs.world import World, did, history, quiet

SIDES = [LETTA, LOCAL]


@pytest.fixture
def synced(world: World) -> World:
    """One memory, "one", in step everywhere."""
    world.create("one")
    return world.synced()


def many(world: World, count: int) -> list[Memory]:
    made = [world.create(f"memory {number:02}") for number in range(count)]
    world.synced()
    return made


# --- there and back


def test_a_memory_of_the_hub_is_made_on_both_sides(world: World) -> None:
    memory = world.create("one", tags=["x"])
    assert did(world.run()) == {"created": 2}
    world.everywhere("one")
    assert world.letta.only().uuid == world.local.only().uuid == memory.uuid
    assert world.memory().sync_state == SyncState.SYNCED
    run = world.run()
    assert quiet(run)
    assert run.counters["unchanged"] == 1


@pytest.mark.parametrize("side", SIDES)
def test_an_item_of_a_side_is_pulled_made_on_the_other_and_marked(world: World, side: str) -> None:
    thing = world.servers[side].put("theirs", slug="planner")
    run = world.run()
    assert did(run) == {"pulled": 1, "created": 1}
    assert run.counters["unchanged"] == 0
    world.everywhere("theirs")
    assert thing.uuid == world.memory().uuid
    assert world.memory().revisions.get().origin == side
    assert quiet(world.run())


@pytest.mark.parametrize("side", SIDES)
def test_a_change_on_a_side_goes_everywhere(synced: World, side: str) -> None:
    server = synced.servers[side]
    server.edit(server.only().id, text="two")
    assert did(synced.run()) == {"pulled": 1, "pushed": 1}
    synced.everywhere("two")
    assert history(synced.memory()) == ["one", "two"]
    assert quiet(synced.run())


def test_a_change_in_the_hub_goes_to_both_sides(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    assert did(synced.run()) == {"pushed": 2}
    synced.everywhere("two")


def test_different_fields_changed_here_and_there_are_merged(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.letta.edit(synced.letta.only().id, title="Two")
    assert did(synced.run()) == {"merged": 1, "pushed": 2}
    assert {synced.memory().title, synced.letta.only().state["title"], synced.local.only().state["title"]} == {"Two"}
    synced.everywhere("two")


@pytest.mark.parametrize("side", SIDES)
def test_different_lines_changed_here_and_there_are_merged(world: World, side: str) -> None:
    memory = world.create("a\n-\nb\n", title="Lines")
    server = world.synced().servers[side]
    world.edit(memory, text="ours\n-\nb\n")
    server.edit(server.only().id, text="a\n-\ntheirs\n")
    assert did(world.run()) == {"merged": 1, "pushed": 2}
    world.everywhere("ours\n-\ntheirs\n")
    revisions = [(row.origin, row.text.text) for row in memory.revisions.order_by("number")]
    assert revisions[1:] == [
        ("hub", "ours\n-\nb\n"),
        (side, "a\n-\ntheirs\n"),
        ("merge", "ours\n-\ntheirs\n"),
    ]
    assert quiet(world.run())


def test_different_lines_changed_on_both_sides_are_merged_and_both_texts_kept(world: World) -> None:
    memory = world.create("a\n-\nb\n", title="Lines")
    world.synced()
    world.letta.edit(world.letta.only().id, text="letta\n-\nb\n")
    world.local.edit(world.local.only().id, text="a\n-\nlocal\n")
    assert did(world.run()) == {"pulled": 1, "merged": 1, "pushed": 2}
    world.everywhere("letta\n-\nlocal\n")
    assert history(memory) == ["a\n-\nb\n", "letta\n-\nb\n", "a\n-\nlocal\n", "letta\n-\nlocal\n"]
    assert quiet(world.run())


def test_a_text_whose_change_the_hub_has_already_is_kept_before_it_is_overwritten(world: World) -> None:
    memory = world.create("a\n-\nb\n", title="Lines")
    world.synced()
    world.edit(memory, text="ours\n-\nsame\n")
    world.letta.edit(world.letta.only().id, text="a\n-\nsame\n")
    assert did(world.run()) == {"merged": 1, "pushed": 2}
    world.everywhere("ours\n-\nsame\n")
    assert "a\n-\nsame\n" in history(memory)
    assert quiet(world.run())


def test_the_same_change_on_both_sides_is_no_conflict(synced: World) -> None:
    for server in synced.servers.values():
        server.edit(server.only().id, text="two")
    assert did(synced.run()) == {"pulled": 1}
    synced.everywhere("two")


def test_letta_and_local_changed_differently_at_once(synced: World) -> None:
    synced.letta.edit(synced.letta.only().id, text="from letta")
    synced.local.edit(synced.local.only().id, text="from local")
    assert did(synced.run()) == {"pulled": 1, "conflicts": 1}
    assert synced.memory().text == "from letta"
    assert synced.local.only().state["text"] == "from local"
    assert synced.conflict().side["text"] == "from local"


# --- conflicts


@pytest.fixture
def clash(synced: World) -> World:
    """The hub says "ours", Letta "theirs", and both had "one"."""
    synced.edit(synced.memory(), text="ours")
    synced.letta.edit(synced.letta.only().id, text="theirs")
    assert did(synced.run()) == {"conflicts": 1, "pushed": 1}
    return synced


def test_a_conflict_is_opened_once_and_leaves_the_side_alone(clash: World) -> None:
    assert (clash.conflict().side["text"], (clash.conflict().base or {})["text"]) == ("theirs", "one")
    assert clash.letta.texts() == ["theirs"]
    assert clash.memory().sync_state == SyncState.CONFLICT
    assert quiet(clash.run())
    clash.edit(clash.memory(), text="ours again")
    assert did(clash.run()) == {"pushed": 1}
    assert clash.memory().sync_state == SyncState.CONFLICT


def test_a_conflict_follows_what_the_side_shows_and_keeps_what_it_showed(clash: World) -> None:
    clash.letta.edit(clash.letta.only().id, text="theirs again")
    assert clash.run().counters["conflicts"] == 0
    assert clash.conflict().side["text"] == "theirs again"
    assert "theirs" in history(clash.memory())
    assert clash.memory().text == "ours"
    assert quiet(clash.run())


def test_a_conflict_closes_when_both_can_be_merged_again(clash: World) -> None:
    clash.edit(clash.memory(), text="zero\n-\none")
    clash.letta.edit(clash.letta.only().id, text="one\n-\ntwo")
    clash.run()
    clash.conflict()
    clash.letta.edit(clash.letta.only().id, text="one")
    clash.run()
    clash.everywhere("zero\n-\none")
    assert {"theirs", "one\n-\ntwo"} <= set(history(clash.memory()))
    assert quiet(clash.run())


def test_a_conflict_closes_when_the_side_takes_the_hubs_text(clash: World) -> None:
    clash.letta.edit(clash.letta.only().id, text="ours")
    clash.run()
    assert clash.memory().conflicts.get().resolution == "moot"
    assert "theirs" in history(clash.memory())
    clash.everywhere("ours")
    assert quiet(clash.run())


def test_a_conflict_closes_when_the_hub_takes_the_sides_text(clash: World) -> None:
    clash.edit(clash.memory(), text="theirs")
    clash.run()
    assert clash.memory().conflicts.get().resolution == "moot"
    clash.everywhere("theirs")


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "reverted"])
def test_a_conflict_closes_when_the_side_has_no_text_of_its_own_any_more(clash: World, gone: bool) -> None:
    thing = clash.letta.only()
    if gone:
        clash.letta.remove(thing.id)
    else:
        clash.letta.edit(thing.id, text="one")
    clash.run(allow_deletions=True)
    clash.everywhere("ours")
    assert history(clash.memory())[-3:] == ["ours", "theirs", "ours"]


@pytest.mark.parametrize(
    ("how", "kept"), [("hub", "ours"), ("side", "theirs"), ("base", "one"), ("edited", "both"), ("all", "ours")]
)
def test_what_a_person_decides_goes_everywhere_and_every_text_is_kept(clash: World, how: str, kept: str) -> None:
    resolve(clash.conflict(), how, user=None, text="both")
    assert clash.run().status == "done"
    clash.everywhere(*([kept, "theirs"] if how == "all" else [kept]))
    first = Memory.objects.order_by("pk")[0]
    texts = {text for memory in Memory.objects.all() for text in history(memory)}
    assert {"one", "ours", "theirs", kept} <= texts
    assert first.conflicts.get().resolution == how
    assert quiet(clash.run())


def test_a_decision_for_the_earlier_text_is_carried_out_where_no_other_side_needs_a_write(synced: World) -> None:
    synced.local.refuses = lambda state: state["text"] == "ours"
    synced.edit(synced.memory(), text="ours")
    synced.letta.edit(synced.letta.only().id, text="theirs")
    synced.run()
    resolve(synced.conflict(), "base", user=None)
    synced.run()
    synced.everywhere("one")


def test_a_decision_does_not_overwrite_what_the_side_shows_since(clash: World) -> None:
    clash.letta.edit(clash.letta.only().id, text="unseen")
    resolve(clash.conflict(), "hub", user=None)
    clash.run()
    assert clash.letta.texts() == ["unseen"]
    assert clash.conflict().side["text"] == "unseen"


def test_a_decision_on_an_older_revision_is_not_taken(clash: World) -> None:
    seen = clash.memory().number
    clash.edit(clash.memory(), text="newer")
    with pytest.raises(actions.EditedMeanwhile):
        resolve(clash.conflict(), "hub", user=None, seen_number=seen)


def test_a_decision_after_the_connection_was_confirmed_anew(clash: World) -> None:
    confirm(clash.project.connections.get(side=LETTA))
    resolve(clash.conflict(), "hub", user=None)
    assert clash.memory().text == "ours"


# --- archive, delete, restore


def test_an_archived_memory_leaves_both_sides_and_comes_back(synced: World) -> None:
    memory = synced.memory()
    for server in synced.servers.values():
        server.only().foreign = {"colour": "red"}
    ids = set(synced.local.things)
    actions.archive([memory], user=None)
    assert did(synced.run()) == {"deleted": 2}
    synced.everywhere()
    assert quiet(synced.run())
    actions.unarchive([memory], user=None)
    assert did(synced.run()) == {"created": 2}
    synced.everywhere("one")
    assert set(synced.local.things) == ids
    assert [server.only().foreign for server in synced.servers.values()] == [{"colour": "red"}] * 2


@pytest.mark.parametrize("side", SIDES)
def test_a_deletion_on_a_side_archives(synced: World, side: str) -> None:
    synced.servers[side].things.clear()
    synced.servers[side].put("another", slug="planner")  # else the side would be empty: the brake
    run = synced.run()
    assert did(run) == {"archived": 1, "deleted": 1, "pulled": 1, "created": 1}
    memory = Memory.objects.get(text="one")
    assert memory.archived_at
    assert not memory.deleted_at
    synced.everywhere("another")


@pytest.mark.parametrize("side", SIDES)
def test_a_change_in_the_hub_beats_a_deletion_on_a_side(synced: World, side: str) -> None:
    synced.edit(synced.memory(), text="two")
    synced.servers[side].things.clear()
    synced.servers[side].put("another", slug="planner")
    synced.run()
    synced.everywhere("two", "another")
    assert "made again" in Memory.objects.get(text="two").notice


@pytest.mark.parametrize("side", SIDES)
def test_a_change_on_one_side_beats_a_deletion_on_the_other(synced: World, side: str) -> None:
    other = synced.servers[LOCAL if side == LETTA else LETTA]
    other.edit(other.only().id, text="two")
    synced.servers[side].things.clear()
    synced.run(allow_deletions=True)
    synced.everywhere("two")


def test_a_change_on_a_side_beats_archiving_in_the_hub(synced: World) -> None:
    actions.archive([synced.memory()], user=None)
    synced.letta.edit(synced.letta.only().id, text="two")
    synced.run()
    synced.everywhere("two")
    assert "brought back" in synced.memory().notice


def test_unchanged_counts_live_memories_only(world: World) -> None:
    first, *_ = many(world, 3)
    actions.archive([first], user=None)
    run = world.run()
    assert (did(run), run.counters["unchanged"]) == ({"deleted": 2}, 2)


def test_a_memory_that_is_no_longer_shared_keeps_its_record(synced: World) -> None:
    synced.edit(synced.memory(), shared=False)
    assert did(synced.run()) == {"deleted": 1}
    assert (synced.letta.texts(), synced.local.texts()) == ([], ["one"])
    assert synced.memory().sync_state == SyncState.LOCAL_ONLY
    assert quiet(synced.run())


def test_what_somebody_changed_on_a_block_that_goes_is_kept(synced: World) -> None:
    synced.edit(synced.memory(), shared=False)
    synced.letta.edit(synced.letta.only().id, text="last words")
    synced.run()
    assert synced.letta.texts() == []
    assert history(synced.memory()) == ["one", "last words", "one"]


# --- what cannot be seen


@pytest.mark.parametrize("side", SIDES)
def test_out_of_scope_never_deletes_nor_recreates(synced: World, side: str) -> None:
    thing = synced.servers[side].only()
    thing.hidden = True
    run = synced.run(allow_deletions=True)
    assert (run.status, did(run)) == ("done", {})
    assert synced.memory().live
    assert synced.memory().sync_state == SyncState.PROBLEM
    assert Replica.objects.get(connection__side=side).status == "out"
    synced.edit(synced.memory(), text="two")
    assert did(synced.run(allow_deletions=True)) == {"pushed": 1}
    thing.hidden = False
    assert did(synced.run()) == {"pushed": 1}
    synced.everywhere("two")


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("side", SIDES)
def test_deleted_for_good_after_it_left_the_project(synced: World, side: str, edited: bool) -> None:
    """As if no run had looked in between: archived, unless somebody changed it since."""
    thing = synced.servers[side].only()
    thing.hidden = True
    synced.synced()
    if edited:
        synced.edit(synced.memory(), text="two")
    del synced.servers[side].things[thing.id]
    run = synced.run(allow_deletions=True)
    assert run.status == "done"
    if edited:
        synced.everywhere("two")
        assert "made again" in synced.memory().notice
    else:
        synced.everywhere()
        assert synced.memory().archived_at
    assert not Replica.objects.filter(status="out").exists()
    assert quiet(synced.run())


def test_an_item_of_another_hub_with_the_same_mark_is_not_ours(world: World) -> None:
    """Both took in copies of the same records, so that their memories have the same uuids."""
    memory = world.create("one")
    theirs = world.letta.put("theirs", slug="elsewhere", uuid=memory.uuid)
    world.push(memory)
    assert world.letta.texts() == ["one", "theirs"]
    world.edit(memory, text="two")
    world.letta.things = {theirs.id: theirs}
    world.letta.faults = ["lost_request"]
    world.run(allow_deletions=True)
    world.synced()
    assert world.letta.texts() == ["theirs", "two"]


def test_a_push_meets_an_unreadable_item_and_goes_on_with_the_rest(world: World) -> None:
    torn, other = world.create("one"), world.create("two")
    world.local.put("?", slug="planner", uuid=torn.uuid).problem = "torn"
    world.push(torn, other)
    assert world.letta.texts() == ["one", "two"]
    assert world.local.texts() == ["?", "two"]


def test_a_push_between_the_look_and_the_plan_is_not_taken_back(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the run has seen is older than what is known of the sides by then."""
    memory, observe = synced.edit(synced.memory(), text="edited"), runs.observe

    def then_pushed(*args: Any, **more: Any) -> Any:
        found = observe(*args, **more)
        synced.push(memory)
        return found

    monkeypatch.setattr(runs, "observe", then_pushed)
    synced.synced()
    synced.everywhere("edited")
    assert history(synced.memory()) == ["one", "edited"]


def test_what_was_just_marked_shows_in_step(world: World) -> None:
    """An item of another program does not say all that the hub knows of it before it has its mark."""
    world.letta.put("from Letta", slug="planner")
    world.local.put("from the store", slug="planner")
    world.synced()
    replicas = list(Replica.objects.all())
    assert len(replicas) == 4
    assert all(replica.marked for replica in replicas)
    assert [replica.seen_hash for replica in replicas] == [replica.base_hash for replica in replicas]
    assert all(in_step(replica.memory, replica) for replica in replicas)
    assert quiet(world.run())


def test_an_unreadable_item_fails_and_stops_nothing_else(synced: World) -> None:
    synced.create("two")
    next(iter(synced.local.things.values())).problem = "it has no text"
    run = synced.run()
    assert (run.status, run.counters["failed"], run.counters["created"]) == ("failed", 1, 2)
    assert "it has no text" in run.errors[0]["error"]
    assert synced.run().counters["failed"] == 1
    assert synced.letta.texts() == ["one", "two"]


@pytest.mark.parametrize("side", SIDES)
def test_an_edit_waits_for_an_item_that_cannot_be_read(synced: World, side: str) -> None:
    """Nothing is known of its text: it does not count as changed, nor as what the hub has."""
    thing = synced.servers[side].only()
    thing.problem = "it has no text"
    synced.edit(synced.memory(), text="edited")
    assert did(synced.run()) == {"pushed": 1, "failed": 1}
    assert (thing.state["text"], thing.problem) == ("one", "it has no text")
    thing.problem = ""
    assert did(synced.run()) == {"pushed": 1}
    synced.everywhere("edited")
    assert history(synced.memory()) == ["one", "edited"]


@pytest.mark.parametrize("side", SIDES)
def test_what_has_our_mark_and_cannot_be_read_is_neither_doubled_nor_replaced(synced: World, side: str) -> None:
    """Though nothing else says that it is the memory's: what was known of the side is forgotten."""
    thing = synced.servers[side].only()
    thing.problem, thing.state["text"] = "its text contains a NUL character", "theirs"
    confirm(Connection.objects.get(side=side))
    for _ in range(2):
        run = synced.run()
        assert (run.status, did(run)) == ("failed", {"failed": 1})
        assert "NUL" in run.errors[0]["error"]
        assert synced.servers[side].texts() == ["theirs"]
        assert synced.memory().sync_state == SyncState.WAITING
    thing.problem, thing.state["text"] = "", "one"
    assert did(synced.run()) == {"linked": 1}
    synced.everywhere("one")
    assert quiet(synced.run())


def test_a_block_with_our_mark_that_cannot_be_read_is_not_made_again_from_the_record(synced: World) -> None:
    synced.letta.only().problem = "its metadata is no object"
    Memory.objects.all().delete()
    Connection.objects.all().delete()
    assert did(synced.run()) == {"pulled": 1, "failed": 1}
    assert synced.letta.only().problem
    synced.letta.only().problem = ""
    assert did(synced.run()) == {"linked": 1}
    synced.everywhere("one")


def test_a_new_unreadable_item_is_reported(world: World) -> None:
    world.letta.put("x", slug="planner").problem = "has a NUL"
    run = world.run()
    assert (run.status, did(run)) == ("failed", {"failed": 1})
    assert not Memory.objects.exists()


@pytest.mark.parametrize("how", ["down", "look_fails", "get_fails"])
@pytest.mark.parametrize("side", SIDES)
def test_a_side_that_cannot_be_read_deletes_nothing(synced: World, side: str, how: str) -> None:
    server = synced.servers[side]
    kept = dict(server.things)
    server.things.clear()
    setattr(server, how, True)
    run = synced.run(allow_deletions=True)
    assert (run.status, did(run)) == ("failed", {"failed": 1})
    assert synced.memory().live
    server.things = kept
    setattr(server, how, False)
    assert quiet(synced.run())


def test_a_partial_look_concludes_nothing_from_absence(synced: World) -> None:
    synced.create("two")
    thing = synced.letta.only()
    synced.letta.unlisted = {thing.id}
    run = synced.run()
    assert (run.status, run.counters["failed"]) == ("failed", 1)
    assert Memory.objects.live().count() == 2
    synced.letta.unlisted = set()
    synced.run()
    synced.everywhere("one", "two")


# --- refusals


@pytest.mark.parametrize("side", SIDES)
def test_a_refused_new_memory_is_tried_again_only_when_it_changes(world: World, side: str) -> None:
    world.servers[side].refuses = lambda state: "bad" in state["text"]
    world.create("bad")
    run = world.run()
    assert (run.status, did(run)) == ("failed", {"created": 1, "failed": 1})
    assert world.memory().sync_state == SyncState.PROBLEM
    tries = Intent.objects.count()
    assert did(world.run()) == {"failed": 1}
    assert Intent.objects.count() == tries
    world.edit(world.memory(), text="good")
    assert world.run().status == "done"
    world.everywhere("good")


@pytest.mark.parametrize("side", SIDES)
def test_a_refused_change_is_tried_again_only_when_it_changes(synced: World, side: str) -> None:
    synced.servers[side].refuses = lambda state: "bad" in state["text"]
    synced.edit(synced.memory(), text="bad")
    assert did(synced.run()) == {"pushed": 1, "failed": 1}
    tries = Intent.objects.count()
    assert did(synced.run()) == {"failed": 1}
    assert Intent.objects.count() == tries
    replica = Replica.objects.get(connection__side=side)
    assert (replica.status, replica.reason) == ("refused", "cannot be stored")
    assert synced.memory().sync_state == SyncState.PROBLEM
    synced.edit(synced.memory(), text="good")
    assert synced.run().status == "done"
    synced.everywhere("good")


# --- the brake, and another server behind the address


def test_the_brake_stops_before_too_many_are_archived(world: World) -> None:
    many(world, 10)
    for id in list(world.letta.things)[:6]:
        world.letta.remove(id)
    run = world.run()
    assert (run.status, did(run)) == ("braked", {})
    assert Memory.objects.live().count() == len(world.local.things) == 10
    run = world.run(allow_deletions=True)
    assert did(run) == {"archived": 6, "deleted": 6}


def test_five_may_go_without_being_asked(world: World) -> None:
    many(world, 10)
    for id in list(world.letta.things)[:5]:
        world.letta.remove(id)
    assert did(world.run()) == {"archived": 5, "deleted": 5}


def test_a_fifth_may_go_without_being_asked(world: World) -> None:
    many(world, 35)
    for id in list(world.letta.things)[:7]:
        world.letta.remove(id)
    assert world.run().counters["archived"] == 7


@pytest.mark.parametrize("side", SIDES)
def test_the_brake_stops_at_a_side_that_is_empty(synced: World, side: str) -> None:
    synced.servers[side].things.clear()
    assert synced.run().status == "braked"
    assert synced.memory().live


def test_another_server_behind_the_address_changes_nothing_until_somebody_confirms(world: World) -> None:
    many(world, 3)
    kept = dict(world.letta.things)
    world.letta.things, world.letta.identity = {}, "another"
    for _ in range(2):
        run = world.run(allow_deletions=True)
        assert run.status == "failed"
    assert Memory.objects.live().count() == len(world.local.things) == 3
    assert world.letta.texts() == []
    confirm(world.project.connections.get(side=LETTA))
    assert did(world.run()) == {"created": 3}
    assert len(kept) == len(world.letta.things)
    assert quiet(world.run())


def test_after_a_confirmation_what_is_there_is_linked_again(world: World) -> None:
    many(world, 3)
    world.letta.identity = "moved"
    world.run()
    confirm(world.project.connections.get(side=LETTA))
    assert did(world.run()) == {"linked": 3}
    assert quiet(world.run())


def test_a_preview_changes_nothing(world: World) -> None:
    world.create("one")
    world.letta.put("two", slug="planner")
    foreseen = preview(world.project)
    assert (foreseen.counters["created"], foreseen.counters["pulled"]) == (3, 1)
    assert (world.letta.planted, world.local.planted) == (0, 0)
    assert (world.letta.texts(), world.local.texts()) == (["two"], [])
    assert Memory.objects.count() == 1
    assert not Replica.objects.exists()


# --- identity


def test_equal_items_of_both_sides_become_one_memory(world: World) -> None:
    world.letta.put("same", slug="planner", label="fix-the-cache")
    world.local.put("same", slug="planner", title="Fix the cache", tags=["x"])
    assert did(world.run()) == {"pulled": 1, "linked": 1, "pushed": 1}
    world.everywhere("same")
    assert world.memory().tags == ["x"]
    assert quiet(world.run())


def test_one_text_under_two_names_is_two_memories(world: World) -> None:
    world.letta.put("same", slug="planner", label="this")
    world.local.put("same", slug="planner", title="That")
    world.run()
    world.everywhere("same", "same")
    assert quiet(world.run())


def test_an_empty_database_finds_out_what_belongs_together(world: World) -> None:
    many(world, 8)
    Memory.objects.all().delete()
    world.project.connections.all().delete()
    run = world.run()
    assert did(run) == {"pulled": 8, "linked": 8}
    assert len(world.letta.things) == len(world.local.things) == Memory.objects.count() == 8
    assert quiet(world.run())


def test_an_old_database_deletes_nothing(synced: World) -> None:
    """A backup knows nothing of a memory made since; its items are taken in by their marks."""
    synced.create("new")
    synced.run()
    uuid = Memory.objects.get(text="new").uuid
    Memory.objects.get(text="new").delete()
    assert did(synced.run()) == {"pulled": 1, "linked": 1}
    assert Memory.objects.get(text="new").uuid == uuid


def test_different_states_at_first_contact_are_a_conflict(synced: World) -> None:
    synced.project.connections.get(side=LETTA).delete()
    synced.letta.edit(synced.letta.only().id, text="other")
    assert did(synced.run()) == {"conflicts": 1}
    assert (synced.letta.texts(), synced.local.texts()) == (["other"], ["one"])


def test_a_server_that_holds_the_same_already_is_linked_and_not_doubled(world: World) -> None:
    """The local store was synced before; then a Letta server is connected, on which somebody made the same blocks."""
    texts = [f"Lesson {n}: what was found out in the long night of the release." for n in range(4)]
    for number, text in enumerate(texts):
        world.local.put(text, title=f"Lesson {number}", slug="planner")
        world.letta.put(
            f"{text}\n" if number == 2 else text, label=f"lesson_{number}" if number else "first", slug="planner"
        )
    letta, world.project.letta_server = world.project.letta_server, None
    world.project.save()
    assert did(world.run()) == {"pulled": 4}
    world.project.letta_server = letta
    world.project.save()
    assert did(world.run()) == {"linked": 4, "pushed": 4}
    world.everywhere(*texts[:2], f"{texts[2]}\n", texts[3])
    assert [m.label for m in Memory.objects.order_by("pk")] == ["first", "lesson_1", "lesson_2", "lesson_3"]
    assert texts[2] in history(Memory.objects.get(label="lesson_2"))
    assert quiet(world.run())


def test_a_store_that_holds_what_the_hub_has_is_linked_and_not_doubled(world: World) -> None:
    world.create("one", title="One")
    world.create("two", title="Two")
    world.local.put("one", title="One", slug="planner")
    assert did(world.run()) == {"linked": 1, "created": 3}
    world.everywhere("one", "two")
    assert quiet(world.run())


def test_equal_items_of_both_sides_but_for_space_keep_both_texts(world: World) -> None:
    world.letta.put("one", label="one", slug="planner")
    world.local.put("one\n", title="One", slug="planner")
    assert did(world.run()) == {"pulled": 1, "linked": 1, "pushed": 1}
    world.everywhere("one\n")
    assert history(world.memory()) == ["one", "one\n"]
    assert quiet(world.run())


def test_a_block_that_equals_a_memory_kept_local_is_not_deleted(world: World) -> None:
    world.create("one", title="One", shared=False)
    world.synced()
    world.letta.put("one", title="One", slug="planner")
    assert did(world.run()) == {"pulled": 1, "created": 1}
    assert world.letta.texts() == ["one"]


def test_a_copied_block_becomes_a_memory_of_its_own(synced: World) -> None:
    twin = synced.letta.copy(synced.letta.only().id)
    twin.state["text"] = "copied and changed"
    synced.run()
    synced.everywhere("copied and changed", "one")
    assert len({thing.uuid for thing in synced.letta.things.values()}) == 2
    assert quiet(synced.run())


@pytest.mark.parametrize("fault", ["lost_request", "broken", "crash_before"])
def test_a_mark_that_could_not_be_written_is_written_by_a_later_run(world: World, fault: Fault) -> None:
    world.letta.put("theirs", slug="planner", title="T", kind="fix", created_at="x", **EMPTY)
    world.letta.faults = [fault]
    with suppress(Crash):
        world.run()
    world.letta.down = False
    world.synced()
    assert world.letta.only().uuid == world.memory().uuid


@pytest.mark.parametrize("side", SIDES)
def test_a_mark_that_somebody_took_off_is_put_on_again(synced: World, side: str) -> None:
    synced.servers[side].only().uuid = None
    assert quiet(synced.run())
    assert synced.servers[side].only().uuid == synced.memory().uuid


EMPTY = dict.fromkeys(("source", "file_path", "client", "priority", "status"), "")


def test_a_create_that_came_through_after_all_is_removed_again(world: World) -> None:
    world.create("one")
    world.letta.faults = ["late"]
    assert world.run().status == "failed"
    world.synced()
    world.letta.deliver()
    assert len(world.letta.things) == 2
    world.run()
    world.everywhere("one")


def test_a_create_that_comes_after_an_edit_does_not_bring_the_older_text_back(world: World) -> None:
    memory = world.create("one")
    world.letta.faults = ["late"]
    world.run()
    world.synced()
    world.edit(memory, text="edited")
    world.synced()
    world.letta.deliver()
    assert world.letta.texts() == ["edited", "one"]
    world.synced()
    world.everywhere("edited")
    assert quiet(world.run())


def test_a_twin_that_an_agent_uses_is_not_removed(world: World) -> None:
    world.create("one")
    world.letta.faults = ["late"]
    world.run()
    world.synced()
    known = set(world.letta.things)
    world.letta.deliver()
    (late,) = set(world.letta.things) - known
    world.letta.attached[late] = ["agent"]
    world.run()
    assert len(world.letta.things) == Memory.objects.count() == 2


def test_a_twin_that_cannot_be_removed_stops_nothing(world: World) -> None:
    world.create("one")
    world.letta.faults = ["late"]
    world.run()
    world.synced()
    world.letta.deliver()
    world.letta.faults = ["broken"]
    run = world.run()
    assert run.status == "failed"
    world.letta.down = False
    world.run()
    world.everywhere("one")


def test_two_projects_on_one_store_keep_their_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.create("mine")
    other = World("website", share=world)
    other.create("yours")
    world.synced()
    other.synced()
    assert quiet(world.run())
    assert quiet(other.run())
    assert world.letta.texts() == ["mine", "yours"]
    assert sorted(Memory.objects.values_list("project__slug", "text")) == [("planner", "mine"), ("website", "yours")]


def test_the_first_claim_on_an_item_stays(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = World(letta_rule="all", letta_direction="from_side").install(monkeypatch)
    first.letta.put("nobody's")
    first.run()
    second = World("website", share=first, letta_rule="all").install(monkeypatch)
    second.run()
    assert list(Memory.objects.values_list("project__slug", flat=True)) == ["planner"]


# --- what comes in between


def test_a_change_right_before_the_write_is_seen_and_merged(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.letta.before_compare = once(lambda write: synced.letta.edit(write.id, title="Changed"))
    synced.run()
    synced.everywhere("two")
    assert synced.memory().title == "Changed"


def test_a_clash_right_before_the_write_overwrites_nothing(synced: World) -> None:
    synced.edit(synced.memory(), text="ours")
    synced.letta.before_compare = once(lambda write: synced.letta.edit(write.id, text="theirs"))
    synced.run()
    assert synced.letta.texts() == ["theirs"]
    assert synced.conflict().side["text"] == "theirs"


def test_an_item_deleted_right_before_the_write_is_made_again(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.letta.before_compare = once(lambda write: synced.letta.remove(write.id))
    synced.run()
    synced.everywhere("two")


def test_an_item_changed_right_before_it_is_deleted_brings_its_memory_back(synced: World) -> None:
    actions.archive([synced.memory()], user=None)
    synced.letta.before_compare = once(lambda write: synced.letta.edit(write.id, text="last words"))
    synced.run()
    synced.synced()
    synced.everywhere("last words")


def test_an_edit_in_the_hub_while_it_is_written_stays_waiting(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.letta.before_write = once(lambda write: synced.edit(synced.memory(), text="three"))
    synced.run()
    assert synced.letta.texts() == ["two"]
    assert (synced.memory().text, synced.memory().sync_state) == ("three", SyncState.WAITING)
    assert synced.memory().waiting_since
    assert did(synced.run()) == {"pushed": 2}
    synced.everywhere("three")
    assert synced.memory().sync_state == SyncState.SYNCED
    assert synced.memory().waiting_since is None


def test_archiving_while_it_is_written_is_not_forgotten(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.letta.before_write = once(lambda write: actions.archive([synced.memory()], user=None))
    synced.run()
    assert did(synced.run()) == {"deleted": 2}
    synced.everywhere()


def test_a_push_between_look_and_plan_is_not_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run saw the old text of the second memory, which is pushed while the first one is written."""
    first, second = many(world, 2)
    monkeypatch.setattr(runs, "BATCH", 1)

    def meanwhile(write: Write) -> None:
        world.edit(second, text="pushed")
        assert world.push(second) == []

    for id in world.letta.things:
        world.letta.edit(id, tags=["seen-by-the-run"])
    world.local.before_compare = once(meanwhile)
    assert world.run().status == "done"
    world.everywhere(first.text, "pushed")
    assert list(Memory.objects.values_list("tags", flat=True)) == [["seen-by-the-run"]] * 2
    assert quiet(world.run())


def once(call: Callable[[Write], Any]) -> Callable[[Write], None]:
    calls: list[Write] = []

    def only_once(write: Write) -> None:
        if not calls:
            calls.append(write)
            call(write)

    return only_once


# --- pushes and leases


def test_a_push_brings_one_memory_everywhere_and_touches_no_other(world: World) -> None:
    first, second = world.create("one"), world.create("two")
    assert world.push(first) == []
    assert world.letta.texts() == world.local.texts() == ["one"]
    assert Memory.objects.get(pk=first.pk).sync_state == SyncState.SYNCED
    assert Memory.objects.get(pk=second.pk).sync_state == SyncState.WAITING


def test_a_push_that_finds_an_item_gone_archives_nothing(synced: World) -> None:
    """That is for a run to say, which looks at all of a side and has a brake."""
    synced.letta.things.clear()
    synced.push(synced.memory())
    assert synced.memory().live
    assert Replica.objects.get(connection__side=LETTA).status == "ok"
    assert synced.letta.texts() == []
    synced.run(allow_deletions=True)
    assert not synced.memory().live


def test_a_push_when_one_side_is_away_writes_the_other(world: World) -> None:
    world.letta.down = True
    memory = world.create("one")
    world.push(memory)
    assert world.local.texts() == ["one"]
    assert world.memory().sync_state == SyncState.WAITING
    world.letta.down = False
    assert did(world.run()) == {"created": 1}


def test_a_run_leaves_a_memory_that_is_being_pushed_and_comes_back_to_it(synced: World) -> None:
    memory = synced.edit(synced.memory(), text="two")
    other = synced.create("other")
    leases.acquire([leases.of_memory(memory.pk)], "a push")
    synced.letta.before_compare = once(lambda write: leases.release("a push"))
    synced.run()
    synced.everywhere("two", "other")
    assert Memory.objects.get(pk=other.pk).sync_state == SyncState.SYNCED


def test_a_run_does_not_touch_a_memory_that_somebody_else_keeps(synced: World) -> None:
    memory = synced.edit(synced.memory(), text="two")
    leases.acquire([leases.of_memory(memory.pk)], "a push")
    assert did(synced.run()) == {}
    assert synced.letta.texts() == synced.local.texts() == ["one"]
    assert synced.push(memory) == [memory.pk]
    leases.release("a push")
    assert synced.push(memory) == []
    synced.everywhere("two")


def test_one_run_at_a_time(synced: World) -> None:
    leases.acquire([leases.of_project(synced.project.pk)], "a run")
    with pytest.raises(runs.Busy):
        synced.run()
    leases.release("a run")
    assert quiet(synced.run())
    assert not Lease.objects.exists()


def test_the_lease_of_a_dead_holder_ends(synced: World) -> None:
    leases.acquire([leases.of_project(synced.project.pk)], "a run")
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert quiet(synced.run())


# --- recover: writes whose end nobody recorded


@pytest.mark.parametrize("fault", ["crash_before", "crash_after", "lost_request", "lost_reply", "broken"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("op", ["create", "update", "delete"])
def test_a_write_of_unknown_end_is_settled_by_the_next_run(world: World, op: str, side: str, fault: Fault) -> None:
    memory = world.create("one")
    if op != "create":
        world.synced()
        if op == "update":
            world.edit(memory, text="two")
        else:
            actions.archive([memory], user=None)
    world.servers[side].faults = [fault]
    with suppress(Crash):
        assert world.run().status == "failed"
    assert Intent.objects.filter(outcome="").exists()
    world.letta.down = world.local.down = False
    world.synced()
    assert quiet(world.run())
    assert not Intent.objects.filter(outcome="").exists()
    world.everywhere(*{"create": ["one"], "update": ["two"], "delete": []}[op])
    assert history(memory) == (["one", "two"] if op == "update" else ["one"])


@pytest.mark.parametrize(("minutes", "expected"), [(0, 1), (6, 0)])
def test_a_request_that_may_be_on_its_way_is_waited_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch, minutes: int, expected: int
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("syncjobs.recover.time.sleep", waits.append)
    memories = [world.create(title) for title in ("one", "two")]
    world.letta.faults, world.local.faults = ["lost_reply"] * 2, ["lost_reply"] * 2
    assert world.run().status == "failed"
    Intent.objects.update(created_at=timezone.now() - timedelta(minutes=minutes))
    waits.clear()
    push([memory.pk for memory in memories])
    assert not Intent.objects.filter(outcome="").exists()
    assert waits.count(UNDER_WAY) == expected


@pytest.mark.parametrize("op", ["create", "update"])
@pytest.mark.parametrize("side", SIDES)
def test_a_write_that_happened_and_was_changed_since_is_a_change_there(world: World, op: str, side: str) -> None:
    memory = world.create("one")
    if op == "update":
        world.synced()
        world.edit(memory, text="two")
    world.servers[side].faults = ["crash_after"]
    with suppress(Crash):
        world.run()
    thing = next(iter(world.servers[side].things.values()))
    world.servers[side].edit(thing.id, title="Changed since")
    world.run()
    world.synced()
    assert world.memory().title == "Changed since"
    world.everywhere("two" if op == "update" else "one")


@pytest.mark.parametrize("op", ["create", "update"])
def test_a_torn_record_is_written_again(world: World, op: str) -> None:
    memory = world.create("one")
    if op == "update":
        world.synced()
        world.edit(memory, text="two")
    world.local.faults = ["torn"]
    with suppress(Crash):
        world.run()
    assert world.local.only().problem
    world.synced()
    assert not world.local.only().problem
    world.everywhere("two" if op == "update" else "one")


def test_a_half_deleted_record_is_deleted(synced: World) -> None:
    actions.archive([synced.memory()], user=None)
    synced.local.faults = ["crash_before"]
    with suppress(Crash):
        synced.run()
    synced.local.only().problem = "torn"
    synced.synced()
    synced.everywhere()


def test_an_edit_after_a_lost_create_goes_to_the_item_that_was_made(world: World) -> None:
    world.create("one")
    world.letta.faults = ["lost_reply"]
    world.run()
    world.edit(world.memory(), text="two")
    world.push(world.memory())
    world.everywhere("two")


# --- the digest


def test_the_digest_is_written_and_then_left_alone(world: World) -> None:
    world.create("a decision", kind="decision", title="Later")
    world.create("a mistake", kind="error", title="First")
    world.synced()
    text = world.letta.digests["planner"]
    assert text.startswith("# Shared Memory: planner\n\n## [1] First (error)\na mistake\n\n## [2] Later (decision)")
    written = len(world.letta.written)
    assert quiet(world.run())
    assert (world.letta.digests["planner"], len(world.letta.written)) == (text, written)


def test_what_somebody_wrote_into_the_digest_becomes_a_memory_first(synced: World) -> None:
    synced.letta.digests["planner"] += "\nan agent's own note"
    theirs = synced.letta.digests["planner"]
    run = synced.run()
    assert (run.status, did(run)) == ("done", {"created": 2})
    synced.everywhere("one", theirs)
    assert "an agent's own note" in synced.letta.digests["planner"]
    assert quiet(synced.run())


def test_a_push_that_finds_something_in_the_digest_brings_it_everywhere(synced: World) -> None:
    synced.letta.digests["planner"] = "an agent's own note"
    assert synced.push(synced.memory()) == []
    synced.everywhere("one", "an agent's own note")
    assert quiet(synced.run())


def test_what_stands_in_the_digest_is_taken_in_once_though_the_run_dies_before_it_is_replaced(synced: World) -> None:
    synced.letta.digests["planner"] = "an agent's own note"
    with patch.object(FakeLetta, "write_digest", side_effect=Crash), pytest.raises(Crash):
        synced.run()
    synced.synced()
    synced.everywhere("one", "an agent's own note")


def test_an_earlier_digest_of_ours_is_overwritten(synced: World) -> None:
    ours = synced.letta.digests["planner"]
    synced.edit(synced.memory(), text="two")
    synced.synced()
    synced.letta.digests["planner"] = ours
    synced.synced()
    assert "two" in synced.letta.digests["planner"]
    assert Memory.objects.count() == 1


def in_an_older_database(world: World) -> None:
    """The hub's database as it was before the digest of now was written."""
    Digest.objects.filter(hash=digest_of(world.letta.digests["planner"])).delete()
    world.edit(world.memory(), text="one more")


def test_a_digest_that_only_a_newer_database_knows_is_ours_all_the_same(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.synced()
    in_an_older_database(synced)
    synced.synced()
    synced.everywhere("one more")
    assert "one more" in synced.letta.digests["planner"]


def test_what_somebody_added_to_it_is_taken_in_also_then(synced: World) -> None:
    synced.edit(synced.memory(), text="two")
    synced.synced()
    in_an_older_database(synced)
    synced.letta.digests["planner"] = theirs = synced.letta.digests["planner"] + "an agent's own note"
    synced.synced()
    synced.everywhere("one more", theirs)


def test_a_digest_of_a_version_that_left_no_hash_is_known_by_the_database_alone(synced: World) -> None:
    synced.letta.digest_hashes.clear()
    synced.edit(synced.memory(), text="two")
    synced.synced()
    synced.everywhere("two")
    synced.letta.digest_hashes.clear()
    unknown = synced.letta.digests["planner"]
    in_an_older_database(synced)
    synced.synced()
    synced.everywhere("one more", unknown)


def test_the_digest_keeps_within_its_block(synced: World) -> None:
    synced.create("x" * 400)
    synced.letta.digest_limit = 100
    assert synced.run().status == "done"
    assert len(synced.letta.digests["planner"]) <= 100


# --- directions


def test_where_the_hub_decides_on_both_sides_every_foreign_text_is_in_the_history(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(letta_direction="to_side", local_direction="to_side").install(monkeypatch)
    memory = world.create("ours")
    world.synced()
    for server in world.servers.values():
        server.edit(server.only().id, text=f"from {server.side}")
    assert did(world.run()) == {"pushed": 2}
    world.everywhere("ours")
    assert history(memory) == ["ours", "from letta", "from local", "ours"]
    assert "in the history" in world.memory().notice
    assert quiet(world.run())


@pytest.mark.parametrize("fault", ["lost_request", "broken", "crash_before"])
def test_where_the_hub_decides_a_write_that_failed_is_done_later(
    db: None, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    world = World(letta_direction="to_side").install(monkeypatch)
    world.create("ours")
    world.synced()
    world.letta.edit(world.letta.only().id, text="theirs")
    world.letta.faults = [fault]
    with suppress(Crash):
        world.run()
    world.letta.down = False
    world.synced()
    world.everywhere("ours")


def test_where_a_side_decides_nothing_is_written_there(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(local_direction="from_side").install(monkeypatch)
    thing = world.local.put("theirs", slug="planner")
    world.create("ours")
    assert did(world.run()) == {"pulled": 1, "created": 2}
    assert (world.local.texts(), thing.uuid, world.local.planted) == (["theirs"], None, 0)
    assert quiet(world.run())
    actions.archive([Memory.objects.get(text="theirs")], user=None)
    world.run()
    assert world.local.texts() == ["theirs"]
    assert not Memory.objects.get(text="theirs").live


def test_a_block_deleted_by_others_comes_back_with_its_agents(synced: World) -> None:
    block = synced.letta.only().id
    synced.create("another, so that the side is not empty")
    synced.letta.attached[block] = ["Ada", "Bob"]
    synced.synced()
    assert [agent["name"] for agent in synced.project.connections.get(side=LETTA).agents[block]] == ["Ada", "Bob"]
    del synced.letta.things[block], synced.letta.attached[block]
    synced.synced()
    memory = Memory.objects.archived().get()
    assert memory.replicas.get(connection__side=LETTA).keep["agents"] == ["Ada", "Bob"]


def test_an_open_conflict_leaves_no_new_stamp_at_each_run(world: World) -> None:
    memory = world.create("one")
    world.synced()
    world.edit(memory, text="hub")
    world.letta.edit(world.letta.only().id, text="letta")
    world.synced()
    assert world.conflict()
    before = dict(world.letta.stamps), dict(world.local.stamps)
    assert before[0]

    assert quiet(world.run())

    assert (world.letta.stamps, world.local.stamps) == before


def test_what_a_side_showed_and_the_hub_never_took_in_is_kept_when_it_goes(synced: World) -> None:
    """As after a run that ended between its look and its first write."""
    Text.objects.keep(["theirs"])
    known = Replica.objects.filter(connection__side=LETTA)
    known.update(seen_text=digest_of("theirs"), seen_hash="another")
    synced.edit(synced.memory(), text="ours")
    synced.letta.remove(synced.letta.only().id)
    synced.run(allow_deletions=True)
    synced.everywhere("ours")
    assert "theirs" in history(synced.memory())
    assert quiet(synced.run())
