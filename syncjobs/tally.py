"""What a run counts, and what it shows of its work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from blocks.models import Memory, SyncState
from syncjobs.models import Conflict, Intent, zero_counters

SHOWN_STEPS = 1000  # of a run; the rest is only counted


@dataclass
class Tally:
    """What a run did so far. again: memories that changed on a side right before they were to be written."""

    counters: dict[str, int] = field(default_factory=zero_counters)
    errors: list[dict[str, str]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    again: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)  # memories that had a step

    def fail(self, memory: Memory | None, side: str, error: str) -> None:
        self.counters["failed"] += 1
        self.errors.append(
            {
                "memory": str(memory.uuid) if memory else "",
                "title": str(memory) if memory else "",
                "side": side,
                "error": error,
            }
        )

    def count(self, name: str, memory: Memory) -> None:
        self.counters[name] += 1
        self.touched.add(memory.pk)


def close_intents(intents: Iterable[Intent]) -> None:
    """Record the outcomes that intents have by now."""
    by_outcome: dict[str, list[int]] = {}
    for intent in intents:
        if intent.outcome:
            by_outcome.setdefault(intent.outcome, []).append(intent.pk)
    for outcome, pks in by_outcome.items():
        Intent.objects.filter(pk__in=pks).update(outcome=outcome, closed_at=timezone.now())


def show_states(standings: list[tuple[Memory, SyncState]]) -> None:
    """Show how memories stand, except those that somebody edited since they were planned. Call in a transaction."""
    if not standings:
        return
    ids = [memory.pk for memory, _ in standings]
    numbers = dict(Memory.objects.select_for_update().filter(pk__in=ids).values_list("pk", "number"))
    in_conflict = set(Conflict.objects.filter(memory_id__in=ids, closed_at=None).values_list("memory_id", flat=True))
    by_state: dict[SyncState, list[int]] = {}
    for memory, state in standings:
        if numbers.get(memory.pk) == memory.number:
            by_state.setdefault(SyncState.CONFLICT if memory.pk in in_conflict else state, []).append(memory.pk)
    for state, pks in by_state.items():
        rows = Memory.objects.filter(pk__in=pks)
        if state == SyncState.WAITING:
            rows.update(sync_state=state, waiting_since=Coalesce("waiting_since", Now()))
        else:
            rows.update(sync_state=state, waiting_since=None)
