"""Who changed what, when, across a project."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.models import Revision
from memoryhub.access import get_project
from memoryhub.http import Request, respond

ON_PAGE = 50


@require_safe
def activity(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    revisions = Revision.objects.filter(memory__project=project).select_related("memory")
    revisions = revisions.defer("fields", "memory__text")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        revisions = revisions.filter(pk__lt=int(before))
    shown = list(revisions.order_by("-pk")[: ON_PAGE + 1])
    context = {
        "project": project,
        "revisions": shown[:ON_PAGE],
        "next": shown[ON_PAGE - 1].pk if len(shown) > ON_PAGE else None,
        "first": not before,
    }
    return respond(request, "blocks/activity.html", context, fragment="list")
