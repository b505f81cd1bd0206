"""Conflicts: opened by a run, closed by a person's decision or by becoming moot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from blocks import actions
from blocks.models import Memory, Origin, SyncState
from blocks.standing import places_of
from memoryhub.models import Project
from syncjobs.models import Conflict, Replica
from syncjobs.plan import Hub, Seen, View, changes, put_together
from syncjobs.planning import unsaid_of


def open_conflict(known: Conflict | None, memory: Memory, replica: Replica, fields: list[str]) -> bool:
    """Open a conflict for what a side shows now, or bring the open one up to date; True if it is new."""
    row = known or Conflict(memory=memory, connection=replica.connection)
    if known and known.side_hash == replica.seen_hash and known.fields == fields:
        return False
    row.fields = fields
    row.base_state, row.base_text_id = replica.base_fields, replica.base_text_id
    row.side_state, row.side_text_id, row.side_hash = replica.seen_fields, replica.seen_text_id, replica.seen_hash
    row.save()
    return known is None


def close_moot(conflict: Conflict) -> None:
    """Close a conflict that is none any more, because both came to agree."""
    conflict.resolution, conflict.closed_at = "moot", timezone.now()
    conflict.save(update_fields=["resolution", "closed_at"])


@transaction.atomic
def close_elsewhere(project: Project) -> None:
    """Close conflicts with servers the project is not connected to any more: nothing there is kept in step.

    What they showed stays in the history. Connected again, such a server is compared anew.
    """
    here = [place.connection.pk for place in places_of(project).values() if place.connection]
    gone = Conflict.objects.filter(memory__project=project, closed_at=None).exclude(connection__in=here)
    for conflict in gone.select_related("connection", "base_text", "side_text"):
        memory = Memory.objects.select_for_update().get(pk=conflict.memory_id)
        now, note = memory.state, "its server is not connected any more"
        _into_history(conflict, memory)
        actions.record([actions.Change(memory, now, Origin.MERGE, author="sync", note=f"conflict closed: {note}")])
        close_moot(conflict)
        if not other_conflicts(conflict).exists():
            Memory.objects.filter(pk=memory.pk).update(sync_state=SyncState.WAITING)


def count_open(project: Project) -> int:
    """How many memories of a project wait for a decision."""
    return Conflict.objects.filter(memory__project=project, closed_at=None).values("memory").distinct().count()


def fold(conflict: Conflict, memory: Memory) -> tuple[dict[str, Any], list[str]]:
    """What an open conflict leaves nobody to decide: the side's changes that can be merged into the memory as it is
    now; and the names of the fields that clash, those the conflict was opened for first."""
    if conflict.closed_at:
        return {}, conflict.fields
    base, side = conflict.base, conflict.side
    unsaid = unsaid_of(memory) if base is None else frozenset[str]()
    hub = Hub(memory.state, unsaid=unsaid)
    view = View(conflict.connection.side, Seen.THERE, side, base, frozenset(side), marked=False)
    names = [name for name in changes(view, memory.state) if name not in conflict.fields]
    merged, clashes = put_together(hub, view, names, memory.state)
    return merged, [*conflict.fields, *clashes]


RESOLUTIONS = ("hub", "side", "base", "all", "edited")


@transaction.atomic
def resolve(
    conflict: Conflict,
    how: str,
    *,
    user: User | None,
    text: str = "",
    fields: Mapping[str, Any] | None = None,
    seen_number: int | None = None,
) -> Memory:
    """End a conflict by a person's decision; every text stays in the history, in a memory or in the conflict itself.

    how: keep the text of the 'hub', of the 'side', of the 'base', an 'edited' one (`text`, and `fields` of the others
    that differ), or 'all': the hub's here, and the side's as a memory of its own. Whatever is kept goes to both sides.
    Only the fields that clash are decided; what else the side changed is merged (see `fold`).
    seen_number: the memory's revision the person saw; raises `blocks.actions.EditedMeanwhile` if there is a newer one.
    """
    memory = Memory.objects.select_for_update().get(pk=conflict.memory_id)
    conflict = Conflict.objects.select_for_update().get(pk=conflict.pk)
    if conflict.closed_at or how not in RESOLUTIONS:
        raise ValueError("already closed" if conflict.closed_at else f"unknown resolution {how}")
    if seen_number is not None and memory.number != seen_number:
        raise actions.EditedMeanwhile(memory)
    merged, clashes = fold(conflict, memory)
    said = {"text": text, **(fields or {})} if how == "edited" else _kept(conflict, how)
    decided = {name: value for name, value in said.items() if name in clashes}
    ours, state = memory.number, {**memory.state, **merged, **decided}
    if how == "all":
        _as_its_own(conflict, user)
    theirs = _into_history(conflict, memory)
    agree_on_what_was_seen(conflict)
    conflict.resolution, conflict.resolved_by, conflict.closed_at = how, user, timezone.now()
    conflict.fields = clashes
    conflict.save(update_fields=["fields", "resolution", "resolved_by", "closed_at"])
    note = f"conflict with {conflict.connection.get_side_display()} resolved: kept {WORDS[how]}"
    return actions.decide(memory, state, user=user, note=note, parents=[ours, theirs])


def shown(conflict: Conflict) -> str:
    """What a memory's sides say in its open conflicts, as one short word: another one, another text."""
    rows = Conflict.objects.filter(memory=conflict.memory_id, closed_at=None).order_by("pk")
    return "-".join(f"{pk}.{hash[:16]}" for pk, hash in rows.values_list("pk", "side_hash"))


