"""Agents that are at work while the hub writes: they are waited for, and what they undo is done again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from blocks import actions
from blocks.models import SyncState
from syncjobs.agents import PUSHES, nearest
from syncjobs.conflicts import resolve
from syncjobs.foresee import preview
from syncjobs.models import Intent, Replica
from syncjobs.watch import Watch
from tests.syncjobs.fakes import LETTA, Turn
from tests.syncjobs.world import World, did, history, quiet

TEXT = "first\nsecond\nthird\n"
OURS = "first\nsecond, edited\nthird\n"


@pytest.fixture
def attached(world: World) -> World:
    """One memory, in step, whose block the agent Ada sees."""
    world.create(TEXT, title="one")
    world.synced()
    world.letta.attached[world.letta.only().id] = ["Ada"]
    return world


@pytest.fixture
def impatient(settings) -> None:
    settings.AGENT_PATIENCE = 0


def block(world: World) -> str:
    return str(world.letta.only().state["text"])


def overwritten(world: World, text: str | None = None) -> Turn:
    """Ada begins a turn, the hub's text is pushed all the same, and then she writes hers back."""
    turn = world.letta.begin_turn("Ada")
    world.edit(world.memory(), text=OURS)
    world.run()
    assert block(world) == OURS
    world.letta.end_turn(turn, **{world.letta.only().id.replace("-", "_"): text or TEXT})
    return turn


# --- waiting


def test_a_write_waits_for_an_agent_at_work_and_the_rest_goes_on(attached: World) -> None:
    turn = attached.letta.begin_turn("Ada")
    attached.create("another")
    attached.edit(attached.project.memories.get(title="one"), text=OURS)
    run = attached.run()
    assert (run.status, did(run)) == ("done", {"created": 2, "pushed": 1})
    assert attached.letta.texts() == ["another", TEXT]
    memory = attached.project.memories.get(title="one")
    replica = memory.replicas.get(connection__side=LETTA)
    assert (memory.sync_state, replica.status) == (SyncState.WAITING, "ok")
    assert replica.reason == "waiting for agent Ada"
    assert not Intent.objects.filter(outcome="").exists()

    turn.ended = timezone.now()
    assert did(attached.run()) == {"pushed": 1}
    assert attached.letta.texts() == ["another", OURS]
    memory.refresh_from_db()
    replica.refresh_from_db()
    assert (memory.sync_state, replica.reason, replica.held_since) == (SyncState.SYNCED, "", None)
    assert quiet(attached.run())


def test_the_row_and_the_page_say_for_whom_it_waits(attached: World, client, django_user_model) -> None:
    attached.letta.begin_turn("Ada")
    attached.edit(attached.memory(), text=OURS)
    attached.run()
    client.force_login(django_user_model.objects.create_superuser("root"))
    for path in ("", f"m/{attached.memory().uuid}/"):
        assert "waiting for agent Ada" in client.get(f"/p/planner/{path}").content.decode()


def test_a_deletion_waits_too(attached: World) -> None:
    turn = attached.letta.begin_turn("Ada")
    actions.archive([attached.memory()], user=None)
    run = attached.run()
    assert (run.status, did(run)) == ("done", {"deleted": 1})
    assert block(attached) == TEXT
    turn.ended = timezone.now()
    assert did(attached.run()) == {"deleted": 1}
    assert not attached.letta.things


def test_after_the_set_time_it_is_written_all_the_same(attached: World, settings) -> None:
    attached.letta.begin_turn("Ada")
    attached.edit(attached.memory(), text=OURS)
    attached.run()
    began = Replica.objects.get(connection__side=LETTA).held_since
    assert began is not None
    assert quiet(attached.run())
    assert Replica.objects.get(connection__side=LETTA).held_since == began
    Replica.objects.update(held_since=began - timedelta(seconds=settings.AGENT_PATIENCE))
    assert did(attached.run()) == {"pushed": 1}
    assert block(attached) == OURS
    assert attached.memory().sync_state == SyncState.SYNCED


