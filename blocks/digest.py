"""The digest block `shared_memory_<project>`: the most useful memories in one block, for agents to attach.

The built-in Letta server computes it whenever it is read; `syncjobs.digest` writes the same text to another server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID, uuid4, uuid5

from django.db.models import Case, F, IntegerField, Max, QuerySet, Value, When

from blocks import actions
from blocks.models import Memory, PrivateBlock, digest_of
from blocks.state import DEFAULT_LIMIT, State
from blocks.stores.letta_blocks import COMPUTED, DIGEST, DIGEST_DESCRIPTION, digest_label
from memoryhub.models import Project

MOST, LONGEST = 50, 500  # memories, and characters of each: as the original engine's block
FIRST = ("error", "fix", "decision", "gotcha")
PINNED = "pinned"  # the tag
NOTE = "somebody wrote this into the digest block"
SPACE = UUID("5f0b1c7e-52f4-4d8e-9a53-6d1f0c1f2a77")  # in which the ids of digests are made


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


def text_now(project: Project, limit: int = DEFAULT_LIMIT) -> str:
    """What a project's digest says as its memories are now."""
    return render(project, chosen(project)[:MOST], limit)


def rescued(project: Project, text: str, uuid: UUID) -> State:
    """What the memory with this uuid says that is made of a text somebody wrote into the digest."""
    title = re.sub(r"^#+\s*", "", text.strip().partition("\n")[0])[:100] or "Digest block"
    return {
        "label": actions.label_for(project, f"digest {title}", uuid),
        "title": f"{title} (written into the digest block)",
        "text": text,
        "limit": max(DEFAULT_LIMIT, len(text)),
    }


# --- At the built-in Letta server -------------------------------------------------------------------------


def block_of(project: Project) -> PrivateBlock:
    """A project's digest block, made where it is not there yet. See `fill` for its text."""
    derived = uuid5(SPACE, f"{project.pk} {project.slug}")
    # Letta's ids are random ones (version 4), and who checks them may want that. The first digests had what is derived.
    uuid = UUID(bytes=derived.bytes, version=4)
    row = PrivateBlock.objects.filter(uuid__in=(uuid, derived)).first() or _made(project, uuid)
    row.project = project
    return row


def _made(project: Project, uuid: UUID) -> PrivateBlock:
    slug = project.slug
    known = {
        "project": project,
        "is_digest": True,
        "after": -1,  # the first of the project's blocks
        "label": digest_label(slug),
        "description": DIGEST_DESCRIPTION,
        "tags": [DIGEST + slug],
        "metadata": COMPUTED,
    }
    row, made = PrivateBlock.objects.get_or_create(uuid=uuid, defaults=known)
    if made:  # it is as old as the project
        row.created_at = project.created_at
        row.save(update_fields=["created_at"])
    return row


def fill(row: PrivateBlock) -> None:
    """Give a digest its text, and when that changed: it is stored nowhere; computed once a row."""
    if not row.is_digest or row.text:
        return
    row.text = text_now(row.project, row.limit)
    latest = Memory.objects.filter(project=row.project).aggregate(latest=Max("changed_at"))["latest"]
    row.changed_at = max(row.changed_at, latest) if latest else row.changed_at


def keep(row: PrivateBlock, text: str, agent: str) -> None:
    """Make a memory of what somebody wrote into the digest: of what was added, where the digest stands before it.

    Not of what says nothing, or is the text of a memory already.
    """
    fill(row)
    text = text.removeprefix(row.text).strip("\n") if text.startswith(row.text) else text
    same = {"revisions__text_id": digest_of(text), "revisions__number": F("number")}
    if text.strip() and not Memory.objects.live().filter(project=row.project, **same).exists():
        uuid = uuid4()
        actions.create(row.project, rescued(row.project, text, uuid), agent=agent, note=NOTE, uuid=uuid)
