"""Removing for good, on every side.

What a replica says a side holds must stay true: were it changed while the side still shows the old text, the side
would seem to have changed and the text would be pulled back. So the hub's own texts are erased at once, a normal push
replaces the sides', and what replicas and open intents still hold until then is remembered, by hashes, in
`Purge.waits`; `finish` erases it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import models, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from blocks import actions, purge
from blocks.models import BlockExtra, Memory, Origin, Purge, PurgeKind, Revision
from blocks.purge import Secret
from blocks.retention import drop
from blocks.standing import places_of
from memoryhub.models import Project
from syncjobs.conflicts import agree_on_what_was_seen
from syncjobs.models import Conflict, Intent, Replica, SyncRun
from syncjobs.purge_waits import AGENTS_COPY, agents_to_wait_for, reasons
from syncjobs.retention import clear_journal, tables, text_columns, texts_of, word_columns

# --- what owners do -------------------------------------------------------------------------------------------------


@sensitive_variables("secret")
def erase_text(memories: Iterable[Memory], secret: Secret, *, user: User) -> list[Purge]:
    """Put a mark in the place of a piece of text, wherever the hub has it for these memories, and on the sides."""
    purges = []
    for memory in memories:
        with transaction.atomic():
            made = _erase(memory, secret, user)
        if made:
            purges.append(made)
    if purges:
        _erase_in_runs(purges[0].project, secret)
    finish(purges)
    return purges


@sensitive_variables("secret")
def erase_everywhere(project: Project, secret: Secret, *, user: User) -> list[Purge]:
    """`erase_text` for all memories of a project, and for the agents and blocks there that are no memories."""
    purges = erase_text(find(project, secret), secret, user=user)
    with transaction.atomic():
        count = purge.erase_beside(project, secret)
        made = _noted(project, PurgeKind.BESIDE, user, count) if count else None
    if made:
        finish([made])
    return [*purges, made] if made else purges


@sensitive_variables("secret")
def find(project: Project, secret: Secret) -> list[Memory]:
    """The memories of a project that hold a piece of text anywhere: now, in their history, or in what sides showed."""
    found: set[int] = set()
    for memory in Memory.objects.filter(project=project).iterator():
        if secret.within(memory.state):
            found.add(memory.pk)
    for extra in BlockExtra.objects.filter(memory__project=project).iterator():
        if purge.holds(extra, secret):
            found.add(extra.memory_id)
    for model in tables():
        rows = model._base_manager.filter(memory__project=project)
        texts = {digest for field in text_columns(model) for digest in rows.values_list(field, flat=True).distinct()}
        tainted = purge.find_texts(texts - {None}, secret)
        for field in text_columns(model):
            for part in purge._parts(sorted(tainted)):
                found.update(rows.filter(**{f"{field}__in": part}).values_list("memory_id", flat=True))
        names = [field.name for field in word_columns(model)]
        for pk, *values in rows.values_list("memory_id", *names).iterator():
            if pk not in found and any(secret.within(value) for value in values):
                found.add(pk)
    return list(Memory.objects.filter(pk__in=found).select_related("project"))


def drop_revisions(memory: Memory, *, user: User) -> Purge:
    """Remove every revision but the current one."""
    with transaction.atomic():
        memory = Memory.objects.select_for_update().get(pk=memory.pk)
        Conflict.objects.filter(memory=memory).exclude(closed_at=None).delete()
        _forget_old_places(memory)
        count, texts = purge.drop_revisions(memory)
        _rename_in_runs(memory, str(memory))
        made = _note(memory, PurgeKind.REVISIONS, user, count, texts=texts)
    finish([made])
    return made


def drop_memory(memory: Memory, *, user: User) -> Purge:
    """Remove a deleted memory with all there is of it, as soon as it is on no side any more."""
    with transaction.atomic():
        memory = Memory.objects.select_for_update().get(pk=memory.pk)
        if memory.deleted_at is None:
            raise ValueError("only a deleted memory can be purged")
        _forget_old_places(memory)
        made = _note(memory, PurgeKind.MEMORY, user, memory.revisions.count())
    finish([made])
    return made


# --- a piece of text ------------------------------------------------------------------------------------------------


@sensitive_variables("secret")
def _erase(memory: Memory, secret: Secret, user: User) -> Purge | None:
    memory = Memory.objects.select_for_update().get(pk=memory.pk)
    _forget_old_places(memory)
    texts = purge.find_texts(texts_of(memory), secret)
    states = _tainted_states(memory, secret, texts)
    closed = _close_conflicts(memory, secret, texts, user)
    new = purge.erase_texts(texts, secret)
    for model in tables():
        if model not in (Revision, Replica, Intent):
            _erase_rows(model, memory, secret, new)
    _erase_replicas(memory, secret)
    current = secret.erase_state(memory.state) if secret.within(memory.state) or closed else None
    count, extra = purge.erase_revisions(memory, secret, new), purge.erase_extra(memory, secret)
    if secret.within(memory.notice):
        Memory.objects.filter(pk=memory.pk).update(notice=secret.erase(memory.notice))
    if not (count or texts or states or current or extra):
        return None
    if current:
        current["label"] = _free_label(memory, current["label"])
        actions.decide(memory, current, user=user, note="a piece of text was purged")
    return _note(memory, PurgeKind.TEXT, user, count, texts=texts, states=states)


def _free_label(memory: Memory, label: str) -> str:
    taken = Memory.objects.filter(project=memory.project_id, label=label).exclude(pk=memory.pk)
    return f"{label[:41]}-{memory.uuid.hex[:8]}" if taken.exists() else label


def _tainted_states(memory: Memory, secret: Secret, texts: set[str]) -> set[str]:
    """Hashes of states that replicas and open intents hold and in which it occurs."""
    states = set()
    for row in Replica.objects.filter(memory=memory):
        if row.base_text_id in texts or secret.within(row.base_fields):
            states.add(row.base_hash)
        if row.seen_text_id in texts or secret.within(row.seen_fields):
            states.add(row.seen_hash)
    for intent in Intent.objects.filter(memory=memory, outcome=""):
        if intent.new_text_id in texts or secret.within(intent.new_fields):
            states.add(intent.new_hash)
    return states - {""}


def _close_conflicts(memory: Memory, secret: Secret, texts: set[str], user: User) -> bool:
    """End open conflicts in which it occurs: the hub's text stays, the side's becomes a revision. Whether there were.

    While one is open nothing is written to that side, so it would stay there.
    """
    closed = False
    for conflict in memory.conflicts.filter(closed_at=None).select_related("connection", "base_text", "side_text"):
        if not (secret.within(conflict.base) or secret.within(conflict.side)):
            continue
        side, hub = conflict.connection, memory.state
        note = f"the {side.get_side_display()} text of a conflict, without what was purged"
        theirs = secret.erase_state({**hub, **conflict.side})
        actions.record([actions.Change(memory, theirs, Origin(side.side), author=side.side, note=note)])
        memory.take(hub)
        agree_on_what_was_seen(conflict)
        conflict.resolution, conflict.resolved_by, conflict.closed_at = "purged", user, timezone.now()
        conflict.save(update_fields=["resolution", "resolved_by", "closed_at"])
        closed = True
    return closed


def _erase_rows(model: type[models.Model], memory: Memory, secret: Secret, new: dict[str, str]) -> None:
    """Put the mark into every text and word of a table's rows of a memory."""
    for row in model._base_manager.filter(memory=memory):
        changed = []
        for name in text_columns(model):
            if getattr(row, f"{name}_id") in new:
                setattr(row, f"{name}_id", new[getattr(row, f"{name}_id")])
                changed.append(name)
        for field in word_columns(model):
            if secret.within(getattr(row, field.name)):
                setattr(row, field.name, secret.erase(getattr(row, field.name)))
                changed.append(field.name)
        if changed:
            row.save(update_fields=changed)


