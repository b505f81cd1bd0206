"""Two sides in memory, with the quirks of the real ones, behind the `Store` interface.

A `Server` is what stands behind an address; a `FakeStore` is one project's view of it. Comparison before a write is
honest: the hash of what is there now against `Write.expected`. `faults` says what goes wrong with the next writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any, Literal
from uuid import UUID

from django.utils import timezone

from blocks.state import DEFAULT_LIMIT, FIELDS, State, complete, state_hash
from blocks.stores.base import Look, Outcome, Probe, Snapshot, StoreError, Stray, Write
from blocks.stores.letta_digest import SeenDigest, hash_of
from blocks.stores.letta_roster import AgentSeen

LETTA, LOCAL = "letta", "local"
CARRIED = {LETTA: frozenset(FIELDS), LOCAL: frozenset(FIELDS) - {"limit", "read_only"}}

# lost_request: nothing arrives, and nobody knows. lost_reply: it happens, and nobody knows. late: it happens when
# `Server.deliver` is called. refused: never taken. crash_before, crash_after: this process ends. torn: it ends between
# two chunks of a record. broken: the connection breaks for this write and all that follow it.
Fault = Literal[
    "", "lost_request", "lost_reply", "late", "refused", "crash_before", "crash_after", "torn", "broken", "changed"
]


class Crash(BaseException):
    """The process ends here: nothing catches this."""


@dataclass
class Thing:
    """One item on a server."""

    id: str
    state: State
    uuid: UUID | None = None
    project: str = ""
    hidden: bool = False
    problem: str = ""
    strays: tuple[Stray, ...] = ()
    foreign: dict[str, Any] = field(default_factory=dict)


@dataclass
class Turn:
    """An agent's turn; not ended: it is at work. copies: what it read, until it writes."""

    agent: str
    begun: datetime
    copies: dict[str, str]
    ended: datetime | None = None
    pushes: int = 0  # how many texts the hub had replaced on the server when the copies were read


