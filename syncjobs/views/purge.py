"""Purge: owners remove something for good."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from blocks.models import Memory, Purge, PurgeKind
from blocks.views.common import get_memory, row_of
from memoryhub.http import Request, respond
from memoryhub.models import Project, Role
from syncjobs import purge
from syncjobs.forms import SecretForm, SureForm


@require_safe
def show(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid, Role.OWNER)
    return _page(request, project, memory)


def _page(request: Request, project: Project, memory: Memory, *, status: int = 200, **forms: Any) -> HttpResponse:
    context = {
        "project": project,
        "memory": memory,
        "row": row_of(project, memory),
        "count": memory.revisions.count(),
        "conflict": memory.conflicts.filter(closed_at=None).first(),
        "purges": memory.purges.all()[:20],
        "text_form": SecretForm(),
        "revisions_form": SureForm(auto_id="id_revisions_%s"),
        "memory_form": SureForm(auto_id="id_memory_%s"),
    }
    return respond(request, "syncjobs/purge.html", context | forms, status=status)


@require_POST
@sensitive_post_parameters("secret")
@sensitive_variables("form", "secret")
def text(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid, Role.OWNER)
    form = SecretForm(request.POST)
    if not form.is_valid():
        return _page(request, project, memory, status=422, text_form=form)
    secret = form.cleaned_data["secret"]
    if form.cleaned_data["everywhere"]:
        purges = purge.erase_everywhere(project, secret, user=request.user)
    else:
        purges = purge.erase_text([memory], secret, user=request.user)
    if not purges:
        form.add_error("secret", "This occurs nowhere here, so nothing was changed. Is it spelt exactly so?")
        return _page(request, project, memory, status=422, text_form=form)
    messages.success(request, _said(purges, memory.pk))
    return redirect("memory_history", slug, uuid)


def _said(purges: list[Purge], shown: int) -> str:
    beside = sum(row.versions for row in purges if row.kind == PurgeKind.BESIDE)
    of_memories = [row for row in purges if row.kind != PurgeKind.BESIDE]
    places = [_in_revisions(of_memories, shown)] if of_memories else []
    places += [_in_others(beside)] if beside else []
    said = f"Erased in {' and in '.join(places)}."
    waits = dict.fromkeys(reason for row in purges for reason in row.waits_for)
    return f"{said} Still waits for: {', '.join(waits)}." if waits else said


def _in_revisions(purges: list[Purge], shown: int) -> str:
    versions, memories = sum(row.versions for row in purges), len(purges)
    of = f"{memories:,} memories" if memories != 1 else "this memory" if purges[0].memory_id == shown else "one memory"
    return f"{versions:,} revision{'s' * (versions != 1)} of {of}"


def _in_others(count: int) -> str:
    return f"{count:,} agents or blocks that are no memories" if count != 1 else "1 agent or block that is no memory"


@require_POST
def revisions(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid, Role.OWNER)
    form = SureForm(request.POST, auto_id="id_revisions_%s")
    if not form.is_valid():
        return _page(request, project, memory, status=422, revisions_form=form)
    done = purge.drop_revisions(memory, user=request.user)
    messages.success(request, f"{done.versions:,} earlier revision{'s' * (done.versions != 1)} removed for good.")
    return redirect("memory_history", slug, uuid)


@require_POST
def memory(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, found = get_memory(request, slug, uuid, Role.OWNER)
    form = SureForm(request.POST, auto_id="id_memory_%s")
    if found.deleted_at is None:
        return _page(request, project, found, status=409)
    if not form.is_valid():
        return _page(request, project, found, status=422, memory_form=form)
    done = purge.drop_memory(found, user=request.user)
    waits = f" as soon as it is gone from: {', '.join(done.waits_for)}" if done.waits_for else ""
    messages.success(request, f"The memory is removed for good{waits}.")
    return redirect("activity", slug)
