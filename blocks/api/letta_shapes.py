"""Blocks and agents as Letta's API takes and shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, field_validator

from blocks import agents
from blocks.builtin import Row, block_of
from blocks.models import Agent, Memory
from blocks.state import DEFAULT_LIMIT

AgentType = Literal[
    "memgpt_agent",
    "memgpt_v2_agent",
    "letta_v1_agent",
    "react_agent",
    "workflow_agent",
    "split_thread_agent",
    "sleeptime_agent",
    "voice_convo_agent",
    "voice_sleeptime_agent",
]
Order = Literal["asc", "desc"]


class _Block(BaseModel):
    description: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    hidden: bool | None = None
    project_id: str | None = None
    template_name: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserve_on_migration: bool | None = None


class NewBlock(_Block):
    label: str
    value: str = ""
    limit: int = DEFAULT_LIMIT
    read_only: bool = False
    is_template: bool = False

    @field_validator("value", mode="before")
    @classmethod
    def nothing_is_empty(cls, value: Any) -> Any:
        return "" if value is None else value


class BlockChanges(_Block):
    """None: no change."""

    label: str | None = None
    value: str | None = None
    limit: int | None = None
    read_only: bool | None = None
    is_template: bool | None = None


class _Agent(BaseModel):
    description: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    block_ids: list[str] | None = None
    agent_type: AgentType | None = None
    model: str | None = None
    embedding: str | None = None
    system: str | None = None
    timezone: str | None = None
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    context_window_limit: int | None = None
    max_files_open: int | None = None
    per_file_view_window_char_limit: int | None = None
    message_buffer_autoclear: bool | None = None
    enable_sleeptime: bool | None = None
    llm_config: dict[str, Any] | None = None
    embedding_config: dict[str, Any] | None = None
    model_settings: dict[str, Any] | None = None
    compaction_settings: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    tool_rules: list[dict[str, Any]] | None = None

    def settings(self) -> dict[str, Any]:
        """What is kept and shown again, and means nothing to the hub. Secrets are not taken."""
        kept = self.model_dump(exclude_none=True)
        own = ("name", "description", "metadata", "tags", "block_ids", "memory_blocks")
        return {name: value for name, value in kept.items() if name not in own}


class NewAgent(_Agent):
    name: str | None = None
    memory_blocks: list[NewBlock] | None = None


class AgentChanges(_Agent):
    name: str | None = None


def show_block(row: Row) -> dict[str, Any]:
    """A block with its id, its times and who wrote it."""
    if isinstance(row, Memory):
        made_by, made_at = getattr(row, "made_by", ""), row.created_at or None
    else:
        made_by, made_at = row.made_by, when(row.created_at)
    return {
        **block_of(row),
        "id": f"block-{row.uuid}",
        "created_by_id": made_by or None,
        "last_updated_by_id": row.author or None,
        "created_at": made_at,
        "updated_at": when(row.changed_at),
    }


def when(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def show_agent(agent: Agent) -> dict[str, Any]:
    """An agent with the blocks it sees: what letta-client's AgentState needs. It has no tools, messages or runs."""
    settings = agent.settings
    blocks = [show_block(row) for row in agents.blocks_of(agent)]
    kind = settings.get("agent_type", "letta_v1_agent")
    return {
        **EMPTY,
        **settings,
        "id": agent.letta_id,
        "name": agent.name,
        "description": agent.description or None,
        "metadata": agent.metadata,
        "tags": agent.tags,
        "system": settings.get("system", ""),
        "agent_type": kind,
        "llm_config": settings.get("llm_config") or llm_config(settings),
        "memory": {
            "agent_type": kind,
            "git_enabled": False,
            "blocks": blocks,
            "file_blocks": [],
            "prompt_template": "",
        },
        "blocks": blocks,
        "created_by_id": agent.made_by or None,
        "last_updated_by_id": agent.author or None,
        "created_at": when(agent.created_at),
        "updated_at": when(agent.changed_at),
    }


EMPTY: dict[str, Any] = {
    **dict.fromkeys(("embedding_config", "model", "embedding", "model_settings", "compaction_settings", "project_id")),
    **dict.fromkeys(("response_format", "template_id", "base_template_id", "deployment_id", "entity_id", "timezone")),
    **dict.fromkeys(("managed_group", "multi_agent_group", "last_run_completion", "last_run_duration_ms", "hidden")),
    **dict.fromkeys(("last_stop_reason", "max_files_open", "per_file_view_window_char_limit", "pending_approval")),
    **{name: [] for name in ("tool_rules", "message_ids", "sources", "tools", "secrets", "identities", "identity_ids")},
    "tool_exec_environment_variables": [],
    "message_buffer_autoclear": False,
    "enable_sleeptime": None,
}


def llm_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent says of its model; there is none here."""
    handle = settings.get("model") or ""
    return {
        "model": handle.rpartition("/")[2],
        "handle": handle or None,
        "model_endpoint_type": "openai",
        "model_endpoint": None,
        "context_window": settings.get("context_window_limit") or 0,
    }


def show_agents(found: Iterable[Agent]) -> Sequence[dict[str, Any]]:
    return [show_agent(agent) for agent in found]
