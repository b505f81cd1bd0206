"""Who changed what, when, across a project."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.models import Purge, Revision
from memoryhub.access import get_project
from memoryhub.http import Request, respond
from memoryhub.models import Project

ON_PAGE = 50


@require_safe
def activity(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    revisions = Revision.objects.filter(memory__project=project).select_related("memory")
    revisions = revisions.defer("fields", "memory__text")
    given = request.GET.get("before", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    if before:
        revisions = revisions.filter(pk__lt=before)
    shown = list(revisions.order_by("-pk")[: ON_PAGE + 1])
    more = len(shown) > ON_PAGE
    page = shown[:ON_PAGE]
    newer = Revision.objects.filter(memory__project=project, pk__gte=before).order_by("pk").first() if before else None
    purges = _between(project, page[-1].created_at if more else None, newer.created_at if newer else None)
    events: list[Revision | Purge] = sorted([*page, *purges], key=lambda event: event.created_at, reverse=True)
    context = {
        "project": project,
        "revisions": page,
        "events": events,
        "next": page[-1].pk if more else None,
        "first": not before,
    }
    return respond(request, "blocks/activity.html", context, fragment="list")


def _between(project: Project, since: datetime | None, until: datetime | None) -> QuerySet[Purge]:
    """The purges that belong on a page with revisions from `since` on, up to the next newer page."""
    wanted = Q(created_at__gte=since) if since else Q()
    if until:
        wanted &= Q(created_at__lt=until)
    return Purge.objects.filter(wanted, project=project).select_related("memory")
