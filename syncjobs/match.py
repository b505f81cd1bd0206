"""Which item of a side is which memory: by the link, by our mark, by the document_id, by being the same (no I/O)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from blocks.state import slugify_label
from blocks.stores.base import Snapshot


@dataclass(frozen=True)
class Row:
    """The little that is known of every memory of a project, before anything is read in full."""

    id: int
    uuid: UUID
    hash: str
    live: bool
    shared: bool


@dataclass(frozen=True)
class Link:
    """The little that is known of every replica on a connection."""

    memory_id: int
    external_id: str
    version: int
    base_hash: str
    hub_hash: str
    status: str
    marked: bool


@dataclass
class Item:
    """One memory with what was seen of it. row None: a memory that the hub does not have yet.

    links and seen: by side. gone: sides on which its id is proven not to exist.
    """

    uuid: UUID
    row: Row | None = None
    links: dict[str, Link] = field(default_factory=dict)
    seen: dict[str, Snapshot] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


@dataclass
class Matched:
    """items: by uuid. twins: per side, items that carry the mark of a memory which has another one linked."""

    items: dict[UUID, Item]
    twins: list[tuple[str, Snapshot]] = field(default_factory=list)


class Matcher:
    """Puts the snapshots of all sides to the memories of a project, side by side."""

    def __init__(self, rows: Iterable[Row], links: dict[str, list[Link]]) -> None:
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

    def put(self, side: str, snapshots: Iterable[Snapshot], gone: set[str], foreign_uuids: set[UUID]) -> None:
        """Take in what a side showed. gone: linked ids proven not to exist. foreign_uuids: marks of other projects."""
        linked = self.linked.setdefault(side, {})
        for external_id in gone & linked.keys():
            linked[external_id].gone.add(side)
        unlinked = []
        for snapshot in snapshots:
            if snapshot.id in linked:
                linked[snapshot.id].seen[side] = snapshot
            else:
                unlinked.append(snapshot)
        same = Likeness(item for item in self.items.values() if side not in item.seen and side not in item.links)
        for snapshot in unlinked:
            self._place(side, snapshot, same, foreign_uuids)

    def _place(self, side: str, snapshot: Snapshot, same: Likeness, foreign_uuids: set[UUID]) -> None:
        uuid = snapshot.uuid or document_uuid(snapshot)
        item = self.items.get(uuid) if uuid else None
        if item is None and snapshot.uuid is None:
            item = same.pop(snapshot)
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
        item.gone.discard(side)

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


class Likeness:
    """Memories without an item on a side, found by having the very same text under the same name."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.by_text: dict[str, list[tuple[Item, Snapshot]]] = {}
        for item in items:
            for snapshot in item.seen.values():
                if snapshot.state.get("text"):
                    self.by_text.setdefault(snapshot.state["text"], []).append((item, snapshot))

    def pop(self, wanted: Snapshot) -> Item | None:
        """The one memory that equals the snapshot, once; None where there is none or more than one."""
        found = [pair for pair in self.by_text.get(wanted.state.get("text", ""), []) if alike(pair[1], wanted)]
        if len(found) != 1:
            return None
        self.by_text[wanted.state["text"]].remove(found[0])
        return found[0][0]


def alike(a: Snapshot, b: Snapshot) -> bool:
    """Whether two items with one text go by one name: a title, a label, or a label made from the title."""
    return bool(names_of(a) & names_of(b))


def names_of(snapshot: Snapshot) -> set[str]:
    title, label = snapshot.state.get("title", ""), snapshot.state.get("label", "")
    return {slugify_label(name.replace("_", "-")) for name in (title, label) if name}
