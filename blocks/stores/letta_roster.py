"""The agents of a Letta server as people manage them: which there are, which blocks each sees, and changes to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from blocks.stores.letta_agents import MOST_AGENTS, name_of, when
from blocks.stores.letta_blocks import PROJECT, tags_of
from blocks.stores.letta_calls import CallError, Calls

MADE = "memhub:agent:"  # the mark of an agent that the hub made, by which it is found where the answer was lost
WITH = {"include": ["agent.blocks", "agent.tags"]}


@dataclass(frozen=True)
class AgentSeen:
    """An agent as its server shows it. active: when its last run ended, None where none did. blocks: labels by id.

    projects: slugs of the projects that it was made for here.
    """

    id: str
    name: str
    model: str = ""
    active: datetime | None = None
    blocks: Mapping[str, str] = field(default_factory=dict)
    projects: frozenset[str] = frozenset()


def list_agents(calls: Calls) -> tuple[list[AgentSeen], bool]:
    """The agents of a server, the oldest first, and whether these are all: at most about 1,000 are read."""
    found = [read_agent(agent) for agent in calls.listed("/v1/agents/", WITH, MOST_AGENTS)]
    return found, len(found) < MOST_AGENTS


def find_agent(calls: Calls, id: str) -> AgentSeen | None:
    """An agent by id, None where the server says that there is none."""
    try:
        agent = calls.call("get", agent_path(id), query=WITH)
    except CallError as error:
        if error.gone or error.status == 422:  # no agent has an id like that
            return None
        raise
    if not isinstance(agent, dict) or agent.get("id") != id:
        raise calls.strange()
    return read_agent(agent)


def read_agent(agent: Mapping[str, Any]) -> AgentSeen:
    blocks = agent.get("blocks")
    model = agent.get("model")
    return AgentSeen(
        id=str(agent["id"]),
        name=name_of(dict(agent)),
        model=model if isinstance(model, str) else "",
        active=when(agent.get("last_run_completion")),
        blocks={
            block["id"]: str(block.get("label") or "")
            for block in (blocks if isinstance(blocks, list) else ())
            if isinstance(block, dict) and isinstance(block.get("id"), str)
        },
        projects=frozenset(tag[len(PROJECT) :] for tag in tags_of(agent) if tag.startswith(PROJECT)),
    )


def attach(calls: Calls, agent: str, block: str) -> None:
    """Let an agent see a block. Raises CallError: 409 where it sees another of that label."""
    calls.call("patch", f"{agent_path(agent)}/core-memory/blocks/attach/{quote(block, safe='')}", body={})


def detach(calls: Calls, agent: str, block: str) -> None:
    """Take a block away from an agent; one that it does not see is no error."""
    try:
        calls.call("patch", f"{agent_path(agent)}/core-memory/blocks/detach/{quote(block, safe='')}", body={})
    except CallError as error:
        if not error.gone:
            raise


def create_agent(calls: Calls, name: str, model: str, blocks: Sequence[str], slug: str) -> AgentSeen:
    """Make an agent for a project. Where the answer is lost it is looked for, so that nobody has to make it again."""
    mark = f"{MADE}{uuid4()}"
    body = {"name": name, "model": model, "block_ids": list(blocks), "tags": [mark, PROJECT + slug]}
    try:
        made = calls.call("post", "/v1/agents/", body=body)
    except CallError as error:
        if error.permanent:
            raise
        found = list(calls.listed("/v1/agents/", WITH | {"tags": [mark]}, 1))
        if not found:
            raise
        return read_agent(found[0])
    if not isinstance(made, dict) or not isinstance(made.get("id"), str):
        raise calls.strange()
    return read_agent(made)


def agent_path(id: str) -> str:
    return f"/v1/agents/{quote(id, safe='')}"
