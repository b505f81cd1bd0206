"""The administration: keys go in and never come out."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from blocks.models import SyncState
from blocks.stores.base import Probe
from memoryhub.models import LettaServer, LocalStore, Project
from syncjobs.models import SyncRun
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db
KEY = "sk-very-secret"


@pytest.fixture
def by_admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("sue"))
    return client


@pytest.fixture
def server(db: None) -> LettaServer:
    row = LettaServer(name="Team", url="http://letta:8283")
    row.api_key = KEY
    row.save()
    return row


def save(client: Client, server: LettaServer, **said: str) -> LettaServer:
    url = reverse("admin:memoryhub_lettaserver_change", args=[server.pk])
    reply = client.post(url, {"name": server.name, "url": server.url, **said})
    assert reply.status_code == 302, reply.context["errors"]
    server.refresh_from_db()
    return server


def test_a_key_is_stored_encrypted(by_admin: Client) -> None:
    fields = {"name": "Cloud", "url": "https://api.letta.com", "new_api_key": KEY}
    by_admin.post(reverse("admin:memoryhub_lettaserver_add"), fields)
    server = LettaServer.objects.get()
    assert server.api_key == KEY
    assert KEY not in server.api_key_token


def test_a_key_is_never_shown(by_admin: Client, server: LettaServer) -> None:
    for url in (
        reverse("admin:memoryhub_lettaserver_change", args=[server.pk]),
        reverse("admin:memoryhub_lettaserver_changelist"),
        reverse("admin:memoryhub_lettaserver_history", args=[server.pk]),
    ):
        page = by_admin.get(url).text
        assert KEY not in page
        assert server.api_key_token not in page


def test_a_rejected_form_does_not_give_the_key_back(by_admin: Client, server: LettaServer) -> None:
    url = reverse("admin:memoryhub_lettaserver_change", args=[server.pk])
    reply = by_admin.post(url, {"name": "", "url": server.url, "new_api_key": "sk-another"})
    assert reply.status_code == 200
    assert "sk-another" not in reply.text


def test_an_empty_field_keeps_the_key(by_admin: Client, server: LettaServer) -> None:
    assert save(by_admin, server).api_key == KEY


def test_a_key_is_replaced_and_removed(by_admin: Client, server: LettaServer) -> None:
    assert save(by_admin, server, new_api_key="sk-new").api_key == "sk-new"
    assert save(by_admin, server, clear_api_key="on").api_key == ""


def test_the_connection_test(by_admin: Client, server: LettaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("unauthorized", "The key was refused.", "Enter another one.")
    monkeypatch.setattr("blocks.stores.letta.LettaStore.probe", lambda self: probe)
    fields = {"action": "test_connection", "_selected_action": [str(server.pk)]}
    reply = by_admin.post(reverse("admin:memoryhub_lettaserver_changelist"), fields, follow=True)
    assert "Team: The key was refused. Enter another one." in reply.text


def test_the_connection_test_of_a_store(by_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore.objects.ensure_builtin()
    monkeypatch.setattr("blocks.stores.chroma.ChromaStore.probe", lambda self: Probe("ok", "Connected."))
    fields = {"action": "test_connection", "_selected_action": [str(store.pk)]}
    reply = by_admin.post(reverse("admin:memoryhub_localstore_changelist"), fields, follow=True)
    assert "Connected." in reply.text


def test_another_address_lets_its_projects_wait(by_admin: Client, world: World) -> None:
    memory = world.create("One")
    world.synced()
    SyncRun.objects.all().delete()
    server = world.project.letta_server
    assert server
    save(by_admin, server, url="http://elsewhere:8283")
    memory.refresh_from_db()
    assert memory.sync_state == SyncState.WAITING
    assert SyncRun.objects.filter(project=world.project).exists()


def project_form(project: Project, **said: object) -> dict[str, object]:
    names = ("name", "letta_rule", "letta_direction", "local_project", "local_direction", "sync_mode", "sync_minutes")
    inline = {f"memberships-{n}_FORMS": 0 for n in ("TOTAL", "INITIAL")}
    store = {"local_store": project.local_store_id or "", "letta_server": project.letta_server_id or ""}
    return {name: getattr(project, name) for name in names} | inline | store | {"description": ""} | said


def test_a_project_keeps_its_slug_and_the_rules_hold(by_admin: Client, world: World) -> None:
    Project.objects.create(slug="website", name="Website", local_store=world.project.local_store)
    url = reverse("admin:memoryhub_project_change", args=[world.project.pk])
    refused = by_admin.post(url, project_form(world.project, local_project="website", letta_rule="nonsense"))
    assert "already takes the records" in refused.text
    assert "write tag:NAME" in refused.text
    assert by_admin.post(url, project_form(world.project, letta_rule="all", slug="other")).status_code == 302
    world.project.refresh_from_db()
    assert (world.project.slug, world.project.letta_rule) == ("planner", "all")
    assert SyncRun.objects.filter(project=world.project).exists()


def test_a_project_is_not_deleted_here(by_admin: Client, project: Project) -> None:
    assert by_admin.post(reverse("admin:memoryhub_project_delete", args=[project.pk])).status_code == 403


@pytest.mark.parametrize("model", ["syncjobs_syncrun", "syncjobs_conflict"])
def test_what_ran_is_only_read(by_admin: Client, model: str) -> None:
    assert by_admin.get(reverse(f"admin:{model}_changelist")).status_code == 200
    assert by_admin.get(reverse(f"admin:{model}_add")).status_code == 403
