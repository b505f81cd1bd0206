"""Finding memories by words, in the database's own full text index.

The index is made and kept up to date by the triggers of migration 0002_search. SQLite finds any part of a word from
three characters up; PostgreSQL finds the beginnings of words, and any part of a title, label or tag. What people
type is never query syntax, except for double quotes around words that belong together.
"""

from __future__ import annotations

import re
import string

from django.db import connections
from django.db.models import Q, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast

from blocks.models import MemoryQuerySet

MAX_QUERY, MAX_WORDS = 200, 12
TRIGRAM = 3  # the shortest part of a word SQLite's index finds
IN_INDEX = "SELECT rowid FROM blocks_search WHERE blocks_search MATCH %s"
# The index gives the newest first, so that this ends with the last one that is wanted, however common the word is.
NEWEST_IN_INDEX = """
    SELECT memory.id FROM blocks_search AS found CROSS JOIN blocks_memory AS memory ON memory.id = found.rowid
    WHERE found.blocks_search MATCH %s AND memory.project_id = %s AND memory.archived_at IS NULL
    AND memory.deleted_at IS NULL ORDER BY found.rowid DESC LIMIT %s"""
IN_WORDS = "SELECT id FROM blocks_memory WHERE search_words @@ to_tsquery('simple', %s)"
TAGGED = "SELECT memory_id FROM blocks_tag WHERE tag LIKE %s ESCAPE '\\'"
NAMED = """
    SELECT id FROM blocks_memory WHERE project_id = %s AND (title LIKE %s ESCAPE '\\' OR label LIKE %s ESCAPE '\\')"""
SPACES = str.maketrans(dict.fromkeys(string.punctuation, " "))


def clean(query: str) -> str:
    """A query as it is searched for: one line, no characters a database cannot take, at most 200 characters."""
    storable = query.replace("\0", " ").encode(errors="ignore").decode()
    return " ".join(storable.split())[:MAX_QUERY].strip()


def words_of(query: str) -> list[str]:
    """What has to occur, each of it: words, and "several words" between double quotes."""
    found = re.findall(r'"([^"]+)"|([^\s"]+)', clean(query))
    words = [(quoted or word).strip() for quoted, word in found]
    return list(dict.fromkeys(word for word in words if word))[:MAX_WORDS]


def matching(queryset: MemoryQuerySet, query: str, shelf: tuple[int, str] | None = None) -> MemoryQuerySet:
    """The memories of the queryset in which every word of the query occurs; all of them for an empty query.

    shelf: the project's id and 'live', 'archived' or 'deleted', where the queryset has no others; that is quicker.
    """
    words = words_of(query)
    if connections[queryset.db].vendor == "postgresql":
        return _matching_postgresql(queryset, words)
    return _matching_sqlite(queryset, words, shelf)


def _matching_sqlite(queryset: MemoryQuerySet, words: list[str], shelf: tuple[int, str] | None) -> MemoryQuerySet:
    """Long words by the trigrams. Shorter ones by reading: the texts of what the long ones found, else only titles,
    labels and tags (all texts would take too long)."""
    long = [word for word in words if len(word) >= TRIGRAM]
    if long:
        expression = " AND ".join('"' + word.replace('"', '""') + '"' for word in long)
        queryset = queryset.filter(pk__in=RawSQL(IN_INDEX, [expression]))  # noqa: S611
    for word in words:
        if word not in long:
            found = _named_sqlite(word, shelf) | Q(pk__in=_tagged_sqlite(word, shelf))
            if long:
                found |= Q(description__icontains=word) | Q(text__icontains=word)
            queryset = queryset.filter(found)
    return queryset


def _matching_postgresql(queryset: MemoryQuerySet, words: list[str]) -> MemoryQuerySet:
    if words:
        queryset = queryset.alias(tags_text=Cast("tags", TextField()))
    for word in words:
        found = _in_name(word) | Q(tags_text__icontains=word)
        if parts := word.translate(SPACES).split():
            expression = " <-> ".join(f"'{part}'" for part in parts) + ":*"
            found |= Q(pk__in=RawSQL(IN_WORDS, [expression]))  # noqa: S611
        queryset = queryset.filter(found)
    return queryset


def _in_name(word: str) -> Q:
    return Q(title__icontains=word) | Q(label__icontains=word)


def _named_sqlite(word: str, shelf: tuple[int, str] | None) -> Q:
    if shelf is None:
        return _in_name(word)
    pattern = _pattern(word)  # all of it is in one index: the rows, with their texts, need not be read
    return Q(pk__in=RawSQL(NAMED, [shelf[0], pattern, pattern]))  # noqa: S611


def _tagged_sqlite(word: str, shelf: tuple[int, str] | None) -> RawSQL:
    if shelf is None:
        return RawSQL(TAGGED, [_pattern(word)])  # noqa: S611
    return RawSQL(f"{TAGGED} AND project_id = %s AND shown = %s", [_pattern(word), *shelf])  # noqa: S611


def _pattern(word: str) -> str:
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"
