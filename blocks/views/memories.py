"""The main page: every memory of a project, its two forms facing each other."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Count
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.cells import draw
from blocks.listing import SHOWN, SORTS, Filters, page
from blocks.models import Memory, SyncState
from blocks.standing import places_of, rows_of
from blocks.views.common import may_edit
from memoryhub.access import get_project
from memoryhub.http import Request, respond
from memoryhub.models import Project


@require_safe
def memories(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    listed, places = page(project, Filters.parse(request.GET)), places_of(project)
    rows, totals = rows_of(project, listed.items, places), _totals(project, listed.everything)
    context = {
        "project": project,
        "places": places,
        "connected": any(place.kind == "server" for place in places.values()),
        "page": listed,
        "filters": listed.filters,
        "rows": rows,
        "drawn_rows": draw(project, rows),
        "sorts": SORTS,
        "shelves": SHOWN,
        "may_edit": may_edit(project),
        "totals": totals,
        **totals,
    }
    return respond(request, "blocks/memories.html", context, fragment="list")


def _totals(project: Project, counts: Mapping[str, int] | None) -> dict[str, int]:
    """How much there is, and to do, over all memories in use. counts: of each state, where they are known."""
    if counts is None:
        states = Memory.objects.live().filter(project=project).order_by().values_list("sync_state")
        counts = dict(states.annotate(Count("pk")))
    return {
        "to_push": counts.get(SyncState.WAITING, 0),
        "to_pull": counts.get(SyncState.CHANGED, 0),
        "conflicts": counts.get(SyncState.CONFLICT, 0),
        "problems": counts.get(SyncState.PROBLEM, 0),
        "memories": sum(counts.values()),
    }
