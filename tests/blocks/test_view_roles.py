"""Who may do what: outsiders get 404, viewers 403 for writes, the wrong method 405."""

import pytest
from django.urls import reverse

from blocks.models import Memory

READS = ["memories", "memory", "memory_history", "activity"]
WRITES = ["memory", "memory_archive", "memory_restore", "memory_delete", "memory_restore_revision", "memory_new"]
POST_ONLY = ["memory_archive", "memory_restore", "memory_restore_revision", "memory_preview"]


def url_of(name, memory):
    if name in ("memories", "activity", "memory_new", "memory_preview"):
        return reverse(name, args=[memory.project.slug])
    args = [memory.project.slug, memory.uuid]
    return reverse(name, args=[*args, 1] if name == "memory_restore_revision" else args)


@pytest.mark.parametrize("name", READS)
def test_a_viewer_may_look(client, viewer, memory, name):
    client.force_login(viewer)
    assert client.get(url_of(name, memory)).status_code == 200


@pytest.mark.parametrize("name", READS)
def test_an_outsider_sees_nothing(client, outsider, memory, name):
    client.force_login(outsider)
    assert client.get(url_of(name, memory)).status_code == 404


@pytest.mark.parametrize("name", READS)
def test_everybody_signs_in_first(client, memory, name):
    assert client.get(url_of(name, memory)).status_code == 302


@pytest.mark.parametrize(("person", "status"), [("viewer", 403), ("outsider", 404)])
@pytest.mark.parametrize("name", WRITES)
def test_others_write_nothing(client, request, memory, name, person, status):
    client.force_login(request.getfixturevalue(person))
    assert client.post(url_of(name, memory), {"text": "mine", "based_on": 1, "title": "x"}).status_code == status
    assert (Memory.objects.count(), Memory.objects.get().number) == (1, 1)


@pytest.mark.parametrize("name", POST_ONLY)
def test_looking_changes_nothing(client, editor, memory, name):
    client.force_login(editor)
    assert client.get(url_of(name, memory)).status_code == 405


@pytest.mark.parametrize("name", ["memories", "memory_history", "activity"])
def test_lists_take_no_post(client, editor, memory, name):
    client.force_login(editor)
    assert client.post(url_of(name, memory)).status_code == 405


def test_a_viewer_gets_no_controls(client, viewer, memory):
    client.force_login(viewer)
    shown = client.get(url_of("memory", memory)).text + client.get(url_of("memories", memory)).text
    assert not any(word in shown for word in ("Save", "Archive", "Delete", "New memory", "<textarea"))


def test_a_memory_of_another_project_is_not_found(client, owner, memory):
    other = type(memory.project).objects.create(slug="other", name="Other")
    other.memberships.create(user=owner, role="owner")
    client.force_login(owner)
    assert client.get(reverse("memory", args=["other", memory.uuid])).status_code == 404