def test_the_watch_tries_it_again_soon(attached: World) -> None:
    attached.letta.begin_turn("Ada")
    memory = attached.edit(attached.memory(), text=OURS)
    attached.push(memory)
    DBTaskResult.objects.all().delete()
    watch = Watch()
    for _ in range(2):
        assert watch.round()
    (task,) = DBTaskResult.objects.filter(queue_name="push")
    assert task.args_kwargs["args"] == [[memory.pk]]


def test_a_push_of_one_memory_waits_without_being_busy(attached: World) -> None:
    attached.letta.begin_turn("Ada")
    assert attached.push(attached.edit(attached.memory(), text=OURS)) == []
    assert block(attached) == TEXT


def test_who_cannot_say_who_is_at_work_is_written_to(attached: World) -> None:
    attached.letta.begin_turn("Ada")
    attached.letta.turns_fail = True
    attached.edit(attached.memory(), text=OURS)
    assert did(attached.run()) == {"pushed": 2}


def test_nothing_is_asked_for_new_blocks_nor_for_what_is_in_step(world: World) -> None:
    for number in range(120):
        world.create(f"memory {number}")
    world.synced()
    world.synced()
    assert world.letta.asked == 0


def test_one_question_for_many_writes(world: World) -> None:
    for memory in [world.create(f"memory {number}") for number in range(50)]:
        world.letta.attached[str(memory.uuid)] = ["Ada"]
    world.synced()
    for memory in world.project.memories.all():
        world.edit(memory, text=f"{memory.text}, edited")
    world.synced()
    assert world.letta.asked == 1


# --- older copies


@pytest.mark.usefixtures("impatient")
def test_an_older_copy_is_replaced_again(attached: World) -> None:
    overwritten(attached)
    assert did(attached.run()) == {"pushed": 1}
    attached.everywhere(OURS)
    assert history(attached.memory()) == [TEXT, OURS]
    assert attached.memory().sync_state == SyncState.SYNCED
    assert quiet(attached.run())


@pytest.mark.usefixtures("impatient")
def test_an_older_copy_is_replaced_by_a_push_of_that_memory_alone(attached: World) -> None:
    overwritten(attached)
    attached.push(attached.memory())
    attached.everywhere(OURS)


@pytest.mark.usefixtures("impatient")
def test_other_fields_changed_there_meanwhile_are_kept(attached: World) -> None:
    overwritten(attached)
    attached.letta.edit(attached.letta.only().id, tags=["theirs"])
    attached.run()
    attached.everywhere(OURS)
    assert attached.memory().tags == ["theirs"]


@pytest.mark.usefixtures("impatient")
def test_a_preview_tells_it_too(attached: World) -> None:
    overwritten(attached)
    (step,) = preview(attached.project).steps
    assert (step["op"], step["why"]) == ("update", "changed: text; the agent Ada had written an older text back")


def test_without_a_turn_it_is_somebodys_revert(attached: World) -> None:
    attached.edit(attached.memory(), text=OURS)
    attached.synced()
    attached.letta.edit(attached.letta.only().id, text=TEXT)
    assert did(attached.run()) == {"pulled": 1, "pushed": 1}
    attached.everywhere(TEXT)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_turn_that_did_not_span_our_push_is_none(attached: World, when: str) -> None:
    if when == "before":
        attached.letta.end_turn(attached.letta.begin_turn("Ada"))
    attached.edit(attached.memory(), text=OURS)
    attached.synced()
    turn = attached.letta.begin_turn("Ada") if when == "after" else None
    attached.letta.edit(attached.letta.only().id, text=TEXT)
    if turn:
        turn.ended = timezone.now()
    assert did(attached.run()) == {"pulled": 1, "pushed": 1}
    attached.everywhere(TEXT)


@pytest.mark.usefixtures("impatient")
def test_the_turn_of_an_agent_that_does_not_see_the_block_is_none(attached: World) -> None:
    overwritten(attached)
    attached.letta.attached.clear()
    assert did(attached.run()) == {"pulled": 1, "pushed": 1}
    attached.everywhere(TEXT)


