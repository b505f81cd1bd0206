"""What memories were, and what changed lately."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.http import Http404, HttpRequest
from ninja import Path, Query, Router

from blocks import changes
from blocks.api.memories import find
from blocks.api.queries import ChangesQuery, HistoryQuery
from blocks.api.schemas import ChangeList, RevisionList, UuidOut, VersionOut
from blocks.models import Revision
from memoryhub.api import Number, answers, caller, no_others

router = Router(tags=["history"])
COLUMNS = ("number", "author", "origin", "note", "created_at", "parents")


@router.get(
    "/memories/{uuid}/history",
    response=answers({200: RevisionList}),
    operation_id="list_versions",
    summary="List a memory's versions",
)
def history(request: HttpRequest, uuid: Path[UuidOut], query: Query[HistoryQuery]) -> dict[str, Any]:
    """Newest first. Old ones are thinned out, so numbers may be missing."""
    memory = find(caller(request).project, uuid)
    no_others(request, HistoryQuery)
    rows = memory.revisions.values(*COLUMNS, length=F("text__length"))
    if query.before:
        rows = rows.filter(number__lt=query.before)
    found = list(rows[: query.limit + 1])
    more, found = len(found) > query.limit, found[: query.limit]
    items = [row | {"created_at": row["created_at"].isoformat()} for row in found]
    return {"items": items, "next": found[-1]["number"] if more else None}


@router.get(
    "/memories/{uuid}/history/{number}",
    response=answers({200: VersionOut}),
    operation_id="read_version",
    summary="Read a version",
)
def version(request: HttpRequest, uuid: Path[UuidOut], number: Path[Number]) -> dict[str, Any]:
    """Every field as it was then."""
    memory = find(caller(request).project, uuid)
    no_others(request)
    found: Revision | None = memory.revisions.select_related("text").filter(number=number).first()
    if found is None:
        raise Http404("There is no such version, or it was thinned out since.")
    out = {name: getattr(found, name) for name in COLUMNS}
    return out | {"created_at": found.created_at.isoformat(), "length": found.text.length, "state": found.state}


@router.get("/changes", response=answers({200: ChangeList}), operation_id="list_changes", summary="List what changed")
def changed(request: HttpRequest, query: Query[ChangesQuery]) -> dict[str, Any]:
    """Every version that was made in the project, by whomever, oldest first. Without `since`: the newest, and where to
    go on from. Asked again with `next` each time, nothing is left out, also while several write at once."""
    project = caller(request).project
    no_others(request, ChangesQuery)
    found = changes.since(project, int(query.since) if query.since else None, query.limit)
    return {"items": [item(row) for row in found.items], "next": str(found.next), "more": found.more}


def item(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `blocks.changes` as it is told."""
    fields = row["fields"]
    return {
        "uuid": str(row["memory__uuid"]),
        **{name: str(fields.get(name, "")) for name in ("title", "label", "kind")},
        "revision": row["number"],
        "author": row["author"],
        "origin": row["origin"],
        "note": row["note"],
        "changed_at": row["created_at"].isoformat(),
        "archived": bool(row["memory__archived_at"] or row["memory__deleted_at"]),
    }
