"""The one interface behind which both sides stand: a Letta server, a Chroma collection.

A store never decides anything: it reads items as `Snapshot`, carries out `Write` one by one, and tells
apart what it knows from what it does not (`StoreError`, `Outcome.status`). How many calls go at once,
and in what batches, is the store's to know.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from sys import intern
from typing import Any, Literal, Protocol
from uuid import UUID

from blocks.state import State, state_hash

WHOLE = 2_000  # snapshots of a look that need not be folded
SMALL = 1000  # bytes of a packed snapshot, not worth compressing
PICKLED = b"\x80"  # how a pickle begins, and nothing that zlib made
Stray = tuple[int, int, str]  # start, end, text


class StoreError(Exception):
    """A call to a store failed.

    `permanent`: the same call would fail again (the item is refused, the key is wrong); only the rest is
    worth a retry. `kind`: what a person can do about it differs (see `Probe`).
    """

    def __init__(self, message: str, *, permanent: bool = False, kind: str = "other") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.kind = kind


@dataclass(frozen=True)
class Snapshot:
    """One memory as a side shows it at one moment.

    id: the block's id, or the record's document_id. uuid: the memory it carries the mark of, if any.
    project: slug in its project mark (Letta), or its project_name (Chroma). in_scope: whether it belongs to
    the project this store was opened for. keep: JSON-ready, all that is needed, besides the state, to
    make it again (foreign tags and metadata, agents attached, project_name). problem: why it could not be
    read ('' if it could; else `state` is empty). chunks: how many parts it is stored in. torn: that is so because a
    write of ours was left half done; strays: what somebody else wrote into it: (start, end, text) of each such part.
    """

    id: str
    state: State
    uuid: UUID | None = None
    project: str = ""
    in_scope: bool = True
    keep: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    chunks: int = 1
    torn: bool = False
    strays: tuple[Stray, ...] = ()
    raw: Any = field(default=None, compare=False, repr=False)  # the store's own

    @cached_property
    def hash(self) -> str:
        return state_hash(self.state)

    def folded(self) -> Snapshot:
        """The same in a third of the memory, for looks at thousands; what it says is unpacked at every use."""
        return Folded(self)

    def unfolded(self) -> Snapshot:
        return self


class Folded(Snapshot):
    """A snapshot whose larger part is packed, and compressed where that is worth the while."""

    __slots__ = ("_large", "chunks", "hash", "id", "in_scope", "problem", "project", "torn", "uuid")
    _large: bytes

    def __init__(self, of: Snapshot) -> None:
        large = pickle.dumps((of.state, of.keep, of.strays, of.raw), pickle.HIGHEST_PROTOCOL)
        large = large if len(large) < SMALL else zlib.compress(large, 1)
        small = {name: getattr(of, name) for name in ("id", "uuid", "in_scope", "problem", "chunks", "torn", "hash")}
        for name, value in {**small, "project": intern(of.project), "_large": large}.items():
            object.__setattr__(self, name, value)

    @property
    def state(self) -> State:
        return self._unpacked()[0]

    @property
    def keep(self) -> dict[str, Any]:
        return self._unpacked()[1]

    @property
    def strays(self) -> tuple[Stray, ...]:
        return self._unpacked()[2]

    @property
    def raw(self) -> Any:
        return self._unpacked()[3]

    def __eq__(self, other: object) -> bool:
        return self.unfolded() == other.unfolded() if isinstance(other, Snapshot) else NotImplemented

    __hash__ = Snapshot.__hash__

    def folded(self) -> Snapshot:
        return self

    def unfolded(self) -> Snapshot:
        state, keep, strays, raw = self._unpacked()
        whole = Snapshot(
            id=self.id,
            state=state,
            uuid=self.uuid,
            project=self.project,
            in_scope=self.in_scope,
            keep=keep,
            problem=self.problem,
            chunks=self.chunks,
            torn=self.torn,
            strays=strays,
            raw=raw,
        )
        vars(whole)["hash"] = self.hash  # which need not be made again
        return whole

    def _unpacked(self) -> tuple[State, dict[str, Any], tuple[Stray, ...], Any]:
        packed = self._large if self._large.startswith(PICKLED) else zlib.decompress(self._large)
        large: tuple[State, dict[str, Any], tuple[Stray, ...], Any] = pickle.loads(packed)  # noqa: S301  (made above)
        return large


@dataclass(frozen=True)
class Look:
    """All items in scope. `complete` False: some could not be listed, so nothing follows from absence.

    agents: by item id the agents that have it attached, each with `id` and `name` (None: could not be listed).
    print: says all that was read, and the digest block; '' where it cannot. full: of a look that only says that all is
    as it was (`Store.look`), so that it has no snapshots: the look with them.
    """

    snapshots: list[Snapshot]
    complete: bool = True
    problems: list[str] = field(default_factory=list)
    agents: dict[str, list[dict[str, str]]] | None = None
    print: str = ""
    full: Callable[[], Look] | None = None


@dataclass(frozen=True)
class Write:
    """One thing to do to one item.

    create: make it, marked with `uuid`, from `state` and (when it is brought back) `keep`; `id` is the wanted
    document_id, where a side can choose. update: bring item `id` to `state`, keeping all that is foreign.
    mark: the same as update, but only our marks and fields that the item does not say yet. delete: remove it.
    expected: `Snapshot.hash` the item must still have (None: do not compare); compared by the store right before
    the write. seen: the item as it was read; what was read a moment ago, a store may mark without reading it again.
    """

    op: Literal["create", "update", "mark", "delete"]
    uuid: UUID
    state: State = field(default_factory=dict)
    id: str = ""
    expected: str | None = None
    seen: Snapshot | None = field(default=None, compare=False, repr=False)
    keep: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a write.

    done: `snapshot` is the item as read back or as known to be now (None after a delete; for a delete,
    `keep` is what brings it back). changed: it was not as expected, nothing was written, `snapshot` shows
    it. gone: the item is proven not to exist (an update or mark was not done; a delete has nothing left to do).
    refused: it will never be accepted so (`error`). unclear: it may or may not have happened (`error`).
    """

    write: Write
    status: Literal["done", "changed", "gone", "refused", "unclear"]
    snapshot: Snapshot | None = None
    keep: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Probe:
    """The answer of **Test connection**.

    kind: 'ok', 'refused' (refused, timed out, no such host), 'unauthorized', 'not_a_server' (something
    else answers at that address), 'other'. message: one sentence of what happened. help: what to do.
    """

    kind: Literal["ok", "refused", "unauthorized", "not_a_server", "other"]
    message: str
    help: str = ""
    version: str = ""


