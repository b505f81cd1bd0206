"""How a project is connected, and who may say so."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from blocks.models import SyncState
from blocks.stores.base import Probe, StoreError
from memoryhub.models import LettaServer, LocalStore, Project, Role
from syncjobs.models import Connection, RunStatus, SyncRun
from tests.conftest import person
from tests.syncjobs.world import World, history

pytestmark = pytest.mark.django_db


@pytest.fixture
def olga(client: Client, world: World) -> User:
    """The signed-in owner."""
    user = person("olga", world.project, Role.OWNER)
    client.force_login(user)
    return user


def fields(project: Project, **changes: Any) -> dict[str, Any]:
    project.refresh_from_db()
    said = {
        "letta_server": project.letta_server_id or "",
        "letta_direction": project.letta_direction,
        "letta_rule": project.letta_rule,
        "local_store": project.local_store_id or "",
        "local_direction": project.local_direction,
        "local_project": project.local_project,
        "sync_mode": project.sync_mode,
        "sync_minutes": project.sync_minutes,
    }
    return said | changes


def save(client: Client, project: Project, **changes: Any) -> Any:
    return client.post(reverse("connections", args=[project.slug]), fields(project, **changes))


def test_another_direction_lets_every_memory_wait(client: Client, olga: User, world: World) -> None:
    memory = world.create("One")
    world.synced()
    SyncRun.objects.all().delete()
    save(client, world.project, letta_direction="to_side")
    memory.refresh_from_db()
    world.project.refresh_from_db()
    assert world.project.letta_direction == "to_side"
    assert memory.sync_state == SyncState.WAITING
    assert memory.waiting_since is not None
    assert SyncRun.objects.get().status == RunStatus.QUEUED


def test_a_server_that_is_new_to_memories_is_looked_at_before_anything_is_done(
    client: Client, olga: User, world: World
) -> None:
    world.project.letta_server = None
    world.project.save()
    world.create("One", title="One")
    world.synced()
    SyncRun.objects.all().delete()
    world.letta.put("One", label="one", slug="planner")
    reply = client.post(
        reverse("connections", args=["planner"]),
        fields(world.project, letta_server=LettaServer.objects.get().pk),
        follow=True,
    )
    assert "link with Letta" in reply.text
    assert "Nothing is synced yet" in reply.text
    assert not SyncRun.objects.exists()
    assert not world.letta.written


def test_where_a_project_syncs_by_itself_the_plan_says_that_it_begins(client: Client, olga: User, world: World) -> None:
    world.create("One", title="One")
    world.letta.put("One", label="one", slug="planner")
    world.project.letta_server = None
    world.project.save()
    said = fields(world.project, letta_server=LettaServer.objects.get().pk, sync_mode="continuous")
    reply = client.post(reverse("connections", args=["planner"]), said, follow=True)
    assert "it begins by itself" in reply.text
    assert "link with Letta" in reply.text
    assert "Nothing is synced yet" not in reply.text


def test_the_schedule_alone_queues_nothing(client: Client, olga: User, world: World) -> None:
    assert save(client, world.project, sync_mode="every", sync_minutes=5).status_code == 302
    world.project.refresh_from_db()
    assert (world.project.sync_mode, world.project.sync_minutes) == ("every", 5)
    assert not SyncRun.objects.exists()


@pytest.mark.parametrize("left", [True, False])
def test_a_conflict_with_a_server_that_is_gone_closes_and_its_text_stays(
    client: Client, olga: User, world: World, left: bool
) -> None:
    memory = world.create("a\n", title="One")
    world.synced()
    world.letta.edit(world.letta.only().id, text="theirs\n")
    world.edit(memory, text="mine\n")
    world.run()
    conflict = world.conflict()
    server, store = world.project.letta_server, world.project.local_store
    save(client, world.project, letta_server="", local_store=store.pk if left else "")  # type: ignore[union-attr]
    conflict.refresh_from_db()
    assert conflict.resolution == "moot"
    assert (world.memory().text, world.memory().sync_state) == ("mine\n", "waiting" if left else "synced")
    assert "theirs\n" in history(memory)
    world.project.refresh_from_db()
    save(client, world.project, letta_server=server.pk)  # type: ignore[union-attr]
    world.run()
    assert world.conflict().side["text"] == "theirs\n"
    assert world.letta.texts() == ["theirs\n"]


def test_without_sides_nothing_waits(client: Client, olga: User, world: World) -> None:
    memory = world.create("One")
    save(client, world.project, letta_server="", local_store="")
    memory.refresh_from_db()
    assert (memory.sync_state, memory.waiting_since) == (SyncState.SYNCED, None)


def test_an_owner_cannot_choose_a_rule(client: Client, olga: User, world: World) -> None:
    assert "Only staff" in client.get(reverse("connections", args=["planner"])).text
    save(client, world.project, letta_rule="all", local_project="*")
    world.project.refresh_from_db()
    assert (world.project.letta_rule, world.project.local_project) == ("", "")


def test_an_adopter_chooses_a_rule(client: Client, olga: User, world: World) -> None:
    assert world.project.letta_server
    world.project.letta_server.adopters.add(olga)
    save(client, world.project, letta_rule="label:team_", local_project="website")
    world.project.refresh_from_db()
    assert (world.project.letta_rule, world.project.local_project) == ("label:team_", "")


def test_a_grant_holds_on_its_own_server_only(client: Client, olga: User, world: World) -> None:
    Project.objects.filter(pk=world.project.pk).update(letta_rule="all")
    other = LettaServer.objects.create(name="Other", url="http://other:8283")
    save(client, world.project, letta_server=other.pk)
    world.project.refresh_from_db()
    assert (world.project.letta_server, world.project.letta_rule) == (other, "")


def test_an_adopter_cannot_take_a_rule_along(client: Client, olga: User, world: World) -> None:
    assert world.project.letta_server
    world.project.letta_server.adopters.add(olga)
    other = LettaServer.objects.create(name="Other", url="http://other:8283")
    assert save(client, world.project, letta_server=other.pk, letta_rule="all").status_code == 422


@pytest.mark.parametrize("rule", ["tag:", "label", "everything", "tag"])
def test_a_wrong_rule_is_said_at_the_field(client: Client, world: World, rule: str) -> None:
    client.force_login(User.objects.create_superuser("sue"))
    reply = save(client, world.project, letta_rule=rule)
    assert reply.status_code == 422
    assert "write tag:NAME" in reply.text


def test_the_slug_itself_is_the_default_project_name(client: Client, world: World) -> None:
    client.force_login(User.objects.create_superuser("sue"))
    save(client, world.project, local_project="planner")
    world.project.refresh_from_db()
    assert world.project.local_project == ""


def test_records_of_another_project_are_refused(client: Client, world: World) -> None:
    client.force_login(User.objects.create_superuser("sue"))
    Project.objects.create(slug="website", name="Website", local_store=world.project.local_store)
    reply = save(client, world.project, local_project="website")
    assert reply.status_code == 422
    assert "already takes the records named “website”" in reply.text


def test_a_store_where_the_slug_is_taken_is_refused(client: Client, olga: User, world: World) -> None:
    store = LocalStore.objects.create(name="Other", url="http://other:8001")
    Project.objects.create(slug="first", name="First", local_store=store, local_project="planner")
    reply = save(client, world.project, local_store=store.pk)
    assert reply.status_code == 422
    assert "Project name of the records" in reply.text
    assert "already takes the records" in reply.text


@pytest.mark.parametrize("side", ["letta", "local"])
def test_the_connection_test_says_what_to_do(
    client: Client, olga: User, world: World, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Probe("refused", "Nobody answers at http://x.", "Start the server.")
    monkeypatch.setattr("tests.syncjobs.fakes.FakeStore.probe", lambda self: answer)
    url = reverse("connection_test", args=["planner", side])
    reply = client.post(url, headers={"HX-Request": "true"})
    assert "Nobody answers at http://x." in reply.text
    assert "Start the server." in reply.text
    assert "<html" not in reply.text
    assert "<html" in client.post(url).text


def test_a_key_that_cannot_be_read_is_said(client: Client, olga: User, world: World, monkeypatch: Any) -> None:
    monkeypatch.undo()
    assert world.project.letta_server
    LettaServer.objects.update(api_key_token="from-another-time")
    page = client.post(reverse("connection_test", args=["planner", "letta"])).text
    assert "cannot be decrypted" in page


def test_a_server_that_changed_waits_for_an_owner(client: Client, olga: User, world: World) -> None:
    memory = world.create("One")
    world.synced()
    world.letta.identity = "somebody else"
    world.run()
    page = client.get(reverse("connections", args=["planner"])).text
    connection = Connection.objects.get(side="letta")
    assert "is not what was there before" in page
    assert "what was archived in the hub after it was made can come back" in page
    client.post(reverse("connection_confirm", args=["planner", connection.pk]))
    connection.refresh_from_db()
    assert connection.suspect == ""
    assert SyncRun.objects.filter(status=RunStatus.QUEUED).exists()
    assert not memory.replicas.filter(connection=connection).exists()


def test_what_is_not_suspect_cannot_be_confirmed(client: Client, olga: User, world: World) -> None:
    world.synced()
    url = reverse("connection_confirm", args=["planner", Connection.objects.get(side="letta").pk])
    assert client.post(url).status_code == 404


def test_adopt_a_block_of_no_project(client: Client, olga: User, world: World) -> None:
    assert world.project.letta_server
    world.project.letta_server.adopters.add(olga)
    block = world.letta.put("Nobody's text")
    assert "Nobody&#x27;s text" in client.get(reverse("others", args=["planner"])).text
    reply = client.post(reverse("adopt", args=["planner"]), {"block": block.id}, follow=True)
    assert "in this project now" in reply.text
    assert "Every block is in a project" in reply.text
    assert SyncRun.objects.get().status == RunStatus.QUEUED


def test_a_server_that_is_down_is_said(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, *args: object) -> None:
        raise StoreError("Nobody answers at http://letta:8283")

    monkeypatch.setattr("tests.syncjobs.fakes.FakeStore.others", fail)
    monkeypatch.setattr("tests.syncjobs.fakes.FakeStore.adopt", fail)
    client.force_login(User.objects.create_superuser("sue"))
    assert "Nobody answers" in client.get(reverse("others", args=["planner"])).text
    monkeypatch.undo()
    world.install(monkeypatch)
    monkeypatch.setattr("tests.syncjobs.fakes.FakeStore.adopt", fail)
    reply = client.post(reverse("adopt", args=["planner"]), {"block": "x"}, follow=True)
    assert "Not adopted: Nobody answers" in reply.text
    assert not SyncRun.objects.exists()
