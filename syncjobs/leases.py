"""Named leases in the database: who may plan a project, who may write a memory, across processes and machines."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from syncjobs.models import Lease

SECONDS = 90  # a dead holder's lease ends after this; a living one renews it long before


def new_holder() -> str:
    """A name for whoever is about to take leases; never the same twice."""
    return f"{socket.gethostname()[:20]}:{os.getpid()}:{uuid4().hex[:16]}"


def acquire(names: Iterable[str], holder: str) -> set[str]:
    """Take as many of the leases as are free; the names now held by `holder`."""
    wanted = list(dict.fromkeys(names))
    now = timezone.now()
    with transaction.atomic():
        Lease.objects.filter(name__in=wanted, expires_at__lt=now).delete()
        Lease.objects.bulk_create(
            [Lease(name=name, holder=holder, expires_at=now + timedelta(seconds=SECONDS)) for name in wanted],
            ignore_conflicts=True,
        )
    return set(Lease.objects.filter(name__in=wanted, holder=holder).values_list("name", flat=True))


def renew(holder: str) -> None:
    """Extend everything `holder` has."""
    Lease.objects.filter(holder=holder).update(expires_at=timezone.now() + timedelta(seconds=SECONDS))


def release(holder: str, names: Iterable[str] | None = None) -> None:
    """Give back the named leases of `holder`, or all of them."""
    held = Lease.objects.filter(holder=holder)
    (held if names is None else held.filter(name__in=list(names))).delete()


@contextmanager
def held(names: Iterable[str], holder: str) -> Iterator[set[str]]:
    """`acquire`, then `release` of what was got."""
    got = acquire(names, holder)
    try:
        yield got
    finally:
        release(holder, got)


def of_project(project_id: int) -> str:
    return f"project:{project_id}"


def of_memory(memory_id: int) -> str:
    return f"memory:{memory_id}"
