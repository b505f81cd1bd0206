"""History, comparison and activity."""

import pytest
from django.urls import reverse

from blocks import actions
from blocks.models import Origin
from blocks.state import complete


@pytest.fixture
def client(client, editor):
    client.force_login(editor)
    return client


@pytest.fixture
def edited(memory, editor):
    actions.edit(memory, {"text": "1. Run all tests\n2. Tag\n"}, user=editor, based_on=1)
    actions.edit(memory, {"title": "Checklist <b>"}, user=editor, based_on=2)
    return memory


def url(memory, query=""):
    return reverse("memory_history", args=["planner", memory.uuid]) + query


def test_every_revision_is_listed(client, edited):
    response = client.get(url(edited))
    assert [r.number for r in response.context["revisions"]] == [3, 2, 1]


def test_any_two_are_compared(client, edited):
    response = client.get(url(edited, "?from=1&to=3"))
    assert "1. Run <ins>all </ins>tests" in response.text
    assert "Checklist &lt;b&gt;" in response.text


def test_htmx_gets_the_part(client, edited):
    assert "<html" not in client.get(url(edited, "?from=1&to=2"), headers={"HX-Request": "true"}).text


@pytest.mark.parametrize("query", ["?from=8&to=9", "?to=77"])
def test_revisions_that_never_were(client, edited, query):
    assert client.get(url(edited, query)).status_code == 404


@pytest.mark.parametrize("query", ["?from=x&to=-1", "?below=²"])
def test_nonsense_shows_the_latest(client, edited, query):
    assert client.get(url(edited, query)).status_code == 200


def test_long_histories_have_pages(client, memory, editor):
    for number in range(1, 60):
        actions.edit(memory, {"text": str(number)}, user=editor, based_on=number)
    first = client.get(url(memory))
    assert len(first.context["revisions"]) == 50
    assert len(client.get(url(memory, f"?below={first.context['next']}")).context["revisions"]) == 10


def test_activity_lists_who_did_what(client, edited):
    response = client.get(reverse("activity", args=["planner"]))
    assert [r.number for r in response.context["revisions"]] == [3, 2, 1]
    assert "maria" in response.text


def test_activity_has_pages(client, memory, editor):
    for number in range(1, 60):
        actions.edit(memory, {"text": str(number)}, user=editor, based_on=number)
    address = reverse("activity", args=["planner"])
    older = client.get(f"{address}?before={client.get(address).context['next']}", headers={"HX-Request": "true"})
    assert older.text.count("<tr>") == 11
    assert "<html" not in older.text


def test_an_empty_project_says_what_comes_here(client, project):
    assert "Nothing happened yet" in client.get(reverse("activity", args=["planner"])).text


def taken_in(project, count):
    """What a first sync does: many memories at once."""
    changes = []
    for number in range(count):
        state = complete({"title": f"Memory {number}", "label": f"memory-{number}", "text": str(number)})
        changes.append(actions.Change(actions.new_memory(project), state, Origin.LOCAL, author="local"))
    actions.record(changes)


def test_what_sync_took_in_at_once_is_one_line(client, memory):
    taken_in(memory.project, 120)
    response = client.get(reverse("activity", args=["planner"]))
    group, made = response.context["events"]
    assert (group.count, len(group.revisions), made.author) == (120, 50, "maria")
    assert "Memory 119" in response.text
    assert "and 70 more" in response.text


def test_a_few_are_listed_singly(client, memory):
    taken_in(memory.project, 4)
    assert [r.number for r in client.get(reverse("activity", args=["planner"])).context["events"]] == [1] * 5
