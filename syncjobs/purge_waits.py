"""What a purge still waits for, in words: what sides hold, what is under way to them, what agents may write back.

Asks the database, and Letta about its agents; changes nothing. `syncjobs.purge.finish` goes by it.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from blocks import purge
from blocks.models import Memory, Purge, PurgeKind, Revision
from blocks.stores.base import StoreError
from memoryhub.secrets import UnreadableSecret
from syncjobs import sides
from syncjobs.models import Conflict, Intent, Replica

# Until then an agent that read the old text is expected to have written back its copy; what that copy was made from
# tells it from a person's edit (see `syncjobs.agents`).
AGENTS_COPY = timedelta(minutes=10)


def reasons(row: Purge) -> list[str]:
    """What a purge still waits for, in words; empty when nothing is left to be erased (or all is)."""
    memory = row.memory
    if row.done_at or memory is None:
        return []
    if row.kind == PurgeKind.MEMORY:
        return [] if memory.deleted_at is None else _still_there(memory)
    texts, states = list(row.waits.get("texts", ())), list(row.waits.get("states", ()))
    held = Q(base_text__in=texts) | Q(seen_text__in=texts) | Q(base_hash__in=states) | Q(seen_hash__in=states)
    replicas = Replica.objects.filter(held, memory=memory)
    waits = _all_waits_for(memory, replicas)
    sent = Q(new_text__in=texts) | Q(old_text__in=texts) | Q(new_hash__in=states)
    if memory.intents.filter(sent, outcome="").exists():
        waits.append("a write that is under way")
    for other in purge.rows_with_text(memory, texts):
        if isinstance(other, Revision):
            waits.append(f"revision {other.number}, in which it came back: purge it again")
        elif isinstance(other, Conflict) and not other.closed_at:
            waits.append("the open conflict to be resolved")
    return list(dict.fromkeys(waits))


def agents_to_wait_for(row: Purge) -> list[str]:
    """Agents that see the block and may have read the old text. Asks Letta, if something was pushed there lately.

    That text is then still in the journal: an older copy that comes back is known by it, and written over again.
    """
    memory, texts = row.memory, list(row.waits.get("texts", ()))
    if row.done_at or memory is None or row.kind == PurgeKind.MEMORY:
        return []
    since = timezone.now() - AGENTS_COPY
    pushed = Intent.objects.filter(memory=memory, connection__side="letta", closed_at__gt=since, old_text__in=texts)
    if not pushed.exists() or memory.project.letta_server is None:
        return []
    ids = memory.replicas.filter(connection__in=pushed.values("connection")).exclude(external_id="")
    try:
        store = sides.open_letta(memory.project)
        attached = any(store.agents(id) for id in ids.values_list("external_id", flat=True))
    except (StoreError, UnreadableSecret):
        attached = True
    return ["agents, which for 10 minutes may write back what they had read"] if attached else []


def _still_there(memory: Memory) -> list[str]:
    rows = memory.replicas.exclude(external_id="")
    waits = _all_waits_for(memory, rows)
    if memory.intents.filter(outcome="").exists():
        waits.append("a write that is under way")
    return waits


def _all_waits_for(memory: Memory, replicas: QuerySet[Replica]) -> list[str]:
    """What is waited for on the sides, Letta first."""
    rows = replicas.select_related("connection__project").order_by("connection__side", "pk")
    return [_waits_for(memory, replica) for replica in rows]


def _waits_for(memory: Memory, replica: Replica) -> str:
    """Why a side still shows it."""
    connection, project = replica.connection, replica.connection.project
    name = connection.get_side_display()
    direction = project.letta_direction if connection.side == "letta" else project.local_direction
    if direction in ("off", "from_side"):
        return f"{name}, which the hub does not write to: remove it there by hand"
    if connection.suspect or connection.down:
        return f"{name}, which cannot be reached now"
    if memory.conflicts.filter(connection=connection, closed_at=None).exists():
        return f"{name}, where a conflict is open: resolve it"
    return name if replica.status == "ok" else f"{name}: {replica.reason or replica.get_status_display()}"
