"""The main page: both sides, search, filters, pages."""

import pytest
from django.template.loader import get_template
from django.urls import reverse

from blocks import actions
from blocks.models import Memory, SyncState, Text, digest_of
from blocks.state import state_hash
from memoryhub.models import LettaServer, LocalStore
from syncjobs.models import Conflict, Connection, Replica

HTMX = {"HX-Request": "true"}
PAGE = "/p/planner/"


@pytest.fixture
def client(client, editor):
    client.force_login(editor)
    return client


@pytest.fixture
def letta(project):
    """The project's connection to a Letta server."""
    project.letta_server = LettaServer.objects.create(name="Team Letta", url="http://letta.example:8283")
    project.local_store = LocalStore.objects.create(name="Team store", url="http://chroma.example:8000")
    project.save()
    Connection.objects.create(project=project, side="local", address=project.local_store.address)
    return Connection.objects.create(project=project, side="letta", address=project.letta_server.address, items=7)


def replica(memory, connection, base=None, seen=None, **fields):
    base = {**memory.state, **(base or {})}
    seen = {**base, **(seen or {})}
    Text.objects.keep([base["text"], seen["text"]])
    for name, state in (("base", base), ("seen", seen)):
        fields[f"{name}_hash"] = state_hash(state)
        fields[f"{name}_text_id"] = digest_of(state["text"])
        fields[f"{name}_fields"] = {k: v for k, v in state.items() if k != "text"}
    fields.setdefault("external_id", "block-1")
    return Replica.objects.create(memory=memory, connection=connection, **fields)


def row(client):
    return client.get(PAGE).context["rows"][0]


def test_the_built_in_server_shows_the_memory_itself(client, memory):
    response = client.get(PAGE)
    assert "Deployment checklist" in response.text
    assert row(client).letta.status == "builtin"
    assert "HX-Request" in response["Vary"]


def test_the_same_text_on_a_side(client, memory, letta):
    replica(memory, letta)
    assert (row(client).letta.status, row(client).local.status) == ("same", "absent")
    assert "not in the local store yet" in client.get(PAGE).text


def test_an_edit_waits_to_be_pushed(client, memory, letta):
    replica(memory, letta, base={"text": "1. Run tests\n"})
    response = client.get(PAGE)
    assert response.context["rows"][0].letta.status == "waiting"
    assert "<ins> 2. Tag</ins>" in response.text


def test_what_changed_there_is_shown(client, memory, letta):
    replica(memory, letta, seen={"text": "1. Run all tests\n2. Tag\n"})
    response = client.get(PAGE)
    assert "changed in Letta" in response.text
    assert "<ins>all </ins>" in response.text


def test_a_conflict_links_to_its_page(client, memory, letta):
    replica(memory, letta, seen={"text": "other"})
    conflict = Conflict.objects.create(memory=memory, connection=letta, fields=["text"], side_state={}, side_hash="x")
    assert reverse("conflict", args=["planner", conflict.pk]) in client.get(PAGE).text


def test_a_refusal_says_why(client, memory, letta):
    replica(memory, letta, status="refused", reason="label is too long")
    assert "label is too long" in client.get(PAGE).text


def test_what_is_not_shared_is_kept_local(client, memory, letta):
    Memory.objects.update(shared=False)
    assert row(client).letta.status == "unshared"


def test_another_servers_replicas_do_not_count(client, memory, letta, project):
    replica(memory, letta)
    project.letta_server = LettaServer.objects.create(name="New", url="http://new.example")
    project.save()
    assert row(client).letta.status == "absent"


def test_a_side_that_could_not_be_read_is_said(client, memory, letta):
    Connection.objects.update(look_error="Connection refused.", failures=1)
    assert "Connection refused. What is shown here is what was last seen." in client.get(PAGE).text


def test_queries_do_not_grow_with_rows(client, memory, letta, editor, django_assert_max_num_queries):
    for number in range(20):
        replica_of = actions.create(memory.project, {"title": f"m{number}"}, user=editor)
        Replica.objects.create(memory=replica_of, connection=letta, external_id=str(number))
    with django_assert_max_num_queries(16):
        client.get(PAGE)


def test_a_full_page_takes_no_more_queries_than_a_short_one(
    client, memory, letta, editor, django_assert_max_num_queries
):
    """Also where texts differ, or are too long to come with the page."""
    for number in range(60):
        text = "long " * 10_000 if number % 5 == 0 else f"text {number}"
        made = actions.create(memory.project, {"title": f"m{number}", "text": text}, user=editor)
        seen = {"text": "another"} if number % 5 == 1 else {}
        replica(made, letta, seen=seen, external_id=str(number))
    with django_assert_max_num_queries(15):
        assert client.get(PAGE).text.count("data-row") == 50
    with django_assert_max_num_queries(16):
        assert client.get(PAGE, {"q": "m"}).text.count("data-row") == 50


def test_search_answers_with_the_list_only(client, memory, editor):
    actions.create(memory.project, {"title": "Unrelated"}, user=editor)
    response = client.get(PAGE, {"q": "checklist"}, headers=HTMX)
    assert "<html" not in response.text
    assert "Deployment checklist" in response.text
    assert "Unrelated" not in response.text


def test_going_back_gets_the_whole_page(client, memory):
    response = client.get(PAGE, {"q": "x"}, headers={**HTMX, "HX-History-Restore-Request": "true"})
    assert "<html" in response.text
    assert 'value="x"' in response.text


def test_filters_show_counts_and_stay_in_the_search(client, memory):
    response = client.get(PAGE, {"kind": "fix"})
    assert '<input type="hidden" form="search" name="kind" value="fix">' in response.text
    assert response.context["page"].total == 1


def test_nothing_found_says_what_to_do(client, memory):
    assert "Nothing matches" in client.get(PAGE, {"q": "nowhere to be found"}).text


def test_an_empty_project_says_what_to_do(client, project):
    assert "No memories yet" in client.get(PAGE).text


def test_the_next_page(client, memory, editor):
    for number in range(60):
        actions.create(memory.project, {"title": f"m{number}"}, user=editor)
    first = client.get(PAGE).context["page"]
    assert len(first.items) == 50
    assert len(client.get(PAGE + first.next_query).context["rows"]) == 11


def test_archived_and_deleted_are_shown_apart(client, memory, editor):
    actions.delete([memory], user=editor)
    assert "Deployment checklist" not in client.get(PAGE).text
    response = client.get(PAGE, {"shown": "deleted"})
    assert "Deployment checklist" in response.text
    assert "until " in response.text


def test_what_waits_is_counted(client, memory, letta):
    Memory.objects.update(sync_state=SyncState.CONFLICT)
    response = client.get(PAGE)
    assert response.context["conflicts"] == 1
    assert "1</span> conflict" in response.text


def test_the_error_page_needs_nothing():
    assert "What was saved before is safe" in get_template("500.html").render()


def test_a_missing_page_says_what_to_do(client, project):
    response = client.get("/p/nowhere/")
    assert response.status_code == 404
    assert "not yours to see" in response.text


def test_the_chosen_theme_is_drawn_at_once(client, project):
    client.cookies["theme"] = "dark"
    assert 'data-theme="dark"' in client.get(PAGE).text
    client.cookies["theme"] = '"><script>'
    assert "data-theme=" not in client.get(PAGE).text


def test_no_page_has_inline_style_or_script(client, memory):
    text = client.get(PAGE).text + client.get(memory.get_absolute_url()).text
    assert "<style" not in text
    assert "style=" not in text
    assert "<script>" not in text
