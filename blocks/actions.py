"""Every write to a memory. Each leaves a revision; nothing that was ever in a memory is lost.

People's and agents' writes tell `memories_changed`, so that whoever keeps sides in step hears of them; what comes
from a side goes through `record`, which tells nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from blocks.changes import announce
from blocks.models import Memory, Origin, Revision, SyncState, Text, digest_of
from blocks.signals import memories_changed
from blocks.state import FIELDS, PRIVATE_LABELS, State, clean_tags, complete, slugify_label, state_hash
from memoryhub.bulk import update_rows
from memoryhub.models import Project

KEEP_DELETED = timedelta(days=30)
NAMING = 0x4D4C << 48  # of an advisory lock: others than those of `blocks.changes`


class EditedMeanwhile(Exception):
    """The edit was made on an older revision than the current one; `memory` is the memory as it is now."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(f"edited meanwhile by {memory.author}")
        self.memory = memory


@dataclass
class Change:
    """A new state for a memory, and why. `extra`: other columns to set (archived_at, notice, ...).

    parents: see `Revision`.
    """

    memory: Memory
    state: State
    origin: Origin
    author: str = ""
    user: User | None = None
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    parents: Sequence[int] = ()


def record(changes: Sequence[Change], kept: Collection[str] = ()) -> None:
    """Write new states with their revisions, many at once. Call it in a transaction.

    A memory without a primary key is made. Every change gets a revision, also when only `extra` differs. kept: texts
    that this transaction has stored already.
    """
    Text.objects.keep({change.state["text"] for change in changes}.difference(kept))
    now = timezone.now()
    for change in changes:
        memory = change.memory
        memory.take(change.state)
        memory.number += 1
        memory.author = change.author[:200]
        memory.changed_at = now
        for name, value in change.extra.items():
            setattr(memory, name, value)
    _save([change.memory for change in changes])
    announce()
    Revision.objects.bulk_create([_revision(change, now) for change in changes], batch_size=500)


MUTABLE = [
    *FIELDS,
    *("sort_title", "shared", "hash", "number", "author", "changed_at", "archived_at", "deleted_at"),
    *("notice", "sync_state", "waiting_since"),
]


def _save(memories: Iterable[Memory]) -> None:
    fresh: list[Memory] = []
    known: list[Memory] = []
    for memory in memories:
        (known if memory.pk else fresh).append(memory)
    Memory.objects.bulk_create(fresh, batch_size=200)
    if len(known) == 1:
        known[0].save(update_fields=MUTABLE)
    elif known:
        update_rows(known, MUTABLE)


def _revision(change: Change, now: datetime) -> Revision:
    state = change.memory.state
    return Revision(
        memory=change.memory,
        number=change.memory.number,
        text_id=digest_of(state.pop("text")),
        fields=state,
        hash=change.memory.hash,
        origin=change.origin,
        user=change.user,
        author=change.author[:200],
        note=change.note,
        parents=list(change.parents),
        created_at=now,
    )


def free_label(title: str, uuid: UUID, taken: Iterable[str]) -> str:
    """A label for a memory the hub makes: the slug of its title, with 8 characters of its uuid where that is taken
    or would make it an agent's private block."""
    label = slugify_label(title)
    return f"{label}-{uuid.hex[:8]}" if label in taken or label in PRIVATE_LABELS else label


@contextmanager
def naming(project: Project, label: str) -> Iterator[None]:
    """A transaction in which nobody else who asks for the same gives a memory of the project this label: look whether
    it is free, and take it. No constraint can see to that, as sides may have blocks of one label, and agents make them.
    """
    with transaction.atomic():
        _claim(project, label)
        yield


def _claim(project: Project, label: str) -> None:
    """Until the transaction ends. On SQLite a transaction that writes is alone anyway."""
    if label and connection.vendor == "postgresql":
        name = hashlib.sha256(f"{project.pk} {label}".encode(errors="replace")).digest()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NAMING | int.from_bytes(name[:6])])


def label_for(project: Project, title: str, uuid: UUID) -> str:
    """`free_label` among the memories of a project. Call it in the transaction that takes the label."""
    wanted = slugify_label(title)
    _claim(project, wanted)
    taken = Memory.objects.filter(project=project, label=wanted).values_list("label", flat=True)
    return free_label(title, uuid, set(taken))


def new_memory(project: Project, uuid: UUID | None = None) -> Memory:
    """A memory that is not stored yet; give it its state with `record`."""
    return Memory(project=project, uuid=uuid or uuid4())


