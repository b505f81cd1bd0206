"""What a run would do, and whether it would stop at the brake; nothing is done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memoryhub.models import Project
from syncjobs.agents import Agents, ask_about
from syncjobs.match import Item
from syncjobs.models import Conflict, zero_counters
from syncjobs.observation import Observation
from syncjobs.observe import observe
from syncjobs.outages import in_words
from syncjobs.plan import NAMES
from syncjobs.planning import Planner, Work, describe
from syncjobs.sides import look_up_sides
from syncjobs.tally import SHOWN_STEPS

BRAKE_SHARE, BRAKE_LEAST = 0.20, 5
T = TypeVar("T")


def chunked(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


@dataclass
class Foreseen:
    """What a run would do. brake: why it would not do it without being asked, '' if it would.

    removals: `side:uuid` of every memory that would be deleted on a side, or archived because it is gone there. steps:
    those that remove come first; there may be more than are kept.
    """

    counters: dict[str, int] = field(default_factory=zero_counters)
    steps: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    brake: str = ""


def preview(project: Project) -> Foreseen:
    """What a run would do now. Changes nothing, outside or in the hub, but for the time of the look."""
    sides = look_up_sides(project, plant=False)
    observation = observe(project, sides)
    busy = [item for item in observation.items if not observation.idle(item)]
    foreseen = foresee(project, observation, busy, agents=ask_about(busy, observation))
    foreseen.errors = [f"{side.side}: {in_words(side)}" for side in sides if side.error or side.partial]
    return foreseen


def foresee(
    project: Project,
    observation: Observation,
    busy: list[Item],
    approved: Collection[str] = (),
    agents: Agents | None = None,
) -> Foreseen:
    """Plan all busy items without carrying out any. approved: removals that somebody has looked at and wants."""
    foreseen, planner = Foreseen(), Planner(project, observation, agents)
    open_rows = Conflict.objects.filter(memory__project=project, closed_at=None)
    open_conflicts = set(open_rows.values_list("memory_id", "connection__side"))
    unchanged = {item.row.id for item in observation.items if item.row and item.row.live}
    steps: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for part in chunked(busy, 500):
        for work in planner.load(part):
            kept = steps[0 if removals_of(work) else 1]
            if len(kept) < SHOWN_STEPS:
                kept.extend(describe(work))
            if _count(work, foreseen, open_conflicts) and work.memory.pk:
                unchanged.discard(work.memory.pk)
    foreseen.counters["unchanged"] = len(unchanged)
    foreseen.steps = [*steps[0], *steps[1]][:SHOWN_STEPS]
    foreseen.brake = _why_brake(observation, foreseen.removals, approved)
    return foreseen


STEP_COUNTERS = {"create": "created", "update": "pushed", "delete": "deleted"}
HOW_COUNTERS = {"pull": "pulled", "merge": "merged", "link": "linked"}


def _count(work: Work, foreseen: Foreseen, open_conflicts: set[tuple[int, str]]) -> bool:
    """Add one plan to what is foreseen; whether it has a step."""
    names = [STEP_COUNTERS[step.op] for step in work.plan.steps if step.op in STEP_COUNTERS]
    for side, how in work.plan.taken.items():
        if side == work.source or how in HOW_COUNTERS:
            names.append("pulled" if side == work.source else HOW_COUNTERS[how])
    names += ["archived"] * bool(work.plan.archived_by)
    names += ["conflicts" for side in work.plan.clashes if (work.memory.pk, side) not in open_conflicts]
    for name in names:
        foreseen.counters[name] += 1
    foreseen.removals += removals_of(work)
    return bool(names)


def removals_of(work: Work) -> list[str]:
    sides = {step.side for step in work.plan.steps if step.op == "delete"}
    return [f"{side}:{work.memory.uuid}" for side in sides | ({work.plan.archived_by} - {""})]


def _why_brake(observation: Observation, removals: list[str], approved: Collection[str]) -> str:
    """Why a run that does these removals has to be asked for, '' if it has not."""
    known = set(approved)
    rest = [name for name in removals if name not in known]
    reasons = _too_many(observation, rest)
    if approved and rest and not reasons:  # few as they are, nobody has looked at them
        more = len({name.partition(":")[2] for name in rest})
        reasons = [f"{more} more than on the approved list would be deleted or archived"]
    if not reasons:
        return ""
    return (
        f"Stopped at the brake, nothing was changed: {'; '.join(reasons)}. Look at the list; if that is what you "
        "want, approve it."
    )


def _too_many(observation: Observation, removals: list[str]) -> list[str]:
    reasons = []
    for side in observation.sides:
        name = NAMES[side.side]
        held = sum(1 for item in observation.items if side.side in item.links)
        count = sum(1 for removal in removals if removal.startswith(f"{side.side}:"))
        if side.side in observation.emptied and held and count:
            reasons.append(f"{name} shows nothing, though {held} memories were there")
        elif count > max(BRAKE_LEAST, BRAKE_SHARE * held):
            reasons.append(f"{count} of the {held} memories in {name} would be deleted or archived")
    return reasons
