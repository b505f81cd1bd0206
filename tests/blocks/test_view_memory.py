"""The page of one memory: looking, editing, making."""

import pytest
from django.urls import reverse

from blocks import actions
from blocks.models import Memory

HTMX = {"HX-Request": "true"}


def url(memory, name="memory"):
    return reverse(name, args=[memory.project.slug, memory.uuid])


def filled(memory, **changes):
    """What a browser submits for the memory's form."""
    data = {name: getattr(memory, name) for name in ("title", "text", "label", "description", "kind", "limit")}
    data |= {"tags": ", ".join(memory.tags), "based_on": memory.number, "shared": "on", **changes}
    return {k: v.replace("\n", "\r\n") if isinstance(v, str) else v for k, v in data.items()}


@pytest.fixture
def client(client, editor):
    client.force_login(editor)
    return client


def test_it_shows_the_memory(client, memory):
    response = client.get(url(memory))
    assert response.status_code == 200
    assert "1. Run tests" in response.text
    assert "<li>Run tests</li>" in response.text
    assert "HX-Request" in response["Vary"]


def test_an_edit_is_saved_as_a_revision(client, memory, editor):
    response = client.post(url(memory), filled(memory, text="1. Run tests\n2. Deploy\n"))
    assert response.status_code == 302
    memory.refresh_from_db()
    assert (memory.text, memory.number, memory.author) == ("1. Run tests\n2. Deploy\n", 2, "maria")


def test_with_htmx_only_the_part_comes_back(client, memory):
    response = client.post(url(memory), filled(memory, title="Checklist"), headers=HTMX)
    assert response.status_code == 200
    assert "<html" not in response.text
    assert "Saved as revision 2" in response.text


@pytest.mark.parametrize("header", ["HX-Boosted", "HX-History-Restore-Request"])
def test_boosted_and_restored_pages_are_whole(client, memory, header):
    assert "<html" in client.get(url(memory), headers={**HTMX, header: "true"}).text


STRANGE = {
    "title": "two\nlines ",
    "text": "\n leading\r\nmixed\nend \r\n",
    "label": "not a/valid label!",
    "description": "a\r\nb",
    "tags": ["a, b", 'q"q', "x" * 150],
    "kind": "my_doc/strange type",
    "limit": 3,
    "read_only": True,
}


def test_fields_that_were_not_touched_stay_exactly(client, project, editor):
    memory = actions.create(project, STRANGE, user=None)
    shown = client.get(url(memory)).context["form"]
    data = {f.name: f.value() for f in shown if f.value() not in (False, None)}
    response = client.post(url(memory), {**browser(shown, data), "title": "New title"})
    assert response.status_code == 302, response.context["form"].errors
    before, after = actions.complete(STRANGE), Memory.objects.get(pk=memory.pk).state
    assert {k: after[k] for k in STRANGE} == {k: before[k] for k in STRANGE} | {"title": "New title"}


def browser(form, data):
    """Values as a browser submits them: one-line fields lose line ends, in others all become CRLF."""
    result = {}
    for name, value in data.items():
        value = str(value)
        area = "textarea" in type(form.fields[name].widget).__name__.lower()
        lines = value.replace("\r\n", "\n").replace("\r", "\n")
        result[name] = lines.replace("\n", "\r\n") if area else lines.replace("\n", "")
    return result


def test_a_leading_line_end_is_drawn_so_that_it_survives(client, project, editor):
    memory = actions.create(project, {"title": "x", "text": "\nfirst"}, user=editor)
    assert ">\n\nfirst</textarea>" in client.get(url(memory)).text


def test_a_text_over_the_limit_is_refused_and_kept(client, memory):
    response = client.post(url(memory), filled(memory, text="too long a text", limit=5))
    assert response.status_code == 422
    assert "too long a text</textarea>" in response.text
    assert "10 more than the limit of 5" in response.text
    assert 'aria-invalid="true"' in response.text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("text", "a\0b", "NUL"),
        ("title", "a\0b", "NUL"),
        ("label", "no spaces", "1 to 50"),
        ("tags", "x" * 101, "100 characters"),
        ("tags", ",".join(map(str, range(201))), "At most 200"),
        ("label", "human", "private block"),
        ("tags", "a, memhub:project:x", "is kept for the hub"),
        ("limit", "0", "between 1"),
        ("limit", str(2**31), "between 1"),
        ("limit", "many", "whole number"),
    ],
)
def test_what_cannot_be_stored_is_said_at_the_field(client, memory, field, value, said):
    response = client.post(url(memory), filled(memory, **{field: value}))
    assert response.status_code == 422
    assert said in str(response.context["form"].errors[field])


