"""The Status page: who works, what waits, which server can be reached."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from memoryhub.models import Project, Role
from syncjobs import leases
from syncjobs.sides import confirm
from syncjobs.tasks import enqueue_run
from tests.conftest import person
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def maria(client: Client, world: World) -> User:
    user = person("maria", world.project, Role.VIEWER)
    client.force_login(user)
    return user


def status(client: Client) -> str:
    return client.get(reverse("status")).text


def test_each_connection_with_its_last_look(client: Client, maria: User, world: World) -> None:
    world.create("One")
    world.synced()
    world.letta.down = True
    world.run()
    page = status(client)
    assert "✓</span> works" in page
    assert world.project.connections.get(side="letta").look_error
    assert world.project.connections.get(side="letta").look_error in page.replace("&#x27;", "'")


@pytest.fixture
def olga(client: Client, world: World) -> User:
    user = person("olga", world.project, Role.OWNER)
    client.force_login(user)
    return user


def pages(client: Client, *names: str) -> str:
    return "".join(client.get(reverse(name, args=["planner"])).text for name in names)


def test_a_list_that_is_not_complete_is_no_server_that_is_down(client: Client, olga: User, world: World) -> None:
    memory = world.create("One")
    world.synced()
    world.letta.unlisted = set(world.letta.things)
    world.run()
    assert memory.live
    page = pages(client, "memories", "connections", "sync")
    assert "some could not be listed All else there was seen" in page
    assert "not all could be listed" in page
    assert "not reachable" not in page
    assert "last seen" not in page
    world.letta.down = True
    world.run()
    page = pages(client, "memories", "connections", "sync")
    assert "not reachable" in page
    assert "What is shown here is what was last seen." in page
    assert "All else" not in page


def test_a_doubt_is_said_once_and_gone_when_it_is_confirmed(client: Client, olga: User, world: World) -> None:
    world.create("One")
    world.synced()
    world.letta.identity = "another"
    world.run()
    assert pages(client, "memories").count("wiped, restored or another server") == 1
    confirm(world.project.connections.get(side="letta"))
    assert "wiped, restored" not in pages(client, "memories", "connections")


def test_other_projects_are_for_staff(client: Client, maria: User) -> None:
    Project.objects.create(slug="theirs", name="Not mine")
    assert "Not mine" not in status(client)
    client.force_login(User.objects.create_user("stan", is_staff=True))
    page = status(client)
    assert "Not mine" in page
    assert reverse("sync", args=["theirs"]) not in page


def test_a_worker_that_does_not_work_is_noticed(client: Client, maria: User, world: World) -> None:
    enqueue_run(world.project, trigger="button")
    assert "about to begin" in status(client)
    DBTaskResult.objects.update(enqueued_at=timezone.now() - timedelta(minutes=1))
    page = status(client)
    assert "not running" in page
    assert "python manage.py db_worker --queue-name sync,default" in page
    assert "1 min ago" in page


def test_a_worker_at_work_is_shown(client: Client, maria: User, world: World) -> None:
    enqueue_run(world.project, trigger="button")
    DBTaskResult.objects.update(status="RUNNING", started_at=timezone.now())
    assert "working" in status(client)


def test_whether_watch_runs(client: Client, maria: User) -> None:
    assert "nothing is synced by itself" in status(client)
    leases.acquire(["watch"], "somebody")
    assert "nothing is synced by itself" not in status(client)
