"""The list that a run stopped at, as far as its steps do not show it: they are only the first thousand."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.models import Memory
from syncjobs.models import SyncRun
from syncjobs.plan import NAMES


@dataclass(frozen=True)
class Going:
    """A memory that would be deleted or archived. sides: where it would go, or is gone already, in words."""

    uuid: str
    title: str
    sides: str


def not_shown(run: SyncRun) -> dict[str, list[str]]:
    """By uuid of a memory the sides it would go from, for those that are in none of the run's steps."""
    shown = {step["memory"] for step in run.steps if step["op"] in ("delete", "archive")}
    found: dict[str, list[str]] = {}
    for removal in run.removals:
        side, _, uuid = removal.partition(":")
        if uuid not in shown:
            found.setdefault(uuid, []).append(side)
    return found


def named(going: dict[str, list[str]]) -> list[Going]:
    """The same with their titles, in the same order."""
    memories = {str(memory.uuid): str(memory) for memory in Memory.objects.filter(uuid__in=going).defer("text")}
    words = {uuid: " and ".join(NAMES[side] for side in sorted(sides)) for uuid, sides in going.items()}
    return [Going(uuid, memories.get(uuid, uuid), words[uuid]) for uuid in going]
