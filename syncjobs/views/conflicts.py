"""Conflicts: see every text, decide."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from blocks.actions import EditedMeanwhile
from memoryhub.access import get_project, may_write
from memoryhub.http import Request, respond
from memoryhub.models import Project, Role
from syncjobs.comparison import Comparison
from syncjobs.conflicts import decide, other_conflicts
from syncjobs.forms import DecisionForm
from syncjobs.models import Conflict

ON_PAGE = 50


@require_safe
def conflicts(request: Request, slug: str) -> HttpResponse:
    project, closed = get_project(request, slug), "closed" in request.GET
    rows = Conflict.objects.filter(memory__project=project, closed_at__isnull=not closed).order_by("-pk")
    if not closed:  # a memory that is in conflict with both sides stands there once
        newer = Conflict.objects.filter(memory=OuterRef("memory"), closed_at=None, pk__gt=OuterRef("pk"))
        rows = rows.filter(~Exists(newer))
    count = rows.count()
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    shown = list(rows.select_related("memory__project", "connection", "resolved_by")[: ON_PAGE + 1])
    older = shown[ON_PAGE - 1].pk if len(shown) > ON_PAGE else None
    for row in () if closed else shown:
        row.others = other_conflicts(row)  # type: ignore[attr-defined]
    context = {"project": project, "conflicts": shown[:ON_PAGE], "older": older, "closed": closed, "count": count}
    return respond(request, "syncjobs/conflicts.html", context, fragment="list")


def _get(project: Project, pk: int) -> Conflict:
    rows = Conflict.objects.select_related("memory__project", "connection", "base_text", "side_text", "resolved_by")
    return get_object_or_404(rows, memory__project=project, pk=pk)


@require_safe
def conflict(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug)
    return _show(request, project, _get(project, pk))


def _show(
    request: Request,
    project: Project,
    found: Conflict,
    form: DecisionForm | None = None,
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    compared = Comparison(found)
    if form is None:
        form = DecisionForm(conflict=found, memory=found.memory, shown=compared.shown, text=compared.proposal[0])
    context = {
        "project": project,
        "conflict": found,
        "memory": found.memory,
        "compared": compared,
        "form": form,
        "may_edit": may_write(project) and found.closed_at is None,
    }
    return respond(request, "syncjobs/conflict.html", context | more, status=status)


@require_POST
def conflict_resolve(request: Request, slug: str, pk: int) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    found = _get(project, pk)
    form = DecisionForm(request.POST, conflict=found, memory=found.memory)
    if found.closed_at:
        messages.warning(request, "This conflict is closed already; nothing was changed.")
        return redirect("conflict", slug, pk)
    if not form.is_valid():
        return _show(request, project, found, form, status=422)
    return _resolve(request, project, found, form)


def _resolve(request: Request, project: Project, found: Conflict, form: DecisionForm) -> HttpResponse:
    data = form.cleaned_data
    said = {"text": data["text"], "fields": data["others"], "seen_sides": data["seen_sides"]}
    try:
        memory = decide(found, data["how"], user=request.user, seen_number=data["seen_number"], **said)
    except EditedMeanwhile:
        return _meanwhile(request, project, _get(project, found.pk), data)
    except ValueError:
        messages.warning(request, "Somebody else closed this conflict meanwhile; nothing was changed.")
        return redirect("conflict", project.slug, found.pk)
    rest = other_conflicts(found).first()
    if rest:
        other = rest.connection.get_side_display()
        messages.success(request, f"Decided. What {other} says differs as well: decide about that, too.")
        return redirect("conflict", project.slug, rest.pk)
    messages.success(request, f"Decided. Revision {memory.number} of “{memory}” goes to both sides.")
    return redirect("conflicts", project.slug)


def _meanwhile(request: Request, project: Project, found: Conflict, data: dict[str, Any]) -> HttpResponse:
    """Show what the person wrote on top of what there is now."""
    compared = Comparison(found)
    said = {"text": data["text"], "others": data["others"]}
    again = DecisionForm(conflict=found, memory=found.memory, shown=compared.shown, **said)
    since = compared.since(data["seen_number"])
    return _show(request, project, found, again, status=409, meanwhile=found.memory, since=since)
