"""Which item of a side is which memory: by the link, by our mark, by the document_id, by being the same (no I/O)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from blocks.state import State, slugify_label
from blocks.stores.base import Snapshot

TELLING = 40  # characters: a text of so many that is there once on each side is no coincidence
# The states of those of some memories whose text is, but for spaces, one of some: by id.
States = Callable[[list[int], set[str]], Mapping[int, State]]


@dataclass(frozen=True, slots=True)
class Row:
    """The little that is known of every memory of a project, before anything is read in full."""

    id: int
    uuid: UUID
    hash: str
    live: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Link:
    """The little that is known of every replica on a connection."""

    memory_id: int
    external_id: str
    version: int
    base_hash: str
    hub_hash: str
    status: str
    marked: bool


@dataclass(slots=True)
class Item:
    """One memory with what was seen of it. row None: a memory that the hub does not have yet.

    links and seen: by side. gone: sides on which its id is proven not to exist.
    """

    uuid: UUID
    row: Row | None = None
    links: dict[str, Link] = field(default_factory=dict)
    seen: dict[str, Snapshot] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    def fold(self) -> None:
        """Let what was seen take less memory."""
        self.seen = {side: snapshot.folded() for side, snapshot in self.seen.items()}

    def unfold(self) -> None:
        """Before it is looked at many times."""
        self.seen = {side: snapshot.unfolded() for side, snapshot in self.seen.items()}


@dataclass
class Matched:
    """items: by uuid. twins: per side, items that carry the mark of a memory which has another one linked."""

    items: dict[UUID, Item]
    twins: list[tuple[str, Snapshot]] = field(default_factory=list)


class Matcher:
    """Puts the snapshots of all sides to the memories of a project, side by side.

    states: asked only for memories that were seen nowhere, where a side shows something that nobody knows.
    """

    def __init__(
        self, rows: Iterable[Row], links: dict[str, list[Link]], states: States = lambda ids, texts: {}
    ) -> None:
        self.items = {row.uuid: Item(row.uuid, row) for row in rows}
        by_id = {item.row.id: item for item in self.items.values() if item.row}
        self.linked: dict[str, dict[str, Item]] = {}
        for side, side_links in links.items():
            self.linked[side] = {}
            for link in side_links:
                if link.memory_id in by_id:
                    by_id[link.memory_id].links[side] = link
                    self.linked[side][link.external_id] = by_id[link.memory_id]
        self.twins: list[tuple[str, Snapshot]] = []
        self.states = states

    def put(self, side: str, snapshots: Iterable[Snapshot], gone: set[str], foreign_uuids: set[UUID]) -> None:
        """Take in what a side showed. gone: linked ids proven not to exist. foreign_uuids: marks of other projects."""
        linked = self.linked.setdefault(side, {})
        for external_id in gone & linked.keys():
            linked[external_id].gone |= {side}
        unlinked = []
        for snapshot in snapshots:
            if snapshot.id in linked:
                linked[snapshot.id].seen[side] = snapshot
            else:
                unlinked.append(snapshot)
        same = self._same(side, unlinked)
        for snapshot in unlinked:
            self._place(side, snapshot, same.get(snapshot.id), foreign_uuids)

    def _same(self, side: str, unlinked: list[Snapshot]) -> dict[str, Item]:
        """By id of a snapshot that nothing but its content names: the memory that has the same."""
        said = {snapshot.uuid or document_uuid(snapshot) for snapshot in unlinked}
        strangers = [s for s in unlinked if s.uuid is None and document_uuid(s) not in self.items]
        if not strangers:
            return {}
        free = [item for item in self.items.values() if item.uuid not in said and _may_be_on(item, side)]
        known = [(item, snapshot.state) for item in free for snapshot in item.seen.values()]
        unseen = {item.row.id: item for item in free if item.row and not item.seen}
        if unseen:
            states = self.states(list(unseen), {bare(snapshot.state.get("text", "")) for snapshot in strangers})
            known += [(unseen[id], state) for id, state in states.items()]
        return pairs(known, strangers) if known else {}

    def _place(self, side: str, snapshot: Snapshot, same: Item | None, foreign_uuids: set[UUID]) -> None:
        uuid = snapshot.uuid or document_uuid(snapshot)
        item = (self.items.get(uuid) if uuid else None) or same
        if item is None:
            fresh = uuid if uuid and uuid not in foreign_uuids else uuid4()
            item = self.items[fresh] = Item(fresh)
        elif side in item.seen or (self._holds_another(item, side) and snapshot.uuid):
            self.twins.append((side, snapshot))
            return
        elif self._holds_another(item, side):
            fresh = uuid4()
            item = self.items[fresh] = Item(fresh)
        item.seen[side] = snapshot
        item.gone -= {side}

    @staticmethod
    def _holds_another(item: Item, side: str) -> bool:
        link = item.links.get(side)
        return bool(link and link.external_id and side not in item.gone)


def document_uuid(snapshot: Snapshot) -> UUID | None:
    """The uuid in a document_id: the records the hub makes have it there even if they lost their mark."""
    if len(snapshot.id) != 36:  # a block's id has a prefix
        return None
    try:
        return UUID(snapshot.id)
    except ValueError:
        return None


def _may_be_on(item: Item, side: str) -> bool:
    """Whether a memory can have an item on a side, and has none. What is archived, or kept local, has none to come."""
    if side in item.seen or side in item.links:
        return False
    return item.row is None or (item.row.live and (item.row.shared or side != "letta"))


def pairs(known: Iterable[tuple[Item, State]], strangers: Iterable[Snapshot]) -> dict[str, Item]:
    """Which memories the strangers are, by their ids: those with the same text, spaces aside, each for one of them.

    First those that are equal in all that both say, then those that go by one name, then texts that are long enough
    to tell and there once. Among equals it does not matter which is which.
    """
    by_text: dict[str, list[tuple[Item, State]]] = {}
    for item, state in known:
        by_text.setdefault(bare(state.get("text", "")), []).append((item, state))
    texts = {snapshot.id: bare(snapshot.state.get("text", "")) for snapshot in strangers}
    times = Counter(texts.values())
    lone = {text for text, there in by_text.items() if len(text) >= TELLING and len({i.uuid for i, _ in there}) == 1}
    found: dict[str, Item] = {}
    taken: set[UUID] = set()
    for fits in (equal, alike, lambda known, snapshot: texts[snapshot.id] in lone and times[texts[snapshot.id]] == 1):
        for snapshot in strangers:
            there = by_text.get(texts[snapshot.id], ()) if texts[snapshot.id] and snapshot.id not in found else ()
            same = next((item for item, state in there if item.uuid not in taken and fits(state, snapshot)), None)
            if same:
                found[snapshot.id] = same
                taken.add(same.uuid)
    return found


def bare(text: str) -> str:
    """A text without what tools change in passing: kinds of line ends, spaces at the ends of lines and of the whole."""
    return " ".join(text.split())


def equal(known: State, snapshot: Snapshot) -> bool:
    """Whether a memory and an item are the same in all that both say, and go by one name."""
    said = snapshot.state
    return alike(known, snapshot) and all(known[name] == value for name, value in said.items() if name in known)


def alike(known: State, snapshot: Snapshot) -> bool:
    """Whether they go by one name: a title, a label, or a label made from the title."""
    return bool(names_of(known) & names_of(snapshot.state))


def names_of(state: State) -> set[str]:
    """The title and the label as they are, and as a label would be made of them, where that says anything."""
    names = {state.get("title", "").strip(), state.get("label", "").strip()} - {""}
    return {name.casefold() for name in names} | {slugify_label(name.replace("_", "-")) for name in names} - {"memory"}
