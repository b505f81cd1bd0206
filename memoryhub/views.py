"""A project's name, its end, and its members. What touches its memories or its sides lies in `syncjobs.views`."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from memoryhub import projects
from memoryhub.access import get_project, may_adopt
from memoryhub.forms import InviteForm, ProjectForm, RoleForm
from memoryhub.http import Request, respond
from memoryhub.models import Membership, Project, Role


def tabs(request: Request, project: Project, shown: str) -> dict[str, Any]:
    """What the navigation of the settings needs."""
    return {"tab": shown, "may_adopt": may_adopt(request.user, project)}


@require_http_methods(["GET", "HEAD", "POST"])
def project_settings(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER if request.method == "POST" else Role.VIEWER)
    form = ProjectForm(request.POST or None, initial={"name": project.name, "description": project.description})
    if request.method == "POST" and form.is_valid():
        project.name, project.description = form.cleaned_data["name"], form.cleaned_data["description"]
        project.save(update_fields=["name", "description"])
        messages.success(request, "Saved.")
        return redirect("project_settings", slug)
    context = {"project": project, "form": form, **tabs(request, project, "project_settings")}
    return respond(request, "memoryhub/project_settings.html", context, status=422 if form.errors else 200)


@require_POST
def project_archive(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER)
    projects.archive(project)
    messages.success(request, f"“{project}” is archived: it can be read, and is not synced until you bring it back.")
    return redirect("project_settings", slug)


@require_POST
def project_unarchive(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER)
    projects.unarchive(project)
    messages.success(request, f"“{project}” is in use again.")
    return redirect("project_settings", slug)


@require_safe
def members(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    return _members(request, project, InviteForm(project=project))


def _members(request: Request, project: Project, form: InviteForm, status: int = 200) -> HttpResponse:
    rows = project.memberships.select_related("user").order_by("user__username")
    context = {
        "project": project,
        "members": rows,
        "form": form,
        "roles": Role.choices,
        **tabs(request, project, "members"),
    }
    return respond(request, "memoryhub/members.html", context, status=status)


@require_POST
def member_invite(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER)
    form = InviteForm(request.POST, project=project)
    if not form.is_valid():
        return _members(request, project, form, 422)
    projects.add_member(project, form.cleaned_data["who"], Role(form.cleaned_data["role"]))
    messages.success(request, f"{form.cleaned_data['who']} is now {form.cleaned_data['role']} of this project.")
    return redirect("members", slug)


@require_POST
def member_role(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug, Role.OWNER)
    membership = get_object_or_404(Membership.objects.select_related("user"), project=project, pk=pk)
    form = RoleForm(request.POST)
    try:
        if form.is_valid():
            projects.set_role(membership, Role(form.cleaned_data["role"]))
            messages.success(request, f"{membership.user} is now {membership.role}.")
    except projects.LastOwner as error:
        messages.error(request, f"{membership.user} stays owner. {error}")
    return redirect("members", slug)


@require_POST
def member_remove(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug)
    membership = get_object_or_404(Membership.objects.select_related("user"), project=project, pk=pk)
    leaving = membership.user == request.user
    if not leaving and project.role != Role.OWNER:  # type: ignore[attr-defined]
        raise PermissionDenied("Only owners remove members.")
    try:
        projects.remove_member(membership)
    except projects.LastOwner as error:
        messages.error(request, f"{membership.user} stays. {error}")
        return redirect("members", slug)
    messages.success(request, f"You left “{project}”." if leaving else f"{membership.user} was removed.")
    return redirect("home") if leaving and not request.user.is_superuser else redirect("members", slug)
