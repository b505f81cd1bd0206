"""From an observation to a plan for every memory, on what the database says now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from blocks.actions import free_label
from blocks.models import Memory
from blocks.state import DEFAULTS, FIELDS, State, complete, slugify_label, state_hash
from blocks.stores.base import Write
from memoryhub.models import Project
from syncjobs.agents import Agents, Copy
from syncjobs.match import Item
from syncjobs.models import Conflict, Intent, Replica
from syncjobs.observation import Observation
from syncjobs.plan import NAMES, Hub, Plan, Seen, View, plan
from syncjobs.replicas import is_marked, of_items
from syncjobs.sides import OpenSide


@dataclass
class Work:
    """One memory in a batch: what was seen, what was planned, what is known of its replicas."""

    item: Item
    memory: Memory
    replicas: dict[str, Replica]
    plan: Plan
    source: str = ""  # the side a new memory comes from
    writes: dict[str, Write] = field(default_factory=dict)
    marks: dict[str, Write] = field(default_factory=dict)  # by side: what nobody has to record before it is done
    intents: dict[str, Intent] = field(default_factory=dict)
    conflicts: dict[str, Conflict] = field(default_factory=dict)  # the open ones, by side
    copies: dict[str, Copy] = field(default_factory=dict)  # by side: it shows an agent's older copy
    waits: set[str] = field(default_factory=set)  # sides that are not written yet: an agent is at work
    parents: list[int] = field(default_factory=list)  # what the new state is made of, see `Revision`
    rewritten: bool = False  # other states were recorded just now, so that the planned one has to be recorded again
    settled: bool = True  # every side is as it should be
    overtaken: bool = False  # another process has taken the memory over: nothing more is written or recorded

    @property
    def fresh(self) -> bool:
        return bool(self.source)

    def in_step(self, side: OpenSide) -> bool:
        """Whether a side of which something is known shows what the hub has."""
        replica = self.replicas[side.side]
        there = replica.status == "ok" and replica.base_hash
        return bool(there and side.side not in self.plan.clashes and self.agrees(side))

    def agrees(self, side: OpenSide) -> bool:
        """Whether both last agreed on what the hub has now; if not, what was written there has not settled it."""
        if self.replicas[side.side].base_hash == state_hash(restrict(self.memory.state, side.store.fields)):
            return True
        if side.writes:
            self.settled = self.settled and side.side not in self.writes
        return False


class Planner:
    """Plans memories of one project. again: memories whose replica was written since it was looked at."""

    def __init__(self, project: Project, observation: Observation, agents: Agents | None = None) -> None:
        self.project, self.observation, self.agents = project, observation, agents or Agents()
        self.again: set[int] = set()

    def load(self, items: Iterable[Item], *, lock: bool = False) -> list[Work]:
        """The plans of some items; with `lock` their rows are locked (call it in a transaction)."""
        items = list(items)
        known = [item.row.id for item in items if item.row]
        rows = Memory.objects.select_for_update() if lock else Memory.objects.all()
        memories = {memory.pk: memory for memory in rows.filter(pk__in=known)}
        replicas = self._replicas(known)
        fresh = [item for item in items if not item.row]
        made = self._made(fresh) if fresh else {}
        works = []
        for item in items:
            if item.row is None and item.uuid in made:
                self.again.add(made[item.uuid])  # somebody made it since the look
            elif item.row is None:
                works.append(self._fresh(item))
            elif item.row.id in memories:
                works.append(self._known(item, memories[item.row.id], replicas.get(item.row.id, {})))
        return [work for work in works if work]

    def _made(self, fresh: list[Item]) -> dict[UUID, int]:
        """Of memories new to the hub, those that somebody made since the look: known by the uuid, or by their items."""
        made = dict(Memory.objects.filter(uuid__in=[item.uuid for item in fresh]).values_list("uuid", "pk"))
        for side in self.observation.sides:
            by_id = {item.seen[side.side].id: item.uuid for item in fresh if side.side in item.seen}
            linked = of_items(side.connection, by_id) if by_id else Replica.objects.none()
            made |= {by_id[id]: memory for id, memory in linked.values_list("external_id", "memory_id")}
        return made

    def _replicas(self, memory_ids: list[int]) -> dict[int, dict[str, Replica]]:
        connections = [side.connection for side in self.observation.sides]
        rows = Replica.objects.filter(memory_id__in=memory_ids, connection__in=connections)
        by_memory: dict[int, dict[str, Replica]] = {}
        for replica in rows.select_related("base_text", "connection"):
            by_memory.setdefault(replica.memory_id, {})[replica.connection.side] = replica
        return by_memory

    def _known(self, item: Item, memory: Memory, replicas: dict[str, Replica]) -> Work | None:
        now = {side: replica.version for side, replica in replicas.items() if replica.external_id}
        if now != {side: link.version for side, link in item.links.items()}:
            self.again.add(memory.pk)  # what was seen may be older than what is known now
            return None
        memory.project = self.project
        seen = {side: self.agents.copies.get((side, snapshot.id)) for side, snapshot in item.seen.items()}
        copies = {side: copy for side, copy in seen.items() if copy}
        views = [from_copy(view, copies.get(view.side)) for view in self._views(item, memory, replicas)]
        new_there = any(view.base is None and view.seen is Seen.THERE and not view.marked for view in views)
        hub = Hub(memory.state, memory.live, memory.shared, unsaid_of(memory) if new_there else frozenset())
        return Work(item, memory, replicas, plan(hub, views), copies=copies)

    def _fresh(self, item: Item) -> Work | None:
        source = next((s for s in self.observation.sides if s.side in item.seen and s.reads), None)
        if source is None:
            return None
        said = item.seen[source.side].state
        taken = self._taken_labels()
        state = birth(said, item, taken)
        taken.add(state["label"])
        memory = Memory(project=self.project, uuid=item.uuid)
        hub = Hub(state, unsaid=frozenset(FIELDS) - said.keys())
        return Work(item, memory, {}, plan(hub, self._views(item, memory, {})), source=source.side)

    def _taken_labels(self) -> set[str]:
        """Of the project's memories, and of those that were planned since the look."""
        if self.observation.labels is None:
            labels = Memory.objects.filter(project=self.project).values_list("label", flat=True)
            self.observation.labels = set(labels)
        return self.observation.labels

    def _views(self, item: Item, memory: Memory, replicas: dict[str, Replica]) -> list[View]:
        return [
            view_of(side, item, memory, replicas.get(side.side), self.observation) for side in self.observation.sides
        ]


