"""Letta's routes for agents: who they are, and which blocks they see. None of them runs here."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from blocks import agents, builtin
from blocks.api import letta
from blocks.api.letta_blocks import changed, shown
from blocks.api.letta_paging import AgentPage, agents_page
from blocks.api.letta_shapes import AgentChanges, BlockChanges, NewAgent, Order, show_agent, show_agents, show_block
from blocks.builtin import Row
from blocks.builtin_list import UnknownCursor, containing, holding
from blocks.models import Agent
from memoryhub.api import caller
from memoryhub.models import Project, Role

router = Router()


class Filters(BaseModel):
    name: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False
    query_text: str | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    identity_id: str | None = None
    identifier_keys: list[str] | None = None
    created_by_id: str | None = None
    last_stop_reason: str | None = None
    show_hidden_agents: bool = False

    def chosen(self, project: Project) -> QuerySet[Agent]:
        rows = agents.of_project(project)
        if self.identity_id or self.identifier_keys or self.last_stop_reason:
            return rows.none()  # no agent here has an identity, and none ever ran
        for column, wanted in (("name", self.name), ("made_by", self.created_by_id)):
            if wanted is not None:
                rows = rows.filter(**{column: wanted})
        if self.query_text:
            rows = rows.filter(containing(rows, "name", self.query_text))
        for key in ("project_id", "template_id", "base_template_id"):
            if value := getattr(self, key):
                rows = rows.filter(**{f"settings__{key}": value})
        if not self.show_hidden_agents:
            rows = rows.exclude(pk__in=Agent.objects.filter(project=project, settings__hidden=True))
        return self._tagged(rows) if self.tags else rows

    def _tagged(self, rows: QuerySet[Agent]) -> QuerySet[Agent]:
        tags = [tag.strip() for tag in self.tags or ()]
        for wanted in [[tag] for tag in tags] if self.match_all_tags else [tags]:
            rows = rows.filter(holding(rows, "tags", "blocks_agent.id FROM blocks_agent", wanted))
        return rows


class Listing(Filters, AgentPage):
    pass


class BlockPage(BaseModel):
    before: str | None = None
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    order: Order = "desc"
    order_by: Annotated[str, Field(pattern="^created_at$")] = "created_at"


# --- Agents -----------------------------------------------------------------------------------------------


@router.get("/agents/")
def list_agents(request: HttpRequest, asked: Query[Listing]) -> Any:
    return show_agents(agents_page(asked.chosen(caller(request).project), asked))


@router.get("/agents/count")
def count_agents(request: HttpRequest, asked: Query[Filters]) -> int:
    return asked.chosen(caller(request).project).count()


@router.post("/agents/")
def create_agent(request: HttpRequest, body: NewAgent) -> Any:
    who = caller(request, Role.EDITOR)
    agent = agents.create(
        who.project,
        fields_of(body),
        blocks=uuids_in(body.block_ids or []),
        new_blocks=[block.model_dump() for block in body.memory_blocks or ()],
        agent=who.name,
    )
    return again(agent)


@router.get("/agents/{agent_id}")
def retrieve_agent(request: HttpRequest, agent_id: str) -> Any:
    return show_agent(registered(caller(request).project, agent_id))


@router.patch("/agents/{agent_id}")
def modify_agent(request: HttpRequest, agent_id: str, body: AgentChanges) -> Any:
    who = caller(request, Role.EDITOR)
    agent = registered(who.project, agent_id)
    blocks = None if body.block_ids is None else uuids_in(body.block_ids)
    agents.update(agent, fields_of(body), blocks=blocks, author=who.name)
    return again(agent)


@router.delete("/agents/{agent_id}")
def delete_agent(request: HttpRequest, agent_id: str) -> Any:
    agents.delete(registered(caller(request, Role.EDITOR).project, agent_id))
    return {"message": f"Agent id={agent_id} successfully deleted"}


# --- What an agent sees -----------------------------------------------------------------------------------


@router.get("/agents/{agent_id}/core-memory")
def retrieve_memory(request: HttpRequest, agent_id: str) -> Any:
    return show_agent(registered(caller(request).project, agent_id))["memory"]


@router.get("/agents/{agent_id}/core-memory/blocks")
def list_blocks_for_agent(request: HttpRequest, agent_id: str, asked: Query[BlockPage]) -> Any:
    rows = agents.blocks_of(registered(caller(request).project, agent_id))
    return [show_block(row) for row in page_of(rows, asked)]


@router.patch("/agents/{agent_id}/core-memory/blocks/attach/{block_id}")
def attach_block(request: HttpRequest, agent_id: str, block_id: str) -> Any:
    who = caller(request, Role.EDITOR)
    uuid = letta.uuid_in(block_id, "block")
    agent, row = registered(who.project, agent_id), builtin.find(who.project, uuid)
    if row is None:
        raise letta.not_found("block", block_id)
    agents.attach(agent, row, author=who.name)
    return again(agent)


@router.patch("/agents/{agent_id}/core-memory/blocks/detach/{block_id}")
def detach_block(request: HttpRequest, agent_id: str, block_id: str) -> Any:
    who = caller(request, Role.EDITOR)
    uuid = letta.uuid_in(block_id, "block")
    agent, row = registered(who.project, agent_id), builtin.find(who.project, uuid)
    if row is None or not agents.detach(agent, row, author=who.name):
        raise agents.NoSuchBlock(f"No block with id '{block_id}' found for agent '{agent_id}'")
    return again(agent)


@router.get("/agents/{agent_id}/core-memory/blocks/{path:block_label}")
def retrieve_block_for_agent(request: HttpRequest, agent_id: str, block_label: str) -> HttpResponse:
    return shown(request, labelled(caller(request).project, agent_id, block_label))


@router.patch("/agents/{agent_id}/core-memory/blocks/{path:block_label}")
def modify_block_for_agent(request: HttpRequest, agent_id: str, block_label: str, body: BlockChanges) -> HttpResponse:
    who = caller(request, Role.EDITOR)
    with transaction.atomic():
        seen = labelled(who.project, agent_id, block_label)
        row = builtin.find(who.project, seen.uuid, lock=True)
        if row is None:  # deleted since
            raise no_label(agent_id, block_label)
        return changed(request, row, body, who.name)


@router.get("/runs/")
def list_runs(request: HttpRequest) -> list[Any]:
    """None: a hub that has this one as its Letta server asks whether an agent is at work."""
    caller(request)
    return []


# --- Helpers ----------------------------------------------------------------------------------------------


def registered(project: Project, agent_id: str) -> Agent:
    """The agent with an id. Raises `Malformed` and Http404."""
    agent = agents.of_project(project).filter(uuid=letta.uuid_in(agent_id, "agent")).first()
    if agent is None:
        raise letta.not_found("agent", agent_id)
    return agent


def again(agent: Agent) -> dict[str, Any]:
    """An agent as it is after a write."""
    return show_agent(agents.of_project(agent.project).get(pk=agent.pk))


def fields_of(body: NewAgent | AgentChanges) -> dict[str, Any]:
    said = {name: getattr(body, name) for name in ("name", "description", "tags", "metadata")}
    return {**said, "settings": body.settings()}


def uuids_in(ids: list[str]) -> list[UUID]:
    return [letta.uuid_in(id, "block", "block_ids") for id in ids]


def labelled(project: Project, agent_id: str, label: str) -> Row:
    """The block an agent sees under a label."""
    for row in agents.blocks_of(registered(project, agent_id)):
        if row.label == label:
            return row
    raise no_label(agent_id, label)


def no_label(agent_id: str, label: str) -> agents.NoSuchBlock:
    return agents.NoSuchBlock(f"No block with label '{label}' found for agent '{agent_id}'")


def page_of(rows: list[Row], asked: BlockPage) -> list[Row]:
    """A page of an agent's blocks, with the rules of `builtin_list.page`."""
    rows = rows[::-1] if asked.order == "desc" else rows
    start, end = _place(rows, asked.after, "after"), _place(rows, asked.before, "before")
    found = rows[0 if start is None else start + 1 : end]
    return found[-asked.limit :] if end is not None and start is None else found[: asked.limit]


def _place(rows: list[Row], id: str | None, name: str) -> int | None:
    uuid = letta.cursor_in(id, "block", name)
    if uuid is None:
        return None
    places = [place for place, row in enumerate(rows) if row.uuid == uuid]
    if not places:
        raise UnknownCursor(f"The agent sees no {id} (any more) to go on from.")
    return places[0]
