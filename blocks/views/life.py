"""Archive a memory, delete it, bring it back."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from blocks import actions
from blocks.views.common import get_memory, row_of
from memoryhub.http import Request, respond
from memoryhub.models import Role

DAYS = actions.KEEP_DELETED.days


@require_POST
def archive(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid, Role.EDITOR)
    conflict = row_of(project, memory).conflict
    actions.archive([memory], user=request.user)
    messages.success(request, f"“{memory}” is archived. It leaves both sides; Restore brings it back.")
    if conflict:
        side = conflict.connection.get_side_display()
        messages.warning(request, f"It is in conflict: what {side} shows brings it back. Decide that, then archive it.")
    return redirect(memory)


@require_POST
def restore(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    _, memory = get_memory(request, slug, uuid, Role.EDITOR)
    actions.unarchive([memory], user=request.user)
    messages.success(request, f"“{memory}” is back.")
    return redirect(memory)


@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid, Role.EDITOR)
    if request.method != "POST":
        context = {"project": project, "memory": memory, "row": row_of(project, memory), "days": DAYS}
        return respond(request, "blocks/delete.html", context)
    actions.delete([memory], user=request.user)
    messages.success(request, f"“{memory}” is deleted. It can be restored for {DAYS} days.")
    return redirect("memories", slug)
