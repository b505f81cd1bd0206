"""Letta's routes for blocks."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from blocks import actions, agents, builtin, builtin_list
from blocks.api import letta
from blocks.api.letta_paging import AgentPage, agents_page
from blocks.api.letta_shapes import BlockChanges, NewBlock, Order, show_agents, show_block
from blocks.builtin import Row
from blocks.builtin_list import Wanted
from memoryhub.api import caller
from memoryhub.models import Project, Role

MOST = 10_000  # blocks of a page
Count = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Search = Annotated[str | None, Field(min_length=1, max_length=200)]

router = Router()


class Filters(BaseModel):
    label: Annotated[str | None, Field(min_length=1)] = None
    templates_only: bool = False
    name: Search = None
    project_id: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False

    def wanted(self) -> Wanted:
        return Wanted(**self._same(), templates=self.templates_only, template_name=self.name)

    def _same(self) -> dict[str, Any]:
        names = Wanted.__dataclass_fields__.keys() & type(self).model_fields.keys()
        return {name: getattr(self, name) for name in names}


class Listing(Filters):
    identity_id: str | None = None
    identifier_keys: list[str] | None = None
    label_search: Search = None
    description_search: Search = None
    value_search: Search = None
    connected_to_agents_count_gt: Count | None = None
    connected_to_agents_count_lt: Count | None = None
    connected_to_agents_count_eq: list[Count] | None = None
    show_hidden_blocks: bool = False
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50
    before: str | None = None
    after: str | None = None
    order: Order = "asc"
    order_by: Annotated[str, Field(pattern="^created_at$")] = "created_at"

    def wanted(self) -> Wanted:
        return Wanted(
            **self._same(),
            templates=self.templates_only,
            template_name=self.name,
            hidden=self.show_hidden_blocks,
            nobody=bool(self.identity_id or self.identifier_keys),
            agents_more=self.connected_to_agents_count_gt,
            agents_fewer=self.connected_to_agents_count_lt,
            agents_exactly=self.connected_to_agents_count_eq,
        )


@router.get("/blocks/")
def list_blocks(request: HttpRequest, asked: Query[Listing]) -> Any:
    rows = builtin_list.page(
        caller(request).project,
        asked.wanted(),
        limit=asked.limit,
        after=letta.cursor_in(asked.after, "block", "after"),
        before=letta.cursor_in(asked.before, "block", "before"),
        newest=asked.order == "desc",
    )
    return [show_block(row) for row in rows]


@router.get("/blocks/count")
def count_blocks(request: HttpRequest, asked: Query[Filters]) -> int:
    return builtin_list.count(caller(request).project, asked.wanted())


@router.post("/blocks/")
def create_block(request: HttpRequest, body: NewBlock) -> HttpResponse:
    """As on Letta there may be several of one label; who wants no second one says `If-None-Match: *`."""
    who = caller(request, Role.EDITOR)
    with actions.naming(who.project, body.label):
        only_new = "*" in letta.named(request, "If-None-Match")
        if only_new and builtin_list.count(who.project, Wanted(label=body.label)):
            return letta.answer(request, 412, f"There is a block labelled “{body.label}” already.")
        return shown(request, builtin.create(who.project, body.model_dump(), who.name))


@router.get("/blocks/{block_id}")
def retrieve_block(request: HttpRequest, block_id: str) -> HttpResponse:
    row = found(caller(request).project, block_id)
    version = builtin.version_of(row)
    if letta.any_of(letta.named(request, "If-None-Match"), version):
        response = HttpResponse(status=304)
        response["ETag"] = f'"{version}"'
        return response
    return shown(request, row)


@router.patch("/blocks/{block_id}")
def modify_block(request: HttpRequest, block_id: str, body: BlockChanges) -> HttpResponse:
    who = caller(request, Role.EDITOR)
    with transaction.atomic():
        row = found(who.project, block_id, lock=True)
        return changed(request, row, body, who.name)


@router.delete("/blocks/{block_id}")
def delete_block(request: HttpRequest, block_id: str) -> HttpResponse:
    who = caller(request, Role.EDITOR)
    with transaction.atomic():
        row = found(who.project, block_id, lock=True)
        if refusal := overtaken(request, row):
            return refusal
        builtin.remove(row, who.name)
    return letta.api.create_response(request, None, status=200)


@router.get("/blocks/{block_id}/agents")
def list_agents_for_block(request: HttpRequest, block_id: str, asked: Query[AgentPage]) -> Any:
    """As on a Letta server, nobody sees a block that is not there."""
    row = builtin.find(caller(request).project, letta.uuid_in(block_id, "block"))
    return show_agents(agents_page(agents.seeing(row), asked)) if row else []


# --- Shared with the routes of agents ---------------------------------------------------------------------


def found(project: Project, block_id: str, *, lock: bool = False) -> Row:
    """The block with an id. Raises `Malformed` and Http404."""
    row = builtin.find(project, letta.uuid_in(block_id, "block"), lock=lock)
    if row is None:
        raise letta.not_found("block", block_id)
    return row


def changed(request: HttpRequest, row: Row, body: BlockChanges, author: str) -> HttpResponse:
    """Change a block that `found` locked, if it is as the caller expects."""
    if refusal := overtaken(request, row):
        return refusal
    return shown(request, builtin.update(row, body.model_dump(), author))


def overtaken(request: HttpRequest, row: Row) -> HttpResponse | None:
    """The answer to an If-Match that names another version."""
    expected, version = letta.named(request, "If-Match"), builtin.version_of(row)
    if not expected or letta.any_of(expected, version):
        return None
    by = f" by {row.author}" if row.author else ""
    detail = f"The block was changed meanwhile{by}: read it again."
    response = letta.answer(request, 412, detail)
    response["ETag"] = f'"{version}"'
    return response


def shown(request: HttpRequest, row: Row) -> HttpResponse:
    response = letta.api.create_response(request, show_block(row), status=200)
    response["ETag"] = f'"{builtin.version_of(row)}"'
    return response
