"""The stream that open pages of a project listen to."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_safe

from blocks.live import stream
from memoryhub.access import get_project


@require_safe
async def live(request: HttpRequest, slug: str) -> StreamingHttpResponse:
    """`since`, or Last-Event-ID of a browser that comes back: the pulse the page was drawn at."""
    project = await sync_to_async(get_project)(request, slug)
    known = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
    response = StreamingHttpResponse(stream(project.pk, known[:64]), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response
