"""What changed since somebody last asked, with nothing left out where several write at the same time.

A position is the number (primary key) of a revision: whoever asks again with the last one gets what came after it.
That is sound only if no lower number can turn up later. SQLite has one writer at a time, so numbers become visible in
their order. PostgreSQL gives a number out when a row is written, and shows the row when its transaction ends: a later
number can be seen while an earlier one is still on its way. So each writer says, before it takes numbers, up to which
one they were given out (a lock in shared mode, which holds up nobody and ends with the transaction, however it ends),
and nobody is shown more than what all writers under way began after. What is held back that way comes a moment later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, Max, OuterRef

from blocks.models import Memory, Revision
from memoryhub.models import Project

# An advisory lock has 64 bits: 16 that say it is one of these, and 48 for a revision's number.
OURS, BITS = 0x4D48, 48
SEQUENCE = "blocks_revision_id_seq"
LAST = "CASE WHEN is_called THEN last_value ELSE 0 END"
ANNOUNCE = f"SELECT pg_advisory_xact_lock_shared({OURS << BITS} | {LAST}) FROM {SEQUENCE}"  # noqa: S608
GIVEN_OUT = f"SELECT {LAST} FROM {SEQUENCE}"  # noqa: S608
UNDER_WAY = f"""
    SELECT min((classid::bigint << 32 | objid::bigint) & {(1 << BITS) - 1}) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = {OURS}
    AND pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""  # noqa: S608
FIELDS = ("pk", "number", "author", "origin", "note", "created_at", "fields")


@dataclass(frozen=True)
class Changes:
    """items: rows of revisions, oldest first, with `FIELDS` and the memory's uuid, archived_at and deleted_at. next:
    the position to ask from the next time. more: whether there is more already."""

    items: list[dict[str, Any]]
    next: int
    more: bool


def announce() -> None:
    """Say that this transaction is about to write revisions. Call it before each time it does."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(ANNOUNCE)


def settled() -> int:
    """The number of a revision up to which no other can turn up any more. Ask before reading revisions."""
    if connection.vendor != "postgresql":
        return Revision.objects.aggregate(Max("pk"))["pk__max"] or 0
    with connection.cursor() as cursor:
        cursor.execute(GIVEN_OUT)  # first this, then who is under way: whoever had a number by now had announced it
        (given_out,) = cursor.fetchone()
        cursor.execute(UNDER_WAY)
        (under_way,) = cursor.fetchone()
    return given_out if under_way is None else min(given_out, under_way)


def since(project: Project, position: int | None, limit: int) -> Changes:
    """What was changed in a project after a position, at most so many changes; None: the latest ones.

    A position this database never gave out, as after a restored backup, counts as the present one.
    """
    end = settled()
    # Asked so, a database walks the revisions in their order; by a join it would walk all memories of the project.
    ours = Exists(Memory.objects.filter(pk=OuterRef("memory_id"), project=project))
    rows = Revision.objects.filter(ours, pk__lte=end)
    shown = rows.values(*FIELDS, "memory__uuid", "memory__archived_at", "memory__deleted_at")
    if position is None:
        return Changes(list(shown.order_by("-pk")[:limit])[::-1], end, False)
    found = list(shown.filter(pk__gt=position).order_by("pk")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    return Changes(found, found[-1]["pk"] if more else end, more)
