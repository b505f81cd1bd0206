"""Purge: what an owner removes is nowhere afterwards, and sync does not bring it back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import BinaryField
from django.utils import timezone

from blocks import actions, agents, builtin, digest
from blocks.models import Memory, Purge, Revision, Text
from blocks.purge import MARK, Secret
from blocks.search import matching
from memoryhub.models import Project, Role
from syncjobs import purge
from syncjobs.conflicts import resolve
from syncjobs.models import Conflict, Connection, Intent, Replica
from syncjobs.retention import shown_elsewhere
from syncjobs.watch import Watch
from tests.conftest import person
from tests.syncjobs.fakes import Crash, Server
from tests.syncjobs.world import World, history, quiet

SECRET = "hunter2-Xq"
TEXT = f"The password is {SECRET}.\nTell nobody.\n"
CLEAN = f"The password is {MARK}.\nTell nobody.\n"


@pytest.fixture
def olga(world: World):
    return person("olga", world.project, Role.OWNER)


@pytest.fixture
def erase(world: World, olga):
    def erase(*memories: Memory, secret: str = SECRET) -> list[Purge]:
        found = list(memories) or purge.find(world.project, Secret(secret))
        return purge.erase_text(found, Secret(secret), user=olga)

    return erase


def in_database(secret: str = SECRET) -> list[str]:
    """Every column of every table in which it stands."""
    found = []
    for model in apps.get_models(include_auto_created=True):
        if model is Text:
            found += [f"Text {row.digest[:8]}" for row in Text.objects.all() if secret in row.text]
            continue
        names = [f.name for f in model._meta.concrete_fields if not isinstance(f, BinaryField)]
        for row in model._base_manager.values(*names):
            found += [f"{model.__name__}.{name}" for name, value in row.items() if secret in said(value)]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT tag FROM blocks_tag")
            found += ["blocks_tag" for (tag,) in cursor.fetchall() if secret in tag]
    if matching(Memory.objects.all(), secret).exists():
        found.append("search index")
    return sorted(set(found))


def again(world: World, row: Any) -> Any:
    """A block as it is now."""
    return builtin.find(world.project, row.uuid)


def said(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def on(server: Server, secret: str = SECRET) -> bool:
    things = [[thing.state, thing.foreign] for thing in server.things.values()]
    return secret in said([things, server.digests])


def nowhere(world: World, secret: str = SECRET) -> None:
    assert in_database(secret) == []
    assert not on(world.letta, secret)
    assert not on(world.local, secret)


def test_after_a_purge_and_a_push_it_is_nowhere(world, erase):
    memory = world.create("before", title="Notes")
    world.synced()
    world.edit(memory, text=TEXT)
    world.synced()
    world.edit(memory, text=TEXT + "More.\n")
    world.synced()
    assert on(world.letta)
    assert on(world.local)
    erase()
    world.push(memory)
    nowhere(world)
    world.everywhere(CLEAN + "More.\n")
    assert history(memory) == ["before", CLEAN, CLEAN + "More.\n"]
    assert quiet(world.run())
    row = Purge.objects.get()
    assert (row.author, row.kind, row.versions, row.waits) == ("olga", "text", 2, {})
    assert row.done_at


def test_it_waits_for_the_sides(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    (row,) = erase()
    assert row.waits_for == ["Letta", "local"]
    assert set(in_database()) <= {f"Text {digest[:8]}" for digest in row.waits["texts"]}
    assert SECRET not in said(row.waits)
    world.push(memory)
    row.refresh_from_db()
    assert row.done_at


def test_what_only_stands_in_the_history_needs_no_push(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    world.edit(memory, text="clean")
    world.synced()
    (row,) = erase()
    assert row.done_at
    assert memory.revisions.count() == 2
    nowhere(world)
    assert quiet(world.run())


def test_a_run_does_not_pull_it_back(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    erase()
    run = world.run()
    assert (run.counters["pulled"], run.counters["conflicts"], run.counters["pushed"]) == (0, 0, 2)
    nowhere(world)
    assert memory.revisions.count() == 2


@pytest.mark.parametrize("side", ["letta", "local"])
def test_a_side_that_is_down_gets_it_later(world, erase, side):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    world.servers[side].down = True
    (row,) = erase()
    world.push(memory)
    row.refresh_from_db()
    assert row.done_at is None
    assert [words.partition(",")[0] for words in row.waits_for] == [{"letta": "Letta", "local": "local"}[side]]
    world.servers[side].down = False
    world.run()
    nowhere(world)


@pytest.mark.parametrize("field", ["title", "description", "source"])
def test_other_fields_too(world, erase, field):
    memory = world.create("text", **{field: f"is {SECRET}"})
    world.synced()
    erase()
    world.push(memory)
    nowhere(world)
    assert getattr(world.memory(), field) == f"is {MARK}"


def test_what_a_block_of_the_hub_itself_says_too(world, erase):
    world.project.letta_server = None
    world.project.save()
    metadata = {"title": f"is {SECRET}", "note": {"key": [SECRET]}, SECRET: 1}
    builtin.create(world.project, {"label": "note", "value": "text", "metadata": metadata}, "Ada")
    world.synced()
    erase()
    world.run()
    nowhere(world)
    block = builtin.block_of(world.memory())
    assert block["metadata"] == {"title": f"is {MARK}", "note": {"key": [MARK]}, MARK: 1}


def test_a_secret_that_only_a_block_of_the_hub_says(world, erase):
    world.project.letta_server = None
    world.project.save()
    builtin.create(world.project, {"label": "note", "value": "text", "metadata": {"note": SECRET}}, "Ada")
    assert len(erase()) == 1
    assert in_database() == []


def test_tags_and_labels_too(world, erase):
    memory = world.create("text", title="Notes", tags=["a", SECRET], label=SECRET)
    world.synced()
    erase()
    world.push(memory)
    nowhere(world)
    assert (world.memory().tags, world.memory().label) == ([MARK, "a"], "purged")


def test_an_open_conflict_that_holds_it_is_closed_and_nothing_else_is_lost(world, erase):
    memory = world.create("one\n", title="Notes")
    world.synced()
    world.letta.edit(world.letta.only().id, text=TEXT)
    world.edit(memory, text="mine\n")
    world.run()
    assert world.conflict()
    erase()
    world.run()
    nowhere(world)
    assert Conflict.objects.get().resolution == "purged"
    assert CLEAN in history(memory)
    world.everywhere("mine\n")


def test_a_conflict_of_the_past(world, erase, olga):
    memory = world.create("one\n", title="Notes")
    world.synced()
    world.letta.edit(world.letta.only().id, text=TEXT)
    world.edit(memory, text="mine\n")
    world.run()
    resolve(world.conflict(), "all", user=olga)
    world.run()
    assert Memory.objects.count() == 2
    assert len(erase()) == 2
    world.run()
    nowhere(world)


def test_another_conflict_stays_open(world, erase):
    memory = world.create(f"{SECRET}\n", title="Notes")
    world.edit(memory, text="one\n")
    world.synced()
    world.letta.edit(world.letta.only().id, text="theirs\n")
    world.edit(memory, text="mine\n")
    world.run()
    erase()
    assert world.conflict()
    nowhere(world)


def test_saved_revisions_of_a_side_that_was_overwritten(world, erase):
    world.project.letta_direction = "to_side"
    world.project.save()
    memory = world.create("one", title="Notes")
    world.synced()
    world.letta.edit(world.letta.only().id, text=TEXT)
    world.synced()
    assert TEXT in history(memory)
    erase()
    world.run()
    nowhere(world)


def test_a_write_whose_end_nobody_knows(world, erase):
    memory = world.create("one", title="Notes")
    world.synced()
    world.letta.faults = ["crash_after"]
    world.edit(memory, text=TEXT)
    with pytest.raises(Crash):
        world.push(memory)
    (row,) = erase()
    assert "a write that is under way" in row.waits_for
    assert Intent.objects.filter(outcome="").exists()
    from syncjobs.models import Lease

    Lease.objects.all().delete()
    world.run()
    world.run()
    nowhere(world)
    assert quiet(world.run())
    world.everywhere(CLEAN)


def test_an_agents_stale_copy_does_not_bring_it_back(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    block = world.letta.only().id
    world.letta.attached[block] = ["Ada"]
    world.run()
    world.letta.edit(block, description="seen")
    world.run()
    turn = world.letta.begin_turn("Ada")
    (row,) = erase()
    Replica.objects.update(held_since=timezone.now() - timedelta(hours=1))
    world.push(memory)
    assert not on(world.letta)
    row.refresh_from_db()
    assert [words.partition(",")[0] for words in row.waits_for] == ["agents"]
    world.letta.end_turn(turn, **{block.replace("-", "_"): TEXT})
    world.run()
    world.run()
    assert not on(world.letta)
    assert world.memory().text == CLEAN
    Intent.objects.update(closed_at=timezone.now() - timedelta(minutes=11))
    assert Watch().round()
    nowhere(world)


def test_what_an_old_connection_showed_is_forgotten(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    old = Connection.objects.create(project=world.project, side="letta", address="http://old")
    replica = Replica.objects.get(connection__side="letta")
    Replica.objects.create(
        memory=memory, connection=old, base_fields={}, base_text=replica.base_text, seen_text=replica.seen_text
    )
    erase()
    world.push(memory)
    nowhere(world)


def test_a_side_that_is_not_written_to_is_named(world, erase):
    world.project.letta_direction = "from_side"
    world.project.save()
    world.letta.put(TEXT, slug="planner")
    world.synced()
    (row,) = erase()
    world.run()
    row.refresh_from_db()
    assert row.waits_for == ["Letta, which the hub does not write to: remove it there by hand"]
    world.letta.edit(world.letta.only().id, text="clean")
    world.run()
    resolve(world.conflict(), "side", user=None)
    world.run()
    row.refresh_from_db()
    assert row.done_at
    nowhere(world)


def test_it_is_found_over_line_ends(world, erase):
    memory = world.create("key:\r\nAAAA\r\nBBBB\r\nend", title="Notes")
    world.synced()
    erase(secret="AAAA\nBBBB")
    world.push(memory)
    nowhere(world, "AAAA")
    assert world.memory().text == f"key:\r\n{MARK}\r\nend"


def test_the_mark_may_be_longer_than_the_block_allows(world, erase):
    memory = world.create("abcd", title="Notes", limit=4)
    world.synced()
    erase(secret="abcd")
    world.push(memory)
    assert (world.memory().text, world.memory().limit) == (MARK, len(MARK))


def test_the_digest_block_follows(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    assert SECRET in world.letta.digests["planner"]
    erase()
    world.push(memory)
    assert SECRET not in world.letta.digests["planner"]


def test_another_project_keeps_its_own(world, erase, monkeypatch):
    other = World("other", share=world)
    theirs = other.create(TEXT, title="Theirs")
    memory = world.create(TEXT, title="Notes")
    world.synced()
    erase()
    world.push(memory)
    theirs.refresh_from_db()
    assert theirs.text == TEXT
    assert theirs.revisions.get().text.text == TEXT


def test_nothing_found_changes_nothing(world, erase):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    before = list(Revision.objects.values())
    assert erase(memory, secret="something else") == []
    assert list(Revision.objects.values()) == before
    assert not Purge.objects.exists()


# --- what agents say to the built-in Letta server, and what is no memory


def test_what_a_memory_says_in_no_field_of_its_own(world, erase):
    metadata = {"title": f"is {SECRET}", "foreign": {SECRET: [1, SECRET]}}
    fields = {"template_name": SECRET, "tags": [f"memhub:{SECRET}", "memhub:other"]}
    memory = builtin.create(world.project, {"label": "a", "value": TEXT, "metadata": metadata, **fields}, "Claude")
    version = builtin.version_of(memory)
    world.synced()
    erase()
    world.run()
    nowhere(world)
    block = builtin.block_of(again(world, memory))
    assert block["metadata"] == {"title": f"is {MARK}", "foreign": {MARK: [1, MARK]}}
    assert (block["template_name"], block["tags"]) == (MARK, [f"memhub:{MARK}", "memhub:other"])
    assert builtin.version_of(again(world, memory)) != version


def test_metadata_alone_needs_no_push(world, erase):
    block = {"label": "a", "value": "text", "metadata": {"foreign": SECRET}}
    memory: Any = builtin.create(world.project, block, "Claude")
    world.synced()
    (row,) = erase()
    assert (row.memory, row.kind, row.versions, bool(row.done_at)) == (memory, "text", 0, True)
    nowhere(world)
    assert memory.revisions.count() == 1
    assert quiet(world.run())


def test_what_is_no_memory(world, olga):
    said = {"value": TEXT, "description": SECRET, "tags": [SECRET, "a"], "metadata": {"a": [{SECRET: SECRET}]}}
    blocks = {"label": "human"}, {"label": SECRET, "is_template": True}, {"label": "x", "hidden": True}
    made = [builtin.create(world.project, said | {"entity_id": SECRET} | block, "Claude") for block in blocks]
    settings = {"system": TEXT, "llm_config": {SECRET: SECRET}}
    named = {"name": f"{SECRET} agent", "description": SECRET, "tags": [SECRET], "metadata": {"a": SECRET}}
    agent = agents.create(world.project, named | {"settings": settings}, blocks=[made[0].uuid], agent="Claude")
    (row,) = purge.erase_everywhere(world.project, Secret(SECRET), user=olga)
    assert in_database() == []
    assert (row.kind, row.memory, row.versions, row.author, bool(row.done_at)) == ("beside", None, 4, "olga", True)
    assert not Memory.objects.exists()
    human, template = (again(world, block) for block in made[:2])
    assert (human.text, human.tags, human.version) == (CLEAN, [MARK, "a"], 2)
    assert template.label == f"purged-{template.uuid.hex[:8]}"
    agent.refresh_from_db()
    assert (agent.name, agent.settings) == (f"{MARK} agent", {"system": CLEAN, "llm_config": {MARK: MARK}})
    assert purge.erase_everywhere(world.project, Secret(SECRET), user=olga) == []


def test_what_the_hub_itself_names_stays(world, olga):
    own = digest.block_of(world.project)
    builtin.update(own, {"description": "human words"}, "Claude")
    block = builtin.create(world.project, {"label": "x", "value": "y", "hidden": True, "entity_id": "e"}, "Claude")
    for word in ("shared_memory", "memhub:digest", "computed_by", "hidden", "entity_id", "human words"):
        purge.erase_everywhere(world.project, Secret(word), user=olga)
    shown = builtin.block_of(again(world, own))
    assert (shown["label"], shown["tags"]) == ("shared_memory_planner", ["memhub:digest:planner"])
    assert (shown["metadata"], shown["description"]) == ({"computed_by": "memoryhub"}, MARK)
    assert builtin.block_of(again(world, block))["entity_id"] == "e"


def test_agents_and_blocks_of_another_project_keep_theirs(world, olga):
    other = Project.objects.create(slug="other", name="Other")
    theirs = builtin.create(other, {"label": "human", "value": TEXT}, "Claude")
    purge.erase_everywhere(world.project, Secret(SECRET), user=olga)
    theirs.refresh_from_db()
    assert theirs.text == TEXT


# --- revisions, and whole memories


def test_earlier_revisions_go(world, olga):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    world.edit(memory, text="clean")
    world.synced()
    memory.refresh_from_db()
    row = purge.drop_revisions(memory, user=olga)
    assert (row.kind, row.versions, bool(row.done_at)) == ("revisions", 1, True)
    nowhere(world)
    assert list(memory.revisions.values_list("number", flat=True)) == [2]
    assert quiet(world.run())


def test_with_earlier_revisions_their_titles_go_from_what_runs_noted(world, olga):
    memory = world.create("text", title=SECRET)
    world.synced()
    world.edit(memory, title="clean", label="clean")
    world.synced()
    memory.refresh_from_db()
    purge.drop_revisions(memory, user=olga)
    nowhere(world)
    assert {step["title"] for run in world.project.runs.all() for step in run.steps} == {"clean"}


def test_earlier_revisions_that_a_side_still_shows_wait_for_the_push(world, olga):
    memory = world.create(TEXT, title="Notes")
    world.synced()
    world.edit(memory, text="clean")
    memory.refresh_from_db()
    row = purge.drop_revisions(memory, user=olga)
    assert row.waits_for == ["Letta", "local"]
    world.push(memory)
    nowhere(world)
    world.everywhere("clean")


def test_a_memory_must_be_deleted_first(world, olga):
    with pytest.raises(ValueError, match="deleted"):
        purge.drop_memory(world.create(TEXT), user=olga)


def test_a_deleted_memory_goes_when_it_is_gone_from_both_sides(world, olga):
    memory = world.create(TEXT, title=SECRET)
    world.create("other")
    world.synced()
    actions.delete([memory], user=olga)
    row = purge.drop_memory(memory, user=olga)
    assert row.done_at is None
    assert Memory.objects.count() == 2
    world.run()
    assert Memory.objects.count() == 1
    nowhere(world)
    assert quiet(world.run())
    row.refresh_from_db()
    assert (row.memory, bool(row.done_at), row.author) == (None, True, "olga")


def test_a_memory_that_is_restored_meanwhile_stays(world, olga):
    memory = world.create("text")
    world.synced()
    actions.delete([memory], user=olga)
    row = purge.drop_memory(memory, user=olga)
    actions.unarchive([memory], user=olga)
    world.run()
    row.refresh_from_db()
    assert row.called_off
    assert Memory.objects.live().count() == 1


# --- what is kept for a time only


def test_thinning_leaves_what_sides_and_open_conflicts_show(world, settings):
    memory = world.create("one\n", title="Notes")
    world.synced()
    world.letta.edit(world.letta.only().id, text="theirs\n")
    world.edit(memory, text="mine\n")
    world.run()
    shown = shown_elsewhere([memory.pk])
    texts = {row.digest: row.text for row in Text.objects.all()}
    assert {texts[digest] for _, digest in shown} == {"one\n", "theirs\n", "mine\n"}


def test_closed_intents_go_after_thirty_days(world):
    world.create("one")
    world.synced()
    Intent.objects.update(closed_at=timezone.now() - timedelta(days=31))
    open_one = Intent.objects.order_by("pk")[0]
    Intent.objects.filter(pk=open_one.pk).update(outcome="", closed_at=None)
    Watch().round()
    assert Intent.objects.get() == open_one
