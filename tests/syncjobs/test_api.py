"""Agents start syncs and look at them."""

from __future__ import annotations

from typing import Any

import pytest

from memoryhub.models import LocalStore, Project
from syncjobs.models import RunStatus, SyncRun
from tests.blocks.api.conftest import Api, api_for
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(db: None) -> Project:
    store = LocalStore.objects.create(name="Chroma", url="http://chroma:8001")
    return Project.objects.create(slug="planner", name="Planner", local_store=store)


@pytest.fixture
def api(project: Project) -> Api:
    return api_for(project)


def test_a_sync_is_queued_once(api: Api, project: Project) -> None:
    first, second = api.post("sync"), api.post("sync")
    assert (first.status_code, first.json()["status"]) == (202, "queued")
    assert second.json() == first.json()
    run = SyncRun.objects.get()
    assert (run.pk, run.trigger, run.user) == (first.json()["id"], "api", None)
    assert first.json()["url"] == f"http://testserver/p/planner/sync/runs/{run.pk}/"


def test_a_project_without_sides_has_nothing_to_sync(api: Api, project: Project) -> None:
    project.local_direction = "off"
    project.save()
    reply = api.post("sync")
    assert (reply.status_code, "nothing to keep in step" in reply.json()["detail"]) == (409, True)
    assert not SyncRun.objects.exists()


def test_a_run_says_how_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().install(monkeypatch)
    api = api_for(world.project)
    api.make()
    run = world.run()
    told: dict[str, Any] = api.get(f"sync/{run.pk}").json()
    assert (told["status"], told["trigger"], told["errors"]) == ("done", "button", [])
    assert told["counters"]["created"] > 0
    assert told["started_at"] <= told["finished_at"]
    assert told["done"] == told["total"]


def test_the_last_syncs_come_newest_first(api: Api, project: Project) -> None:
    runs = [SyncRun.objects.create(project=project, trigger="button", status=RunStatus.DONE) for _ in range(3)]
    listed = api.get("sync?limit=2").json()["items"]
    assert [row["id"] for row in listed] == [runs[2].pk, runs[1].pk]
    assert listed[0] == api.get(f"sync/{runs[2].pk}").json()


@pytest.mark.parametrize("id", ["0", "-1", "x", "9" * 19, "9" * 30, "1.0", "%00"])
def test_an_id_that_is_none_is_refused(api: Api, id: str) -> None:
    assert api.get(f"sync/{id}").status_code == 422


def test_an_id_that_is_not_there(api: Api) -> None:
    assert api.get(f"sync/{2**63 - 1}").status_code == 404
