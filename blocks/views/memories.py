"""The main page: every memory of a project, its two forms facing each other."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.models import Memory
from blocks.standing import places_of, rows_of
from blocks.views.common import may_edit
from memoryhub.access import get_project
from memoryhub.http import Request, respond


@require_safe
def memories(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    places = places_of(project)
    items = Memory.objects.live().filter(project=project).order_by("-changed_at")[:50]
    context = {
        "project": project,
        "places": places,
        "rows": rows_of(project, items, places),
        "may_edit": may_edit(project),
        "total": len(items),
    }
    return respond(request, "blocks/memories.html", context, fragment="list")
