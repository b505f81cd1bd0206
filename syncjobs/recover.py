"""What became of writes whose end nobody recorded: read back, then settled or planned again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from blocks.actions import Change, record
from blocks.models import Memory, Origin, Text, digest_of
from blocks.stores.base import Snapshot, StoreError, Write
from blocks.stores.chunks import put_into
from syncjobs.models import Intent, Replica
from syncjobs.replicas import agree, forget, of_items, save_replicas, see
from syncjobs.sides import OpenSide
from syncjobs.stamps import count_up

UNDER_WAY = 2.0  # seconds for which a request may still be on its way whose sender died or gave up
FRESH = timedelta(minutes=5)  # for longer no process is at a batch of writes


def recover(sides: Iterable[OpenSide], memory_ids: Iterable[int]) -> None:
    """Settle the open intents of memories whose leases the caller holds, on every healthy side.

    Waits `UNDER_WAY` seconds first, once for each side that is opened: what a request that comes later does to a
    memory that was already written anew would look like somebody's edit.
    """
    ids = list(memory_ids)
    found: list[tuple[OpenSide, list[Intent]]] = []
    for side in sides:
        rows = Intent.objects.filter(connection=side.connection, memory_id__in=ids, outcome="").order_by("pk")
        intents = list(rows.select_related("memory__project", "new_text", "old_text"))
        if intents and not side.error:
            found.append((side, intents))
    if any(not side.waited and _is_fresh(intents) for side, intents in found):
        time.sleep(UNDER_WAY)
    for side, intents in found:
        side.waited = True
        try:
            _recover_side(side, intents)
        except StoreError as error:
            side.fail(error)


def _is_fresh(intents: list[Intent]) -> bool:
    return any(intent.created_at > timezone.now() - FRESH for intent in intents)


def _recover_side(side: OpenSide, intents: list[Intent]) -> None:
    by_mark = side.store.find([intent.memory.uuid for intent in intents if intent.op == "create"])
    by_id = side.store.get([intent.external_id for intent in intents if intent.external_id])
    for intent in intents:
        seen = by_id.get(intent.external_id) if intent.external_id else None
        if intent.op == "create":
            seen = seen or _made(intent, by_mark.get(intent.memory.uuid, []))
        if seen and seen.problem:
            try:
                seen = _finish(side, intent, seen)
            except Unfinished:
                continue  # the intent stays open
        with transaction.atomic():
            _settle(side, intent, seen)
            count_up([side])


def _made(intent: Intent, marked: list[Snapshot]) -> Snapshot | None:
    """What a create of ours made.

    Another hub may have made an item with this mark, from a copy of the same records; and a copy in this project may
    be another memory's by now.
    """
    ours = [item for item in marked if item.in_scope or item.project == intent.memory.project.slug]
    others = of_items(intent.connection, [i.id for i in ours]).exclude(memory=intent.memory)
    taken = set(others.values_list("external_id", flat=True))
    return next((item for item in ours if item.id not in taken), None)


class Unfinished(Exception):
    """A torn record could not be written again: nobody knows how it is now."""


def _finish(side: OpenSide, intent: Intent, seen: Snapshot) -> Snapshot | None:
    """A record torn between two of our own writes: write it again, whole, or remove the rest of it.

    Raises `Unfinished`.
    """
    state = Replica.join(intent.new_fields, intent.new_text) or {}
    if seen.uuid != intent.memory.uuid:
        return seen
    if seen.strays:
        _keep_strays(side, intent, seen)
    if intent.op == "delete":
        again = Write("delete", intent.memory.uuid, id=seen.id, expected=seen.hash)
    else:
        again = Write("update", intent.memory.uuid, state, id=seen.id, expected=None)
    (outcome,) = side.store.write([again])
    if outcome.status in ("unclear", "refused"):
        raise Unfinished
    gone = outcome.status == "gone" or (intent.op == "delete" and outcome.status == "done")
    return None if gone else outcome.snapshot or seen


INTO_TORN = "another program wrote into the record while it was half written"


@transaction.atomic
def _keep_strays(side: OpenSide, intent: Intent, seen: Snapshot) -> None:
    """Leave a revision of what is about to be replaced, and was in no text that could be read."""
    memory = Memory.objects.select_for_update().get(pk=intent.memory_id)
    texts = [stored.text for stored in (intent.new_text, intent.old_text) if stored]
    whole = [text for text in (put_into(text, seen.strays) for text in texts) if text is not None]
    text = whole[0] if whole else "\n".join(part for _, _, part in seen.strays)
    if memory.revisions.filter(text_id=digest_of(text)).exists():
        return
    now = memory.state
    record([Change(memory, {**now, "text": text}, Origin(side.side), author=side.side, note=INTO_TORN)])
    record([Change(memory, now, Origin.MERGE, author="sync", note=INTO_TORN, extra={"notice": INTO_TORN})])


def _settle(side: OpenSide, intent: Intent, seen: Snapshot | None) -> None:
    """Record what is known now: the new state is there, or the item is gone, or it has to be planned again."""
    replica, _ = Replica.objects.get_or_create(
        memory=intent.memory, connection=side.connection, defaults={"status": "absent"}
    )
    if seen and not seen.problem and intent.op != "delete" and (seen.hash == intent.new_hash or intent.op == "create"):
        sent = Replica.join(intent.new_fields, intent.new_text) or {}
        Text.objects.keep([seen.state.get("text", "")])
        see(replica, seen, intent.memory, side)
        agree(replica, sent)  # if somebody changed it since, that is a change on the side
        save_replicas([replica])
        intent.outcome = "done"
    elif seen is None and intent.op == "delete":
        forget(replica)
        save_replicas([replica])
        intent.outcome = "done"
    else:
        intent.outcome = "dropped"
    intent.closed_at = timezone.now()
    intent.save(update_fields=["outcome", "closed_at"])