@pytest.mark.usefixtures("impatient")
def test_whose_text_it_is_cannot_be_found_out(attached: World) -> None:
    overwritten(attached)
    attached.letta.turns_fail = True
    assert did(attached.run()) == {"failed": 1}
    assert (attached.memory().text, block(attached)) == (OURS, TEXT)
    assert attached.memory().sync_state == SyncState.PROBLEM
    attached.letta.turns_fail = False
    assert did(attached.run()) == {"pushed": 1}
    attached.everywhere(OURS)
    assert attached.memory().sync_state == SyncState.SYNCED


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["run", "push"])
def test_where_it_cannot_be_found_out_a_further_edit_is_not_undone(attached: World, how: str) -> None:
    overwritten(attached)
    attached.letta.turns_fail = True
    attached.edit(attached.memory(), text=OURS + "fourth\n")
    attached.run() if how == "run" else attached.push(attached.memory())
    assert (attached.memory().text, block(attached)) == (OURS + "fourth\n", TEXT)
    attached.letta.turns_fail = False
    assert did(attached.run()) == {"pushed": 1}
    attached.everywhere(OURS + "fourth\n")
    assert history(attached.memory()) == [TEXT, OURS, OURS + "fourth\n"]


@pytest.mark.usefixtures("impatient")
def test_what_the_agent_changed_in_its_older_copy_is_kept(attached: World) -> None:
    overwritten(attached, TEXT + "by Ada\n")
    attached.run()
    kept = [attached.memory().text, *(c.side["text"] for c in attached.memory().conflicts.filter(closed_at=None))]
    assert any("by Ada" in text for text in kept)
    assert "second, edited" in attached.memory().text


@pytest.mark.usefixtures("impatient")
def test_an_agent_that_changed_the_same_line_is_in_conflict(attached: World) -> None:
    overwritten(attached, "first\nsecond, by Ada\nthird\n")
    assert did(attached.run()) == {"conflicts": 1}
    conflict = attached.conflict()
    assert ((conflict.base or {})["text"], conflict.side["text"]) == (TEXT, "first\nsecond, by Ada\nthird\n")
    asked = attached.letta.asked
    attached.run()
    assert attached.letta.asked == asked + 1  # who is at work; whose text it is was found out for good
    resolve(conflict, "hub", user=None)
    attached.run()
    attached.everywhere(OURS)


@pytest.mark.usefixtures("impatient")
def test_what_was_found_out_once_is_not_judged_anew(attached: World) -> None:
    turn = attached.letta.begin_turn("Ada")
    for text in ("first, ours\nsecond\nthird\n", "first, ours\nsecond\nthird, ours\n"):
        attached.edit(attached.memory(), text=text)
        attached.run()
    attached.letta.end_turn(turn, **{attached.letta.only().id.replace("-", "_"): "first, Ada's\nsecond\nthird\n"})
    assert did(attached.run()) == {"conflicts": 1}
    for _ in range(2):
        assert quiet(attached.run())
        assert attached.conflict().closed_at is None
    assert attached.memory().text == "first, ours\nsecond\nthird, ours\n"


@pytest.mark.usefixtures("impatient")
def test_the_copy_of_a_turn_that_spans_several_pushes(attached: World) -> None:
    turn = attached.letta.begin_turn("Ada")
    for text in ("first\nsecond, edited\nthird\n", "first\nsecond, edited\nthird, too\n"):
        attached.edit(attached.memory(), text=text)
        attached.run()
    attached.letta.end_turn(turn)
    assert did(attached.run()) == {"pushed": 1}
    attached.everywhere("first\nsecond, edited\nthird, too\n")


@pytest.mark.usefixtures("impatient")
def test_a_text_from_before_the_turn_is_not_what_the_agent_had_read(attached: World) -> None:
    attached.edit(attached.memory(), text=OURS)
    attached.run()
    turn = attached.letta.begin_turn("Ada")
    attached.edit(attached.memory(), text="entirely new")
    attached.run()
    attached.letta.end_turn(turn, **{attached.letta.only().id.replace("-", "_"): TEXT})
    assert did(attached.run()) == {"conflicts": 1}
    assert ((attached.conflict().base or {})["text"], attached.memory().text) == (OURS, "entirely new")


