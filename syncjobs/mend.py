"""Records of ours that stay half written though no journal says so any more.

A backup of a store may have been taken in the middle of a write, or one of the hub's after it; somebody may have
deleted some rows of a record. There is no text in such a record that anybody meant, and what the hub has is known. So
what should be there becomes an intent like any other, whose end nobody recorded: `recover` writes the record whole
again, or removes the rest of it, and keeps what another program had written into it.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.utils import timezone

from blocks.models import Memory, Text, digest_of
from blocks.state import state_hash
from blocks.stores.base import Snapshot
from syncjobs import leases
from syncjobs.match import Row
from syncjobs.models import Intent, Replica
from syncjobs.observation import Observation
from syncjobs.planning import restrict
from syncjobs.recover import FRESH, recover
from syncjobs.sides import OpenSide


def mend(observation: Observation, holder: str) -> dict[int, str]:
    """Write half-written records whole again; by memory, to be looked at once more, the id of its record.

    Only those that an earlier run has found so too: of the others, somebody may be in the middle of writing or
    deleting them, row by row. At once where it was us: what a process had sent before it died came after `recover` had
    looked for it, or the hub has lost what it knew of that side.
    """
    mended = {}
    for side, row, snapshot in list(_broken(observation)):
        with leases.held([leases.of_memory(row.id)], holder) as got:
            if got and _intend(side, row.id, snapshot):
                recover([side], [row.id])
                mended[row.id] = snapshot.id
    return mended


def _broken(observation: Observation) -> Iterator[tuple[OpenSide, Row, Snapshot]]:
    for side in observation.sides:
        torn = [snapshot for snapshot in observation.problems.get(side.side, ()) if snapshot.torn]
        if not torn or side.error or not side.writes:
            continue
        by_id, by_mark = ({getattr(snapshot, name): snapshot for snapshot in torn} for name in ("id", "uuid"))
        for item in observation.items:
            link = item.links.get(side.side)
            snapshot = by_id.get(link.external_id) if link else by_mark.get(item.uuid)
            if snapshot is None or item.row is None:
                continue
            if link is None or link.status == "problem" or _came_late(side, item.row.id):
                yield side, item.row, snapshot


def _came_late(side: OpenSide, memory_id: int) -> bool:
    """Whether a write of ours was given up a moment ago, because nothing of it was there."""
    since = timezone.now() - FRESH
    given_up = Intent.objects.filter(connection=side.connection, memory=memory_id, outcome="dropped")
    return given_up.filter(closed_at__gt=since).exists()


@transaction.atomic
def _intend(side: OpenSide, memory_id: int, snapshot: Snapshot) -> bool:
    """Note what should be there; False where that is not to be told any more, or a journal does say it."""
    memory = Memory.objects.select_for_update().filter(pk=memory_id).first()
    replica = Replica.objects.filter(connection=side.connection, memory=memory_id).first()
    journal = Intent.objects.filter(connection=side.connection, memory=memory_id, outcome="")
    if memory is None or journal.exists() or (replica and replica.external_id not in ("", snapshot.id)):
        return False
    wanted = memory.live and (memory.shared or not side.sharing)
    state = restrict(memory.state, side.store.fields) if wanted else {}
    Text.objects.keep([state["text"]] if wanted else [])
    Intent.objects.create(
        memory=memory,
        connection=side.connection,
        op="update" if wanted else "delete",
        external_id=snapshot.id,
        new_hash=state_hash(state),
        new_fields={name: value for name, value in state.items() if name != "text"} or None,
        new_text_id=digest_of(state["text"]) if wanted else None,
        old_text_id=replica.base_text_id if replica else None,
    )
    return True
