"""The first page, and making a project."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from memoryhub.models import LettaServer, LocalStore, Membership, Project, Role
from syncjobs.models import SyncRun
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def by_new(client: Client) -> Client:
    client.force_login(User.objects.create_user("nora"))
    return client


def test_a_first_visit_says_what_to_do(by_new: Client) -> None:
    page = by_new.get(reverse("home")).text
    assert "Welcome, nora" in page
    assert "import_store" in page
    assert "CHROMA_PATH" in page
    assert reverse("admin:memoryhub_lettaserver_add") not in page


def test_staff_are_led_to_the_servers(client: Client) -> None:
    client.force_login(User.objects.create_user("stan", is_staff=True))
    assert reverse("admin:memoryhub_lettaserver_add") in client.get(reverse("home")).text


def test_my_projects_with_their_numbers(client: Client, world: World) -> None:
    world.create("One")
    world.create("Two")
    world.synced().synced()  # the second look counts what the first run made
    user = User.objects.create_user("maria")
    Membership.objects.create(project=world.project, user=user, role=Role.EDITOR)
    Project.objects.create(slug="theirs", name="Not mine")
    client.force_login(user)
    page = client.get(reverse("home")).text
    assert "2 memories" in page
    assert "2 blocks" in page
    assert "editor" in page
    assert "sync done" in page
    assert "Not mine" not in page


def test_make_a_project_with_what_is_proposed(by_new: Client) -> None:
    proposed = LocalStore.objects.ensure_builtin()
    assert f'<option value="{proposed.pk}" selected>' in by_new.get(reverse("project_new")).text
    reply = by_new.post(reverse("project_new"), {"name": "Web Site", "local_store": proposed.pk})
    project = Project.objects.get(slug="web-site")
    assert reply["Location"] == reverse("sync", args=["web-site"])
    assert (project.local_store, project.letta_server) == (proposed, None)
    assert project.memberships.get().role == Role.OWNER
    assert SyncRun.objects.get(project=project).user == project.memberships.get().user


def test_a_project_without_sides_queues_nothing(by_new: Client) -> None:
    reply = by_new.post(reverse("project_new"), {"name": "Alone"})
    assert reply["Location"] == reverse("memories", args=["alone"])
    assert not SyncRun.objects.exists()


def test_with_a_server_that_staff_defined(by_new: Client) -> None:
    server = LettaServer.objects.create(name="Team", url="http://letta:8283")
    by_new.post(reverse("project_new"), {"name": "With Letta", "letta_server": server.pk})
    assert Project.objects.get(slug="with-letta").letta_server == server


def test_two_servers_that_may_hold_the_same_are_looked_at_first(by_new: Client) -> None:
    server, store = (
        LettaServer.objects.create(name="Team", url="http://letta:8283"),
        LocalStore.objects.ensure_builtin(),
    )
    said = {"name": "Both", "letta_server": server.pk, "local_store": store.pk}
    assert by_new.post(reverse("project_new"), said)["Location"] == reverse("sync_preview", args=["both"])
    assert not SyncRun.objects.exists()


def test_records_of_another_project_are_refused_at_the_field(by_new: Client) -> None:
    store = LocalStore.objects.ensure_builtin()
    Project.objects.create(slug="first", name="First", local_store=store, local_project="website")
    reply = by_new.post(reverse("project_new"), {"name": "Website", "local_store": store.pk})
    assert reply.status_code == 422
    assert "already takes the records named “website”" in reply.text
    assert not Project.objects.filter(slug="website").exists()


def test_a_demo_project_is_loaded_by_a_button(by_new: Client) -> None:
    assert reverse("project_demo") in by_new.get(reverse("home")).text
    page = by_new.post(reverse("project_demo"), follow=True).text
    project = Project.objects.get()
    assert "Carry the basket over at sign-in" in page
    assert (project.memberships.get().role, project.local_store) == (Role.OWNER, LocalStore.objects.ensure_builtin())
    assert (project.memories.live().count(), project.memories.archived().count()) == (7, 1)
    assert project.memories.get(title="Roll a release back").revisions.count() == 2
    assert project.agents.get().attachments.count() == 2
    assert SyncRun.objects.get().project == project
    by_new.post(reverse("project_demo"))
    assert Project.objects.count() == 2


def test_the_demo_takes_no_records_of_another_project(by_new: Client) -> None:
    store = LocalStore.objects.ensure_builtin()
    Project.objects.create(slug="first", name="First", local_store=store, local_project="demo-shop")
    by_new.post(reverse("project_demo"))
    assert Project.objects.get(slug="demo-shop").local_store is None