@pytest.mark.usefixtures("impatient")
def test_a_copy_of_what_another_program_wrote_between_two_pushes(attached: World) -> None:
    theirs = "first, theirs\nsecond, theirs\nthird\n"
    attached.edit(attached.memory(), text="first\nsecond\nthird, ours\n")
    attached.run()
    turn = attached.letta.begin_turn("Ada")
    attached.letta.edit(attached.letta.only().id, text=theirs)
    attached.run()
    attached.edit(attached.memory(), text=theirs + "fourth, ours\n")
    attached.run()
    attached.letta.end_turn(turn)
    attached.run()
    kept = [attached.memory().text, *(c.side["text"] for c in attached.memory().conflicts.filter(closed_at=None))]
    assert "fourth, ours" in kept[0]


@pytest.mark.usefixtures("impatient")
def test_twice_it_is_pushed_again_then_it_is_a_conflict(attached: World) -> None:
    turn = overwritten(attached)
    for _ in range(PUSHES):
        turn.ended = None
        assert did(attached.run()) == {"pushed": 1}
        assert block(attached) == OURS
        attached.letta.end_turn(turn)
    assert did(attached.run()) == {"conflicts": 1}
    assert (attached.memory().text, block(attached)) == (OURS, TEXT)
    turn.ended = timezone.now() - timedelta(hours=1)  # found out once, it stays a conflict
    assert quiet(attached.run())
    resolve(attached.conflict(), "hub", user=None)
    attached.run()
    attached.everywhere(OURS)


@pytest.mark.usefixtures("impatient")
def test_a_later_push_may_be_undone_twice_again(attached: World) -> None:
    overwritten(attached)
    attached.run()
    turn = attached.letta.begin_turn("Ada")
    attached.edit(attached.memory(), text="entirely new")
    attached.run()
    attached.letta.end_turn(turn)
    attached.run()
    updates = Intent.objects.filter(op="update", connection__side=LETTA).order_by("pk")
    assert [intent.copies for intent in updates] == [0, 1, 0, 1]


def test_pushing_again_waits_for_the_agent_and_still_counts(attached: World, settings) -> None:
    settings.AGENT_PATIENCE = 0
    turn = overwritten(attached)
    turn.ended, settings.AGENT_PATIENCE = None, 60
    for _ in range(2):
        run = attached.run()
        assert (run.status, did(run)) == ("done", {})
        assert block(attached) == TEXT
    turn.ended = timezone.now()
    assert did(attached.run()) == {"pushed": 1}
    attached.everywhere(OURS)
    assert Intent.objects.latest("pk").copies == 1


@pytest.mark.usefixtures("impatient")
def test_an_archived_memory_is_not_brought_back_by_an_older_copy(attached: World) -> None:
    overwritten(attached)
    actions.archive([attached.memory()], user=None)
    attached.run()
    assert not attached.memory().live
    assert not attached.letta.things


# --- whose text it is


@pytest.mark.parametrize(
    ("text", "made_from"),
    [
        ("one two", [0]),
        ("one two and more", [0]),
        ("one 2", []),
        ("one 2 and more", []),
        ("zero", [1, 0]),
        ("three", [1, 0]),
        ("one three", [0]),
    ],
)
def test_the_nearest_texts_are_what_a_text_was_perhaps_made_from(text: str, made_from: list[int]) -> None:
    assert nearest(text, "one 2", ["one two", "zero", "one 2"]) == made_from


def test_of_equally_near_texts_the_oldest_comes_first() -> None:
    assert nearest("a x", "a d", ["a c", "a b"]) == [1, 0]


def test_without_another_text_there_is_none() -> None:
    assert nearest("a", "b", []) == nearest("a", "b", ["b"]) == nearest("b", "b", ["a"]) == []
