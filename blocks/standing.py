"""How a memory stands on its two sides, as the pages show it. Drawn from the database; no side is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from blocks import agents, diff
from blocks.actions import KEEP_DELETED
from blocks.models import Attachment, Memory, SyncState, digest_of
from blocks.state import FIELDS, State
from memoryhub.models import Direction, Project

NAMES = {"letta": "Letta", "local": "local"}
LISTED = 400  # characters of a text that a list shows
SENTENCES = {
    "builtin": "the memory itself is the block",
    "none": "not connected",
    "off": "sync is off",
    "unshared": "kept local",
    "absent": "not there yet",
    "same": "in sync",
    "waiting": "waiting to push",
    "changed": "changed there",
    "conflict": "conflict",
    "problem": "problem",
    "leaving": "leaves at the next sync",
    "removed": "not there",
}
# Whose column shows the memory itself: the first of these.
SHOWN = (
    "builtin",
    "same",
    "waiting",
    "changed",
    "conflict",
    "problem",
    "absent",
    "leaving",
    "removed",
    "unshared",
    "off",
)


@dataclass(frozen=True)
class Place:
    """One side of a project. kind: builtin (the hub itself), none (not connected), off, or a server."""

    side: str
    kind: str
    title: str
    address: str = ""
    connection: Any = None

    @property
    def name(self) -> str:
        return NAMES[self.side]

    @property
    def noun(self) -> str:
        """Its name inside a sentence."""
        return "Letta" if self.side == "letta" else "the local store"

    @property
    def looked_at(self) -> datetime | None:
        return self.connection.looked_at if self.connection else None


def places_of(project: Project) -> dict[str, Place]:
    """Both sides of a project as it is connected now, keyed 'letta' and 'local'."""
    known = {(c.side, c.address): c for c in project.connections.all()}
    letta, local = project.letta_server, project.local_store
    return {
        "letta": _place("letta", letta, project.letta_direction, known, ("builtin", "built-in server")),
        "local": _place("local", local, project.local_direction, known, ("none", "no local store")),
    }


def _place(side: str, server: Any, direction: str, known: dict[Any, Any], without: tuple[str, str]) -> Place:
    if server is None:
        return Place(side, *without)
    kind = "off" if direction == Direction.OFF else "server"
    return Place(side, kind, server.name, server.address, known.get((side, server.address)))


@dataclass
class Standing:
    """One memory on one side.

    status: builtin, none, off, unshared, absent (nothing there yet), same, waiting (the hub has something newer),
    changed (the side has), conflict, problem, removed (an archived memory that is gone there) or leaving.
    """

    memory: Memory
    place: Place
    replica: Any
    status: str

    @property
    def reason(self) -> str:
        return str(self.replica.reason or self.replica.get_status_display()) if self.replica else ""

    @property
    def external_id(self) -> str:
        return str(self.replica.external_id) if self.replica else ""

    @cached_property
    def seen(self) -> State:
        """The state last seen there; empty where nothing was."""
        return (self.replica.seen if self.replica else None) or {}

    @cached_property
    def differs(self) -> bool:
        """Whether there is something else there than in the hub, and it is known what."""
        return self.status in ("waiting", "changed", "conflict") and any(
            getattr(self.memory, name) != value for name, value in self.seen.items() if name in FIELDS
        )

    @cached_property
    def shown_change(self) -> list[diff.Segment]:
        """Where the texts differ: what the hub's text will change there, or what was changed there."""
        here, there = self.memory.text, str(self.seen.get("text", ""))
        if "text" not in self.seen or here == there:
            return []
        return diff.excerpt(there, here) if self.outward else diff.excerpt(here, there)

    @property
    def has_meta(self) -> bool:
        """Whether there is something on that side that has details."""
        return self.status in ("builtin", "same", "waiting", "changed", "conflict")

    @cached_property
    def other_fields(self) -> list[str]:
        """Names of the fields, besides the text, that differ there."""
        names = (name for name in FIELDS if name in self.seen and name != "text")
        return [name for name in names if getattr(self.memory, name) != self.seen[name]]

    @property
    def outward(self) -> bool:
        """Whether a difference is read from the side to the hub, because the hub's is what will stand there."""
        return self.status == "waiting"

    @cached_property
    def diff(self) -> diff.Diff:
        here, there = self.memory.text, str(self.seen.get("text", ""))
        return diff.lines(there, here) if self.outward else diff.lines(here, there)

    @property
    def fields_there(self) -> list[dict[str, Any]]:
        """The other fields that differ, in the direction of `diff`."""
        pairs = [(name, getattr(self.memory, name), self.seen[name]) for name in self.other_fields]
        return [
            {"name": name, "old": there if self.outward else here, "new": here if self.outward else there}
            for name, here, there in pairs
        ]

    @property
    def sentence(self) -> str:
        """The status in words."""
        said = SENTENCES[self.status]
        return f"{said}: {self.reason}" if self.status == "problem" else self.held or said

    @property
    def held(self) -> str:
        """Which agent's end of work a write waits for, '' if none does."""
        waits = self.status in ("waiting", "changed", "leaving") and self.replica.held_since
        return str(self.replica.reason) if waits else ""

    @property
    def agents(self) -> list[Any]:
        """Agents that have the block attached, as `id` and `name`; of one that is gone the ids of those that had it."""
        registered = agents.names_of(self.memory) if self.place.side == "letta" else []
        return registered + self._agents_there()

    def _agents_there(self) -> list[Any]:
        if not self.replica:
            return []
        attached = self.place.connection.agents if self.place.connection else {}
        known = attached.get(self.external_id, []) if self.external_id else self.replica.keep.get("agents", [])
        return list(known)