class Server:
    """What stands behind an address: its items, and what will go wrong."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.identity = ""
        self.things: dict[str, Thing] = {}
        self.numbers = count(1)
        self.faults: list[Fault] = []
        self.undelivered: list[Write] = []
        self.down = self.look_fails = self.get_fails = False
        self.unlisted: set[str] = set()  # missing from the next looks, which say that they are not complete
        self.refuses: Callable[[State], bool] = lambda state: False
        self.before_compare: Callable[[Write], None] = lambda write: None
        self.before_write: Callable[[Write], None] = lambda write: None
        self.on_loss: Callable[[Thing, str], None] = lambda thing, op: None  # about to be replaced or removed
        self.on_write: Callable[[Write], None] = lambda write: None  # it is about to happen
        self.on_late: Callable[[Thing, Write], None] = lambda thing, write: (
            None
        )  # about to be replaced by an old create
        self.on_made: Callable[[Thing], None] = lambda thing: None  # by the hub, and not late
        self.on_fault: Callable[[str], None] = lambda fault: None  # it happens now
        self.replaced: list[tuple[str, str, str]] = []  # id, the text that was there, the hub's
        self.edited: Counter[str] = Counter()  # by id: how often others wrote to it
        self.attached: dict[str, list[str]] = {}
        self.turns: list[Turn] = []
        self.turns_fail = False
        self.asked = 0  # questions about agents
        self.digests: dict[str, str] = {}
        self.digest_hashes: dict[str, str] = {}  # in the metadata of these blocks: of what the hub wrote
        self.looks: list[str] = []  # look: read in full; glance: nothing was different
        self.digest_limit = DEFAULT_LIMIT
        self.written: list[Write] = []
        self.planted = 0
        self.stamps: dict[str, int] = {}

    # --- what other programs do

    def put(self, text: str, *, slug: str = "", id: str = "", **said: Any) -> Thing:
        """An item as another program makes it: it has no mark of ours."""
        number = next(self.numbers)
        state: State = {"text": text, "tags": said.pop("tags", [])}
        uuid, hidden = said.pop("uuid", None), said.pop("hidden", False)
        if self.side == LETTA:
            state |= {"label": f"block-{number}", "description": "", "limit": DEFAULT_LIMIT, "read_only": False}
        else:
            state |= {"title": f"Record {number}", "kind": "error", "created_at": "2025-01-06T09:00:00+00:00"}
        thing = Thing(id or f"{self.side}-{number}", state | said, uuid, slug, hidden)
        self.things[thing.id] = thing
        return thing

    def only(self) -> Thing:
        (thing,) = self.things.values()
        return thing

    def edit(self, id: str, **fields: Any) -> None:
        self.edited[id] += 1
        self.things[id].state = {**self.things[id].state, **fields}

    def remove(self, id: str) -> None:
        del self.things[id]

    def copy(self, id: str) -> Thing:
        """A copy with all marks, as a program makes that copies blocks."""
        thing = self.things[id]
        twin = replace(thing, id=f"{self.side}-{next(self.numbers)}", state=dict(thing.state))
        self.things[twin.id] = twin
        return twin

    def begin_turn(self, agent: str) -> Turn:
        """An agent begins its turn: it reads what is attached to it."""
        mine = [id for id, agents in self.attached.items() if agent in agents and id in self.things]
        copies = {id: self.things[id].state["text"] for id in mine}
        turn = Turn(agent, timezone.now(), copies, pushes=len(self.replaced))
        self.turns.append(turn)
        return turn

    def end_turn(self, turn: Turn, **texts: str) -> None:
        """The turn ends: what the agent read, or else wrote, is there again. texts: by id, dashes as underscores."""
        for id, text in turn.copies.items():
            self.edit(id, text=texts.get(id.replace("-", "_"), text))
        turn.ended = timezone.now()

    def deliver(self) -> None:
        """What was under way arrives after all."""
        for write in self.undelivered:
            there = self.things.get(write.id or str(write.uuid)) if self.side == LOCAL else None
            if there:
                self.on_late(there, write)
            self.make(write)
        self.undelivered = []

    def make(self, write: Write) -> Thing:
        if self.side == LETTA:
            id = f"{self.side}-{next(self.numbers)}"
        else:
            id = write.id or str(write.uuid)
        state = {name: value for name, value in complete(write.state).items() if name in CARRIED[self.side]}
        thing = Thing(id, state, write.uuid, write.keep.get("project", ""), foreign=write.keep.get("foreign", {}))
        self.things[id] = thing
        return thing

    def texts(self) -> list[str]:
        return sorted(thing.state["text"] for thing in self.things.values())


class FakeStore:
    """One project's view of a server: `Store`."""

    threaded = False  # what happens in the middle of a write uses the database

    def __init__(self, server: Server, slug: str, everything: bool = False) -> None:
        self.server, self.slug, self.everything = server, slug, everything
        self.side, self.fields = server.side, CARRIED[server.side]

    def probe(self) -> Probe:
        return Probe("ok", "")

    def help_for(self, kind: str) -> str:
        return f"Is the {self.side} server running?" if kind == "refused" else ""

    def identify(self, known: str) -> str:
        self._reach()
        return self.server.identity

    def plant(self) -> str:
        self._reach()
        self.server.planted += 1
        self.server.identity = self.server.identity or f"{self.side}-1"
        return self.server.identity

    def read_stamp(self, key: str) -> int:
        self._reach()
        return self.server.stamps.get(key, 0)

    def write_stamp(self, key: str, number: int) -> None:
        self._reach()
        self.server.stamps[key] = number

    def _reach(self) -> None:
        if self.server.down:
            raise StoreError("cannot be reached", kind="refused")

    def _snapshot(self, thing: Thing) -> Snapshot:
        return Snapshot(
            id=thing.id,
            state={} if thing.problem else dict(thing.state),
            uuid=thing.uuid,
            project=thing.project,
            in_scope=self._in_scope(thing),
            keep={"id": thing.id, "project": thing.project, "foreign": dict(thing.foreign)},
            problem=thing.problem,
            torn=thing.problem == "torn",
            strays=thing.strays if thing.problem else (),
        )

    def _in_scope(self, thing: Thing) -> bool:
        mine = thing.project == self.slug or (self.everything and not thing.project)
        return mine and not thing.hidden

    def look(self, known: str = "") -> Look:
        look = self._look()
        shown = "" if look.problems else repr((look.snapshots, look.agents, self.server.digests))
        self.server.looks.append("glance" if known and known == shown else "look")
        if known and known == shown:
            return Look([], agents=look.agents, print=shown, full=lambda: look)
        return replace(look, print=shown)

    def _look(self) -> Look:
        self._reach()
        if self.server.look_fails:
            raise StoreError("the list fails")
        things = [t for t in self.server.things.values() if self._in_scope(t) and t.id not in self.server.unlisted]
        problems = ["some could not be listed"] if self.server.unlisted else []
        agents = {id: [{"id": a, "name": a} for a in agents] for id, agents in self.server.attached.items()}
        shown = [self._snapshot(thing).folded() for thing in things]  # as the real ones
        return Look(shown, complete=not problems, problems=problems, agents=agents)

    def get(self, ids: Sequence[str]) -> dict[str, Snapshot | None]:
        self._reach()
        if self.server.get_fails:
            raise StoreError("no answer")
        return {id: self._snapshot(self.server.things[id]) if id in self.server.things else None for id in ids}

    def find(self, uuids: Sequence[UUID]) -> dict[UUID, list[Snapshot]]:
        self._reach()
        return {uuid: [self._snapshot(t) for t in self.server.things.values() if t.uuid == uuid] for uuid in uuids}

    def others(self) -> list[Snapshot]:
        return [self._snapshot(thing) for thing in self.server.things.values() if not thing.project]

    def adopt(self, id: str) -> None:
        self.server.things[id].project = self.slug

    def agents_at_work(self, ids: Sequence[str]) -> dict[str, str]:
        self.server.asked += 1
        if self.server.turns_fail:
            raise StoreError("no answer")
        working = {turn.agent for turn in self.server.turns if not turn.ended}
        seen_by = {id: [agent for agent in self.server.attached.get(id, ()) if agent in working] for id in ids}
        return {id: agents[0] for id, agents in seen_by.items() if agents}

    def agent_turn(self, id: str, begun_by: datetime, going_on_at: datetime) -> str:
        self.server.asked += 1
        if self.server.turns_fail:
            raise StoreError("no answer")
        for turn in self.server.turns:
            spans = turn.begun <= begun_by and (turn.ended or timezone.now()) >= going_on_at
            if spans and turn.agent in self.server.attached.get(id, ()):
                return turn.agent
        return ""

    # --- writing

    def write(self, writes: Iterable[Write]) -> Iterator[Outcome]:
        for write in writes:
            self._reach()
            yield self._one(write)

    def _one(self, write: Write) -> Outcome:
        server = self.server
        server.before_compare(write)
        write = replace(write, keep={**write.keep, "project": write.keep.get("project") or self.slug})
        fault = server.faults.pop(0) if server.faults else ""
        server.on_fault(fault)
        if fault == "crash_before":
            raise Crash
        if fault == "broken":
            server.down = True
            raise StoreError("the connection broke")
        if fault == "refused" or (write.op in ("create", "update") and server.refuses(write.state)):
            return Outcome(write, "refused", error="cannot be stored")
        if fault == "lost_request":
            return Outcome(write, "unclear", error="no answer")
        if fault == "late" and write.op == "create":
            server.undelivered.append(write)
            return Outcome(write, "unclear", error="no answer")
        outcome = self._create(write) if write.op == "create" else self._change(write, fault)
        if outcome.status == "done" and fault == "torn" and server.side == LOCAL and outcome.snapshot:
            server.things[outcome.snapshot.id].problem = "torn"
            raise Crash
        if fault == "crash_after":
            raise Crash
        if outcome.status == "done":
            server.written.append(write)
        return Outcome(write, "unclear", error="no answer") if fault in ("lost_reply", "late") else outcome

    def _create(self, write: Write) -> Outcome:
        there = self.server.things.get(write.id or str(write.uuid)) if self.side == LOCAL else None
        if there and not (there.problem and there.uuid == write.uuid):
            wanted = {name: value for name, value in complete(write.state).items() if name in self.fields}
            same = there.uuid == write.uuid and there.state == wanted
            return Outcome(write, "done" if same else "changed", self._snapshot(there))
        self.server.before_write(write)
        thing = self.server.make(write)
        self.server.on_made(thing)
        return Outcome(write, "done", self._snapshot(thing))

    def _change(self, write: Write, fault: Fault) -> Outcome:
        thing = self.server.things.get(write.id)
        if thing is None:
            return Outcome(write, "gone")
        now = self._snapshot(thing)
        if write.expected not in (None, state_hash(now.state)) or fault == "changed":
            return Outcome(write, "changed", now)
        self.server.before_write(write)
        if thing.id not in self.server.things:
            return Outcome(write, "gone")
        self.server.on_write(write)
        if write.op == "delete":
            self.server.on_loss(thing, "delete")
            del self.server.things[thing.id]
            return Outcome(write, "done", keep=now.keep)
        state = self._written(write, now, thing)
        if state["text"] != thing.state["text"]:
            self.server.replaced.append((thing.id, thing.state["text"], state["text"]))
            if not thing.problem:
                self.server.on_loss(thing, write.op)
        thing.state, thing.uuid, thing.problem = state, write.uuid, ""
        if self.side == LETTA:
            thing.project = self.slug
        return Outcome(write, "done", self._snapshot(thing))

    def _written(self, write: Write, compared: Snapshot, thing: Thing) -> State:
        """Its state after an update or a mark. A PATCH says only what differs from what was read right before."""
        said = {name: value for name, value in write.state.items() if name in self.fields}
        if write.op == "mark":
            return {**said, **thing.state}
        if self.side == LETTA:
            said = {name: value for name, value in said.items() if value != compared.state.get(name)}
        return {**thing.state, **said}


