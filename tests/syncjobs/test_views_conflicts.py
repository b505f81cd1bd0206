"""Conflicts: every text in view, a person decides."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from blocks.models import Memory
from memoryhub.models import Project, Role
from syncjobs.models import Conflict
from tests.conftest import person
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def maria(client: Client, world: World) -> User:
    user = person("maria", world.project, Role.EDITOR)
    client.force_login(user)
    return user


@pytest.fixture
def conflict(world: World) -> Conflict:
    """The hub and Letta changed the same line."""
    memory = world.create("first\nsecond\nthird", title="Checklist")
    world.synced()
    block = next(iter(world.letta.things.values()))
    block.state = {**block.state, "text": "first\nsecond of Letta\nthird"}
    world.edit(memory, text="first\nsecond of the hub\nthird")
    world.run()
    return world.conflict()


def url(name: str, conflict: Conflict) -> str:
    return reverse(name, args=["planner", conflict.pk])


def decide(client: Client, conflict: Conflict, how: str, **said: Any) -> Any:
    seen = Memory.objects.get(pk=conflict.memory_id).number
    return client.post(url("conflict_resolve", conflict), {"how": how, "seen_number": seen, "text": "", **said})


def test_the_list_leads_to_it(client: Client, maria: User, conflict: Conflict) -> None:
    page = client.get(reverse("conflicts", args=["planner"])).text
    assert "Checklist" in page
    assert url("conflict", conflict) in page
    assert "the hub and Letta" in page


def test_every_text_is_in_view_with_the_words_that_differ(client: Client, maria: User, conflict: Conflict) -> None:
    page = client.get(url("conflict", conflict)).text
    assert "second<ins> of the hub</ins>" in page
    assert "second<ins> of Letta</ins>" in page
    assert "first\nsecond\nthird" in page
    assert "first\nsecond of the hub\nsecond of Letta\nthird" in page  # to begin with


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("hub", "first\nsecond of the hub\nthird"),
        ("side", "first\nsecond of Letta\nthird"),
        ("base", "first\nsecond\nthird"),
        ("all", "first\nsecond of the hub\nthird"),
    ],
)
def test_keep_one(client: Client, maria: User, conflict: Conflict, world: World, how: str, text: str) -> None:
    assert decide(client, conflict, how)["Location"] == reverse("conflicts", args=["planner"])
    conflict.refresh_from_db()
    assert (conflict.resolution, conflict.resolved_by) == (how, maria)
    assert Memory.objects.get(pk=conflict.memory_id).text == text
    assert Memory.objects.count() == (2 if how == "all" else 1)
    world.run()
    assert text in {thing.state["text"] for thing in world.letta.things.values()}


def test_keep_an_edited_text(client: Client, maria: User, conflict: Conflict) -> None:
    decide(client, conflict, "edited", text="first\r\nboth\r\nthird")
    assert Memory.objects.get(pk=conflict.memory_id).text == "first\nboth\nthird"


def test_an_edit_meanwhile_is_shown_and_the_text_is_kept(
    client: Client, maria: User, conflict: Conflict, world: World
) -> None:
    seen = Memory.objects.get(pk=conflict.memory_id).number
    world.edit(conflict.memory, text="first\nsecond of somebody else\nthird")
    reply = decide(client, conflict, "edited", text="what I wrote", seen_number=seen)
    assert reply.status_code == 409
    assert "Changed meanwhile" in reply.text
    assert "what I wrote" in reply.text
    assert "somebody else" in reply.text
    conflict.refresh_from_db()
    assert conflict.closed_at is None
    assert decide(client, conflict, "edited", text="what I wrote").status_code == 302


def test_a_decision_that_is_none_keeps_the_text(client: Client, maria: User, conflict: Conflict) -> None:
    reply = decide(client, conflict, "toss a coin", text="what I wrote")
    assert reply.status_code == 422
    assert "what I wrote" in reply.text


def test_a_closed_one_stays_as_it_was_decided(client: Client, maria: User, conflict: Conflict) -> None:
    decide(client, conflict, "hub")
    reply = client.post(url("conflict_resolve", conflict), {"how": "side", "seen_number": 9, "text": ""}, follow=True)
    assert "closed already" in reply.text
    assert 'name="how"' not in reply.text
    conflict.refresh_from_db()
    assert conflict.resolution == "hub"
    assert url("conflict", conflict) in client.get(reverse("conflicts", args=["planner"]), {"closed": ""}).text


def test_other_fields_that_differ_are_shown(client: Client, maria: User, world: World) -> None:
    memory = world.create("text", title="Before")
    world.synced()
    block = next(iter(world.letta.things.values()))
    block.state = {**block.state, "title": "Title of Letta"}
    world.edit(memory, title="Title of the hub")
    world.run()
    page = client.get(url("conflict", world.conflict())).text
    assert "Other fields that differ" in page
    assert "Title of Letta" in page
    assert "Title of the hub" in page


@pytest.fixture
def fields(world: World) -> Conflict:
    """The hub and Letta changed title, description and limit, not the text."""
    memory = world.create("text", title="Before", description="Before", limit=100)
    world.synced()
    (block,) = world.letta.things.values()
    block.state = {**block.state, "title": "Title of Letta", "description": "", "limit": 300}
    world.edit(memory, title="Title of the hub", description="of the hub", limit=200)
    world.run()
    return world.conflict()


def test_other_fields_can_be_edited(client: Client, maria: User, fields: Conflict, world: World) -> None:
    page = client.get(url("conflict", fields)).text
    assert 'name="other_title" value="Title of the hub"' in page
    assert 'name="text"' not in page
    said = {"how": "edited", "seen_number": fields.memory.number, "other_title": "Both", "other_limit": "400"}
    assert client.post(url("conflict_resolve", fields), said).status_code == 302
    memory = world.memory()
    assert (memory.title, memory.description, memory.limit, memory.text) == ("Both", "of the hub", 400, "text")
    assert world.run().status == "done"
    assert next(iter(world.letta.things.values())).state["title"] == "Both"


def test_what_is_wrong_with_a_field_is_said_there(client: Client, maria: User, fields: Conflict) -> None:
    said = {"how": "edited", "seen_number": fields.memory.number, "other_title": "a\0b", "other_limit": "0"}
    reply = client.post(url("conflict_resolve", fields), said)
    assert reply.status_code == 422
    assert "NUL" in reply.text
    assert "A limit is between 1" in reply.text
    fields.refresh_from_db()
    assert fields.closed_at is None


def test_nothing_is_decided_about_a_text_that_nobody_saw(
    client: Client, maria: User, conflict: Conflict, world: World
) -> None:
    """Letta shows another text than the page did, and the hub has the old one in its history already."""
    page = client.get(url("conflict", conflict)).text
    seen = page.partition('name="seen_sides" value="')[2].partition('"')[0]
    assert seen
    number = Memory.objects.get(pk=conflict.memory_id).number
    Conflict.objects.filter(pk=conflict.pk).update(side_hash="f" * 64)
    reply = decide(client, conflict, "side", seen_sides=seen)
    assert reply.status_code == 409
    assert "What Letta shows" in reply.text
    assert Memory.objects.get(pk=conflict.memory_id).number == number
    fresh = reply.text.partition('name="seen_sides" value="')[2].partition('"')[0]
    assert decide(client, conflict, "side", seen_sides=fresh).status_code == 302


def test_a_decided_one_shows_the_texts_of_its_time(
    client: Client, maria: User, conflict: Conflict, world: World
) -> None:
    decide(client, conflict, "side")
    world.edit(conflict.memory, text="much later")
    page = client.get(url("conflict", conflict)).text
    assert "kept that of Letta" in page
    assert "second<ins> of the hub</ins>" in page
    assert "much later" not in page
    assert "kept that of Letta" in client.get(reverse("conflicts", args=["planner"]), {"closed": ""}).text


def test_the_other_side_is_named_where_it_has_no_text_of_its_own(
    client: Client, maria: User, conflict: Conflict
) -> None:
    assert "Local has the same text as the hub." in client.get(url("conflict", conflict)).text


@pytest.mark.parametrize(
    "lines",
    [("first", "{}", "last"), ("first", "last", "{}")],
    ids=["between", "after a last line without an end"],
)
def test_additions_at_one_place_can_both_be_kept(
    client: Client, maria: User, world: World, lines: tuple[str, ...]
) -> None:
    text = "\n".join(lines)
    memory = world.create("first\nlast", title="List")
    world.synced()
    (block,) = world.letta.things.values()
    block.state = {**block.state, "text": text.format("of Letta")}
    world.edit(memory, text=text.format("of the hub"))
    world.run()
    page = client.get(url("conflict", world.conflict())).text
    assert "Keep this text, with both additions" in page
    both = text.format("of the hub\nof Letta")
    assert f"{both}</textarea>" in page


def test_where_the_other_side_is_in_conflict_too_that_is_next(
    client: Client, maria: User, three: Conflict, world: World
) -> None:
    other = Conflict.objects.get(closed_at=None, connection__side="local")
    assert decide(client, three, "hub")["Location"] == url("conflict", other)


def test_viewers_see_it_and_decide_nothing(client: Client, conflict: Conflict, world: World) -> None:
    client.force_login(person("victor", world.project, Role.VIEWER))
    page = client.get(url("conflict", conflict)).text
    assert "second<ins> of Letta</ins>" in page
    assert url("conflict_resolve", conflict) not in page


def test_one_of_another_project_is_not_there(client: Client, maria: User, conflict: Conflict) -> None:
    Project.objects.create(slug="other", name="Other").memberships.create(user=maria, role=Role.OWNER)
    assert client.get(reverse("conflict", args=["other", conflict.pk])).status_code == 404
    assert client.post(reverse("conflict_resolve", args=["other", conflict.pk])).status_code == 404


def test_nothing_to_decide_says_so(client: Client, maria: User) -> None:
    assert "No open conflicts" in client.get(reverse("conflicts", args=["planner"])).text


def test_an_edited_text_that_did_not_arrive_decides_nothing(
    client: Client, maria: User, conflict: Conflict, world: World
) -> None:
    before = conflict.memory.text
    answer = client.post(url("conflict_resolve", conflict), {"how": "edited", "seen_number": conflict.memory.number})
    assert answer.status_code == 422
    assert "did not arrive" in answer.content.decode()
    conflict.refresh_from_db()
    assert conflict.closed_at is None
    assert world.memory().text == before


@pytest.fixture
def three(world: World) -> Conflict:
    """The hub, Letta and the local store changed the same line; the conflict with Letta."""
    memory = world.create("first\nsecond\nthird", title="Checklist")
    world.synced()
    for server, name in ((world.letta, "Letta"), (world.local, "local")):
        (thing,) = server.things.values()
        thing.state = {**thing.state, "text": f"first\nsecond of {name}\nthird"}
    world.edit(memory, text="first\nsecond of the hub\nthird")
    world.run()
    return Conflict.objects.get(closed_at=None, connection__side="letta")


def test_the_third_text_can_be_kept_and_ends_both(client: Client, maria: User, three: Conflict, world: World) -> None:
    page = client.get(url("conflict", three)).text
    assert 'value="third"' in page
    assert "Keep all" in page
    decide(client, three, "third")
    assert Memory.objects.get().text == "first\nsecond of local\nthird"
    assert not Conflict.objects.filter(closed_at=None).exists()
    closed = Conflict.objects.values_list("connection__side", "resolution")
    assert sorted(closed) == [("letta", "local"), ("local", "side")]
    assert world.run().status == "done"
    world.everywhere("first\nsecond of local\nthird")


def test_the_proposal_says_whose_text_is_not_in_it(client: Client, maria: User, three: Conflict) -> None:
    page = client.get(url("conflict", three)).text
    assert "then Letta’s; what local has is above, and not in it" in page  # noqa: RUF001
    other = Conflict.objects.get(closed_at=None, connection__side="local")
    assert "then local’s; what Letta has is above, and not in it" in client.get(url("conflict", other)).text  # noqa: RUF001


def test_where_the_third_has_no_text_of_its_own_nothing_is_left_out(
    client: Client, maria: User, conflict: Conflict
) -> None:
    assert "not in it" not in client.get(url("conflict", conflict)).text


def test_the_list_counts_memories_as_the_navigation_does(client: Client, maria: User, three: Conflict) -> None:
    page = client.get(reverse("conflicts", args=["planner"])).text
    assert "the hub, Letta and local" in page
    assert page.count("Checklist</a>") == 1
    assert 'open <span class="count num">1</span>' in page


def test_all_three_can_be_kept(client: Client, maria: User, three: Conflict, world: World) -> None:
    decide(client, three, "all")
    assert not Conflict.objects.filter(closed_at=None).exists()
    assert world.run().status == "done"
    world.everywhere(*(f"first\nsecond of {name}\nthird" for name in ("the hub", "Letta", "local")))


def test_without_a_third_there_is_none_to_keep(client: Client, maria: User, conflict: Conflict) -> None:
    assert 'value="third"' not in client.get(url("conflict", conflict)).text
    decide(client, conflict, "third")
    conflict.refresh_from_db()
    assert conflict.closed_at is None


def test_to_archive_or_delete_one_in_conflict_says_what_comes_of_it(
    client: Client, maria: User, conflict: Conflict, world: World
) -> None:
    at = ["planner", conflict.memory.uuid]
    page = client.get(reverse("memory_delete", args=at)).text
    assert "what Letta shows was never taken in" in page
    assert url("conflict", conflict) in page
    assert "brings it back" in client.post(reverse("memory_archive", args=at), follow=True).text
    world.run()
    assert world.memory().live
    assert "had not been taken in" in world.memory().notice
