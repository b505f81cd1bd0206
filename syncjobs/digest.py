"""The digest block `shared_memory_<project>`: the most useful memories in one block, for agents to attach."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from django.db import transaction
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.utils import timezone

from blocks import actions
from blocks.models import Memory, Origin, Revision, SyncState, digest_of
from blocks.state import DEFAULT_LIMIT, complete
from memoryhub.models import Project
from syncjobs.models import Digest
from syncjobs.sides import OpenSide

if TYPE_CHECKING:
    from blocks.stores.letta import LettaStore

MOST, LONGEST = 50, 500  # memories, and characters of each: as the original engine's block
FIRST = ("error", "fix", "decision", "gotcha")
PINNED = "pinned"  # the tag


def chosen(project: Project) -> QuerySet[Memory]:
    """Pinned first, then errors, fixes, decisions and gotchas, then the rest; newest first within each."""
    rank = Case(
        When(tags__icontains=f'"{PINNED}"', then=Value(0)),
        *(When(kind=kind, then=Value(place)) for place, kind in enumerate(FIRST, 1)),
        default=Value(len(FIRST) + 1),
        output_field=IntegerField(),
    )
    live = Memory.objects.filter(project=project, shared=True).live()
    return live.order_by(rank, "-changed_at", "uuid")


def render(project: Project, memories: Iterable[Memory], limit: int = DEFAULT_LIMIT) -> str:
    """The digest's text: whole entries only, at most `limit` characters, no clock in it."""
    text = f"# Shared Memory: {project.slug}\n"
    for number, memory in enumerate(memories, 1):
        entry = f"\n## [{number}] {memory.title or memory.label} ({memory.kind})\n{memory.text[:LONGEST]}\n"
        if len(text) + len(entry) > limit:
            break
        text += entry
    return text


def write_digest(project: Project, side: OpenSide) -> Memory | None:
    """Bring the digest block up to date; a memory that was made of what somebody else wrote into it, to be synced.

    side: the project's Letta side. Raises `StoreError`.
    """
    store, address = cast("LettaStore", side.store), side.connection.address
    current, limit = store.read_digest(project.slug)
    if current == render(project, chosen(project)[:MOST], limit):
        return None
    rescued = _rescue(project, current) if current and not _is_kept(project, address, current) else None
    text = render(project, chosen(project)[:MOST], limit)  # with what was rescued
    Digest.objects.get_or_create(project=project, address=address, hash=digest_of(text))
    store.write_digest(project.slug, text, current)
    return rescued


def _is_kept(project: Project, address: str, text: str) -> bool:
    """Whether a digest is ours, or says nothing, or was rescued already by a run that died before it replaced it."""
    if not text.strip() or Digest.objects.filter(project=project, address=address, hash=digest_of(text)).exists():
        return True
    return Revision.objects.filter(memory__project=project, text_id=digest_of(text)).exists()


@transaction.atomic
def _rescue(project: Project, text: str) -> Memory:
    """Keep a text that the hub never wrote as a memory of its own."""
    title = re.sub(r"^#+\s*", "", text.strip().partition("\n")[0])[:100] or "Digest block"
    memory = actions.new_memory(project, uuid4())
    state = complete(
        {
            "label": actions.label_for(project, f"digest {title}", memory.uuid),
            "title": f"{title} (written into the digest block)",
            "text": text,
            "created_at": timezone.now().isoformat(timespec="seconds"),
        }
    )
    extra = {"sync_state": SyncState.WAITING, "waiting_since": timezone.now()}
    note = "somebody wrote this into the digest block"
    actions.record([actions.Change(memory, state, Origin.LETTA, author="letta", note=note, extra=extra)])
    return memory