def standing(memory: Memory, place: Place, replica: Any, conflict: bool) -> Standing:
    return Standing(memory, place, replica, _status(memory, place, replica, conflict))


def _status(memory: Memory, place: Place, replica: Any, conflict: bool) -> str:
    there = replica is not None and bool(replica.external_id) and replica.status != "absent"
    if place.kind != "server":
        return "unshared" if place.kind == "builtin" and not memory.shared else place.kind
    if replica is not None and replica.status in ("problem", "refused", "out"):
        return "problem"
    if not memory.live:
        return "leaving" if there else "removed"
    if place.side == "letta" and not memory.shared:
        return "leaving" if there else "unshared"
    if conflict:
        return "conflict"
    if not there:
        return "absent"
    if replica.seen_hash and replica.seen_hash != replica.base_hash:
        return "changed"
    return "same" if _at_base(memory, replica) else "waiting"


def in_step(memory: Memory, replica: Any) -> bool:
    """Whether nothing happened since a run last found both sides and the hub alike; hashes alone say so."""
    as_seen = not replica.seen_hash or replica.seen_hash == replica.base_hash
    return bool(replica.hub_hash == memory.hash and replica.base_hash and replica.status == "ok" and as_seen)


def _at_base(memory: Memory, replica: Any) -> bool:
    """Whether the memory is still what it and the side last agreed on (in the fields that side carries)."""
    if in_step(memory, replica):
        return True
    fields = replica.base_fields
    if fields is None or any(getattr(memory, name) != value for name, value in fields.items() if name in FIELDS):
        return False
    return not replica.base_text_id or _text_digest(memory) == replica.base_text_id


def _text_digest(memory: Memory) -> str:
    """The key of the memory's text; a listing knows it without the text."""
    return getattr(memory, "text_digest", None) or digest_of(memory.text)


