"""Looks at the sides of a project, and says what of it needs work. Writes nothing but when it looked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from blocks.models import Memory
from blocks.state import FIELDS, MAX_TEXT, State
from blocks.stores.base import Look, Snapshot, StoreError
from memoryhub.models import Project
from syncjobs.match import Item, Link, Matcher, Row, bare, document_uuid
from syncjobs.models import Replica
from syncjobs.plan import Seen
from syncjobs.replicas import of_items
from syncjobs.sides import OpenSide, check_identity
from syncjobs.stamps import is_older_copy

T = TypeVar("T")
LOOKED = ("looked_at", "look_seconds", "look_cpu", "look_error", "failures")
LONGEST_KIND, LONGEST_ID = 400, 500
ALIVE = 5.0  # seconds of a look between two calls of `alive`


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


def glance(
    sides: list[OpenSide], prints: Mapping[str, str], alive: Callable[[], None] = lambda: None
) -> dict[str, Look] | None:
    """Look at all sides. prints: by side, of an earlier look; None if every side is as it was then."""
    looks = _each(sides, lambda side: side.store.look(prints.get(side.side, "")), alive)
    if len(looks) < len(sides) or not all(look.full for look in looks.values()):
        return looks
    for side in sides:
        _note_time(side)
        side.connection.save(update_fields=[*LOOKED])
    return None


def observe(
    project: Project,
    sides: list[OpenSide],
    alive: Callable[[], None] = lambda: None,
    looks: dict[str, Look] | None = None,
    in_time: Callable[[], bool] = lambda: True,
) -> Observation:
    """Read all sides at once, and put what they show to the project's memories.

    alive: called every few seconds, from this thread, while a side takes its time. looks: of a `glance`, so that the
    sides are not read twice. in_time: whether the hub is as it was before them: what it knows of an item must not be
    newer than what is seen of it.
    """
    columns = ("pk", "uuid", "hash", "archived_at", "deleted_at", "shared")
    rows = [
        Row(pk, uuid, intern(hash), archived is None and deleted is None, shared)
        for pk, uuid, hash, archived, deleted, shared in _each_row(Memory.objects.filter(project=project), columns)
    ]
    links = {side.side: _links(side.connection.replicas.all()) for side in sides}
    if looks and in_time():
        looks = _in_full(sides, looks, alive)
    else:
        looks = _each(sides, lambda side: side.store.look(), alive)
    matcher = Matcher(rows, links, states_of)
    found = Observation(sides, [])
    for side in sides:
        look = looks.get(side.side)
        if look is None:
            _note_failure(side)
        else:
            _take(project, side, look, links[side.side], matcher, found, alive)
    for side in sides:
        if side.partial and not side.error:
            found.absent[side.side] = _absent_by_mark(side, matcher.items.values())
    found.items, found.twins = list(matcher.items.values()), matcher.twins
    return found


def states_of(ids: list[int], texts: set[str]) -> dict[int, State]:
    """The states of those of some memories whose text is one of some (see `match.bare`)."""
    found: dict[int, State] = {}
    for start in range(0, len(ids), 500):
        rows = Memory.objects.filter(pk__in=ids[start : start + 500]).values("pk", *FIELDS)
        found |= {row.pop("pk"): row for row in rows.iterator() if bare(row["text"]) in texts}
    return found


def _in_full(sides: list[OpenSide], looks: dict[str, Look], alive: Callable[[], None]) -> dict[str, Look]:
    """Looks with their snapshots, those that only said that all is as it was too."""
    before = {side.side: (side.connection.look_seconds, side.connection.look_cpu) for side in sides}

    def read(side: OpenSide) -> Look:
        look = looks[side.side]
        return look.full() if look.full else look

    looks = _each([side for side in sides if side.side in looks], read, alive)
    for side in sides:
        seconds, cpu = before[side.side]
        if side.side in looks:
            side.connection.look_seconds = (side.connection.look_seconds or 0.0) + (seconds or 0.0)
            side.connection.look_cpu = (side.connection.look_cpu or 0.0) + (cpu or 0.0)
    return looks


def observe_one(memory: Memory, sides: list[OpenSide]) -> Observation:
    """Read one memory on all sides, by id or by our mark. Nothing is proven about any other."""
    row = Row(memory.pk, memory.uuid, memory.hash, memory.live, memory.shared)
    links = {side.side: _links(side.connection.replicas.filter(memory=memory)) for side in sides}
    matcher = Matcher([row], links)
    found = Observation(sides, [])
    answers = _each(sides, lambda side: _read_one(side, memory.uuid, links[side.side]))
    for side in sides:
        if side.side in answers:
            _take_one(side, answers[side.side], links[side.side], memory, matcher, found)
    found.items = [matcher.items[memory.uuid]]
    return found


def _read_one(side: OpenSide, uuid: UUID, links: list[Link]) -> list[Snapshot]:
    if links:
        return [snapshot for snapshot in side.store.get([links[0].external_id]).values() if snapshot]
    return side.store.find([uuid])[uuid]


def _take_one(
    side: OpenSide,
    snapshots: list[Snapshot],
    links: list[Link],
    memory: Memory,
    matcher: Matcher,
    found: Observation,
) -> None:
    if _unlike_the_base(snapshots, links) and _is_another(side):
        return
    readable, problems = _sort_out(snapshots)
    found.problems[side.side] = problems
    usable = [snapshot for snapshot in readable if snapshot.in_scope]
    gone = {link.external_id for link in links if not snapshots}
    # A run looks at all of a side and has a brake; one item that is gone must not archive anything by itself.
    still_as_agreed = any(link.hub_hash == memory.hash for link in links)
    blocked = bool(snapshots and not usable) or bool(gone and still_as_agreed and memory.live)
    if links and blocked:
        found.unknown[side.side] = {link.external_id for link in links}
        found.out[side.side] = {snapshot.id for snapshot in readable if not snapshot.in_scope}
    elif problems and not usable:
        found.withheld[side.side] = {memory.uuid}
    else:
        matcher.put(side.side, usable if links else _free(usable, memory, side), gone, set())


def _free(snapshots: list[Snapshot], memory: Memory, side: OpenSide) -> list[Snapshot]:
    """Without items that are another memory's, though they still carry the mark of this one (copies)."""
    linked = of_items(side.connection, [s.id for s in snapshots]).exclude(memory=memory)
    taken = set(linked.values_list("external_id", flat=True))
    return [snapshot for snapshot in snapshots if snapshot.id not in taken]


