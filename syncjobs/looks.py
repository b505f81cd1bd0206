"""Asks all sides of a project at the same time, and notes on each connection when that was and how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from django.utils import timezone

from blocks.stores.base import Look, Snapshot, StoreError
from syncjobs.outages import note
from syncjobs.sides import OpenSide

T = TypeVar("T")
LOOKED = ("looked_at", "look_seconds", "look_cpu", "look_error", "failures")
ALIVE = 5.0  # seconds of a look between two calls of `alive`


def glance(
    sides: list[OpenSide], prints: Mapping[str, str], alive: Callable[[], None] = lambda: None
) -> dict[str, Look] | None:
    """Look at all sides. prints: by side, of an earlier look; None if every side is as it was then."""
    looks = ask_all(sides, lambda side: side.store.look(prints.get(side.side, "")), alive)
    if len(looks) < len(sides) or not all(look.full for look in looks.values()):
        return looks
    for side in sides:
        _note_time(side)
        side.connection.save(update_fields=[*LOOKED])
    return None


def in_full(sides: list[OpenSide], looks: dict[str, Look], alive: Callable[[], None]) -> dict[str, Look]:
    """Looks with their snapshots, those that only said that all is as it was too."""
    before = {side.side: (side.connection.look_seconds, side.connection.look_cpu) for side in sides}

    def read(side: OpenSide) -> Look:
        look = looks[side.side]
        return look.full() if look.full else look

    looks = ask_all([side for side in sides if side.side in looks], read, alive)
    for side in sides:
        seconds, cpu = before[side.side]
        if side.side in looks:
            side.connection.look_seconds = (side.connection.look_seconds or 0.0) + (seconds or 0.0)
            side.connection.look_cpu = (side.connection.look_cpu or 0.0) + (cpu or 0.0)
    return looks


def ask_all(
    sides: list[OpenSide], call: Callable[[OpenSide], T], alive: Callable[[], None] = lambda: None
) -> dict[str, T]:
    """Run `call` for every side at the same time; what failed is missing and said in `side.error`. No database."""
    healthy = [side for side in sides if not side.error]

    def timed(side: OpenSide) -> tuple[T | None, float, float]:
        began, busy = time.monotonic(), time.thread_time()
        try:
            value = call(side)
        except StoreError as error:
            value = None
            side.fail(error)
        return value, time.monotonic() - began, time.thread_time() - busy

    results = {}
    with ThreadPoolExecutor(max(1, len(healthy))) as pool:
        coming = [pool.submit(timed, side) for side in healthy]
        while wait(coming, timeout=ALIVE).not_done:
            alive()
        for side, future in zip(healthy, coming, strict=True):
            value, seconds, cpu = future.result()
            if value is not None:
                results[side.side] = value
                side.connection.look_seconds, side.connection.look_cpu = seconds, cpu
    return results


def note_agents(side: OpenSide, look: Look, missing: list[str]) -> None:
    """Who sees what. Of items that are gone it stays known until they are forgotten: a restore attaches them again."""
    if look.agents is None:
        return
    known, shown = side.connection.agents, {snapshot.id for snapshot in look.snapshots}
    side.connection.agents = {id: known[id] for id in missing if id in known}
    side.connection.agents |= {id: agents for id, agents in look.agents.items() if id in shown}


def note_failure(side: OpenSide) -> None:
    if side.spared:
        return
    note(side)
    side.connection.look_error = side.error
    side.connection.failures += 1
    side.connection.save(update_fields=["look_error", "failures"])


def note_look(side: OpenSide, look: Look, problems: list[Snapshot]) -> None:
    connection = side.connection
    _note_time(side)
    connection.items = len(look.snapshots)
    connection.problems = [[snapshot.id, snapshot.problem] for snapshot in problems][:200]
    connection.save(update_fields=[*LOOKED, "items", "problems", "agents"])


def _note_time(side: OpenSide) -> None:
    """When this look was, and how it went; how long it took is noted where it is made."""
    connection = side.connection
    connection.looked_at = timezone.now()
    connection.look_error = side.error or side.partial
    connection.failures = connection.failures + 1 if side.error else 0  # one bad item is no reason to look less often
