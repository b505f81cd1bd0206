"""The Sync page: how both sides stand, what a run would do, what runs did."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from blocks.standing import places_of
from memoryhub.access import get_project, may_write
from memoryhub.http import Request, respond, wants_fragment
from memoryhub.models import Project, Role
from memoryhub.secrets import UnreadableSecret
from syncjobs import braked, overview
from syncjobs.foresee import preview
from syncjobs.models import RunStatus, SyncRun
from syncjobs.tasks import enqueue_run, has_sides

ON_PAGE, GOING_ON_PAGE = 20, 500


@require_safe
def sync(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    if wants_fragment(request) and "before" in request.GET:
        return respond(request, "syncjobs/sync.html", {"project": project, **_past(request, project)}, fragment="past")
    return respond(request, "syncjobs/sync.html", _page(request, project), fragment="live")


def _page(request: Request, project: Project) -> dict[str, Any]:
    latest = project.runs.select_related("user").first()
    return {
        "project": project,
        "places": places_of(project),
        "connected": has_sides(project),
        "progress": overview.Progress(latest) if latest else None,
        "may_edit": may_write(project),
        "cron": cron_line(project),
        "rhythm": overview.rhythm(project),
        "look_cost": overview.cost_of_looks(project),
        "watching": overview.watch_runs(),
        **_past(request, project),
    }


def _past(request: Request, project: Project) -> dict[str, Any]:
    """Finished runs, newest first."""
    past = project.runs.exclude(status__in=overview.ACTIVE).select_related("user").defer("steps").order_by("-pk")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        past = past.filter(pk__lt=int(before))
    rows = list(past[: ON_PAGE + 1])
    more = rows[ON_PAGE - 1].pk if len(rows) > ON_PAGE else None
    return {"past": [overview.Progress(run) for run in rows[:ON_PAGE]], "older": more, "first": not before}


def cron_line(project: Project) -> str:
    """What brings the project in step every hour, for this installation, and speaks up only when it failed."""
    python, folder = shlex.quote(sys.executable), shlex.quote(str(settings.BASE_DIR))
    command = f"cd {folder} && {python} manage.py sync_memory --project {project.slug} >/dev/null"
    return "0 * * * * " + command.replace("%", r"\%")  # which cron takes for the end of a line


@require_POST
def sync_now(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    return _queue(request, project)


@require_POST
def sync_allow(request: Request, slug: str, pk: int) -> HttpResponse:
    """Approve the list of a braked run: what is on it may go, and nothing else."""
    project = get_project(request, slug, Role.OWNER)
    braked = get_object_or_404(project.runs, pk=pk, status=RunStatus.BRAKED)
    return _queue(request, project, approves=braked)


def _queue(request: Request, project: Project, *, approves: SyncRun | None = None) -> HttpResponse:
    if project.archived_at:
        messages.warning(request, "This project is archived; it is synced again once an owner brings it back.")
    elif has_sides(project):
        enqueue_run(project, trigger="button", user=request.user, approves=approves)
    else:
        messages.warning(request, "There is nothing to keep in step: no server is connected, or both sides are off.")
    return redirect("sync", project.slug)


@require_safe
def sync_preview(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    context: dict[str, Any] = {"project": project, "may_edit": True}
    try:
        foreseen = preview(project)
        context |= {"plan": foreseen, "sentence": overview.plan_sentence(foreseen.counters)}
    except UnreadableSecret as error:
        context |= {"trouble": str(error)}
    return respond(request, "syncjobs/preview.html", context, fragment="plan")


@require_safe
def run(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug)
    found = get_object_or_404(project.runs.select_related("user"), pk=pk)
    context = {
        "project": project,
        "run": found,
        "progress": overview.Progress(found),
        "may_edit": may_write(project),
        **(_going(request, found) if found.status == RunStatus.BRAKED else {}),
    }
    return respond(request, "syncjobs/run.html", context, fragment="whole")


def _going(request: Request, run: SyncRun) -> dict[str, Any]:
    """What of the list of a braked run its steps do not show, a page of it."""
    rest, asked = braked.not_shown(run), request.GET.get("from", "")
    first = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 0
    page = list(rest)[first : first + GOING_ON_PAGE]
    more = first + GOING_ON_PAGE if len(rest) > first + GOING_ON_PAGE else None
    going = braked.named({uuid: rest[uuid] for uuid in page})
    last = first + len(going)
    return {"going": going, "going_count": len(rest), "going_first": first, "going_last": last, "going_more": more}


@require_POST
def run_stop(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    found = get_object_or_404(SyncRun, project=project, pk=pk)
    overview.ask_to_stop(found)
    return redirect("sync", slug)
