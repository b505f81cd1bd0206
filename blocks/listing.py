"""The rows of the main page: filters from the address, one page of memories, and what each filter would show."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from django.db import connections
from django.db.models import Aggregate, Case, Count, F, JSONField, OuterRef, Q, Subquery, TextField, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Length, Substr
from django.http import QueryDict

from blocks.models import Memory, MemoryQuerySet, Revision, SyncState
from blocks.search import clean, matching, words_of
from blocks.state import MAX_TAG_LENGTH, unstorable
from memoryhub.models import Project

SIZE = 50  # rows of a page
EXCERPT = 300  # characters of a text that a list shows
WHOLE = 20_000  # texts up to this many characters come with the page
FEW = 2000  # memories whose tags are quicker read one by one than from all tags of a project
TOP = 50  # tags and sources that are offered
MAX_VALUES, MAX_VALUE = 20, 400  # values of one filter, and characters of a value
ATTENTION = "attention"  # the state filter for all that a person should look at
AT_REST = (SyncState.SYNCED, SyncState.LOCAL_ONLY)
SHOWN = ("live", "archived", "deleted")
SORTS = {"changed": "changed_at", "title": "sort_title", "kind": "kind"}
STATE_LABELS = {ATTENTION: "needs attention", **dict(SyncState.choices)}


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: after (next) or before (previous) the memory with this sort key and id."""

    key: Any
    pk: int

    def encode(self) -> str:
        key = self.key.isoformat() if isinstance(self.key, datetime) else self.key
        return base64.urlsafe_b64encode(json.dumps([key, self.pk]).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, value: str, sort: str) -> Cursor | None:
        """The cursor, or None when it is not one of this sort."""
        try:
            key, pk = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
            if type(pk) is not int or not 0 <= pk < 2**63 or not isinstance(key, str) or unstorable(key):
                return None
            return cls(datetime.fromisoformat(key).astimezone(UTC) if sort == "changed" else key, pk)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None


@dataclass(frozen=True)
class Filters:
    """What the page is asked to show. `parse` makes it from an address, `as_query` the address from it."""

    q: str = ""
    kind: tuple[str, ...] = ()  # any of them
    tag: tuple[str, ...] = ()  # all of them
    state: str = ""  # a SyncState or "attention"
    source: tuple[str, ...] = ()  # any of them
    shown: str = "live"
    sort: str = "changed"
    cursor: str = ""
    direction: str = "next"

    @classmethod
    def parse(cls, query: QueryDict | Mapping[str, Any]) -> Filters:
        """The filters an address asks for; what makes no sense is left out. Takes `request.GET`."""
        given = query if isinstance(query, QueryDict) else _querydict(query)
        sort = _one_of(given.get("sort"), tuple(SORTS))
        cursor = given.get("cursor", "")[:2000]
        return cls(
            q=clean(given.get("q", "")),
            kind=_values(given.getlist("kind")),
            tag=_values(given.getlist("tag"), MAX_TAG_LENGTH),
            state=_one_of(given.get("state"), ("", *STATE_LABELS)),
            source=_values(given.getlist("source")),
            shown=_one_of(given.get("shown"), SHOWN),
            sort=sort,
            cursor=cursor if Cursor.decode(cursor, sort) else "",
            direction=_one_of(given.get("direction"), ("next", "previous")),
        )

    def as_query(self, **changes: Any) -> str:
        """'?...' for a link to these filters with some changed; '?' without any. Any change begins at page one."""
        changed = replace(self, **({"cursor": "", "direction": "next"} | changes))
        said = {name: value for name, value in vars(changed).items() if value != getattr(NO_FILTERS, name)}
        return "?" + urlencode(said, doseq=True)

    def toggled(self, name: str, value: str) -> str:
        """`as_query` with one value of a filter turned on or off."""
        current = getattr(self, name)
        if isinstance(current, str):
            return self.as_query(**{name: "" if current == value else value})
        without = tuple(each for each in current if each != value)
        return self.as_query(**{name: without if value in current else (*current, value)})

    @property
    def narrow(self) -> bool:
        """Whether anything is filtered: an empty page means no match then, not an empty project."""
        return bool(self.q or self.kind or self.tag or self.state or self.source)

    @property
    def here(self) -> Cursor | None:
        return Cursor.decode(self.cursor, self.sort) if self.cursor else None