def birth(said: State, item: Item, taken: set[str]) -> State:
    """The state of a memory that comes from a side: what the side says, be it empty, and a default for what it does
    not say."""
    named = said.get("title") or said.get("label") or said.get("text", "").strip().partition("\n")[0][:60]
    unsaid = {
        "title": named,
        "label": "" if "label" in said else free_label(named, item.uuid, taken),
        "created_at": timezone.now().isoformat(timespec="seconds"),
    }
    return complete({**unsaid, **said})


def unsaid_of(memory: Memory) -> frozenset[str]:
    """Fields in which a memory has what the hub gave it by itself: an item of others that is linked to it says more."""
    made = slugify_label(memory.title)
    own = {"label"} if memory.label in (made, f"{made}-{memory.uuid.hex[:8]}") else set()
    return frozenset(own | {name for name in ("kind", "limit", "read_only") if getattr(memory, name) == DEFAULTS[name]})


def written_at(created_at: str) -> datetime:
    """When a memory that comes from a side was written: what it says, if that is a time in the past; else now."""
    now = timezone.now()
    try:
        said = parse_datetime(created_at)
    except ValueError:
        return now
    if said is None:
        return now
    aware = said if timezone.is_aware(said) else timezone.make_aware(said)
    return min(aware, now)


def restrict(state: State, fields: frozenset[str]) -> State:
    """The part of a state that a side can carry."""
    return {name: state[name] for name in FIELDS if name in fields}


def view_of(side: OpenSide, item: Item, memory: Memory, replica: Replica | None, observation: Observation) -> View:
    """One side of a memory as `plan` wants it."""
    snapshot = item.seen.get(side.side)
    return View(
        side=side.side,
        seen=observation.seen(item, side),
        state=snapshot.state if snapshot else {},
        base=replica.base if replica else None,
        fields=side.store.fields,
        reads=side.reads,
        writes=side.writes,
        marked=bool(snapshot) and is_marked(snapshot, memory, side),
        sharing=side.sharing,
    )


def from_copy(view: View, copy: Copy | None) -> View:
    """A view of what an agent made from an older text: that one is what the agent and the hub last agreed on."""
    if copy is None or view.base is None:
        return view
    if copy.disputed:
        return replace(view, disputed=frozenset({"text"}))
    return replace(view, base={**view.base, "text": copy.text})


def describe(work: Work) -> list[dict[str, Any]]:
    """The steps of one memory in words, for the plan on the Sync page."""
    result = work.plan
    base = {"memory": str(work.memory.uuid), "title": result.state["title"] or result.state["label"]}
    base |= {"size": len(result.state["text"])} | ({"fresh": True} if work.fresh else {})
    rows = []
    for side, how in result.taken.items():
        new = side == work.source
        op, why = ("pull", "new in {side}") if new else (how, WHY[how])
        rows.append({**base, "op": op, "side": side, "why": why.format(side=NAMES[side])})
    if result.archived_by:
        why = f"deleted in {NAMES[result.archived_by]}"
        rows.append({**base, "op": "archive", "side": "hub", "why": why})
    rows += [
        {**base, "op": "conflict", "side": side, "why": f"{_differ(work, side)}: {', '.join(names)}"}
        for side, names in result.clashes.items()
    ]
    rows += [
        {**base, "op": step.op, "side": step.side, "why": step.why + _whose(work.copies.get(step.side))}
        for step in result.steps
        if step.side not in work.waits
    ]
    return rows


def _differ(work: Work, side: str) -> str:
    """Where there is no base, as at first contact, nobody need have changed anything."""
    replica = work.replicas.get(side)
    if replica and replica.base_fields is not None:
        return "changed in the hub and on the side"
    return f"the hub and {NAMES[side]} differ, and no version is known that both had"


def _whose(copy: Copy | None) -> str:
    return f"; the agent {copy.agent} had written an older text back" if copy else ""


WHY = {
    "pull": "changed in {side}",
    "merge": "changed here and in {side}, put together",
    "link": "is in {side} already",
    "adopt": "changed here and in {side} to the same",
}
