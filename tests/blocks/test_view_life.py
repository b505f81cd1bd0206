"""Archiving, deleting and bringing back."""

import pytest
from django.urls import reverse

from blocks import actions
from blocks.models import Memory


@pytest.fixture
def client(client, editor):
    client.force_login(editor)
    return client


def url(memory, name):
    return reverse(name, args=[memory.project.slug, memory.uuid])


def test_archive_and_restore(client, memory):
    client.post(url(memory, "memory_archive"))
    assert Memory.objects.archived().get() == memory
    assert "archived" in client.get(url(memory, "memory")).text
    client.post(url(memory, "memory_restore"))
    assert Memory.objects.live().get() == memory


def test_a_page_that_draws_itself_anew_takes_no_message_of_the_next_page(client, memory):
    client.post(url(memory, "memory_archive"))
    again = {"HX-Request": "true", "HX-Trigger": "live-refresh"}
    for page in (url(memory, "memory"), reverse("memories", args=["planner"])):
        assert 'id="messages"' not in client.get(page, headers=again).text  # what the page shows stays on it, too
    assert "Restore brings it back" in client.get(url(memory, "memory")).text


def test_delete_asks_first(client, memory):
    response = client.get(url(memory, "memory_delete"))
    assert "restored for 30 days" in response.text
    assert Memory.objects.live().exists()


def test_delete_hides_and_can_be_undone(client, memory):
    response = client.post(url(memory, "memory_delete"))
    assert response.url == reverse("memories", args=["planner"])
    assert not Memory.objects.live().exists()
    assert "It can be restored until" in client.get(url(memory, "memory")).text
    client.post(url(memory, "memory_restore"))
    assert Memory.objects.live().exists()


def test_an_earlier_revision_comes_back(client, memory, editor):
    actions.edit(memory, {"text": "new"}, user=editor, based_on=1)
    client.post(reverse("memory_restore_revision", args=["planner", memory.uuid, 1]))
    memory.refresh_from_db()
    assert (memory.text, memory.number) == ("1. Run tests\n2. Tag\n", 3)


def test_a_revision_that_never_was_is_not_found(client, memory):
    assert client.post(reverse("memory_restore_revision", args=["planner", memory.uuid, 9])).status_code == 404