class FakeLetta(FakeStore):
    """With what only Letta has: agents and the digest block."""

    def agents(self, block_id: str) -> list[dict[str, str]]:
        return [{"id": agent, "name": agent} for agent in self.server.attached.get(block_id, [])]

    def list_agents(self) -> tuple[list[AgentSeen], bool]:
        self._reach()
        named = dict.fromkeys(agent for agents in self.server.attached.values() for agent in agents)
        return [self._agent(agent) for agent in named], True

    def _agent(self, agent: str) -> AgentSeen:
        seen = [id for id, agents in self.server.attached.items() if agent in agents]
        return AgentSeen(agent, agent, blocks={id: str(self.server.things[id].state["label"]) for id in seen})

    def find_agent(self, id: str) -> AgentSeen | None:
        return next((agent for agent in self.list_agents()[0] if agent.id == id), None)

    def attach(self, agent: str, block: str) -> None:
        self._reach()
        self.server.attached.setdefault(block, []).append(agent)

    def detach(self, agent: str, block: str) -> None:
        self._reach()
        self.server.attached[block].remove(agent)

    def create_agent(self, name: str, model: str, blocks: Sequence[str]) -> AgentSeen:
        self._reach()
        for block in blocks:
            self.attach(name, block)
        return AgentSeen(name, name, model, projects=frozenset([self.slug]))

    def digest_id(self) -> str:
        return ""

    def read_digest(self, slug: str) -> SeenDigest:
        self._reach()
        text = self.server.digests.get(slug)
        ours = text is not None and self.server.digest_hashes.get(slug) == hash_of(text)
        return SeenDigest(text, self.server.digest_limit, ours)

    def write_digest(self, slug: str, value: str, expected_value: str | None) -> Literal["written", "changed"]:
        if self.server.digests.get(slug) != expected_value:
            return "changed"
        if len(value) > self.server.digest_limit:
            raise StoreError("longer than its block allows", permanent=True)
        self.server.digests[slug], self.server.digest_hashes[slug] = value, hash_of(value)
        return "written"
