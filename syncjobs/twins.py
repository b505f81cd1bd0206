"""Two items with one mark: a copy somebody made, or a create of ours whose answer was lost."""

from __future__ import annotations

from blocks.stores.base import Snapshot, StoreError, Write
from syncjobs.models import Intent
from syncjobs.sides import OpenSide


def is_our_own(side: OpenSide, snapshot: Snapshot) -> bool:
    """Whether an item is, to the letter, what a create of ours sent, and no agent has it attached."""
    if snapshot.uuid is None:
        return False
    sent = Intent.objects.filter(
        connection=side.connection, memory__uuid=snapshot.uuid, op="create", new_hash=snapshot.hash
    )
    agents = getattr(side.store, "agents", None)
    return sent.exists() and not (agents and agents(snapshot.id))


def remove_twin(side: OpenSide, snapshot: Snapshot) -> bool:
    """Delete the surplus item, if it is still what was seen; its text is the linked one's or an intent's.

    False where somebody changed it meanwhile. Raises `StoreError` where nothing is known.
    """
    if snapshot.uuid is None:
        return False
    write = Write("delete", snapshot.uuid, id=snapshot.id, expected=snapshot.hash)
    (outcome,) = side.store.write([write])
    if outcome.status in ("unclear", "refused"):
        raise StoreError(outcome.error)
    return outcome.status != "changed"