@pytest.mark.parametrize("title", ["Human", "persona"])
def test_a_memory_is_never_named_like_an_agents_private_block(project, editor, title):
    made = actions.create(project, {"title": title}, user=editor)
    assert made.label == f"{title.lower()}-{made.uuid.hex[:8]}"


def test_a_label_is_unique_in_the_project(client, memory, editor):
    other = actions.create(memory.project, {"title": "Other"}, user=editor)
    response = client.post(url(memory), filled(memory, label=other.label))
    assert "has this label" in str(response.context["form"].errors["label"])


def test_an_edit_on_an_old_revision_keeps_both_texts(client, memory, owner):
    mine = filled(memory, text="mine\n")
    actions.edit(memory, {"text": "theirs\n", "tags": ["theirs"]}, user=owner, based_on=1)
    response = client.post(url(memory), mine)
    form = response.context["form"]
    assert response.status_code == 409
    assert "olga changed this memory while you edited it" in response.text
    assert (form["text"].value(), form["tags"].value(), form["based_on"].value()) == ("mine\n", "theirs", 2)
    assert Memory.objects.get(pk=memory.pk).text == "theirs\n"


def test_changes_to_different_lines_are_offered_together(client, project, owner):
    memory = actions.create(project, {"title": "x", "text": "one\ntwo\nthree\n"}, user=owner)
    actions.edit(memory, {"text": "one\ntwo\nTHREE\n"}, user=owner, based_on=1)
    response = client.post(url(memory), filled(memory, text="ONE\ntwo\nthree\n"))
    assert response.context["form"]["text"].value() == "ONE\ntwo\nTHREE\n"
    assert "both changes were put together" in response.text


def test_after_that_it_can_be_saved(client, memory, owner):
    actions.edit(memory, {"text": "theirs\n"}, user=owner, based_on=1)
    memory.refresh_from_db()
    client.post(url(memory), filled(memory, text="both\n"))
    assert Memory.objects.get(pk=memory.pk).text == "both\n"


def test_unticked_shared_keeps_it_local(client, memory):
    data = filled(memory)
    del data["shared"]
    client.post(url(memory), data)
    assert Memory.objects.get(pk=memory.pk).shared is False


def test_a_nonsense_base_writes_nothing(client, memory):
    assert client.post(url(memory), filled(memory, text="x", based_on="99999999999")).status_code in (409, 422)
    assert Memory.objects.get(pk=memory.pk).number == 1


def test_a_memory_is_made(client, project):
    response = client.post(
        reverse("memory_new", args=["planner"]), {"title": "New one", "text": "a\r\nb", "shared": "on"}
    )
    made = Memory.objects.get(title="New one")
    assert response.url == url(made)
    assert (made.text, made.label, made.author, made.shared, made.limit) == ("a\nb", "new-one", "maria", True, 100_000)


def test_an_empty_memory_is_refused(client, project):
    response = client.post(reverse("memory_new", args=["planner"]), {"shared": "on"})
    assert response.status_code == 422
    assert "Write a title or a text" in response.text


def test_the_preview_is_rendered_and_safe(client, project):
    response = client.post(reverse("memory_preview", args=["planner"]), {"text": "**b** <script>"}, headers=HTMX)
    assert "<strong>b</strong> &lt;script&gt;" in response.text
    assert "<html" not in response.text


def test_what_a_memory_says_is_escaped(client, project, editor):
    text = "</textarea><script>alert(1)</script>"
    memory = actions.create(project, {"title": text, "text": text, "tags": [text]}, user=editor)
    assert "<script>alert" not in client.get(url(memory)).text


def on_letta(memory):
    connection = memory.project.connections.create(side="letta", address="http://letta:8283")
    connection.agents = {"block-1": [{"id": "agent-1", "name": "gpt-ops"}]}
    connection.save()
    memory.replicas.create(connection=connection, external_id="block-1")


def test_taking_a_memory_off_letta_is_asked_first(client, memory, editor):
    on_letta(memory)
    client.force_login(editor)
    address = memory.get_absolute_url()
    fields = {"title": memory.title, "text": memory.text, "label": memory.label, "kind": memory.kind}
    fields |= {"limit": memory.limit, "based_on": memory.number, "tags": "deploy", "description": ""}
    answer = client.post(address, fields)
    assert answer.status_code == 422
    assert "these agents lose it: gpt-ops" in answer.content.decode()
    memory.refresh_from_db()
    assert memory.shared
    assert client.post(address, fields | {"unshare_sure": "on"}).status_code == 302
    memory.refresh_from_db()
    assert not memory.shared
