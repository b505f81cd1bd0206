"""A number on each side that grows with what the hub knows of it: one that is too low shows an older copy of the side.

A restored backup has the identity of what it is a copy of. Without the number, what was made since would seem deleted
there, and what was changed since would seem changed back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.db.models import F

from blocks.stores.base import StoreError
from memoryhub.models import Installation
from syncjobs import leases
from syncjobs.models import Connection
from syncjobs.sides import OpenSide

logger = logging.getLogger(__name__)
OLDER_COPY = (
    "What answers at {} is an older copy of what was there: a backup was restored, it seems. What it lacks is not "
    "taken for deleted, nor what it has for new. Nothing is done there until somebody confirms in the project's "
    "settings."
)


def count_up(sides: Iterable[OpenSide]) -> None:
    """Note that something new is known of sides. Call it in the transaction that records it."""
    Connection.objects.filter(pk__in=[side.connection.pk for side in sides]).update(stamp=F("stamp") + 1)


def leave_stamps(sides: Iterable[OpenSide]) -> None:
    """Store on the sides what was counted up; what fails is done by the next run."""
    for side in sides:
        if side.writes and not side.error:
            try:
                _leave(side)
            except StoreError as error:
                logger.info("no stamp left at %s: %s", side.connection.address, error)


def _leave(side: OpenSide) -> None:
    due = Connection.objects.filter(pk=side.connection.pk, stamp__gt=F("stamped")).exclude(identity="")
    if not due.exists():
        return
    holder = leases.new_holder()
    with leases.held([leases.of_stamps(side.connection.address)], holder) as got:  # by server: see `write_stamp`
        row = due.first()
        if got and row:
            side.store.write_stamp(_key(side), row.stamp)
            Connection.objects.filter(pk=row.pk).update(stamped=row.stamp)


def is_older_copy(side: OpenSide) -> bool:
    """Whether the side is a restored backup; notes that, and what else keeps it from being told, in `side.error`.

    A stamp that is too high is no such thing: the hub's own database was restored.
    """
    row = Connection.objects.get(pk=side.connection.pk)
    if not row.stamped or side.error:
        return False
    try:
        found = side.store.read_stamp(_key(side))
    except StoreError as error:
        side.fail(error)
        return False
    if found < row.stamped:
        side.error = side.connection.suspect = OLDER_COPY.format(row.address)
        side.connection.save(update_fields=["suspect"])
    elif found > row.stamp:
        Connection.objects.filter(pk=row.pk).update(stamp=found, stamped=found)
    return bool(side.error)


def _key(side: OpenSide) -> str:
    return f"{Installation.current_id()}:{side.connection.project.slug}"