def _each(
    sides: list[OpenSide], call: Callable[[OpenSide], T], alive: Callable[[], None] = lambda: None
) -> dict[str, T]:
    """Run `call` for every side at the same time; what failed is missing and said in `side.error`. No database."""
    healthy = [side for side in sides if not side.error]

    def timed(side: OpenSide) -> tuple[T | None, float, float, str]:
        began, busy = time.monotonic(), time.thread_time()
        try:
            value, error = call(side), ""
        except StoreError as failure:
            value, error = None, str(failure)
        return value, time.monotonic() - began, time.thread_time() - busy, error

    results = {}
    with ThreadPoolExecutor(max(1, len(healthy))) as pool:
        coming = [pool.submit(timed, side) for side in healthy]
        while wait(coming, timeout=ALIVE).not_done:
            alive()
        for side, future in zip(healthy, coming, strict=True):
            value, seconds, cpu, error = future.result()
            side.error = error
            if value is not None:
                results[side.side] = value
                side.connection.look_seconds, side.connection.look_cpu = seconds, cpu
    return results


def _links(replicas: QuerySet[Replica]) -> list[Link]:
    columns = ("memory_id", "external_id", "version", "base_hash", "hub_hash", "status", "marked")
    return [
        Link(memory, id, version, base, intern(hub), intern(status), marked)
        for memory, id, version, base, hub, status, marked in _each_row(replicas.exclude(external_id=""), columns)
    ]


