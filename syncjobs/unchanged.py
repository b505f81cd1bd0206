"""Whether anything can have changed since a look found nothing to do; if not, the next one need not compare anything.

What a run does follows from what the hub and the sides hold. So where the hub's part and every side's print are what
they were when a run found nothing to do, there is nothing to do now. Each process remembers this for itself, for a
while; it is only used for the looks of continuous sync.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from django.db.models import Count, Max, Model, Q, Sum

from blocks.models import Memory, SyncState
from memoryhub.models import Project
from syncjobs.models import Intent, Replica
from syncjobs.sides import OpenSide

TRUSTED = 600.0  # seconds; then everything is compared again, whatever the prints say


@dataclass(frozen=True)
class Quiet:
    """What the hub's part and the sides were when there was nothing to do. until: by the monotonic clock."""

    hub: str
    prints: Mapping[str, str]
    until: float


_known: dict[int, Quiet] = {}  # by project


def remember(project: Project, hub: str, prints: Mapping[str, str]) -> None:
    """Note that there is nothing to do as things are. hub: `fingerprint` from before they were looked at."""
    _known[project.pk] = Quiet(hub, prints, time.monotonic() + TRUSTED)


def forget(project: Project) -> None:
    _known.pop(project.pk, None)


def prints_if_quiet(project: Project, hub: str) -> Mapping[str, str] | None:
    """The prints of sides for which there would be nothing to do; None where nothing is known of the hub as it is."""
    quiet = _known.get(project.pk)
    if not hub or quiet is None or quiet.hub != hub or quiet.until < time.monotonic():
        return None
    return quiet.prints


def fingerprint(project: Project, sides: Sequence[OpenSide]) -> str:
    """What of the hub decides what a run does; '' where something waits or is under way.

    Ids are never used twice, and every change of a memory or a replica counts up its number or version: with as many
    rows and the same greatest id none was added or removed, and with the same sum none was changed.
    """
    connections = [side.connection.pk for side in sides]
    waiting = Count("pk", filter=Q(sync_state=SyncState.WAITING))
    memories = Memory.objects.filter(project=project).aggregate(Count("pk"), Max("pk"), Sum("number"), waiting=waiting)
    replicas = Replica.objects.filter(connection__in=connections).aggregate(Count("pk"), Max("pk"), Sum("version"))
    if memories["waiting"] or Intent.objects.filter(connection__in=connections, outcome="").exists():
        return ""
    neighbours = Project.objects.filter(local_store=project.local_store_id).order_by("pk")
    facts = [
        sorted(memories.items()),
        sorted(replicas.items()),
        [(side.connection.pk, side.connection.identity, side.reads, side.writes) for side in sides],
        [_values(row) for row in (project, project.letta_server, project.local_store)],
        list(neighbours.values_list("slug", "local_project")) if project.local_store_id else [],
    ]
    return sha256(repr(facts).encode()).hexdigest()


def _values(row: Model | None) -> list[object]:
    return [getattr(row, column.attname) for column in row._meta.concrete_fields] if row else []
