"""Named leases in the database: who may plan a project, who may write a memory, across processes and machines."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import getnode, uuid4

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from syncjobs.models import Lease

SECONDS = 90  # a dead holder's lease ends after this; a living one renews it long before


@cache
def _machine() -> str:
    """What tells apart places where a process id means something else: machine, boot, and container."""
    parts = [socket.gethostname(), str(getnode())]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(path) if "/ns/" in path else Path(path).read_text().strip())
    return sha256("|".join(parts).encode()).hexdigest()[:16]


def new_holder() -> str:
    """A name for whoever is about to take leases; never the same twice."""
    return f"{_machine()}:{os.getpid()}:{uuid4().hex[:16]}"


def is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that is no more: its lease need not run out."""
    machine, _, rest = holder.partition(":")
    pid = rest.partition(":")[0]
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def acquire(names: Iterable[str], holder: str) -> set[str]:
    """Take as many of the leases as are free; the names now held by `holder`."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return set()
    now = timezone.now()
    with transaction.atomic():
        _clear(Lease.objects.filter(name__in=wanted), now)
        Lease.objects.bulk_create(
            [Lease(name=name, holder=holder, expires_at=now + timedelta(seconds=SECONDS)) for name in wanted],
            ignore_conflicts=True,
        )
    _renewed.setdefault(holder, time.time())
    return set(Lease.objects.filter(name__in=wanted, holder=holder).values_list("name", flat=True))


def _clear(leases: QuerySet[Lease], now: datetime) -> None:
    """Remove leases that have run out, and those of dead processes of this machine."""
    leases.filter(expires_at__lt=now).delete()
    dead = [holder for holder in set(leases.values_list("holder", flat=True)) if is_dead(holder)]
    if dead:
        leases.filter(holder__in=dead).delete()


def is_held(name: str) -> bool:
    """Whether somebody alive has the lease."""
    lease = Lease.objects.filter(name=name, expires_at__gte=timezone.now()).first()
    return bool(lease and not is_dead(lease.holder))


_renewed: dict[str, float] = {}


def renew_at_times(holder: str) -> None:
    """`renew`, at most every tenth of a lease's life: to be called in a loop."""
    if _age(holder) > SECONDS / 10:
        renew(holder)


def still_held(holder: str, names: Collection[str]) -> bool:
    """Whether all these leases are `holder`'s yet: to be asked right before what only they allow.

    A process that was stopped, or whose machine slept, for longer than a lease lives has lost it to another. Asks the
    database only where that can be: half a lease's life after the last renewal.
    """
    if _age(holder) < SECONDS / 2:
        return True
    renew(holder)
    return Lease.objects.filter(holder=holder, name__in=names).count() == len(names)


def _age(holder: str) -> float:
    """Seconds since the leases were renewed, by the clock they end by: it goes on while the machine sleeps."""
    return abs(time.time() - _renewed.get(holder, 0.0))


def renew(holder: str) -> None:
    """Extend everything `holder` has."""
    _renewed[holder] = time.time()
    Lease.objects.filter(holder=holder).update(expires_at=timezone.now() + timedelta(seconds=SECONDS))


def release(holder: str, names: Iterable[str] | None = None) -> None:
    """Give back the named leases of `holder`, or all of them."""
    held = Lease.objects.filter(holder=holder)
    if names is None:
        _renewed.pop(holder, None)
    (held if names is None else held.filter(name__in=list(names))).delete()


@contextmanager
def held(names: Iterable[str], holder: str) -> Iterator[set[str]]:
    """`acquire`, then `release` of what was got."""
    got = acquire(names, holder)
    try:
        yield got
    finally:
        let_go(holder, got)


def let_go(holder: str, names: Collection[str]) -> None:
    """`release` of some; where the database is away, they run out."""
    if names:
        with suppress(OperationalError, InterfaceError):
            release(holder, names)


def of_project(project_id: int) -> str:
    return f"project:{project_id}"


def of_digest(project_id: int) -> str:
    return f"digest:{project_id}"


def of_stamps(address: str) -> str:
    return f"stamps:{sha256(address.encode()).hexdigest()[:32]}"


def of_memory(memory_id: int) -> str:
    return f"memory:{memory_id}"