@transaction.atomic
def create(
    project: Project,
    state: Mapping[str, Any],
    *,
    user: User | None = None,
    agent: str = "",
    shared: bool = True,
    note: str = "",
    uuid: UUID | None = None,
) -> Memory:
    """Make a memory from what a person or an agent wrote. `state` may leave out anything; an empty label is made from
    the title."""
    memory = new_memory(project, uuid)
    full = complete(state)
    full["tags"] = clean_tags(full["tags"])
    full["label"] = full["label"] or label_for(project, full["title"] or full["text"][:60], memory.uuid)
    full["created_at"] = full["created_at"] or timezone.now().isoformat(timespec="seconds")
    _people([memory], user, lambda _: full, agent=agent, note=note, extra={"shared": shared})
    return memory


@transaction.atomic
def edit(
    memory: Memory,
    state: Mapping[str, Any],
    *,
    user: User | None = None,
    agent: str = "",
    based_on: int,
    shared: bool | None = None,
) -> Memory:
    """Change the fields `state` says. `based_on`: number of the revision the editor saw.

    Raises `EditedMeanwhile` (and writes nothing) when there is a newer one. An edit that changes nothing leaves no
    revision.
    """
    current = _lock(memory)
    if current.number != based_on:
        raise EditedMeanwhile(current)
    new = {**current.state, **state}
    new["tags"] = clean_tags(new["tags"])
    extra = {} if shared is None or shared == current.shared else {"shared": shared}
    if state_hash(new) != current.hash or extra:
        _people([current], user, lambda _: new, agent=agent, extra=extra)
    return current


@transaction.atomic
def restore_revision(memory: Memory, number: int, *, user: User | None = None, agent: str = "") -> Memory:
    """Make an earlier state the current one again, as a new revision. The label stays as it is now."""
    current = _lock(memory)
    wanted = current.revisions.select_related("text").get(number=number).state
    state = {**current.state, **wanted, "label": current.label}
    _people([current], user, lambda _: state, agent=agent, note=f"restored revision {number}")
    return current


@transaction.atomic
def decide(
    memory: Memory, state: Mapping[str, Any], *, user: User | None, note: str, parents: Sequence[int] = ()
) -> Memory:
    """Record what a person decided about a memory, also where its state stays as it is; it goes to every side.

    parents: numbers of the revisions that were decided between.
    """
    current = _lock(memory)
    new = {**current.state, **state}
    _people([current], user, lambda _: new, note=note, parents=parents)
    return current


def archive(memories: Sequence[Memory], *, user: User | None = None, agent: str = "") -> None:
    """Take memories out of use, and off the sides at the next sync. `unarchive` brings them back."""
    _life(memories, user, agent, "archived", archived_at=timezone.now())


def unarchive(memories: Sequence[Memory], *, user: User | None = None, agent: str = "") -> None:
    """Bring archived or deleted memories back, on every side."""
    _life(memories, user, agent, "restored", archived_at=None, deleted_at=None)


def delete(memories: Sequence[Memory], *, user: User | None = None, agent: str = "") -> None:
    """Hide memories; for 30 days `unarchive` brings them back, then `purge_deleted` removes them."""
    _life(memories, user, agent, "deleted", deleted_at=timezone.now())


def purge_deleted(now: datetime | None = None) -> int:
    """Remove memories deleted more than 30 days ago whose copies on the sides are gone; how many that were."""
    cutoff = (now or timezone.now()) - KEEP_DELETED
    gone = Memory.objects.filter(deleted_at__lt=cutoff, waiting_since=None)
    count = gone.count()
    gone.delete()
    return count


@transaction.atomic
def _life(memories: Sequence[Memory], user: User | None, agent: str, note: str, **extra: Any) -> None:
    current = [_lock(memory) for memory in memories]
    changed = [
        memory for memory in current if any((getattr(memory, k) is None) != (v is None) for k, v in extra.items())
    ]
    if changed:
        _people(changed, user, lambda memory: memory.state, agent=agent, note=note, extra=extra)


def _lock(memory: Memory) -> Memory:
    return Memory.objects.select_for_update().get(pk=memory.pk)


def _people(
    memories: list[Memory],
    user: User | None,
    state: Any,
    *,
    agent: str = "",
    note: str = "",
    extra: dict[str, Any] | None = None,
    parents: Sequence[int] = (),
) -> None:
    """Record what a person, or an agent of that name, did and tell those who listen."""
    now = timezone.now()
    author = user.get_username() if user else agent
    record(
        [
            Change(
                memory,
                state(memory),
                Origin.HUB,
                author=author,
                user=user,
                note=note,
                extra={
                    "notice": "",
                    "sync_state": SyncState.WAITING,
                    "waiting_since": memory.waiting_since or now,
                    **(extra or {}),
                },
                parents=parents,
            )
            for memory in memories
        ]
    )
    memories_changed.send(sender=Memory, memories=memories)