NO_FILTERS = Filters()


def _querydict(query: Mapping[str, Any]) -> QueryDict:
    made = QueryDict(mutable=True)
    for name, value in query.items():
        made.setlist(name, [value] if isinstance(value, str) else list(value))
    return made


def _values(given: Iterable[str], longest: int = MAX_VALUE) -> tuple[str, ...]:
    good = (value for value in given if len(value) <= longest and not unstorable(value))
    return tuple(dict.fromkeys(value for value in good if value))[:MAX_VALUES]


def _one_of(value: str | None, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else allowed[0]


@dataclass(frozen=True)
class Choice:
    """One value of a filter: how many memories it would show, and the link that turns it on or off."""

    value: str
    label: str
    count: int
    on: bool
    query: str


@dataclass(frozen=True)
class Page:
    """items: memories with `excerpt`, `text_length` and `text_digest` (the key in `Text`).

    Their `text` is loaded up to 20,000 characters, else on access. total: of all pages. in_use: counts of each
    state of all memories in use. next_query, previous_query: '' where there is no such page.
    """

    filters: Filters
    items: list[Memory]
    total: int
    next_query: str = ""
    previous_query: str = ""
    kinds: list[Choice] = field(default_factory=list)
    tags: list[Choice] = field(default_factory=list)
    states: list[Choice] = field(default_factory=list)
    sources: list[Choice] = field(default_factory=list)
    in_use: Counter[str] = field(default_factory=Counter)


def page(project: Project, filters: Filters, size: int = SIZE) -> Page:
    """The page the filters ask for: three queries, one more for a search."""
    of_project = Memory.objects.filter(project=project)
    in_use, shelf = of_project.live(), getattr(of_project, filters.shown)()
    everything = _cells(shelf, pks=filters.narrow)
    found = _found(shelf, filters, project)
    cells = everything if found is None else [few for cell in everything if (few := cell.among(found)).count]
    fitting = [cell for cell in cells if cell.fits(filters)]
    pks = list(chain.from_iterable(cell.pks for cell in fitting)) if filters.narrow else None
    # What was found need not be looked for again. The other filters have indexes, which also give the order.
    wanted = _narrowed(shelf, filters) if found is None else shelf.filter(pk__in=_listed(shelf, pks or []))
    items, earlier, later = _slice(wanted, filters, size)
    if not items and filters.cursor:  # what was there has gone
        filters = replace(filters, cursor="", direction="next")
        items, earlier, later = _slice(wanted, filters, size)
    return Page(
        filters,
        items,
        sum(cell.count for cell in fitting),
        next_query=_turn(filters, items[-1], "next") if later else "",
        previous_query=_turn(filters, items[0], "previous") if earlier else "",
        kinds=_choices(filters, "kind", _sums(cells, filters, "kind")),
        sources=_choices(filters, "source", _sums(cells, filters, "source"))[:TOP],
        states=_states(filters, _sums(cells, filters, "state")),
        tags=_choices(filters, "tag", _tag_counts(project, filters, shelf, pks)),
        in_use=_sums(everything if filters.shown == "live" else _cells(in_use, pks=False), NO_FILTERS, "state"),
    )


# --- What belongs to the page ---------------------------------------------------------------------------


def _found(shelf: MemoryQuerySet, filters: Filters, project: Project) -> set[int] | None:
    """The ids of the memories with all the words and tags, which all counts are about; None without any of either."""
    scope = shelf
    for tag in filters.tag:
        scope = tagged(scope, project, filters.shown, tag)
    if words_of(filters.q):
        scope = matching(scope, filters.q, (project.pk, filters.shown))
    return None if scope is shelf else set(scope.aggregate(pks=Pks("pk"))["pks"] or ())


def _postgresql(queryset: MemoryQuerySet) -> bool:
    return connections[queryset.db].vendor == "postgresql"


def _listed(queryset: MemoryQuerySet, pks: list[int]) -> RawSQL:
    """A list of ids as a subquery: as many as there are, in one parameter."""
    if _postgresql(queryset):
        return RawSQL("SELECT unnest(%s::bigint[])", [pks])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(pks)])


