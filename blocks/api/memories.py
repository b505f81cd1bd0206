"""Memories, for agents and scripts: list, make, read, change, archive."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from ninja import Path, Query, Router, Status

from blocks.api import writing
from blocks.api.etags import etag_of, outdated, unchanged
from blocks.api.paging import Place, page
from blocks.api.queries import ListQuery, moment_of, narrowed
from blocks.api.schemas import (
    MemoryChanges,
    MemoryList,
    MemoryOut,
    NewerOut,
    NewMemory,
    NotMadeOut,
    UuidOut,
    memories_out,
)
from blocks.models import Memory
from memoryhub.api import answers, caller, editors, no_others
from memoryhub.models import Project

router = Router(tags=["memories"])
NOWHERE = UUID(int=0)
ETAG = {"ETag": {"description": "The revision, in quotes.", "schema": {"type": "string"}}}
LOCATION = {"Location": {"description": "Of the memory in the API.", "schema": {"type": "string"}}}
# These two headers are described in words: as parameters they would promise that any value leads to success.
IF_MATCH = 'With `If-Match: "<revision>"` this is done only if that is still the present revision; else 412.'
IF_NONE_MATCH = 'With `If-None-Match: "<revision>"` the answer is 304 while that is still the present revision.'


def with_headers(*statuses: int, **more: Any) -> dict[str, Any]:
    """For the document: responses that carry an ETag (and others)."""
    return {"responses": {status: {"headers": ETAG | more} for status in statuses}}


class Pages:
    """Addresses of the pages of a project's memories, made from one pattern: `reverse` is slow."""

    def __init__(self, request: HttpRequest, project: Project) -> None:
        path = reverse("memory", args=[project.slug, NOWHERE])
        self.before, self.after = request.build_absolute_uri(path).rsplit(str(NOWHERE), 1)

    def of(self, memory: Memory) -> str:
        return f"{self.before}{memory.uuid}{self.after}"


def find(project: Project, uuid: str) -> Memory:
    """A memory of the project that is in use. Raises Http404."""
    try:
        memory = Memory.objects.filter(project=project, uuid=UUID(uuid), deleted_at=None).first()
    except ValueError:
        memory = None
    if memory is None:
        raise Http404("No such memory.")
    if memory.archived_at:
        raise Http404(
            "This memory is archived: people restore it in the hub. The list of the shelf `archived` shows it."
        )
    memory.project = project
    return memory


def _one(request: HttpRequest, memory: Memory) -> dict[str, Any]:
    return memories_out(memory.project, [memory], Pages(request, memory.project).of)[0]


@router.get(
    "/memories",
    response=answers({200: MemoryList}),
    exclude_unset=True,
    operation_id="list_memories",
    summary="List memories",
)
def memories(request: HttpRequest, query: Query[ListQuery]) -> dict[str, Any]:
    """One page of the memories that fit, and where the next page begins."""
    project = caller(request).project
    no_others(request, ListQuery)
    queryset = narrowed(getattr(Memory.objects.filter(project=project), query.shelf)(), project, query, query.shelf)
    if query.since:
        queryset = queryset.filter(changed_at__gte=moment_of(query.since))
    text = query.text == "true"
    after = Place.decode(query.cursor) if query.cursor else None
    found, following = page(queryset if text else queryset.defer("text"), query.order, after, query.limit)
    pages = Pages(request, project)
    return {"items": memories_out(project, found, pages.of, text=text), "next": following}


@router.post(
    "/memories",
    auth=editors,
    response=answers({201: MemoryOut, 200: MemoryOut, 409: NotMadeOut}),
    operation_id="create_memory",
    summary="Make a memory",
    openapi_extra=with_headers(200, 201, **LOCATION),
)
def make(request: HttpRequest, response: HttpResponse, new: NewMemory) -> Status[Any]:
    """A title is made from the text's first line, and a label from the title, where they are missing.

    With a `uuid` made by the client the call can be repeated without harm: 201 the first time, then 200 with the memory
    as it is by now. Where it was archived since: 409 with `archived`, since it is not found any more.
    """
    who = caller(request)
    no_others(request)
    try:
        memory, fresh = writing.create(who, new)
    except writing.Archived as gone:
        return Status(409, {"detail": str(gone), "archived": True})
    memory.project = who.project
    response["ETag"] = etag_of(memory)
    response["Location"] = reverse("api:memory", args=[memory.uuid])
    return Status(201 if fresh else 200, _one(request, memory))


@router.get(
    "/memories/{uuid}",
    response=answers({200: MemoryOut, 304: None}),
    operation_id="read_memory",
    summary="Read a memory",
    description=IF_NONE_MATCH,
    openapi_extra=with_headers(200),
    url_name="memory",
)
def read(request: HttpRequest, response: HttpResponse, uuid: Path[UuidOut]) -> Any:
    memory = find(caller(request).project, uuid)
    no_others(request)
    response["ETag"] = etag_of(memory)
    return Status(304, None) if unchanged(request, memory) else _one(request, memory)


@router.patch(
    "/memories/{uuid}",
    auth=editors,
    response=answers({200: MemoryOut, 412: NewerOut}),
    operation_id="change_memory",
    summary="Change a memory",
    description=f"Only the fields that are sent. {IF_MATCH} Without it the fields are set whatever the others are by "
    "now; `append` never loses what somebody else appended at the same time.",
    openapi_extra=with_headers(200, 412),
)
def change(request: HttpRequest, response: HttpResponse, uuid: Path[UuidOut], changes: MemoryChanges) -> Any:
    who = caller(request)
    memory = find(who.project, uuid)
    no_others(request)
    try:
        memory = writing.change(partial(outdated, request), who, memory.pk, changes)
    except writing.Newer as newer:
        return _newer(request, newer)
    memory.project = who.project
    response["ETag"] = etag_of(memory)
    return _one(request, memory)


@router.delete(
    "/memories/{uuid}",
    auth=editors,
    response=answers({200: MemoryOut, 412: NewerOut}),
    operation_id="archive_memory",
    summary="Archive a memory",
    description=f"It leaves both sides and the list of those in use; people restore it in the hub. {IF_MATCH}",
    openapi_extra=with_headers(200, 412),
)
def archive(request: HttpRequest, response: HttpResponse, uuid: Path[UuidOut]) -> Any:
    who = caller(request)
    memory = find(who.project, uuid)
    no_others(request)
    try:
        memory = writing.archive(partial(outdated, request), who, memory.pk)
    except writing.Newer as newer:
        return _newer(request, newer)
    response["ETag"] = etag_of(memory)
    return _one(request, memory)


def _newer(request: HttpRequest, newer: writing.Newer) -> JsonResponse:
    said = {"detail": str(newer), "current": _one(request, newer.memory)}
    return JsonResponse(said, status=412, headers={"ETag": etag_of(newer.memory)})