@transaction.atomic
def decide(
    conflict: Conflict,
    how: str,
    *,
    user: User | None,
    text: str = "",
    fields: Mapping[str, Any] | None = None,
    seen_number: int | None = None,
    seen_sides: str = "",
) -> Memory:
    """`resolve`, and what follows for a memory's conflict with the other side, where there is one too.

    how: also 'third', to keep the other side's text and end both. 'all' makes each side's a memory of its own.
    seen_sides: what was `shown`; raises `blocks.actions.EditedMeanwhile` if it is not any more.
    """
    memory = Memory.objects.select_for_update().get(pk=conflict.memory_id)
    still_open = Conflict.objects.filter(pk=conflict.pk, closed_at=None).exists()
    if seen_sides and still_open and seen_sides != shown(conflict):
        raise actions.EditedMeanwhile(memory)
    others = list(other_conflicts(conflict))
    if how == "third":
        if not others:
            raise ValueError("the other side is in no conflict")
        resolve(others[0], "side", user=user, seen_number=seen_number)
        memory = resolve(conflict, "hub", user=user)
        Conflict.objects.filter(pk=conflict.pk).update(resolution=others[0].connection.side)
        return memory
    memory = resolve(conflict, how, user=user, text=text, fields=fields, seen_number=seen_number)
    for other in others if how == "all" else ():
        memory = resolve(other, how, user=user)
    return memory


def other_conflicts(conflict: Conflict) -> QuerySet[Conflict]:
    """The open ones of the same memory with other sides."""
    same = Conflict.objects.filter(memory=conflict.memory_id, closed_at=None).exclude(pk=conflict.pk)
    return same.select_related("memory__project", "connection", "base_text", "side_text")


WORDS = {
    "hub": "the hub's",
    "side": "the side's",
    "base": "the earlier text",
    "all": "all of them",
    "edited": "an edited text",
}


def _kept(conflict: Conflict, how: str) -> Mapping[str, Any]:
    kept = {"side": conflict.side, "base": conflict.base}.get(how)
    return kept or {}


def _as_its_own(conflict: Conflict, user: User | None) -> None:
    side = conflict.connection.get_side_display()
    memory = conflict.memory
    title = f"{conflict.side.get('title') or memory.title} ({side})"
    state = {**memory.state, **conflict.side, "title": title, "label": "", "created_at": ""}
    actions.create(memory.project, state, user=user, shared=memory.shared, note=f"the {side} text of a conflict")


def _into_history(conflict: Conflict, memory: Memory) -> int:
    """Leave a revision of the side's state, whatever is kept; its number."""
    side = conflict.connection
    theirs = {**memory.state, **conflict.side}
    note = f"the {side.get_side_display()} text of a conflict"
    begun = memory.revision_with(conflict.base_text_id)
    actions.record(
        [actions.Change(memory, theirs, Origin(side.side), author=side.side, note=note, parents=begun)],
    )
    return memory.number


def agree_on_what_was_seen(conflict: Conflict) -> None:
    """From now on the side's text counts as known, so that what was decided is pushed over it, and only over it."""
    replica = Replica.objects.filter(memory_id=conflict.memory_id, connection_id=conflict.connection_id).first()
    if replica is None:  # the connection was confirmed anew: the next run looks without any base
        return
    replica.base_fields, replica.base_text_id = conflict.side_state, conflict.side_text_id
    replica.base_hash, replica.hub_hash, replica.version = conflict.side_hash, "", replica.version + 1
    replica.save(update_fields=["base_fields", "base_text", "base_hash", "hub_hash", "version"])
