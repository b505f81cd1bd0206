"""The purge page: what it says, what it asks for, and that the secret is never shown or logged."""

import logging

import pytest
from django.urls import reverse

from blocks import actions, builtin
from blocks.models import Memory, Purge
from memoryhub.models import Role
from tests.conftest import person

SECRET = "hunter2-Xq"


@pytest.fixture
def memory(world):
    memory = world.create(f"is {SECRET}", title="Notes")
    world.synced()
    return memory


@pytest.fixture
def client(client, world):
    client.force_login(person("olga", world.project, Role.OWNER))
    return client


def url(memory, name="memory_purge"):
    return reverse(name, args=["planner", memory.uuid])


def erase(client, memory, **data):
    return client.post(url(memory, "memory_purge_text"), {"secret": SECRET, "sure": "on", **data}, follow=True)


def test_it_says_what_it_reaches(client, memory):
    page = client.get(url(memory)).text
    assert "its one revision" in page
    assert "the block <code" not in page
    assert "is overwritten by the next push" in page
    assert "change a leaked password all the same" in page
    assert "first, which takes it off both sides" in page


def test_only_owners_are_offered_it(client, memory, world):
    assert "Purge…" in client.get(url(memory, "memory_history")).text
    client.force_login(person("maria", world.project, Role.EDITOR))
    assert "Purge…" not in client.get(url(memory, "memory_history")).text


def test_a_text_is_erased_and_noted(client, memory, world):
    page = erase(client, memory).text
    assert "Erased in 1 revision of this memory. Still waits for: Letta, local." in page
    assert "waits for Letta, local" in page
    world.push(memory)
    for name in ("memory_history", "memory", "memory_purge"):
        page = client.get(url(memory, name)).text
        assert SECRET not in page
    page = client.get(reverse("activity", args=["planner"])).text
    assert "erased a piece of text for good, in 1 revision" in page
    assert "waits for" not in page
    assert page.count("olga") > 1


def test_it_is_never_repeated_or_logged(client, memory, caplog):
    caplog.set_level(logging.DEBUG)
    refused = client.post(url(memory, "memory_purge_text"), {"secret": SECRET})
    assert refused.status_code == 422
    assert "Tick this first" in refused.text
    assert SECRET not in refused.text.partition("</h1>")[2]
    erase(client, memory)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("secret", "said"), [("abc", "At least 4 characters"), ("not there", "occurs nowhere here")])
def test_what_cannot_be_erased(client, memory, secret, said):
    response = erase(client, memory, secret=secret)
    assert response.status_code == 422
    assert said in response.text
    assert not Purge.objects.exists()


def test_the_mark_itself_is_refused(client, memory):
    assert "put in the place of" in erase(client, memory, secret="purged").text


def test_everywhere_reaches_the_other_memories(client, memory, world):
    other = world.create(f"also {SECRET}")
    assert "of 2 memories" in erase(client, memory, everywhere="on").text
    other.refresh_from_db()
    assert SECRET not in other.text + other.title + other.label


def test_everywhere_reaches_what_agents_keep(client, memory, world):
    builtin.create(world.project, {"label": "human", "value": SECRET}, "Claude")
    page = erase(client, memory, everywhere="on").text
    assert "Erased in 1 revision of this memory and in 1 agent or block that is no memory." in page
    page = client.get(reverse("activity", args=["planner"])).text
    assert "erased a piece of text for good, in 1 agent or block that is no memory" in page


def test_it_may_stand_only_in_what_agents_keep(client, memory, world):
    for label in ("human", "persona"):
        builtin.create(world.project, {"label": label, "value": "another one"}, "Claude")
    page = erase(client, memory, secret="another one", everywhere="on").text
    assert "Erased in 2 agents or blocks that are no memories." in page


def test_otherwise_only_this_one(client, memory, world):
    other = world.create(f"also {SECRET}")
    erase(client, memory)
    other.refresh_from_db()
    assert SECRET in other.text


def test_earlier_revisions(client, memory, world):
    world.edit(memory, text="clean")
    world.push(memory)
    assert "1 earlier revision and" in client.get(url(memory)).text
    assert client.post(url(memory, "memory_purge_revisions")).status_code == 422
    page = client.post(url(memory, "memory_purge_revisions"), {"sure": "on"}, follow=True).text
    assert "1 earlier revision removed for good" in page
    assert "Revision 2 to 2" in page


def test_a_memory_that_lives_is_not_removed(client, memory):
    response = client.post(url(memory, "memory_purge_memory"), {"sure": "on"})
    assert response.status_code == 409
    assert Memory.objects.exists()


def test_a_deleted_memory_is_removed(client, memory, world):
    actions.delete([memory], user=None)
    page = client.post(url(memory, "memory_purge_memory"), {"sure": "on"}, follow=True).text
    assert "removed for good as soon as it is gone from: Letta, local" in page
    world.push(memory)
    assert not Memory.objects.exists()
    page = client.get(reverse("activity", args=["planner"])).text
    assert "removed a memory for good, with 2 revisions" in page


def test_purges_stand_on_their_page_of_the_activity(client, memory, world):
    for number in range(60):
        world.edit(memory, text=f"{number} {SECRET}")
    erase(client, memory)
    address = reverse("activity", args=["planner"])
    first = client.get(address)
    assert "erased a piece" in first.text
    assert "erased a piece" not in client.get(f"{address}?before={first.context['next']}").text


# --- gaps in the history


def test_revisions_that_are_no_longer_kept(client, memory, world):
    for number in range(4):
        world.edit(memory, text=str(number))
    memory.revisions.filter(number__in=[2, 4]).delete()
    page = client.get(url(memory, "memory_history"))
    assert [r.number for r in page.context["revisions"]] == [5, 3, 1]
    assert "Revision 3 to 5" in page.text
    page = client.get(url(memory, "memory_history") + "?from=2&to=4").text
    assert "Revision 1 to 3" in page
    assert "Revision 2 and 4 is no longer kept" in page
    assert client.get(url(memory, "memory_history") + "?to=6").status_code == 404


# --- the size


def test_the_status_page_shows_how_much_room_the_history_takes(client, memory, world, admin_client, settings):
    page = client.get(reverse("status")).text
    assert "every version of the last 30 days" in page
    assert "all projects" not in page
    page = admin_client.get(reverse("status"))
    assert "all projects" in page.text
    assert page.context["history"].revisions == 1
