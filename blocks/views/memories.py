"""The main page: every memory of a project, its two forms facing each other."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.cells import draw
from blocks.listing import SHOWN, SORTS, Filters, page
from blocks.models import SyncState
from blocks.standing import places_of, rows_of
from blocks.views.common import may_edit
from memoryhub.access import get_project
from memoryhub.http import Request, respond


@require_safe
def memories(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    listed, places = page(project, Filters.parse(request.GET)), places_of(project)
    rows, totals = rows_of(project, listed.items, places), _totals(listed.in_use)
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


def _totals(counts: Mapping[str, int]) -> dict[str, int]:
    """How much there is, and to do. counts: of each state of all memories in use."""
    return {
        "to_push": counts.get(SyncState.WAITING, 0),
        "to_pull": counts.get(SyncState.CHANGED, 0),
        "conflicts": counts.get(SyncState.CONFLICT, 0),
        "problems": counts.get(SyncState.PROBLEM, 0),
        "memories": sum(counts.values()),
    }
