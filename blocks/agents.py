"""Agents registered at the built-in Letta server: every write to them, and which blocks each sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone

from blocks import builtin
from blocks.builtin import LabelTaken, Row, Unfit, key_of, unfit_value
from blocks.models import Agent, Attachment, Memory
from blocks.state import clean_tags
from memoryhub.models import Project

MAX_NAME = 200
LIVE = Q(memory__archived_at=None, memory__deleted_at=None, memory__shared=True, memory__isnull=False)
FIELDS = ("name", "description", "tags", "metadata", "settings")


class NoSuchBlock(Exception):
    """A block that an agent is to see is not there."""


def of_project(project: Project) -> QuerySet[Agent]:
    """Its agents, the newest first, each with what `blocks_of` looks at."""
    attached = Attachment.objects.prefetch_related(
        Prefetch("memory", queryset=builtin.memories(project)),
        Prefetch("private", queryset=project.private_blocks.all()),  # one object for all who see it: see `digest.fill`
    )
    return Agent.objects.filter(project=project).prefetch_related(Prefetch("attachments", queryset=attached))


def blocks_of(agent: Agent) -> list[Row]:
    """The blocks an agent sees, the oldest first: not those of memories that are archived, deleted or not shared."""
    seen = (attachment.private or attachment.memory for attachment in agent.attachments.all())
    return sorted((row for row in seen if row), key=key_of)


def seeing(row: Row) -> QuerySet[Agent]:
    """The agents that see a block."""
    mine = {"attachments__memory": row} if isinstance(row, Memory) else {"attachments__private": row}
    return of_project(row.project).filter(**mine)


def listed(project: Project) -> QuerySet[Agent]:
    """Its agents for a list, each with `shown`: what is attached to it and is there, memories without their texts."""
    names = [f"memory__{name}" for name in ("uuid", "project_id", "label", "title")]
    there = Q(private__isnull=False) | LIVE
    shown = Attachment.objects.filter(there).select_related("memory", "private")
    shown = shown.only("agent_id", "private__is_digest", *names)
    attached = Prefetch("attachments", shown.order_by("pk"), "shown")
    return Agent.objects.filter(project=project).prefetch_related(attached)


def names_of(memory: Memory) -> list[dict[str, str]]:
    """The registered agents that see a memory, each as `id` and `name`; none of one that is no block now."""
    if not (memory.live and memory.shared):
        return []
    known = getattr(memory, "attached", None)
    attached = memory.attachments.select_related("agent").order_by("pk") if known is None else known
    return [{"id": one.agent.letta_id, "name": one.agent.name} for one in attached]


@transaction.atomic
def create(
    project: Project,
    fields: Mapping[str, Any],
    *,
    blocks: Sequence[UUID] = (),
    new_blocks: Iterable[Mapping[str, Any]] = (),
    agent: str,
) -> Agent:
    """Register an agent. fields: see `FIELDS`. blocks: what it sees; new_blocks: made for it. agent: who does it.

    Raises `Unfit`, `LabelTaken`, `NoSuchBlock`.
    """
    made = Agent(project=project, made_by=agent)
    _fill(made, fields, agent)
    made.name = made.name or f"Agent {made.uuid.hex[:8]}"
    made.save()
    rows = _found(project, blocks) + [builtin.create(project, block, agent) for block in new_blocks]
    _check_labels(made, rows)
    Attachment.objects.bulk_create(_attachment(made, row) for row in rows)
    return made


@transaction.atomic
def update(agent: Agent, fields: Mapping[str, Any], *, blocks: Sequence[UUID] | None = None, author: str) -> None:
    """Change what `fields` says; blocks: all that it sees from now on. Raises as `create`."""
    current = _lock(agent)
    _fill(current, fields, author)
    current.changed_at = timezone.now()
    current.save(update_fields=[*FIELDS, "author", "changed_at"])
    if blocks is not None:
        rows = _found(current.project, blocks)
        _check_labels(current, rows)
        current.attachments.all().delete()
        Attachment.objects.bulk_create(_attachment(current, row) for row in rows)


@transaction.atomic
def attach(agent: Agent, row: Row, *, author: str) -> None:
    """Let an agent see a block. Raises `LabelTaken` where it sees another of that label."""
    current = _lock(agent)
    seen = blocks_of(current)
    if row not in seen:
        _check_labels(current, [*seen, row])
        Attachment.objects.get_or_create(**_ends(current, row))
    _touch(current, author)


@transaction.atomic
def detach(agent: Agent, row: Row, *, author: str) -> bool:
    """Take a block away from an agent; whether it saw it."""
    current = _lock(agent)
    gone, _ = Attachment.objects.filter(**_ends(current, row)).delete()
    if gone:
        _touch(current, author)
    return bool(gone)


def delete(agent: Agent) -> None:
    """Forget an agent. Its blocks stay."""
    agent.delete()


def _touch(agent: Agent, author: str) -> None:
    agent.author, agent.changed_at = author[:200], timezone.now()
    agent.save(update_fields=["author", "changed_at"])


def _lock(agent: Agent) -> Agent:
    Agent.objects.select_for_update().get(pk=agent.pk)
    return of_project(agent.project).get(pk=agent.pk)


def _ends(agent: Agent, row: Row) -> dict[str, Any]:
    return {"agent": agent, "memory" if isinstance(row, Memory) else "private": row}


def _attachment(agent: Agent, row: Row) -> Attachment:
    return Attachment(**_ends(agent, row))


def _found(project: Project, uuids: Sequence[UUID]) -> list[Row]:
    rows: list[Row] = []
    for uuid in dict.fromkeys(uuids):
        row = builtin.find(project, uuid)
        if row is None:
            raise NoSuchBlock(f"Block with id 'block-{uuid}' not found")
        rows.append(row)
    return rows


def _check_labels(agent: Agent, rows: Sequence[Row]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.label in seen:
            raise LabelTaken(f"The agent “{agent}” would see two blocks labelled “{row.label}”.")
        seen.add(row.label)


# --- Rules ------------------------------------------------------------------------------------------------


def _fill(agent: Agent, fields: Mapping[str, Any], author: str) -> None:
    """Take the fields over; None is no change. Raises `Unfit`."""
    said = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
    for name, value in said.items():
        if why := _why_not(name, value):
            raise Unfit(name, why)
    said["settings"] = agent.settings | said.get("settings", {})
    if "tags" in said:
        said["tags"] = clean_tags(said["tags"])
    for name, value in said.items():
        setattr(agent, name, value)
    agent.author = author[:200]


def _why_not(name: str, value: Any) -> str:
    if why := unfit_value(value):
        return f"The {name} {why}."
    if name == "name" and len(value) > MAX_NAME:
        return f"A name has at most {MAX_NAME} characters; this one has {len(value):,}."
    return ""
