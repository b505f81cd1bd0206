"""What one look at all sides of a project told, and what of it needs work. Asks neither a side nor the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from blocks.stores.base import Snapshot
from syncjobs.match import Item, Link
from syncjobs.plan import Seen
from syncjobs.sides import OpenSide


@dataclass
class Observation:
    """What one look at all sides told.

    items: every memory, with what was seen of it. unknown: per side, ids of which nothing follows; out: those of them
    that are there, but no longer in the project. problems: per side, items that could not be read. twins: copies of a
    linked item. remarks: per side, what else could not be taken in. emptied: sides that show nothing, though something
    was linked there. absent: per side whose list was not complete, memories that are not there by their mark either.
    withheld: per side, memories with an item that has their mark and could not be read. labels: that the project's
    memories have, once somebody asked.
    """

    sides: list[OpenSide]
    items: list[Item]
    unknown: dict[str, set[str]] = field(default_factory=dict)
    out: dict[str, set[str]] = field(default_factory=dict)
    problems: dict[str, list[Snapshot]] = field(default_factory=dict)
    twins: list[tuple[str, Snapshot]] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    withheld: dict[str, set[UUID]] = field(default_factory=dict)
    absent: dict[str, set[UUID]] = field(default_factory=dict)
    prints: dict[str, str] = field(default_factory=dict)
    labels: set[str] | None = None

    @property
    def by_name(self) -> dict[str, OpenSide]:
        return {side.side: side for side in self.sides}

    def seen(self, item: Item, side: OpenSide) -> Seen:
        """What is known of one memory on one side."""
        if side.error:
            return Seen.UNKNOWN
        if side.side in item.seen:
            return Seen.THERE
        if side.side in item.gone:
            return Seen.GONE
        link = item.links.get(side.side)
        if link and link.external_id in self.unknown.get(side.side, ()):
            return Seen.UNKNOWN
        if not link and self._is_withheld(item, side):
            return Seen.UNKNOWN
        if side.partial and (link or item.uuid not in self.absent.get(side.side, ())):
            return Seen.UNKNOWN
        return Seen.NOTHING

    def certain(self, item: Item) -> bool:
        """Whether something is known of a memory on every side."""
        return all(self.seen(item, side) is not Seen.UNKNOWN for side in self.sides)

    def idle(self, item: Item) -> bool:
        """Whether hashes alone show that there is nothing to do for a memory."""
        return all(self._idle_on(item, side) for side in self.sides)

    def _idle_on(self, item: Item, side: OpenSide) -> bool:
        seen, row, link = self.seen(item, side), item.row, item.links.get(side.side)
        wanted = bool(row and row.live and (row.shared or not side.sharing))
        if seen is Seen.UNKNOWN:
            return not (self._to_be_told(link, side) if link else wanted and self._is_withheld(item, side))
        if row is None:
            return not side.reads
        if seen is not Seen.THERE or not link:
            return seen is Seen.NOTHING and not (wanted and side.writes)
        # A side that nothing is written to need not have what the hub has: it is told when that changes.
        in_step = item.seen[side.side].hash == link.base_hash and (row.hash == link.hub_hash or not side.writes)
        return in_step and link.status == "ok" and wanted and (not side.writes or self._carries_our_marks(item, side))

    def _is_withheld(self, item: Item, side: OpenSide) -> bool:
        return item.uuid in self.withheld.get(side.side, ())

    @staticmethod
    def _carries_our_marks(item: Item, side: OpenSide) -> bool:
        """A mark may be missing because its write failed, or because somebody took it off."""
        snapshot = item.seen[side.side]
        return snapshot.uuid == item.uuid and (not side.sharing or snapshot.project == side.connection.project.slug)

    def _to_be_told(self, link: Link, side: OpenSide) -> bool:
        """Whether people must hear of an item that could not be read, or has just left the project."""
        unreadable = any(snapshot.id == link.external_id for snapshot in self.problems.get(side.side, ()))
        return unreadable or (link.status != "out" and link.external_id in self.out.get(side.side, ()))