class Store(Protocol):
    """One side of one project. Every method may raise `StoreError`, which never means "not there"."""

    side: str  # 'letta' or 'local'
    fields: frozenset[str]  # the fields this side can carry
    threaded: bool  # whether `write` may go on in a thread while others use the database

    def probe(self) -> Probe:
        """Test the connection; never raises."""

    def help_for(self, kind: str) -> str:
        """What to do about a `StoreError` of this kind; asks nobody."""

    def identify(self, known: str) -> str:
        """The identity of the real server or collection behind the address, '' if none is planted.

        known: what was found last time ('' at first contact). Another answer than `known` means: wiped,
        restored or swapped.
        """

    def plant(self) -> str:
        """Give the server an identity (a hidden marker block; the collection itself) and return it."""

    def read_stamp(self, key: str) -> int:
        """The number that was last stored under a key by `write_stamp`, 0 if none was. Ask after `identify`.

        It is restored with the items: one lower than what was stored tells an older copy of a server from the server.
        """

    def write_stamp(self, key: str, number: int) -> None:
        """Store a number beside the items, where nobody takes it for one."""

    def look(self, known: str = "") -> Look:
        """Every item in scope, read in full.

        known: `Look.print` of an earlier look; where all is as it was then, only that is said, which costs much less.
        """

    def get(self, ids: Sequence[str]) -> dict[str, Snapshot | None]:
        """Items by id, whether or not in scope; None is the proof that an id does not exist."""

    def find(self, uuids: Sequence[UUID]) -> dict[UUID, list[Snapshot]]:
        """Items by our mark, whether or not in scope; every asked uuid is a key."""

    def write(self, writes: Iterable[Write]) -> Iterator[Outcome]:
        """Carry out each write, in any order; one bad item does not stop the rest."""

    def others(self) -> list[Snapshot]:
        """Items of this server that are in no project (no mark, not of the rule, not private)."""

    def adopt(self, id: str) -> None:
        """Put an item of `others` into this store's project (the project mark, nothing else)."""

    def agents_at_work(self, ids: Sequence[str]) -> dict[str, str]:
        """Of these items those that an agent sees which is at work, each with its name: what it read before a write of
        ours it may write back after it. Empty where there are no agents."""

    def agent_turn(self, id: str, begun_by: datetime, going_on_at: datetime) -> str:
        """The name of an agent that sees an item and was at work from `begun_by` or before until `going_on_at` or
        after, '' if there was none."""
