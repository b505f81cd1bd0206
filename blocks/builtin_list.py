"""Listing the blocks of the built-in Letta server: which ones, and a page of them.

Memories and private blocks are in two tables, but in one order (`builtin.key_of`): a page takes from both and
puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Count, Q, QuerySet
from django.db.models.expressions import RawSQL

from blocks import digest
from blocks.builtin import Key, Row, find, key_of, memories
from blocks.models import Memory, PrivateBlock
from blocks.state import MARK
from memoryhub.models import Project

OF_MEMORIES, OF_PRIVATE = ("pk",), ("after", "pk")  # what either table is ordered by


class UnknownCursor(Exception):
    """There is no such block to begin after, or to end before."""


@dataclass(frozen=True)
class Wanted:
    """Which blocks. None: of no concern. agents_*: how many agents see it. tags: any of them, or all."""

    label: str | None = None
    label_search: str | None = None
    description_search: str | None = None
    value_search: str | None = None
    tags: Sequence[str] | None = None
    match_all_tags: bool = False
    templates: bool = False
    hidden: bool = False
    template_name: str | None = None
    project_id: str | None = None
    nobody: bool = False  # asked for by what no block here has
    agents_more: int | None = None
    agents_fewer: int | None = None
    agents_exactly: Sequence[int] | None = None

    @property
    def names_digest(self) -> bool:
        """Whether the project's digest may be meant: it is listed by its label or tag, and among hidden blocks."""
        return bool(self.label or self.label_search or self.tags is not None or self.hidden)


def page(
    project: Project, wanted: Wanted, *, limit: int, after: UUID | None, before: UUID | None, newest: bool
) -> list[Row]:
    """At most `limit` blocks that come after one, or right before one; the oldest first, or the newest.

    Raises `UnknownCursor`.
    """
    start, end = _cursor(project, after), _cursor(project, before)
    backwards = end is not None and start is None  # those nearest to the end, not the first of all
    low, high = (end, start) if newest else (start, end)
    falling = newest != backwards
    rows: list[Row] = []
    for chosen, order in _tables(project, wanted):
        found = chosen.filter(_beyond(low, "gt", order), _beyond(high, "lt", order))
        rows += found.order_by(*(f"-{name}" if falling else name for name in order))[:limit]
    rows = sorted(rows, key=key_of, reverse=falling)[:limit]
    return rows[::-1] if backwards else rows


def containing(rows: QuerySet[Any], column: str, words: str) -> Q:
    """That a column holds words, whether in capitals or not, which SQLite's LIKE knows of ASCII letters only."""
    if words.isascii() or connections[rows.db].vendor != "sqlite":
        return Q(**{f"{column}__icontains": words})
    return Q(**{f"{column}__iregex": re.escape(words)})


def count(project: Project, wanted: Wanted) -> int:
    return sum(chosen.count() for chosen, _ in _tables(project, wanted))


def _cursor(project: Project, uuid: UUID | None) -> Key | None:
    if uuid is None:
        return None
    row = find(project, uuid)
    if row is None:
        raise UnknownCursor(f"There is no block-{uuid} (any more) to go on from.")
    return key_of(row)


def _beyond(key: Key | None, way: str, order: Sequence[str]) -> Q:
    """Beyond a key, among memories or private blocks; way: gt or lt."""
    if key is None:
        return Q()
    place, private, pk = key
    if order == OF_MEMORIES:  # a memory comes before the private blocks that were made right after it
        return Q(**{f"pk__{'lte' if private and way == 'lt' else way}": place})
    return Q(**{f"after__{way}": place}) | Q(**{"after": place, f"pk__{way}": pk})


def _tables(project: Project, wanted: Wanted) -> list[tuple[QuerySet[Any], tuple[str, ...]]]:
    if wanted.nobody:
        return []
    private = project.private_blocks.filter(is_template=wanted.templates)
    if wanted.names_digest:
        digest.block_of(project)
    else:  # who lists blocks gets what was made, and no more
        private = private.filter(is_digest=False)
    if not wanted.hidden:
        private = private.filter(hidden=False)
    found: list[tuple[QuerySet[Any], tuple[str, ...]]] = [(_narrowed(private, project, wanted, "fields__"), OF_PRIVATE)]
    if not wanted.templates:
        found.append((_narrowed(memories(project), project, wanted, "block_extra__fields__"), OF_MEMORIES))
    return found