def _erase_replicas(memory: Memory, secret: Secret) -> None:
    """What a replica holds beside the states that are compared."""
    for replica in Replica.objects.filter(memory=memory):
        if secret.within(replica.keep) or secret.within(replica.reason):
            replica.keep, replica.reason = secret.erase(replica.keep), secret.erase(replica.reason)
            replica.save(update_fields=["keep", "reason"])


def _erase_in_runs(project: Project, secret: Secret) -> None:
    """Runs name the memories they had to do with."""
    for run in SyncRun.objects.filter(project=project).iterator():
        if secret.within([run.steps, run.errors]):
            run.steps, run.errors = secret.erase(run.steps), secret.erase(run.errors)
            run.save(update_fields=["steps", "errors"])


def _forget_old_places(memory: Memory) -> None:
    """Servers the project is not connected to any more get no push: what is known of the memory there goes."""
    here = [place.connection.pk for place in places_of(memory.project).values() if place.connection]
    Replica.objects.filter(memory=memory).exclude(connection__in=here).delete()
    Conflict.objects.filter(memory=memory, closed_at=None).exclude(connection__in=here).delete()
    Intent.objects.filter(memory=memory).exclude(connection__in=here).delete()


def _note(
    memory: Memory,
    kind: PurgeKind,
    user: User,
    versions: int,
    *,
    texts: Iterable[str] = (),
    states: Iterable[str] = (),
) -> Purge:
    lost = set(texts) | clear_journal(memory, timezone.now() - AGENTS_COPY)
    held = lost & texts_of(memory, but=Revision)
    waits = {"texts": sorted(held), "states": sorted(states)}
    row = _noted(memory.project, kind, user, versions, memory=memory, waits=waits)
    row.lost = lost - held  # type: ignore[attr-defined]  # for `finish`, after the transaction
    return row


