"""Every state a memory was in: look, compare, bring one back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from blocks import actions, diff
from blocks.models import Memory, Origin, Revision
from blocks.views.common import get_memory, may_edit
from memoryhub.http import Request, respond
from memoryhub.models import Role

ON_PAGE = 50
SIDES: dict[str, str] = {Origin.LETTA: "Letta", Origin.LOCAL: "local"}


@require_safe
def history(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    project, memory = get_memory(request, slug, uuid)
    below = _number(request, "below") or memory.number + 1
    revisions = list(memory.revisions.defer("fields").filter(number__lt=below)[: ON_PAGE + 1])
    name_parents(memory, revisions)
    context = {
        "project": project,
        "memory": memory,
        "revisions": revisions[:ON_PAGE],
        "next": revisions[ON_PAGE - 1].number if len(revisions) > ON_PAGE else None,
        "comparison": _comparison(request, memory),
        "may_edit": may_edit(project),
        "may_purge": project.role == Role.OWNER,  # type: ignore[attr-defined]
        "purges": memory.purges.all()[:ON_PAGE],
    }
    return respond(request, "blocks/history.html", context, fragment="whole")


def _number(request: Request, name: str) -> int:
    """A revision number from the query; 0 where none is given."""
    given = request.GET.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0


def _comparison(request: Request, memory: Memory) -> dict[str, Any]:
    """Two revisions and how they differ; unless asked otherwise the latest and the one before it."""
    asked_new = _number(request, "to") or memory.number
    new = _kept(memory, asked_new)
    asked_old = _number(request, "from")
    old = _kept(memory, asked_old) if asked_old else _before(memory, new)
    missing = [asked for asked, got in ((asked_old, old), (asked_new, new)) if asked and asked != got.number]
    text = diff.lines(old.text.text, new.text.text)
    return {"old": old, "new": new, "text": text, "fields": _fields(old, new), "missing": missing}


def _kept(memory: Memory, number: int) -> Revision:
    """The revision of that number, or the nearest one before it (else after it) where that is no longer kept."""
    if number > memory.number:
        raise Http404("This memory has no such revision.")
    revisions = memory.revisions.select_related("text")
    found = revisions.filter(number__lte=number).first() or revisions.last()
    if found is None:
        raise Http404("This memory has no revisions.")
    return found


def _before(memory: Memory, revision: Revision) -> Revision:
    """What a revision was made from (of a merge: the hub's), else the one before it."""
    earlier = memory.revisions.select_related("text").filter(number__lt=revision.number)
    return earlier.filter(number__in=revision.parents[:1]).first() or earlier.first() or revision


@dataclass
class Parent:
    """A revision another one was made from. where: the side it came from, '' for the hub; kept: it is still there."""

    number: int
    where: str = ""
    kept: bool = True


def name_parents(memory: Memory, revisions: list[Revision]) -> None:
    """Give each revision with several parents `made_from`, its list of `Parent`."""
    merged = [revision for revision in revisions if len(revision.parents) > 1]
    wanted = {number for revision in merged for number in revision.parents}
    origins = dict(memory.revisions.filter(number__in=wanted).values_list("number", "origin"))
    for revision in merged:
        hub, *sides = revision.parents
        revision.made_from = [  # type: ignore[attr-defined]
            Parent(hub, kept=hub in origins),
            *(Parent(number, SIDES.get(origins.get(number, ""), ""), number in origins) for number in sides),
        ]


def _fields(old: Revision, new: Revision) -> list[dict[str, Any]]:
    names = [name for name in new.fields if old.fields.get(name) != new.fields[name]]
    return [{"name": name, "old": old.fields.get(name), "new": new.fields[name]} for name in names]


@require_POST
def restore(request: Request, slug: str, uuid: UUID, number: int) -> HttpResponse:
    _, memory = get_memory(request, slug, uuid, Role.EDITOR)
    get_object_or_404(memory.revisions, number=number)
    restored = actions.restore_revision(memory, number, user=request.user)
    messages.success(request, f"Revision {number} is the current text again, as revision {restored.number}.")
    return redirect(memory)