@dataclass
class Row:
    """One row of the main page: a memory, its two forms and the state between them."""

    project: Project
    memory: Memory
    letta: Standing
    local: Standing
    conflict: Any = None
    arrow: str = field(init=False)
    word: str = field(init=False)
    tone: str = field(init=False)

    def __post_init__(self) -> None:
        self.arrow, self.word, self.tone = self._state()

    def _state(self) -> tuple[str, str, str]:
        both = (self.letta, self.local)
        waits = [s for s in both if s.status in ("waiting", "absent")]
        changed = [s for s in both if s.status == "changed"]
        if not self.memory.live:
            leaving = any(s.status == "leaving" for s in both)
            word = "deleted" if self.memory.deleted_at else "archived"
            return ("…", f"{word}, leaving", "go") if leaving else ("\N{EN DASH}", word, "")
        if any(s.status == "conflict" for s in both):
            return "≠", "conflict", "bad"
        if any(s.status == "problem" for s in both) or self.memory.sync_state == SyncState.PROBLEM:
            return "!", "problem", "bad"
        if changed:
            return _arrow(changed, back=True), "changed " + _in(changed), "warn"
        if waits:
            return _arrow(waits), "waiting to push", "go"
        if any(s.status == "leaving" for s in both):
            return "…", "leaving Letta", "go"
        if self.letta.status == "unshared":
            return "·", "kept local", ""
        return "=", "in sync", "ok"

    @property
    def sides(self) -> tuple[Standing, Standing]:
        return self.letta, self.local

    @property
    def main(self) -> Standing:
        """The side in whose column the memory itself is shown."""
        return min(self.sides, key=lambda s: SHOWN.index(s.status) if s.status in SHOWN else len(SHOWN))

    @property
    def lone(self) -> bool:
        """Whether only one column has something to show."""
        return not all(side.has_meta for side in self.sides)

    @property
    def slug(self) -> str:
        return self.project.slug

    @property
    def excerpt(self) -> str:
        return str(getattr(self.memory, "excerpt", None) or self.memory.text[:LISTED])

    @property
    def size(self) -> int:
        """Characters of the text."""
        length: int | None = getattr(self.memory, "text_length", None)
        return len(self.memory.text) if length is None else length

    @property
    def until(self) -> datetime | None:
        """Until when a deleted memory can be restored."""
        return self.memory.deleted_at + KEEP_DELETED if self.memory.deleted_at else None

    @property
    def since(self) -> datetime | None:
        """When the news was seen on a side."""
        seen = [s.replica.seen_at for s in self.sides if s.status == "changed" and s.replica.seen_at]
        return max(seen, default=None)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known besides the fields people edit."""
        names = ("source", "file_path", "client", "priority", "status", "created_at")
        return [(n.replace("_", " "), getattr(self.memory, n)) for n in names if getattr(self.memory, n)]


def _arrow(standings: Sequence[Standing], *, back: bool = False) -> str:
    """Towards the side that waits; away from it where the news is there."""
    if len(standings) == 2:
        return "↔"
    return "←" if (standings[0].place.side == "letta") != back else "→"


def _in(standings: Sequence[Standing]) -> str:
    return "on both" if len(standings) == 2 else f"in {standings[0].place.name}"


def rows_of(project: Project, memories: Iterable[Memory], places: dict[str, Place] | None = None) -> list[Row]:
    """The memories with what is known of both sides, in the same order; a fixed number of queries."""
    places, listed = places or places_of(project), list(memories)
    connections = [place.connection.pk for place in places.values() if place.connection]
    _prefetch(listed, connections)
    return [_row(project, memory, places) for memory in listed]


def _prefetch(memories: list[Memory], connections: list[int]) -> None:
    replicas = _related("replicas").filter(connection__in=connections)
    conflicts = _related("conflicts").filter(connection__in=connections, closed_at=None)
    prefetch_related_objects(
        memories,
        Prefetch("replicas", replicas.defer(*STATES), "here"),
        Prefetch("conflicts", conflicts, "open_conflicts"),
        Prefetch("attachments", ATTACHED.all(), "attached"),
    )
    _complete(memories, replicas.select_related("seen_text"))


ATTACHED = Attachment.objects.select_related("agent").only("memory_id", "agent__uuid", "agent__name").order_by("pk")
STATES = ("keep", "base_fields", "seen_fields")  # JSON, which takes longer to read than all the rest


def _complete(memories: list[Memory], replicas: QuerySet[Any]) -> None:
    """Read in full what is not in step; most of a list is."""
    here: list[tuple[Memory, Any]] = [(memory, one) for memory in memories for one in memory.here]  # type: ignore[attr-defined]
    busy = [one.pk for memory, one in here if not in_step(memory, one) or not memory.live]
    whole = replicas.in_bulk(busy) if busy else {}
    for memory in memories:
        memory.here = [whole.get(one.pk, one) for one in memory.here]  # type: ignore[attr-defined]


def _related(name: str) -> QuerySet[Any]:
    """All rows of the model that points at memories; this app does not import it."""
    model = Memory._meta.get_field(name).related_model
    return model._default_manager.all()  # type: ignore[union-attr]


def _row(project: Project, memory: Memory, places: dict[str, Place]) -> Row:
    replicas = {replica.connection_id: replica for replica in memory.here}  # type: ignore[attr-defined]
    conflicts = {conflict.connection_id: conflict for conflict in memory.open_conflicts}  # type: ignore[attr-defined]

    def of(side: str) -> Standing:
        place = places[side]
        pk = place.connection.pk if place.connection else None
        return standing(memory, place, replicas.get(pk), pk in conflicts)

    return Row(project, memory, of("letta"), of("local"), next(iter(conflicts.values()), None))