def _narrowed(rows: QuerySet[Any], project: Project, wanted: Wanted, fields: str) -> QuerySet[Any]:
    equal = {
        "label": wanted.label,
        f"{fields}template_name": wanted.template_name,
        f"{fields}project_id": wanted.project_id,
    }
    rows = rows.filter(**{name: value for name, value in equal.items() if value})
    if wanted.label_search:
        rows = rows.filter(containing(rows, "label", wanted.label_search))
    if wanted.value_search:
        rows = rows.filter(_saying(rows, project, wanted.value_search))
    if wanted.description_search:
        rows = rows.filter(_described(rows, wanted.description_search))
    if wanted.tags is not None:
        rows = _tagged(rows, project, wanted.tags, wanted.match_all_tags)
    return _seen_by(rows, wanted)


def _saying(rows: QuerySet[Any], project: Project, words: str) -> Q:
    said = containing(rows, "text", words)
    if rows.model is Memory or not rows.filter(is_digest=True).exists():
        return said
    own = digest.block_of(project)
    digest.fill(own)
    return said | Q(pk=own.pk) if words.casefold() in own.text.casefold() else said


def _described(rows: QuerySet[Any], words: str) -> Q:
    said = containing(rows, "description", words)
    return said | (Q(description="") & containing(rows, "title", words)) if rows.model is Memory else said


def _tagged(rows: QuerySet[Any], project: Project, tags: Sequence[str], every: bool) -> QuerySet[Any]:
    if not every:
        return rows.filter(_with_any(rows, project, tags))
    for tag in dict.fromkeys(tags):
        rows = rows.filter(_with_any(rows, project, [tag]))
    return rows


def _with_any(rows: QuerySet[Any], project: Project, tags: Sequence[str]) -> Q:
    if rows.model is PrivateBlock:
        return holding(rows, "tags", "blocks_privateblock.id FROM blocks_privateblock", tags)
    marks = [tag for tag in tags if tag.startswith(MARK)]  # kept beside a memory's own tags
    own = list({tag.strip() for tag in tags} - {*marks})
    return holding(rows, "block_extra__marks", "memory_id FROM blocks_blockextra", marks) | _own(rows, project, own)


def _own(rows: QuerySet[Any], project: Project, tags: Sequence[str]) -> Q:
    """By the lookup table on SQLite, and the index on PostgreSQL; see the migration 0002_search."""
    found = Q(pk__in=())
    if connections[rows.db].vendor == "postgresql":
        for tag in tags:
            found |= Q(tags__contains=[tag])
    elif tags:
        table = "SELECT memory_id FROM blocks_tag WHERE project_id = %s AND shown = 'live'"
        found = Q(pk__in=RawSQL(f"{table} AND tag IN ({_places(tags)})", [project.pk, *tags]))  # noqa: S611
    return found


def holding(rows: QuerySet[Any], path: str, source: str, tags: Sequence[str]) -> Q:
    """That a JSON list holds any of the tags. source: its row's id and table, for SQLite."""
    if not tags:
        return Q(pk__in=())
    if connections[rows.db].vendor == "postgresql":
        return Q(**{f"{path}__has_any_keys": list(tags)})
    column = path.rpartition("__")[2]
    sql = f"SELECT {source}, json_each({column}) each WHERE each.value IN ({_places(tags)})"
    return Q(pk__in=RawSQL(sql, tags))  # noqa: S611


def _places(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))


def _seen_by(rows: QuerySet[Any], wanted: Wanted) -> QuerySet[Any]:
    bounds = {"gt": wanted.agents_more, "lt": wanted.agents_fewer, "in": wanted.agents_exactly}
    asked = {f"agent_count__{way}": value for way, value in bounds.items() if value is not None}
    return rows.annotate(agent_count=Count("attachments", distinct=True)).filter(**asked) if asked else rows
