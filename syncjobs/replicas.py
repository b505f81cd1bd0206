"""How a replica follows what is seen, agreed on and forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from blocks.models import Memory, Text, digest_of
from blocks.state import State, state_hash
from blocks.stores.base import Snapshot
from memoryhub.bulk import update_rows
from syncjobs.models import Connection, Replica
from syncjobs.sides import OpenSide

COLUMNS = [f.name for f in Replica._meta.concrete_fields if f.name not in ("id", "memory", "connection")]


def of_items(connection: Connection, ids: Iterable[str]) -> QuerySet[Replica]:
    """The replicas of some items. What it says of empty ids lets the database use the index of these."""
    return connection.replicas.exclude(external_id="").filter(external_id__in=list(ids))


def is_marked(snapshot: Snapshot | None, memory: Memory, side: OpenSide) -> bool:
    """Whether an item carries both of our marks (a record's project name is its own)."""
    if snapshot is None or snapshot.uuid != memory.uuid:
        return False
    return side.side != "letta" or snapshot.project == memory.project.slug


def see(replica: Replica, snapshot: Snapshot, memory: Memory, side: OpenSide, text_kept: str | None = None) -> None:
    """Note what a side shows. The text must be in `Text` already."""
    state = dict(snapshot.state)
    text = state.pop("text", None)
    if text is not None and text_kept is not None and text != text_kept:
        Text.objects.keep([text])
    replica.external_id = snapshot.id
    replica.seen_fields, replica.seen_hash = state, snapshot.hash
    replica.seen_text_id = digest_of(text) if text is not None else None
    replica.seen_at = timezone.now()
    replica.chunks = snapshot.chunks
    replica.marked = is_marked(snapshot, memory, side)
    replica.keep = snapshot.keep
    replica.status, replica.reason, replica.refused_hash, replica.held_since = "ok", "", "", None


def agree(replica: Replica, state: State, hash: str = "") -> None:
    """Note the state both now have. The text must be in `Text` already. hash: of the state, where it is known.

    Whether the hub's own state is that one is said when all is settled: until then no hash shows it to be in step.
    """
    fields = dict(state)
    text = fields.pop("text", None)
    replica.base_fields, replica.base_hash, replica.hub_hash = fields, hash or state_hash(state), ""
    replica.base_text_id = digest_of(text) if text is not None else None


def forget(replica: Replica, keep: dict[str, Any] | None = None) -> None:
    """Note that there is nothing any more; `keep` is what would bring it back."""
    replica.keep = {**replica.keep, **(keep or {}), "id": replica.external_id}
    replica.external_id, replica.status, replica.reason, replica.held_since = "", "absent", "", None
    replica.base_fields, replica.base_text_id, replica.base_hash, replica.hub_hash = None, None, "", ""
    replica.seen_fields, replica.seen_text_id, replica.seen_hash = None, None, ""
    replica.marked = False


def hold(replica: Replica, agent: str, since: datetime | None) -> bool:
    """Whether a write has to wait for an agent at work, which is noted. since: when that began, None: now.

    After a set time it waits no longer; what the agent then overwrites is written again.
    """
    replica.held_since = since or timezone.now()
    if timezone.now() - replica.held_since >= timedelta(seconds=settings.AGENT_PATIENCE):
        return False
    replica.reason = f"waiting for agent {agent}"
    return True


def save_replicas(replicas: list[Replica]) -> None:
    """Store replicas, new and known, each with a new version."""
    fresh: list[Replica] = []
    known: list[Replica] = []
    for replica in replicas:
        replica.version += 1
        (known if replica.pk else fresh).append(replica)
    Replica.objects.bulk_create(fresh, batch_size=100)
    update_rows(known, COLUMNS)


def note(replicas: Iterable[Replica], **columns: Any) -> None:
    """Change some columns of replicas, where nobody else has changed the row since they were read."""
    for version, rows in groupby(sorted(replicas, key=_version), _version):
        same = list(rows)
        Replica.objects.filter(pk__in=[row.pk for row in same], version=version).update(version=version + 1, **columns)
        for row in same:
            row.version += 1
            for name, value in columns.items():
                setattr(row, name, value)


def _version(replica: Replica) -> int:
    return replica.version