def _noted(project: Project, kind: PurgeKind, user: User, versions: int, **more: Any) -> Purge:
    author = user.get_username()
    return Purge.objects.create(project=project, kind=kind, user=user, author=author, versions=versions, **more)


# --- what is left ---------------------------------------------------------------------------------------------------


def finish(purges: Iterable[Purge] | None = None) -> int:
    """Erase what sides held until a push replaced it; how many purges came to their end. None: of all open ones."""
    done = 0
    for row in list(Purge.objects.filter(done_at=None) if purges is None else purges):
        drop(getattr(row, "lost", ()))
        waiting = reasons(row) or agents_to_wait_for(row)
        if waiting:
            _note_waiting(row, waiting)
            continue
        with transaction.atomic():
            lost = _finish(row) if not reasons(row) else None
        if lost is not None:
            drop(lost)
            done += 1
    if done:
        purge.scrub()
    return done


def _note_waiting(row: Purge, waiting: list[str]) -> None:
    if waiting != row.waits.get("for"):
        row.waits["for"] = waiting
        row.save(update_fields=["waits"])


def finish_of(project_ids: Iterable[int]) -> None:
    """`finish` for some projects, after something was written to their sides."""
    finish(Purge.objects.filter(done_at=None, project__in=list(project_ids)))


def clean_again(now: datetime) -> None:
    """Clean the disk again after purges of the last hours: at their end somebody may have been reading old pages."""
    if Purge.objects.filter(done_at__gt=now - timedelta(hours=2)).exists():
        purge.scrub()


def _finish(row: Purge) -> set[str]:
    """Erase what is left, except for the texts themselves: the digests of these."""
    memory, texts = row.memory, set(row.waits.get("texts", ()))
    if memory and row.kind == PurgeKind.MEMORY and memory.deleted_at is None:
        row.called_off = True
    elif memory and row.kind == PurgeKind.MEMORY:
        texts |= texts_of(memory)
        _rename_in_runs(memory, purge.MARK)
        memory.delete()
        row.memory = None
    elif memory:
        for name in text_columns(Conflict):  # of one that was opened and decided since
            memory.conflicts.filter(**{f"{name}__in": texts}).exclude(closed_at=None).update(**{name: None})
        texts |= clear_journal(memory, timezone.now())
    row.done_at, row.waits = timezone.now(), {}
    row.save(update_fields=["done_at", "waits", "called_off", "memory"])
    return texts


def _rename_in_runs(memory: Memory, title: str) -> None:
    """Put a title in the place of those that the memory had when runs noted it."""
    uuid = str(memory.uuid)
    for run in SyncRun.objects.filter(project=memory.project_id).iterator():
        rows = [row for row in [*run.steps, *run.errors] if row.get("memory") == uuid and row["title"] != title]
        for row in rows:
            row["title"] = title
        if rows:
            run.save(update_fields=["steps", "errors"])