def _each_row(rows: QuerySet[Any], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Not all at once: of a large project they would lie in memory twice."""
    return rows.order_by("pk").values_list(*columns).iterator()


def _take(
    project: Project,
    side: OpenSide,
    look: Look,
    links: list[Link],
    matcher: Matcher,
    found: Observation,
    alive: Callable[[], None],
) -> None:
    if _unlike_the_base(look.snapshots, links) and _is_another(side):
        _note_failure(side)
        return
    readable, problems = _sort_out(look.snapshots)
    present = {snapshot.id for snapshot in look.snapshots}
    missing = [link.external_id for link in links if link.external_id not in present]
    gone, unknown, out, unshown = _prove(side, missing, alive) if missing else (set(), set(), set(), [])
    found.problems[side.side] = problems = problems + unshown
    found.unknown[side.side] = unknown | {snapshot.id for snapshot in problems}
    found.out[side.side] = out
    gone -= found.unknown[side.side]
    if not look.complete:
        side.partial = "; ".join(look.problems) or "the listing was not complete"
    else:
        found.remarks[side.side] = look.problems
    if gone and not look.snapshots:
        found.emptied.append(side.side)
    linked = {link.external_id for link in links}
    # Not those that are torn: there is no text in them that anybody meant, and a create writes them whole.
    unread = [snapshot for snapshot in problems if snapshot.id not in linked and not snapshot.torn]
    found.withheld[side.side] = {uuid for s in unread if (uuid := s.uuid or document_uuid(s))}
    unlinked = [snapshot for snapshot in readable if snapshot.id not in linked]
    claimed = _claimed(project, side, unlinked)
    if look.print and not (missing or problems or claimed or look.problems):
        found.prints[side.side] = look.print
    foreign = _foreign_uuids(project, unlinked)
    matcher.put(side.side, [s for s in readable if s.in_scope and s.id not in claimed], gone, foreign)
    _note_agents(side, look, missing)
    _note_look(side, look, problems)


def _unlike_the_base(snapshots: list[Snapshot], links: list[Link]) -> bool:
    """Whether any linked item is missing, or not as both sides last agreed: an older copy of the side would be so."""
    hashes = {snapshot.id: snapshot.hash for snapshot in snapshots}
    return any(hashes.get(link.external_id) != link.base_hash for link in links)


def _is_another(side: OpenSide) -> bool:
    """Whether this is not, or not any more, the server that was there, or is an older copy of it."""
    return not check_identity(side, plant=False) or is_older_copy(side)


def _sort_out(snapshots: Iterable[Snapshot]) -> tuple[list[Snapshot], list[Snapshot]]:
    readable: list[Snapshot] = []
    problems: list[Snapshot] = []
    for snapshot in snapshots:
        why = snapshot.problem or unfit(snapshot)
        if why:
            id = snapshot.id[:LONGEST_ID]
            problems.append(Snapshot(id=id, state={}, uuid=snapshot.uuid, problem=why, torn=snapshot.torn))
        else:
            readable.append(snapshot)
    return readable, problems


def unfit(snapshot: Snapshot) -> str:
    """Why the hub cannot hold an item, '' if it can."""
    if len(snapshot.id) > LONGEST_ID:
        return f"its id has more than {LONGEST_ID} characters"
    state = snapshot.state
    if len(state.get("kind", "")) > LONGEST_KIND:
        return f"its kind has more than {LONGEST_KIND} characters"
    length = len(state.get("text", ""))
    if length > MAX_TEXT:
        return f"its text has {length:,} characters, and the hub takes at most {MAX_TEXT:,}: it stays there as it is"
    return ""


def _prove(
    side: OpenSide, missing: list[str], alive: Callable[[], None]
) -> tuple[set[str], set[str], set[str], list[Snapshot]]:
    """Of ids missing from a list: those proven gone; those of which nothing follows, which of them are out, and those
    that could not be read.

    The server is asked once more who it is, after that: it may have been replaced since the run began.
    """
    seconds = side.connection.look_seconds
    answers = _each([side], lambda side: side.store.get(missing), alive).get(side.side)
    side.connection.look_seconds = seconds
    if answers is None or not check_identity(side, plant=False):
        return set(), set(missing), set(), []
    gone = {external_id for external_id in missing if external_id in answers and answers[external_id] is None}
    out = {external_id for external_id, found in answers.items() if found and not found.in_scope}
    unshown = [replace(shown, id=id) for id, shown in answers.items() if shown and shown.problem]
    return gone, set(missing) - gone, out, unshown


def _absent_by_mark(side: OpenSide, items: Iterable[Item]) -> set[UUID]:
    """Memories that were not seen and are not known on a side, and of which it has nothing with our mark: where a list
    is never complete, because one item breaks it, new ones still get there."""
    unseen = [item for item in items if side.side not in item.seen and side.side not in item.links]
    wanted = [item.uuid for item in unseen if not item.row or (item.row.live and (item.row.shared or not side.sharing))]
    try:
        answers = side.store.find(wanted) if wanted else {}
    except StoreError as error:
        side.error = str(error)
        return set()
    return {uuid for uuid, snapshots in answers.items() if not snapshots}


def _claimed(project: Project, side: OpenSide, unlinked: list[Snapshot]) -> set[str]:
    """Ids of items without our project's mark that another project of this hub has linked: the first claim stays."""
    ids = [snapshot.id for snapshot in unlinked if snapshot.project != project.slug]
    if not ids:
        return set()
    others = Replica.objects.filter(connection__side=side.side, connection__address=side.connection.address)
    others = others.exclude(connection__project=project)
    return set(others.exclude(external_id="").values_list("external_id", flat=True)) & set(ids)


def _foreign_uuids(project: Project, unlinked: list[Snapshot]) -> set[UUID]:
    """Of the uuids that unlinked items would bring: those of memories in other projects."""
    uuids = [uuid for snapshot in unlinked for uuid in (snapshot.uuid or document_uuid(snapshot),) if uuid]
    taken: set[UUID] = set()
    for start in range(0, len(uuids), 500):
        rows = Memory.objects.exclude(project=project).filter(uuid__in=uuids[start : start + 500])
        taken.update(rows.values_list("uuid", flat=True))
    return taken


def _note_failure(side: OpenSide) -> None:
    side.connection.look_error = side.error
    side.connection.failures += 1
    side.connection.save(update_fields=["look_error", "failures"])


def _note_agents(side: OpenSide, look: Look, missing: list[str]) -> None:
    """Who sees what. Of items that are gone it stays known until they are forgotten: a restore attaches them again."""
    if look.agents is None:
        return
    known, shown = side.connection.agents, {snapshot.id for snapshot in look.snapshots}
    side.connection.agents = {id: known[id] for id in missing if id in known}
    side.connection.agents |= {id: agents for id, agents in look.agents.items() if id in shown}


def _note_look(side: OpenSide, look: Look, problems: list[Snapshot]) -> None:
    connection = side.connection
    _note_time(side)
    connection.items = len(look.snapshots)
    connection.problems = [[snapshot.id, snapshot.problem] for snapshot in problems][:200]
    connection.save(update_fields=[*LOOKED, "items", "problems", "agents"])


def _note_time(side: OpenSide) -> None:
    """When this look was, and how it went; how long it took is noted where it is made."""
    connection = side.connection
    connection.looked_at = timezone.now()
    connection.look_error = side.error or side.partial
    connection.failures = connection.failures + 1 if side.error else 0  # one bad item is no reason to look less often