def tagged(queryset: MemoryQuerySet, project: Project, shown: str, tag: str) -> MemoryQuerySet:
    """Those of the queryset with a tag. shown: live, archived or deleted, where it has no others."""
    if _postgresql(queryset):
        return queryset.filter(tags__contains=[tag])
    sql = "SELECT memory_id FROM blocks_tag WHERE project_id = %s AND shown = %s AND tag = %s"
    return queryset.filter(pk__in=RawSQL(sql, [project.pk, shown, tag]))  # noqa: S611


def _narrowed(scope: MemoryQuerySet, filters: Filters) -> MemoryQuerySet:
    if filters.kind:
        scope = scope.filter(kind__in=filters.kind)
    if filters.source:
        scope = scope.filter(source__in=filters.source)
    if filters.state == ATTENTION:
        scope = scope.exclude(sync_state__in=AT_REST)
    elif filters.state:
        scope = scope.filter(sync_state=filters.state)
    return scope


# --- One page of it -------------------------------------------------------------------------------------


def _slice(queryset: MemoryQuerySet, filters: Filters, size: int) -> tuple[list[Memory], bool, bool]:
    """The rows, whether there are earlier ones, and whether there are later ones."""
    column, back = SORTS[filters.sort], filters.direction == "previous"
    falling = (filters.sort == "changed") != back
    cursor = filters.here
    if cursor:
        beyond = "lt" if falling else "gt"
        after = Q(**{f"{column}__{beyond}": cursor.key}) | Q(**{f"pk__{beyond}": cursor.pk})
        queryset = queryset.filter(after, **{f"{column}__{beyond}e": cursor.key})
    sign = "-" if falling else ""
    order = (f"{sign}{column}", f"{sign}pk")
    # First which rows, then what is in them: a database that sorts rows works out their excerpts before it does.
    chosen = queryset.order_by(*order).values("pk")[: size + 1]
    rows = list(_light(Memory.objects.filter(pk__in=chosen)).order_by(*order))
    more, rows = len(rows) > size, rows[:size]
    for memory in rows:
        _give_text(memory)
    if back:
        return rows[::-1], more, cursor is not None
    return rows, cursor is not None, more


def _light(queryset: MemoryQuerySet) -> MemoryQuerySet:
    latest = Revision.objects.filter(memory=OuterRef("pk"), number=OuterRef("number")).order_by()
    return queryset.defer("text").annotate(
        excerpt=Substr("text", 1, EXCERPT),
        text_length=Length("text"),
        text_digest=Subquery(latest.values("text_id")),
        short_text=Case(When(text_length__lte=WHOLE, then=F("text")), output_field=TextField()),
    )


def _give_text(memory: Memory) -> None:
    text = memory.__dict__.pop("short_text")
    if text is not None:
        memory.text = text


def _turn(filters: Filters, memory: Memory, direction: str) -> str:
    cursor = Cursor(getattr(memory, SORTS[filters.sort]), memory.pk).encode()
    return filters.as_query(cursor=cursor, direction=direction)


# --- What the filters would show ------------------------------------------------------------------------


class Pks(Aggregate):
    """The ids of a group."""

    function = "JSON_GROUP_ARRAY"
    output_field = JSONField()

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(compiler, connection, function="JSONB_AGG", **more)


@dataclass(frozen=True)
class Cell:
    """How many memories there are of one kind, source and state; which ones, where that is asked for."""

    kind: str
    source: str
    state: str
    count: int
    pks: Collection[int] = ()

    def among(self, found: set[int]) -> Cell:
        """Those of them that were found."""
        pks = found.intersection(self.pks)
        return Cell(self.kind, self.source, self.state, len(pks), pks)

    def fits(self, filters: Filters, but: str = "") -> bool:
        """Whether these memories pass the filters, all of them or all but one."""
        return (
            (but == "kind" or not filters.kind or self.kind in filters.kind)
            and (but == "source" or not filters.source or self.source in filters.source)
            and (but == "state" or self.state in _states_of(filters.state))
        )


