"""From what the sides of a project show to an observation: which server it is, what can be read, what is proven to be
gone, what belongs to which memory. Writes nothing but when it looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from sys import intern
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from blocks.models import Memory
from blocks.state import FIELDS, MAX_TEXT, State
from blocks.stores.base import Look, Snapshot, StoreError
from memoryhub.models import Project
from syncjobs.looks import ask_all, in_full, note_agents, note_failure, note_look
from syncjobs.match import Item, Link, Matcher, Row, bare, document_uuid
from syncjobs.models import Replica
from syncjobs.observation import Observation
from syncjobs.replicas import of_items
from syncjobs.sides import OpenSide, check_identity
from syncjobs.stamps import is_older_copy

LONGEST_KIND, LONGEST_ID = 400, 500


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
        looks = in_full(sides, looks, alive)
    else:
        looks = ask_all(sides, lambda side: side.store.look(), alive)
    matcher = Matcher(rows, links, states_of)
    found = Observation(sides, [])
    for side in sides:
        look = looks.get(side.side)
        if look is None:
            note_failure(side)
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


def observe_one(memory: Memory, sides: list[OpenSide]) -> Observation:
    """Read one memory on all sides, by id or by our mark. Nothing is proven about any other."""
    row = Row(memory.pk, memory.uuid, memory.hash, memory.live, memory.shared)
    links = {side.side: _links(side.connection.replicas.filter(memory=memory)) for side in sides}
    matcher = Matcher([row], links)
    found = Observation(sides, [])
    answers = ask_all(sides, lambda side: _read_one(side, memory.uuid, links[side.side]))
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
        note_failure(side)
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
    note_agents(side, look, missing)
    note_look(side, look, problems)


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
    answers = ask_all([side], lambda side: side.store.get(missing), alive).get(side.side)
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
        side.fail(error)
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
