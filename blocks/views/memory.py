"""One memory: look at it, edit it, make one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from blocks import actions, diff, markdown
from blocks.forms import MemoryForm
from blocks.merge import CLASH, Clash, merge_text
from blocks.models import Memory
from blocks.state import KINDS
from blocks.views.common import get_memory, may_edit, row_of
from memoryhub.access import get_project
from memoryhub.http import Request, respond, wants_fragment
from memoryhub.models import Project, Role


@require_http_methods(["GET", "HEAD", "POST"])
def memory(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    posted = request.method == "POST"
    project, memory = get_memory(request, slug, uuid, Role.EDITOR if posted else Role.VIEWER)
    return _save(request, project, memory) if posted else _show(request, project, memory)


def _show(
    request: Request,
    project: Project,
    memory: Memory,
    form: MemoryForm | None = None,
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    context = {
        "project": project,
        "memory": memory,
        "row": row_of(project, memory),
        "form": form or MemoryForm(project=project, memory=memory, base=memory.state),
        "revisions": memory.revisions.defer("fields")[:6],
        "preview": markdown.render((form["text"].value() if form else memory.text) or ""),
        "may_edit": may_edit(project),
        "kinds": KINDS,
        "until": memory.deleted_at and memory.deleted_at + actions.KEEP_DELETED,
    }
    return respond(request, "blocks/memory.html", context | more, fragment="whole", status=status)


def _save(request: Request, project: Project, memory: Memory) -> HttpResponse:
    form, base_number = _bound(request, project, memory)
    try:
        with actions.naming(project, request.POST.get("label", "")):
            if valid := form.is_valid():
                saved = actions.edit(memory, form.changes, user=request.user, based_on=base_number, shared=form.sharing)
    except actions.EditedMeanwhile as meanwhile:
        return _meanwhile(request, project, meanwhile.memory, form)
    if not valid:
        return _show(request, project, memory, form, status=422)
    messages.success(request, _said(saved, memory.number))
    return _show(request, project, saved) if wants_fragment(request) else redirect(saved)


def _bound(request: Request, project: Project, memory: Memory) -> tuple[MemoryForm, int]:
    """The form on top of the revision the person saw, and that revision's number."""
    given = request.POST.get("based_on", "")
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0
    seen = memory.revisions.select_related("text").filter(number=number).first()
    base = seen.state if seen else memory.state
    return MemoryForm(request.POST, project=project, memory=memory, base=base), number


def _meanwhile(request: Request, project: Project, current: Memory, form: MemoryForm) -> HttpResponse:
    """Show what changed since the person began, and their own input on top of it."""
    both: str | Clash = CLASH
    if "text" in form.changes:
        both = merge_text(form.base["text"], form.cleaned_data["text"], current.text)
    proposal = form.proposal(current) | ({} if both is CLASH else {"text": both})
    fresh = MemoryForm(project=project, memory=current, base=current.state, proposal=proposal)
    theirs = diff.lines(form.base["text"], current.text)
    mine = diff.lines(current.text, proposal["text"]) if "text" in form.changes else None
    fields = [name for name, value in current.state.items() if name != "text" and form.base[name] != value]
    changed = [{"name": name, "old": form.base[name], "new": current.state[name]} for name in fields]
    meanwhile = {"theirs": theirs, "mine": mine, "fields": changed, "merged": both is not CLASH}
    return _show(request, project, current, fresh, status=409, meanwhile=meanwhile)


def _said(saved: Memory, before: int) -> str:
    if saved.number == before:
        return "Nothing was changed, so nothing was saved."
    return f"Saved as revision {saved.number}."


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    form = MemoryForm(request.POST or None, project=project)
    if request.method == "POST" and (made := _made(request, project, form)):
        messages.success(request, f"“{made}” was made.")
        return redirect(made)
    context = {"project": project, "form": form, "kinds": KINDS, "preview": markdown.render(form["text"].value() or "")}
    return respond(request, "blocks/new.html", context, status=422 if request.method == "POST" else 200)


def _made(request: Request, project: Project, form: MemoryForm) -> Memory | None:
    with actions.naming(project, request.POST.get("label", "")):
        if not form.is_valid():
            return None
        return actions.create(project, form.state, user=request.user, shared=form.cleaned_data["shared"])


@require_POST
def preview(request: Request, slug: str) -> HttpResponse:
    project, text = get_project(request, slug), request.POST.get("text", "")
    context = {"project": project, "preview": markdown.render(text), "cut": len(text) > markdown.MAX_SHOWN}
    return respond(request, "blocks/preview.html", context, fragment="preview")
