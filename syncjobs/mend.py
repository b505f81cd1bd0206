"""Records of ours that stay half written though no journal says so any more.

A backup of a store may have been taken in the middle of a write, or one of the hub's after it; somebody may have
deleted some rows of a record. There is no text in such a record that anybody meant, and what the hub has is known. So
what should be there becomes an intent like any other, whose end nobody recorded: `recover` writes the record whole
again, or removes the rest of it, and keeps what another program had written into it.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction

from blocks.models import Memory, Text, digest_of
from blocks.state import state_hash
from blocks.stores.base import Snapshot
from syncjobs import leases
from syncjobs.match import Item
from syncjobs.models import Intent, Replica
from syncjobs.observation import Observation
from syncjobs.planning import restrict
from syncjobs.recover import recover
from syncjobs.sides import OpenSide


def mend(observation: Observation, holder: str) -> set[int]:
    """Write half-written records whole again; the memories that have to be looked at once more.

    Only those that an earlier run has found so too: of the others, somebody may be in the middle of writing or
    deleting them, row by row.
    """
    mended = set()
    for side, item, snapshot in list(_broken(observation)):
        if item.row is None:
            continue
        with leases.held([leases.of_memory(item.row.id)], holder) as got:
            if got and _intend(side, item.row.id, snapshot):
                recover([side], [item.row.id])
                mended.add(item.row.id)
    return mended


def _broken(observation: Observation) -> Iterator[tuple[OpenSide, Item, Snapshot]]:
    for side in observation.sides:
        torn = {snapshot.id: snapshot for snapshot in observation.problems.get(side.side, ()) if snapshot.torn}
        if not torn or side.error or not side.writes:
            continue
        for item in observation.items:
            link = item.links.get(side.side)
            if link and link.external_id in torn and link.status == "problem":
                yield side, item, torn[link.external_id]


@transaction.atomic
def _intend(side: OpenSide, memory_id: int, snapshot: Snapshot) -> bool:
    """Note what should be there; False where that is not to be told any more, or a journal does say it."""
    memory = Memory.objects.select_for_update().filter(pk=memory_id).first()
    replica = Replica.objects.filter(connection=side.connection, external_id=snapshot.id, memory=memory_id).first()
    journal = Intent.objects.filter(connection=side.connection, memory=memory_id, outcome="")
    if memory is None or replica is None or journal.exists():
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
        old_text_id=replica.base_text_id,
    )
    return True
