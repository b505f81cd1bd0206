"""The Status page: is each server reachable, does anybody work, what waits."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks import sizes
from memoryhub.http import Request, respond
from syncjobs import overview


@require_safe
def status(request: Request) -> HttpResponse:
    context = {
        "cards": overview.cards_of(request.user, everything=request.user.is_staff),
        "queues": [overview.sync_queue(), overview.push_queue()],
        "watching": overview.watch_runs(),
        "watch_seen": overview.watch_seen(),
        "history": sizes.of_all() if request.user.is_staff else None,
        "full_days": settings.HISTORY_FULL_DAYS,
    }
    return respond(request, "syncjobs/status.html", context, fragment="whole")
