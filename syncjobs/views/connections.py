"""How a project is connected: settings, connection tests, a server that changed, blocks in no project."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from blocks.standing import places_of
from blocks.stores.base import Probe, StoreError
from memoryhub.access import get_project, may_adopt
from memoryhub.forms import ConnectionsForm
from memoryhub.http import Request, respond
from memoryhub.models import Project, Role, SyncMode
from memoryhub.secrets import UnreadableSecret
from memoryhub.views import tabs
from syncjobs import connect, overview, sides
from syncjobs.models import Connection, Side
from syncjobs.tasks import enqueue_run

SAVED: dict[connect.Follows, str] = {
    "run": "Saved. A sync brings every memory in step.",
    "plan": "Saved. Nothing is synced yet: this is what the first sync would do.",
    "": "Saved.",
}
BY_ITSELF = "Saved. This is what the first sync does; it begins by itself, as this project is set to."


@require_http_methods(["GET", "HEAD", "POST"])
def connections(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER if request.method == "POST" else Role.VIEWER)
    form = ConnectionsForm(request.POST or None, project=project, user=request.user)
    if request.method == "POST" and form.is_valid():
        follows = connect.change_connections(project, form.changes(), user=request.user)
        alone = follows == "plan" and project.sync_mode != SyncMode.MANUAL
        messages.success(request, BY_ITSELF if alone else SAVED[follows])
        return redirect("sync_preview" if follows == "plan" else "connections", slug)
    context = {
        "project": project,
        "form": form,
        "places": places_of(project),
        "rhythm": overview.rhythm(project),
        **tabs(request, project, "connections"),
    }
    return respond(request, "syncjobs/connections.html", context, status=422 if form.errors else 200)


@require_POST
def connection_test(request: Request, slug: str, side: str) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    context = {"project": project, "side": side, "probe": _probe(project, side)}
    context |= tabs(request, project, "connections")
    return respond(request, "syncjobs/connection_test.html", context, fragment="probe")


def _probe(project: Project, side: str) -> Probe:
    """Never raises; a side that is not connected is said."""
    server, opener = (
        (project.letta_server, sides.open_letta) if side == Side.LETTA else (project.local_store, sides.open_local)
    )
    if server is None:
        return Probe("ok", "The hub itself." if side == Side.LETTA else "No local store is connected.")
    try:
        return opener(project).probe()
    except UnreadableSecret as error:
        return Probe("unauthorized", f"{error}.", "Staff enter the key again in the administration.")


@require_POST
def connection_confirm(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER)
    connection = get_object_or_404(Connection.objects.exclude(suspect=""), project=project, pk=pk)
    sides.confirm(connection)
    enqueue_run(project, trigger="button", user=request.user)
    messages.success(
        request, "Confirmed: a sync looks at it again now, links what is known there and makes the rest again."
    )
    return redirect("connections", slug)


def _for_adoption(request: Request, slug: str) -> Project:
    project = get_project(request, slug)
    if not may_adopt(request.user, project):
        raise PermissionDenied(
            "Blocks in no project are shown to staff, and to owners whom staff named as adopters of the Letta server."
        )
    return project


@require_safe
def others(request: Request, slug: str) -> HttpResponse:
    project = _for_adoption(request, slug)
    context = {"project": project, **tabs(request, project, "others"), "blocks": [], "error": ""}
    try:
        context["blocks"] = sides.open_letta(project).others()
    except (StoreError, UnreadableSecret) as error:
        context["error"] = str(error)
    return respond(request, "syncjobs/others.html", context)


@require_POST
def adopt(request: Request, slug: str) -> HttpResponse:
    project = _for_adoption(request, slug)
    try:
        sides.open_letta(project).adopt(request.POST.get("block", ""))
    except (StoreError, UnreadableSecret) as error:
        messages.error(request, f"Not adopted: {error}")
    else:
        enqueue_run(project, trigger="button", user=request.user)
        messages.success(request, "The block is in this project now; the sync that is queued brings it in.")
    return redirect("others", slug)
