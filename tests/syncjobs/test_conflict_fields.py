"""What does not clash is merged, whatever is decided about what does."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from blocks.models import Memory
from memoryhub.models import Role
from syncjobs.comparison import taken
from syncjobs.conflicts import RESOLUTIONS, decide, resolve
from syncjobs.foresee import preview
from syncjobs.models import Conflict
from tests.conftest import person
from tests.syncjobs.fakes import Server
from tests.syncjobs.world import World, history, quiet

pytestmark = pytest.mark.django_db


def says(server: Server, **state: Any) -> None:
    thing = server.only()
    thing.state = {**thing.state, **state}


def page_of(client: Client, conflict: Conflict) -> str:
    client.force_login(person("maria", conflict.memory.project, Role.EDITOR))
    return " ".join(client.get(reverse("conflict", args=["planner", conflict.pk])).text.split())


@pytest.fixture
def text(world: World) -> World:
    """The text clashes; both added a tag, Letta changed kind and priority, the hub the description."""
    memory = world.create("t\nu\n", title="Notes", tags=["a"])
    world.synced()
    says(world.letta, text="t\nof Letta\n", tags=["a", "from-letta"], kind="gotcha", priority="high")
    world.edit(memory, text="t\nof the hub\n", tags=["a", "from-hub"], description="of the hub")
    world.run()
    return world


MERGED = {
    "tags": ["a", "from-hub", "from-letta"],
    "kind": "gotcha",
    "priority": "high",
    "description": "of the hub",
    "title": "Notes",
}


def part(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in MERGED}


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ("hub", "t\nof the hub\n"),
        ("side", "t\nof Letta\n"),
        ("base", "t\nu\n"),
        ("edited", "both"),
        ("all", "t\nof the hub\n"),
    ],
)
def test_other_fields_are_merged_whatever_is_kept_of_the_text(text: World, how: str, kept: str) -> None:
    conflict = text.conflict()
    memory = resolve(conflict, how, user=None, text="both")
    assert (memory.text, part(memory.state)) == (kept, MERGED)
    assert {"t\nof the hub\n", "t\nof Letta\n", kept} <= set(history(memory))
    assert text.run().status == "done"
    for server in text.servers.values():
        (there,) = (thing.state for thing in server.things.values() if thing.state["title"] == "Notes")
        assert (there["text"], part(there)) == (kept, MERGED)
    assert quiet(text.run())


def test_what_letta_said_as_a_whole_is_a_revision(text: World) -> None:
    memory = resolve(text.conflict(), "hub", user=None)
    _, theirs = memory.revisions.get(number=memory.number).parents
    fields = memory.revisions.get(number=theirs).fields
    assert (fields["tags"], fields["kind"]) == (["a", "from-letta"], "gotcha")


def test_the_page_says_what_else_is_taken_over(client: Client, text: World) -> None:
    page = page_of(client, text.conflict())
    assert "To decide: text. Also taken over, whatever is kept: " in page
    assert "kind gotcha, tags +from-letta, priority high from Letta; " in page
    assert "description of the hub, tags +from-hub from the hub." in page
    assert "same text ·" not in page


def test_a_decided_one_says_nothing_of_it(client: Client, text: World) -> None:
    conflict = text.conflict()
    resolve(conflict, "hub", user=None)
    conflict.refresh_from_db()
    assert "Also taken over" not in page_of(client, conflict)


@pytest.fixture
def title(world: World) -> World:
    """Title and description clash; only Letta changed the text."""
    memory = world.create("one\ntwo\n", title="Before", description="Before")
    world.synced()
    says(world.letta, text="one\ntwo of Letta\n", title="Of Letta", description="Of Letta")
    world.edit(memory, title="Of the hub", description="Of the hub")
    world.run()
    return world


@pytest.mark.parametrize(
    ("how", "kept"),
    [("hub", "Of the hub"), ("side", "Of Letta"), ("base", "Before"), ("edited", "Both"), ("all", "Of the hub")],
)
def test_a_text_that_only_the_side_changed_stays(title: World, how: str, kept: str) -> None:
    memory = resolve(title.conflict(), how, user=None, fields={"title": "Both", "description": "Both"})
    assert (memory.text, memory.title, memory.description) == ("one\ntwo of Letta\n", kept, kept)
    assert title.run().status == "done"
    title.everywhere(*["one\ntwo of Letta\n"] * (2 if how == "all" else 1))


def test_texts_that_differ_are_not_said_to_be_the_same(client: Client, title: World) -> None:
    page = page_of(client, title.conflict())
    assert "same text ·" not in page
    assert "To decide: title, description. Also taken over, whatever is kept: the text from Letta." in page
    assert 'name="text"' not in page
    for button in ("Keep the hub’s", "Keep Letta’s", "Go back to the earlier"):  # noqa: RUF001
        assert f"{button} title, description</button>" in page


def test_texts_that_are_the_same_are_said_to_be(client: Client, world: World) -> None:
    memory = world.create("one", title="Before")
    world.synced()
    says(world.letta, title="Of Letta")
    world.edit(memory, title="Of the hub")
    world.run()
    page = page_of(client, world.conflict())
    assert page.count("same text ·") == 2
    assert "Also taken over" not in page


def test_changes_to_different_lines_are_put_together(client: Client, world: World) -> None:
    memory = world.create("one\n-\ntwo\n", title="Before")
    world.synced()
    says(world.letta, text="one\n-\ntwo of Letta\n", title="Of Letta")
    world.edit(memory, text="one of the hub\n-\ntwo\n", title="Of the hub")
    world.run()
    conflict = world.conflict()
    assert "other lines of the text from Letta; other lines of the text from the hub" in page_of(client, conflict)
    assert resolve(conflict, "base", user=None).text == "one of the hub\n-\ntwo of Letta\n"
    assert {"one\n-\ntwo of Letta\n", "one of the hub\n-\ntwo\n"} <= set(history(world.memory()))


def test_what_the_hub_changed_since_to_something_else_is_to_be_decided_too(client: Client, text: World) -> None:
    text.edit(text.memory(), kind="workaround")
    conflict = text.conflict()
    assert conflict.fields == ["text"]
    page = page_of(client, conflict)
    assert 'name="other_kind" value="workaround"' in page
    assert "To decide: text, kind." in page
    memory = decide(conflict, "side", user=None, text="", seen_number=text.memory().number)
    assert (memory.kind, memory.text) == ("gotcha", "t\nof Letta\n")
    conflict.refresh_from_db()
    assert conflict.fields == ["text", "kind"]


def test_an_edit_reaches_only_what_clashes(text: World) -> None:
    memory = resolve(text.conflict(), "edited", user=None, text="both", fields={"kind": "fix", "title": "Other"})
    assert (memory.kind, memory.title) == ("gotcha", "Notes")


def test_without_a_base_what_only_one_says_is_taken(world: World) -> None:
    """As at first contact: tags are joined, the hub's empty description and its own kind give way."""
    text = "the same text on both, of more than forty characters"
    world.create(text, title="Of the hub", tags=["hub"])
    said = {"title": "Of Letta", "description": "Of Letta", "kind": "gotcha"}
    world.letta.put(text, slug="planner", tags=["letta"], label="of-the-hub", **said)
    world.run()
    conflict = world.conflict()
    assert (conflict.base, conflict.fields) == (None, ["title"])
    memory = resolve(conflict, "hub", user=None)
    assert (memory.title, memory.description, memory.kind) == ("Of the hub", "Of Letta", "gotcha")
    assert memory.tags == ["hub", "letta"]


