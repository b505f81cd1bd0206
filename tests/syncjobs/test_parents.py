"""What a merge or a decision was made from stands in the history."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from blocks.models import Memory, Revision
from blocks.purge import drop_revisions
from blocks.retention import thin
from memoryhub.models import Role
from syncjobs.conflicts import RESOLUTIONS, resolve
from tests.conftest import person
from tests.syncjobs.fakes import Server
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db

BASE, OURS = "first\n-\nthird", "first of the hub\n-\nthird"
THEIRS, MERGED = "first\n-\nthird of Letta", "first of the hub\n-\nthird of Letta"
CLASHING = "first of Letta\n-\nthird"


def says(server: Server, **state: Any) -> None:
    (thing,) = server.things.values()
    thing.state = {**thing.state, **state}


def made_of(memory: Memory, number: int | None = None) -> list[str]:
    """The texts of the revisions that one (else the current) was made from."""
    parents = memory.revisions.get(number=number or memory.number).parents
    return [memory.revisions.get(number=parent).text.text for parent in parents]


@pytest.fixture
def memory(world: World) -> Memory:
    made = world.create(BASE)
    world.synced()
    return made


def merged(world: World, memory: Memory) -> Memory:
    says(world.letta, text=THEIRS)
    world.edit(memory, text=OURS)
    world.run()
    return world.memory()


def test_a_merge_is_made_from_the_hubs_text_and_the_sides(world: World, memory: Memory) -> None:
    memory = merged(world, memory)
    assert (memory.text, made_of(memory)) == (MERGED, [OURS, THEIRS])
    hub, letta = memory.revisions.get(number=memory.number).parents
    assert [memory.revisions.get(number=n).origin for n in (hub, letta)] == ["hub", "letta"]
    assert made_of(memory, letta) == [BASE]


def test_a_merge_of_three_is_made_from_all(world: World) -> None:
    base, memory = "1\n-\n2\n-\n3", world.create("1\n-\n2\n-\n3")
    world.synced()
    hub, letta, local = (base.replace(n, f"{n} changed") for n in "123")
    says(world.letta, text=letta)
    says(world.local, text=local)
    world.edit(memory, text=hub)
    world.run()
    assert made_of(world.memory()) == [hub, letta, local]


def test_other_fields_that_were_merged_are_made_from_a_revision_too(world: World, memory: Memory) -> None:
    says(world.letta, tags=["from-letta"])
    world.edit(memory, tags=["from-the-hub"])
    world.run()
    memory = world.memory()
    revisions = [memory.revisions.get(number=n) for n in memory.revisions.get(number=memory.number).parents]
    assert [revision.fields["tags"] for revision in revisions] == [["from-the-hub"], ["from-letta"]]
    assert memory.tags == ["from-letta", "from-the-hub"]


def test_what_is_only_pulled_follows_what_was_before(world: World, memory: Memory) -> None:
    says(world.letta, text=THEIRS)
    world.run()
    assert [revision.parents for revision in memory.revisions.all()] == [[], []]


@pytest.fixture
def clash(world: World, memory: Memory) -> World:
    says(world.letta, text=CLASHING)
    world.edit(memory, text=OURS)
    world.run()
    return world


@pytest.mark.parametrize("how", RESOLUTIONS)
def test_a_decision_is_made_from_both_texts(clash: World, how: str) -> None:
    memory = resolve(clash.conflict(), how, user=None, text="edited")
    assert made_of(memory) == [OURS, CLASHING]
    hub, letta = memory.revisions.get(number=memory.number).parents
    assert [memory.revisions.get(number=n).origin for n in (hub, letta)] == ["hub", "letta"]
    assert clash.run().status == "done"
    memory.refresh_from_db()
    assert memory.revisions.count() == memory.number


def history_page(client: Client, memory: Memory) -> str:
    url = reverse("memory_history", args=[memory.project.slug, memory.uuid])
    return " ".join(client.get(url).text.split())


@pytest.fixture
def victor(client: Client, world: World) -> User:
    user = person("victor", world.project, Role.VIEWER)
    client.force_login(user)
    return user


def test_the_history_leads_to_each(client: Client, victor: User, world: World, memory: Memory) -> None:
    memory = merged(world, memory)
    assert memory.revisions.get(number=4).parents == [2, 3]
    page = history_page(client, memory)
    assert "?from=2&amp;to=4" in page
    assert "?from=3&amp;to=4" in page
    assert "(Letta)" in page
    assert "Revision 2 to 4" in page  # unless asked otherwise, what the merge brought to the hub


def test_what_is_no_longer_kept_says_so(client: Client, victor: User, world: World, memory: Memory) -> None:
    memory = merged(world, memory)
    drop_revisions(memory)
    page = history_page(client, memory)
    assert page.count("(no longer kept)") == 2
    assert "?from=2&amp;to=4" not in page


def test_what_a_merge_that_stays_was_made_from_stays(settings: Any, world: World, memory: Memory) -> None:
    memory = merged(world, memory)
    for text in ("later", "later still"):
        says(world.letta, text=text)
        world.run()
    now = datetime.fromisoformat("2026-06-15T12:00:00+00:00")
    memory.revisions.update(created_at=now - timedelta(days=50), user=None)
    # An agent might have written each, and nothing said why.
    Revision.objects.update(note="")
    Revision.objects.filter(memory=memory, number=4).update(note="merged, and somebody noted it")
    settings.HISTORY_FULL_DAYS = 1
    assert sum(thin(now, lambda memories: set())) == 1
    assert sorted(memory.revisions.values_list("number", flat=True)) == [1, 2, 3, 4, 6]
    assert made_of(memory, 4) == [OURS, THEIRS]
