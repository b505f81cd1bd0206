"""What people do in the hub, and what it holds, as functions of JSON values: `victim` calls them in a process apart."""

from __future__ import annotations

from typing import Any

from blocks import actions
from blocks.models import Memory
from memoryhub.models import Project
from syncjobs import conflicts
from syncjobs.models import Conflict
from tests.syncjobs.peace import facts_of


def facts(slug: str) -> dict[str, Any]:
    return facts_of(slug).as_json()


def create(slug: str, states: list[dict[str, Any]]) -> list[str]:
    """The uuids of new memories."""
    project = Project.objects.get(slug=slug)
    return [str(actions.create(project, state).uuid) for state in states]


def edit(slug: str, texts: dict[str, str]) -> None:
    """New texts by uuid."""
    for memory in Memory.objects.filter(project__slug=slug, uuid__in=texts):
        actions.edit(memory, {"text": texts[str(memory.uuid)]}, based_on=memory.number)


def archive(slug: str, uuids: list[str]) -> None:
    actions.archive(list(Memory.objects.filter(project__slug=slug, uuid__in=uuids)))


def resolve(slug: str, how: str) -> int:
    """Decide all open conflicts; how many there were."""
    rows = list(Conflict.objects.filter(memory__project__slug=slug, closed_at=None))
    for row in rows:
        conflicts.resolve(row, how, user=None)
    return len(rows)
