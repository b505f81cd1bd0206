"""Removing for good: a piece of text out of a memory's history, or earlier revisions; with its traces on the disk.

What other tables hold of a memory is not known here: `syncjobs.purge` sees to that and is what views call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from django.db import connections, transaction
from django.db.models import Model

from blocks.models import Agent, BlockExtra, Memory, PrivateBlock, Purge, Text, digest_of
from blocks.state import State, clean_tags, slugify_label, state_hash
from memoryhub.bulk import update_rows
from memoryhub.models import Project

MARK, LABEL_MARK = "[purged]", "purged"  # what stands in its place; a label takes no brackets
LINE_END = re.compile(r"\r\n|\r|\n")
PART = 200


class Secret:
    """A piece of text that must go. Its line ends match any: a browser sends others than were stored.

    In labels it is also looked for as a label made from a title would have it.
    """

    def __init__(self, text: str) -> None:
        lines = r"(?:\r\n|\r|\n)".join(re.escape(line) for line in LINE_END.split(text))
        slug = slugify_label(text) if re.search(r"[a-z0-9]{3}", text.lower()) else ""
        self._anywhere = re.compile(lines)
        self._in_label = re.compile(f"{lines}|(?i:{re.escape(slug)})" if slug else lines)

    def __repr__(self) -> str:
        return "Secret()"  # it is never logged

    def _pattern(self, key: str) -> re.Pattern[str]:
        return self._in_label if key == "label" else self._anywhere

    def within(self, value: Any, key: str = "") -> bool:
        """Whether it occurs in a text, or anywhere in a list or a dictionary. key: what the value is the value of."""
        if isinstance(value, str):
            return bool(self._pattern(key).search(value))
        if isinstance(value, dict):
            return any(self.within(name) or self.within(item, name) for name, item in value.items())
        return isinstance(value, list) and any(self.within(item) for item in value)

    def erase(self, value: Any, key: str = "") -> Any:
        """The same with the mark in its place."""
        if isinstance(value, str):
            return self._pattern(key).sub(LABEL_MARK if key == "label" else MARK, value)
        if isinstance(value, list):
            return [self.erase(item) for item in value]
        if isinstance(value, dict):
            return {self.erase(name): self.erase(item, name) for name, item in value.items()}
        return value

    def erase_state(self, state: State) -> State:
        """The state without it, as a memory can be in it."""
        erased: State = self.erase(dict(state))
        if self.within(state.get("label"), "label"):
            erased["label"] = erased["label"][:50]
        if self.within(state.get("tags")):
            erased["tags"] = clean_tags(erased["tags"])
        if "limit" in state and len(erased.get("text", "")) > len(state.get("text", "")):
            erased["limit"] = max(state["limit"], len(erased["text"]))  # the mark can be longer
        return erased


def find_texts(digests: Iterable[str], secret: Secret) -> set[str]:
    """Those of some texts in which it occurs."""
    found, wanted = set(), sorted(set(digests))
    for part in _parts(wanted):
        found |= {row.digest for row in Text.objects.filter(digest__in=part) if secret.within(row.text)}
    return found


def erase_texts(digests: Iterable[str], secret: Secret) -> dict[str, str]:
    """Store what is to stand in the place of some texts: digest of the old one to that of the new one."""
    new: dict[str, str] = {}
    for part in _parts(sorted(digests)):
        rows = {row.digest: secret.erase(row.text) for row in Text.objects.filter(digest__in=part)}
        Text.objects.keep(rows.values())
        new |= {digest: digest_of(text) for digest, text in rows.items()}
    return new


def erase_revisions(memory: Memory, secret: Secret, new_texts: dict[str, str]) -> int:
    """Put the mark into every revision of a memory in which it occurs; how many those were."""
    changed, count = [], 0
    for revision in memory.revisions.order_by("pk").select_related("text").iterator(PART):
        state = revision.state
        if not (revision.text_id in new_texts or secret.within(revision.fields) or secret.within(revision.note)):
            continue
        erased, text = secret.erase_state(state), new_texts.get(revision.text_id, revision.text_id)
        erased.pop("text")
        revision.fields, revision.note = erased, secret.erase(revision.note)
        revision.hash = state_hash({**erased, "text": secret.erase(state["text"])})
        revision.text_id = text
        changed.append(revision)
        if len(changed) == PART:
            update_rows(changed, ["fields", "note", "hash", "text"])
            changed, count = [], count + PART
    update_rows(changed, ["fields", "note", "hash", "text"])
    return count + len(changed)


def drop_revisions(memory: Memory) -> tuple[int, set[str]]:
    """Remove all revisions but the current one; how many, and the texts that were only in them."""
    earlier = memory.revisions.exclude(number=memory.number)
    texts = set(earlier.order_by().values_list("text_id", flat=True)) - {digest_of(memory.text)}
    return earlier.delete()[0], texts


def rows_with_text(memory: Memory, digests: Collection[str]) -> Iterator[Model]:
    """What still refers to some texts for a memory, in whatever table."""
    from blocks.retention import references

    for field in references():
        columns = {column.name for column in field.model._meta.concrete_fields}
        if "memory" in columns:
            yield from field.model._base_manager.filter(memory=memory, **{f"{field.name}__in": list(digests)})


def of_project(project: Project) -> Any:
    return Purge.objects.filter(project=project).select_related("memory")


def scrub() -> bool:
    """Remove what deleted words left in the search index, and old pages in SQLite's log; False if somebody reads it.

    PostgreSQL overwrites what was deleted when VACUUM has freed it: that is up to its administrator.
    """
    connection = connections["default"]
    if connection.vendor != "sqlite":
        return True
    with connection.cursor() as cursor:
        with transaction.atomic():
            cursor.execute("INSERT INTO blocks_search(blocks_search) VALUES ('optimize')")
        if connection.in_atomic_block:
            return True
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(cursor.fetchone()[0] == 0)


def _parts(rows: list[str]) -> Iterator[list[str]]:
    return (rows[first : first + PART] for first in range(0, len(rows), PART))


# --- What agents said to the built-in Letta server, and what is no memory -----------------------------------

Said = BlockExtra | PrivateBlock | Agent
COLUMNS: dict[type[Said], tuple[str, ...]] = {
    BlockExtra: ("marks", "metadata", "fields"),
    PrivateBlock: ("label", "text", "description", "tags", "metadata", "fields"),
    Agent: ("name", "description", "tags", "metadata", "settings"),
}
OF_DIGEST = ("description",)  # all else of a digest is computed
NAMED_BY_US = ("fields", "settings")  # the names in these are of our own making


def erase_extra(memory: Memory, secret: Secret) -> bool:
    """Put the mark into what a memory says as a block and in no field of its own; whether it occurred there."""
    row = BlockExtra.objects.filter(memory=memory).first()
    return row is not None and _erase_said(row, secret)


def erase_beside(project: Project, secret: Secret) -> int:
    """Put the mark into agents and blocks that are no memories; in how many it occurred. Call it in a transaction."""
    tables: tuple[Any, ...] = (PrivateBlock, Agent)
    rows = (row for table in tables for row in table.objects.select_for_update().filter(project=project))
    return sum(_erase_said(row, secret) for row in list(rows))


def holds(row: Said, secret: Secret) -> bool:
    return bool(_tainted(row, secret))


def _tainted(row: Said, secret: Secret) -> list[str]:
    """The columns in which it occurs."""
    columns = OF_DIGEST if isinstance(row, PrivateBlock) and row.is_digest else COLUMNS[type(row)]
    return [name for name in columns if secret.within(_words(row, name), name)]


def _words(row: Said, name: str) -> Any:
    value = getattr(row, name)
    return list(value.values()) if name in NAMED_BY_US else value


def _erase_said(row: Said, secret: Secret) -> bool:
    names = _tainted(row, secret)
    if not names:
        return False
    for name in names:
        value = getattr(row, name)
        named = name in NAMED_BY_US
        setattr(row, name, {k: secret.erase(v, k) for k, v in value.items()} if named else secret.erase(value, name))
    for name in {"tags", "marks"}.intersection(names):
        setattr(row, name, list(dict.fromkeys(getattr(row, name))))
    _fit(row, names)
    row.save()
    return True


def _fit(row: Said, changed: list[str]) -> None:
    """Make a row what it may be, after the mark was put into it."""
    if isinstance(row, Agent):
        row.name = row.name[:200]
        return
    row.version += 1
    if isinstance(row, PrivateBlock):
        row.limit = max(row.limit, len(row.text))  # the mark can be longer
    if isinstance(row, PrivateBlock) and "label" in changed:  # an agent sees no two blocks of a label
        row.label = f"{row.label[:41]}-{row.uuid.hex[:8]}"