def test_where_they_never_were_in_step_nobody_is_said_to_have_changed_it(client: Client, world: World) -> None:
    text = "the same text on both, of more than forty characters"
    memory = world.create(text, title="Of the hub")
    world.letta.put(text, slug="planner", title="Of Letta")
    known = "differ, and no version is known that both had"
    (planned,) = [step["why"] for step in preview(world.project).steps if step["op"] == "conflict"]
    (done,) = [step["why"] for step in world.run().steps if step["op"] == "conflict"]
    assert planned == done == f"the hub and Letta {known}: title"
    page = page_of(client, world.conflict())
    assert f"the hub and Letta {known}, seen" in page
    assert "both changed" not in page
    there = client.get(reverse("memory", args=["planner", memory.uuid])).text
    assert f"they {known}" in there
    assert "both changed" not in there


def test_where_they_were_in_step_both_changed_it(client: Client, world: World) -> None:
    memory = world.create("one", title="Before")
    world.synced()
    says(world.letta, title="Of Letta")
    world.edit(memory, title="Of the hub")
    (why,) = [step["why"] for step in world.run().steps if step["op"] == "conflict"]
    assert why == "changed in the hub and on the side: title"
    assert "the hub and Letta both changed it, seen" in page_of(client, world.conflict())


@pytest.fixture
def three(world: World) -> World:
    """All texts clash; each side added a tag."""
    memory = world.create("one", title="Notes")
    world.synced()
    for server, name in ((world.letta, "letta"), (world.local, "local")):
        says(server, text=f"of {name}", tags=[name])
    says(world.letta, limit=300)
    world.edit(memory, text="of the hub", tags=["hub"])
    world.run()
    return world


@pytest.mark.parametrize("how", ["third", "all"])
def test_what_both_sides_added_is_taken_where_both_are_in_conflict(three: World, how: str) -> None:
    conflict = Conflict.objects.get(closed_at=None, connection__side="letta")
    memory = decide(conflict, how, user=None)
    assert (memory.tags, memory.limit) == (["hub", "letta", "local"], 300)
    assert memory.text == ("of local" if how == "third" else "of the hub")
    assert not Conflict.objects.filter(closed_at=None).exists()
    assert three.run().status == "done"
    assert quiet(three.run())


@pytest.mark.parametrize("how", RESOLUTIONS)
def test_one_side_after_the_other(three: World, how: str) -> None:
    for side in ("letta", "local"):
        resolve(Conflict.objects.get(closed_at=None, connection__side=side), how, user=None, text="edited")
    first = Memory.objects.order_by("pk")[0]
    assert (first.tags, first.limit) == (["hub", "letta", "local"], 300)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("tags", ["a", "b"], ["a", "c"], ["a", "c"]), "tags +c -b"),
        (("read_only", False, True, True), "read only"),
        (("read_only", True, False, False), "not read only"),
        (("limit", 100, 2000, 2000), "limit 2,000"),
        (("file_path", "a.md", "", ""), "no file path"),
        (("text", "old", "new", "new"), "the text"),
        (("text", "old", "both", "new"), "other lines of the text"),
    ],
)
def test_a_change_in_words(change: tuple[str, Any, Any, Any], words: str) -> None:
    assert taken(*change) == words
