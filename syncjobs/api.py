"""Syncs, for agents and scripts."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import Http404, HttpRequest
from django.urls import reverse
from ninja import Path, Query, Router, Status
from ninja.errors import HttpError
from pydantic import BaseModel, Field, WithJsonSchema

from memoryhub.api import DIGITS, RowId, answers, caller, editors, no_others
from memoryhub.models import Project
from syncjobs.models import SyncRun
from syncjobs.tasks import enqueue_run, has_sides

router = Router(tags=["sync"])
Moment = Annotated[str | None, WithJsonSchema({"type": ["string", "null"], "format": "date-time"})]


class QueuedOut(BaseModel):
    """url: the run's page."""

    id: int
    status: str
    url: str


class RunOut(QueuedOut):
    """A sync run. status: queued, running, done, failed, braked, busy or stopped. done, total: of the memories it works
    at. counters: what it did. errors: what went wrong, and where."""

    trigger: str
    phase: str
    done: int
    total: int
    counters: dict[str, int]
    errors: list[dict[str, Any]]
    created_at: str
    started_at: Moment
    finished_at: Moment


class RunList(BaseModel):
    """Newest first."""

    items: list[RunOut]


class RunsQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=50), DIGITS] = Field(10, description="How many at most.")


@router.post("/sync", auth=editors, response=answers({202: QueuedOut}), operation_id="start_sync", summary="Sync now")
def start(request: HttpRequest) -> Status[Any]:
    """Queues a sync run of the project; one that is queued and not begun is taken instead. 409: there is nothing to
    keep in step."""
    project = caller(request).project
    no_others(request)
    if not has_sides(project):
        raise HttpError(409, "There is nothing to keep in step: no server is connected, or both sides are off.")
    run = enqueue_run(project, trigger="api")
    return Status(202, {"id": run.pk, "status": run.status, "url": _url(request, project, run)})


@router.get("/sync", response=answers({200: RunList}), operation_id="list_syncs", summary="List the last syncs")
def runs(request: HttpRequest, query: Query[RunsQuery]) -> dict[str, Any]:
    project = caller(request).project
    no_others(request, RunsQuery)
    rows = project.runs.defer("steps", "removals")[: query.limit]
    return {"items": [_out(request, project, run) for run in rows]}


@router.get("/sync/{id}", response=answers({200: RunOut}), operation_id="read_sync", summary="Read a sync")
def run(request: HttpRequest, id: Path[RowId]) -> dict[str, Any]:
    """How far it is, or what it did."""
    project = caller(request).project
    no_others(request)
    found = project.runs.defer("steps", "removals").filter(pk=id).first()
    if found is None:
        raise Http404("No such sync.")
    return _out(request, project, found)


def _out(request: HttpRequest, project: Project, run: SyncRun) -> dict[str, Any]:
    names = ("status", "trigger", "phase", "done", "total", "counters", "errors")
    moments = ("created_at", "started_at", "finished_at")
    out: dict[str, Any] = {name: getattr(run, name) for name in names}
    for name in moments:
        moment = getattr(run, name)
        out[name] = moment.isoformat() if moment else None
    return out | {"id": run.pk, "url": _url(request, project, run)}


def _url(request: HttpRequest, project: Project, run: SyncRun) -> str:
    return request.build_absolute_uri(reverse("run", args=[project.slug, run.pk]))