@cache
def _states_of(state: str) -> tuple[str, ...]:
    if state == ATTENTION:
        return tuple(each for each in SyncState.values if each not in AT_REST)
    return (state,) if state else tuple(SyncState.values)


def _cells(scope: MemoryQuerySet, *, pks: bool) -> list[Cell]:
    grouped = scope.order_by().values_list("kind", "source", "sync_state").annotate(Count("pk"))
    return [Cell(*row) for row in (grouped.annotate(pks=Pks("pk")) if pks else grouped)]


def _sums(cells: list[Cell], filters: Filters, name: str) -> Counter[str]:
    """Counts of each value of one filter under all the other filters."""
    sums: Counter[str] = Counter()
    for cell in cells:
        if cell.fits(filters, but=name):
            sums[getattr(cell, name)] += cell.count
    return sums


def _tag_counts(project: Project, filters: Filters, shelf: MemoryQuerySet, pks: list[int] | None) -> Counter[str]:
    """Counts of the most used tags among the memories of all pages; `pks`: their ids, None for all."""
    if _postgresql(shelf):
        wanted = shelf if pks is None else shelf.filter(pk__in=_listed(shelf, pks))
        inner, values = wanted.order_by().values("tags").query.sql_with_params()
        return _count_tags(shelf, f"({inner}) memory, jsonb_array_elements_text(memory.tags) tag", values)
    if pks is not None and len(pks) <= FEW:  # then their own tags are fewer than all tags of the project
        listed = _listed(shelf, pks)
        tags = "SELECT each.value AS tag FROM blocks_memory memory, json_each(memory.tags) each"
        return _count_tags(shelf, f"({tags} WHERE memory.id IN ({listed.sql}))", listed.params)
    rows = "blocks_tag WHERE project_id = %s AND shown = %s"
    if pks is None:
        return _count_tags(shelf, rows, (project.pk, filters.shown))
    # For a database it is much work to look every row up in what was found. For Python it is not.
    found = {str(pk) for pk in pks}
    sql = f"SELECT tag, group_concat(memory_id) FROM {rows} GROUP BY tag"  # noqa: S608
    with connections[shelf.db].cursor() as cursor:
        cursor.execute(sql, (project.pk, filters.shown))
        counts = {tag: len(found.intersection(each.split(","))) for tag, each in cursor.fetchall()}
    order = sorted(((tag, count) for tag, count in counts.items() if count), key=lambda item: (-item[1], item[0]))
    return Counter(dict(order[:TOP]))


def _count_tags(queryset: MemoryQuerySet, rows: str, values: Sequence[Any]) -> Counter[str]:
    sql = f"SELECT tag, COUNT(*) FROM {rows} GROUP BY tag ORDER BY COUNT(*) DESC, tag LIMIT {TOP}"  # noqa: S608
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(sql, values)
        return Counter(dict(cursor.fetchall()))


def _choices(filters: Filters, name: str, counts: Counter[str]) -> list[Choice]:
    """The values by count, most first; chosen ones are there also where they show nothing, to be turned off."""
    chosen = getattr(filters, name)
    for value in chosen:
        counts.setdefault(value, 0)
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Choice(value, value, count, value in chosen, filters.toggled(name, value)) for value, count in order if value
    ]


def _states(filters: Filters, counts: Counter[str]) -> list[Choice]:
    """The states in their own order, those with memories and the chosen one; before them what needs attention."""
    counts[ATTENTION] = sum(counts[state] for state in _states_of(ATTENTION))
    return [
        Choice(state, label, counts[state], state == filters.state, filters.toggled("state", state))
        for state, label in STATE_LABELS.items()
        if counts[state] or state == filters.state
    ]
