"""The Sync page: queue, follow, stop, look back."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from memoryhub.models import Project, Role
from syncjobs.models import RunStatus, SyncRun
from tests.conftest import person
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def maria(client: Client, world: World) -> User:
    """The signed-in editor."""
    user = person("maria", world.project, Role.EDITOR)
    client.force_login(user)
    return user


def url(name: str = "sync", *args: Any) -> str:
    return reverse(name, args=["planner", *args])


def make_run(world: World, **columns: Any) -> SyncRun:
    return SyncRun.objects.create(project=world.project, trigger="button", **columns)


def test_sync_now_queues_one_run(client: Client, maria: User, world: World) -> None:
    assert client.post(url("sync_now"))["Location"] == url()
    client.post(url("sync_now"))
    run = SyncRun.objects.get()
    assert (run.status, run.user, run.trigger) == (RunStatus.QUEUED, maria, "button")


def test_the_page_asks_again_until_the_run_has_ended(client: Client, maria: User, world: World) -> None:
    run = make_run(world, status=RunStatus.RUNNING, started_at=timezone.now(), done=9, total=16, phase="going on")
    page = client.get(url(), headers=HTMX)
    assert 'hx-trigger="every 1s"' in page.text
    assert "9 of 16" in page.text
    assert "<html" not in page.text
    assert page["Vary"].find("HX-Request") >= 0
    SyncRun.objects.filter(pk=run.pk).update(status=RunStatus.DONE, finished_at=timezone.now())
    page = client.get(url(), headers=HTMX)
    assert "every 1s" not in page.text
    assert "Last sync: done" in page.text
    assert 'id="past" hx-swap-oob' in page.text


def test_stop_is_asked_of_a_run_that_goes_on(client: Client, maria: User, world: World) -> None:
    run = make_run(world, status=RunStatus.RUNNING, started_at=timezone.now())
    client.post(url("run_stop", run.pk))
    run.refresh_from_db()
    assert (run.stop_asked, run.status) == (True, RunStatus.RUNNING)
    assert "Sync stopping" in client.get(url()).text


def test_a_queued_run_is_stopped_at_once(client: Client, maria: User, world: World) -> None:
    run = make_run(world)
    client.post(url("run_stop", run.pk))
    run.refresh_from_db()
    assert run.status == RunStatus.STOPPED
    assert run.finished_at is not None


def test_what_has_ended_is_not_stopped(client: Client, maria: User, world: World) -> None:
    run = make_run(world, status=RunStatus.DONE)
    client.post(url("run_stop", run.pk))
    run.refresh_from_db()
    assert (run.stop_asked, run.status) == (False, RunStatus.DONE)


@pytest.mark.parametrize(("seconds", "told"), [(5, False), (20, True)])
def test_a_worker_that_does_not_run_is_noticed(
    client: Client, maria: User, world: World, seconds: int, told: bool
) -> None:
    make_run(world, created_at=timezone.now() - timedelta(seconds=seconds))
    assert ("No worker is running" in client.get(url()).text) == told


def test_a_run_that_waits_for_another_is_not_blamed_on_the_worker(client: Client, maria: User, world: World) -> None:
    make_run(world, status=RunStatus.RUNNING, started_at=timezone.now())
    make_run(world, created_at=timezone.now() - timedelta(minutes=1))
    assert "No worker is running" not in client.get(url()).text


def test_preview_is_the_plan_and_changes_nothing(client: Client, maria: User, world: World) -> None:
    world.create("Mine")
    world.local.put("Theirs", slug="planner", title="Their title")
    page = client.get(url("sync_preview"), headers=HTMX).text
    assert "3 to push, 1 to pull" in page  # mine to both sides, theirs to Letta
    assert "Their title" in page
    assert "<html" not in page
    assert not SyncRun.objects.exists()
    assert not world.letta.written
    assert "<html" in client.get(url("sync_preview")).text


def test_a_plan_leads_to_no_memory_that_is_not_there_yet(client: Client, maria: User, world: World) -> None:
    world.letta.put("the same", label="same", slug="planner")
    world.local.put("the same", title="Same", slug="planner")
    page = client.get(url("sync_preview")).text
    assert "link with local" in page
    assert ">Same</a>" not in page
    assert ">same</a>" not in page


def test_preview_says_when_a_side_is_down(client: Client, maria: User, world: World) -> None:
    world.letta.down = True
    page = client.get(url("sync_preview")).text
    assert "not complete" in page
    assert "letta: " in page


def brake(world: World) -> SyncRun:
    for number in range(12):
        world.create(f"Memory {number}")
    world.synced()
    world.local.things.clear()
    run = world.run()
    assert run.status == RunStatus.BRAKED
    return run


def test_a_braked_run_shows_its_list_and_owners_approve_exactly_that(client: Client, maria: User, world: World) -> None:
    run = brake(world)
    page = client.get(url("run", run.pk)).text
    assert "archive in the hub" in page
    assert "What it would do" in page
    assert url("sync_allow", run.pk) not in page
    assert client.post(url("sync_allow", run.pk)).status_code == 403
    client.force_login(person("olga", world.project, Role.OWNER))
    assert url("sync_allow", run.pk) in client.get(url()).text
    client.post(url("sync_allow", run.pk))
    queued = SyncRun.objects.get(status=RunStatus.QUEUED)
    assert (queued.approves, queued.allow_deletions) == (run, False)


def test_a_run_tells_each_failure(client: Client, maria: User, world: World) -> None:
    memory = world.create("Refused one")
    world.letta.refuses = lambda state: True
    run = world.run()
    page = client.get(url("run", run.pk)).text
    assert "What failed" in page
    assert reverse("memory", args=["planner", memory.uuid]) in page
    assert run.errors[0]["error"] in page.replace("&#x27;", "'")


def test_older_runs_are_a_page_further(client: Client, maria: User, world: World) -> None:
    runs = [make_run(world, status=RunStatus.DONE) for _ in range(25)]
    page = client.get(url()).text
    assert page.count("/sync/runs/") >= 20
    assert f"?before={runs[5].pk}" in page
    older = client.get(url(), {"before": runs[5].pk}, headers=HTMX).text
    assert older.count("/sync/runs/") == 5
    assert "older" not in older


@pytest.mark.parametrize("before", ["x", "²", "9" * 30, "-1", ""])
def test_a_strange_place_is_the_first_page(client: Client, maria: User, world: World, before: str) -> None:
    assert client.get(url(), {"before": before}).status_code == 200


def test_the_run_of_another_project_is_not_there(client: Client, maria: User, world: World) -> None:
    other = Project.objects.create(slug="other", name="Other")
    run = SyncRun.objects.create(project=other, trigger="button")
    assert client.get(url("run", run.pk)).status_code == 404
    assert client.post(url("run_stop", run.pk)).status_code == 404


def test_viewers_see_no_buttons(client: Client, world: World) -> None:
    client.force_login(person("victor", world.project, Role.VIEWER))
    make_run(world, status=RunStatus.RUNNING, started_at=timezone.now())
    page = client.get(url()).text
    for name in ("sync_now", "sync_preview"):
        assert url(name) not in page
    assert "/stop/" not in page


def test_without_sides_there_is_nothing_to_sync(client: Client, maria: User, world: World) -> None:
    Project.objects.update(letta_server=None, local_store=None)
    reply = client.post(url("sync_now"), follow=True)
    assert "nothing to keep in step" in reply.text
    assert not SyncRun.objects.exists()


def test_an_archived_project_is_not_synced(client: Client, world: World) -> None:
    client.force_login(person("olga", world.project, Role.OWNER))
    Project.objects.update(archived_at=timezone.now())
    assert "archived" in client.post(url("sync_now"), follow=True).text
    assert not SyncRun.objects.exists()


def test_the_cron_line_is_of_this_installation(client: Client, maria: User, world: World) -> None:
    page = client.get(url()).text
    assert f"cd {settings.BASE_DIR} &amp;&amp;" in page
    assert "sync_memory --project planner" in page
