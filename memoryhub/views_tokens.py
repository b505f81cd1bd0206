"""A project's tokens: make one, see which there are, end one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from memoryhub import tokens
from memoryhub.access import get_project
from memoryhub.forms import TokenForm
from memoryhub.http import Request, respond
from memoryhub.models import ApiToken, Project, Role
from memoryhub.views import tabs


@require_safe
def show(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    return _page(request, project, TokenForm(role=project.role))  # type: ignore[attr-defined]


@never_cache
@require_POST
def create(request: Request, slug: str) -> HttpResponse:
    """The token is on this answer and nowhere else."""
    project = get_project(request, slug)
    form = TokenForm(request.POST, role=project.role)  # type: ignore[attr-defined]
    if not form.is_valid():
        return _page(request, project, form, status=422)
    data = form.cleaned_data
    made, plain = tokens.issue(project, data["name"], role=Role(data["role"]), days=data["days"], user=request.user)
    fresh = TokenForm(role=project.role)  # type: ignore[attr-defined]
    return _page(request, project, fresh, status=201, made=made, plain=plain)


@require_POST
def revoke(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug)
    token = get_object_or_404(ApiToken, project=project, pk=pk)
    if project.role != Role.OWNER and token.created_by != request.user:  # type: ignore[attr-defined]
        raise PermissionDenied("Only owners of the project, and whoever made a token, revoke it.")
    tokens.revoke(token)
    messages.success(request, f"The token “{token}” is revoked: nobody comes in with it any more.")
    return redirect("tokens", slug)


def _page(request: Request, project: Project, form: TokenForm, status: int = 200, **made: Any) -> HttpResponse:
    rows = list(project.tokens.select_related("created_by"))
    for row in rows:
        row.may_revoke = row.usable and (project.role == Role.OWNER or row.created_by == request.user)  # type: ignore[attr-defined]
    context = {"project": project, "tokens": rows, "form": form, **made, **tabs(request, project, "tokens")}
    context["hub"] = request.build_absolute_uri("/").rstrip("/")
    return respond(request, "memoryhub/tokens.html", context, status=status)
