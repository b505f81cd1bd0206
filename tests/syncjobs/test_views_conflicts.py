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
