"""What a memory looks like as records, in both directions (pure but for the row type).

A memory is a *document*: all rows with one document_id, each holding one chunk of the text and all the metadata.
The hub's own rows carry, besides the original engine's keys:

- memhub_id, label, description, tags_list: the memory's, see the field table in docs/architecture.md
- write_id, chunk_count: of the write that made them; rows that disagree are torn
- start, end: the slice of the text
- memhub_sha: hash of the chunk's text; another text in the row means that somebody changed this chunk
- memhub_meta: four hex digits for each key of `PRINTED`; tells which row's metadata somebody changed
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from blocks.state import State, clean_tags, kind_of, types_of, unstorable
from blocks.stores.base import Snapshot
from blocks.stores.chroma_rows import Row
from blocks.stores.chunks import BrokenChunks, Part, join_foreign, join_own

Meta = dict[str, Any]

KEYS = {
    "title": "title",
    "description": "description",
    "label": "label",
    "source": "source",
    "file_path": "file_path",
    "client": "client_name",
    "priority": "priority",
    "status": "status",
    "created_at": "created_at",
}
PRINTED = (*KEYS.values(), "doc_type", "artifact_type", "tags", "project_name")
PRINT = 4  # hex digits
LAYOUT = frozenset(PRINTED) | {"document_id"}  # what the store knows of the metadata, ...
PER_ROW = frozenset({"chunk_index", "start", "end", "memhub_sha", "memhub_meta", "write_id", "chunk_count"})
KNOWN = LAYOUT | PER_ROW | {"memhub_id", "tags_list"}  # ... everything else is foreign
CHUNK_ID = re.compile(r"(.+)_chunk_(\d+)", re.DOTALL)


class Broken(ValueError):
    """The rows do not make a memory; the message says why, for a person."""


class Torn(Broken):
    """The rows are the hub's own, and not all of one write."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """Of a document that carries no mark of a hub, what marking it takes: the ids of its rows, and the prints of their
    metadata. named: every row says its document_id. read_at: when that was so, by the clock."""

    ids: tuple[str, ...]
    prints: tuple[str, ...]
    named: bool
    read_at: float


@dataclass(slots=True)
class Document:
    """The rows of one document_id, in the order of the text."""

    id: str
    rows: list[Row]
    meta: Meta = field(default_factory=dict)  # of all rows, as `merged`

    @property
    def own(self) -> bool:
        return any("write_id" in row.meta for row in self.rows)


def documents(rows: Iterable[Row]) -> dict[str, Document]:
    """The rows by document."""
    found: dict[str, Document] = {}
    for row in rows:
        id = document_id(row)
        if id in found:
            found[id].rows.append(row)
        else:
            found[id] = Document(id, [row])
    for document in found.values():
        if len(document.rows) > 1:
            document.rows.sort(key=_place)
        document.meta = merged(document.rows)
    return found


def document_id(row: Row) -> str:
    """The document a row belongs to: as it says, else by its id, else it is one by itself."""
    said = row.meta.get("document_id")
    return said if isinstance(said, str) and said else presumed(row.id)


def presumed(id: str) -> str:
    """The document of a row by the row's id alone."""
    match = CHUNK_ID.fullmatch(id)
    return match[1] if match else id


def chunk_index(row: Row) -> int | None:
    said = row.meta.get("chunk_index")
    if isinstance(said, int) and not isinstance(said, bool):
        return said
    match = CHUNK_ID.fullmatch(row.id)
    return int(match[2]) if match else None


def _place(row: Row) -> int:
    return chunk_index(row) or 0  # rows that say nothing stay in the order they were inserted in


def merged(rows: Sequence[Row]) -> Meta:
    """The metadata of a document: what its rows agree on; where they differ, a changed value wins over unchanged
    ones (the hub's rows say which), else the first row that says anything."""
    first = rows[0].meta
    if len(rows) == 1:
        return first
    shared = _shared_part(first)
    if all(_shared_part(row.meta) == shared for row in rows):
        return first
    keys = dict.fromkeys(key for row in rows for key in row.meta)
    return {key: first.get(key) if key in PER_ROW else _winner(key, rows) for key in keys}


def _shared_part(meta: Meta) -> Meta:
    return {key: value for key, value in meta.items() if key not in PER_ROW}


def _winner(key: str, rows: Sequence[Row]) -> Any:
    values = [row.meta[key] for row in rows if key in row.meta]
    changed = [row.meta[key] for row in rows if key in row.meta and _was_changed(key, row.meta)]
    return (changed or values)[0]


def _was_changed(key: str, meta: Meta) -> bool:
    prints = meta.get("memhub_meta")
    if key not in PRINTED or not isinstance(prints, str):
        return False
    place = PRINT * PRINTED.index(key)
    return prints[place : place + PRINT] != _print(meta[key])


def _print(value: Any) -> str:
    return hashlib.sha256(str(value).encode(errors="replace")).hexdigest()[:PRINT]


def prints(meta: Meta) -> str:
    """The value of memhub_meta."""
    return "".join(_print(meta.get(key, "")) for key in PRINTED)


def reprinted(meta: Meta, changes: Meta) -> Meta:
    """memhub_meta of a row that gets `changes`: what somebody else changed in it before still shows as changed."""
    old = meta.get("memhub_meta")
    if not isinstance(old, str) or len(old) != PRINT * len(PRINTED):
        return {"memhub_meta": prints(applied(meta, changes))}
    return {"memhub_meta": patched(old, changes)}


def patched(old: str, changes: Meta) -> str:
    """Prints of metadata that had `old` ones, with `changes`."""
    new = ((key, old[PRINT * place :][:PRINT]) for place, key in enumerate(PRINTED))
    return "".join(_print(changes[key] or "") if key in changes else kept for key, kept in new)


def sha(text: str) -> str:
    """The value of memhub_sha."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


# --- reading


def snapshot_of(document: Document, in_scope: bool = True) -> Snapshot:
    """The memory in a document, or what is wrong with it."""
    meta = document.meta
    torn = False
    try:
        state, problem = state_of(document), ""
    except (Broken, BrokenChunks) as error:
        state, problem, torn = {}, str(error), isinstance(error, (Torn, BrokenChunks))
    return Snapshot(
        id=document.id,
        state=state,
        uuid=mark_of(meta),
        project=meta["project_name"] if isinstance(meta.get("project_name"), str) else "",
        in_scope=in_scope,
        keep={} if "NUL" in problem else keep_of(document),
        problem=problem,
        chunks=len(document.rows),
        torn=torn,
        strays=strays_of(document) if problem and document.own else (),
        raw=None if problem else unmarked(document),
    )


def unmarked(document: Document) -> Unmarked | None:
    """What marking a document takes that nobody has marked yet; None for all others."""
    if document.own or "memhub_id" in document.meta:
        return None
    metas = [row.meta for row in document.rows]
    alike = document.meta is metas[0]  # all rows say the same
    printed = [prints(metas[0])] * len(metas) if alike else [prints(meta) for meta in metas]
    named = all(meta.get("document_id") == document.id for meta in metas)
    return Unmarked(tuple(row.id for row in document.rows), tuple(printed), named, time.time())


def strays_of(document: Document) -> tuple[tuple[int, int, str], ...]:
    """The hub's rows with a text that somebody else put there."""
    parts = [_part(row) for row in document.rows if _is_slice(row) and not unstorable(row.text or "")]
    return tuple((part.start, part.end, part.text) for part in parts if part.changed)


def _is_slice(row: Row) -> bool:
    return isinstance(row.meta.get("start"), int) and isinstance(row.meta.get("end"), int)


def mark_of(meta: Meta) -> UUID | None:
    try:
        return UUID(meta["memhub_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def keep_of(document: Document) -> dict[str, Any]:
    """What brings the document back besides its state."""
    return {
        "document_id": document.id,
        "project_name": document.meta.get("project_name", ""),
        "foreign": foreign(document.meta),
    }


def foreign(meta: Meta) -> Meta:
    """The metadata that is not the hub's to know (sparse vectors, which belong to one chunk, excepted)."""
    plain = (str, int, float, bool, list)
    return {key: value for key, value in meta.items() if key not in KNOWN and isinstance(value, plain)}


def state_of(document: Document) -> State:
    """Raises `Broken` or `BrokenChunks`."""
    for row in document.rows:
        _check_row(row)
    meta = document.meta
    state: State = {name: _said(meta, key) for name, key in KEYS.items() if key in meta}
    state["text"] = own_text(document.rows) if document.own else foreign_text(document.rows)
    if "doc_type" in meta or "artifact_type" in meta:
        state["kind"] = kind_of(_said(meta, "doc_type"), _said(meta, "artifact_type"))
    if "tags" in meta:
        state["tags"] = tags_of(meta)
    return state


def _check_row(row: Row) -> None:
    """Raises `Broken` for what cannot be kept elsewhere. Lone surrogates, which Chroma cannot store, need no look."""
    if row.text is None:
        raise Broken(f"record {row.id!r} has no text")
    if "\0" in row.text:
        raise Broken(f"the text of record {row.id!r} contains a NUL character")
    values = row.meta.values()
    lists = [one for value in values if type(value) is list for one in value]
    texts = [value for value in (*values, *lists) if type(value) is str]
    if "\0" in "".join(row.meta) or "\0" in "".join(texts):  # joined: this is done for every row at every look
        raise Broken(f"the metadata of record {row.id!r} contains a NUL character")


def _said(meta: Meta, key: str) -> str:
    value = meta.get(key, "")
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise Broken(f"the metadata {key!r} is not a text")


def tags_of(meta: Meta) -> list[str]:
    """The tags. tags_list keeps those with a comma; somebody else's change is in `tags` only, and wins."""
    tags, listed = meta["tags"], meta.get("tags_list")
    if isinstance(tags, list):
        return clean_tags(map(str, tags))
    tags = _said(meta, "tags")
    if isinstance(listed, list) and ",".join(map(str, listed)) == tags:
        return clean_tags(map(str, listed))
    return clean_tags(tags.split(","))


def foreign_text(rows: Sequence[Row]) -> str:
    """The text of another program's rows. Raises `Broken` where one is missing."""
    if len(rows) > 1 or isinstance(rows[0].meta.get("chunk_index"), int):
        _check_sequence([chunk_index(row) for row in rows])
    return join_foreign([row.text or "" for row in rows])


def _check_sequence(indices: list[int | None]) -> None:
    if all(index is None for index in indices):
        return
    for wanted, index in enumerate(indices):
        if index != wanted:
            raise Broken(f"chunk {wanted} is missing" if index is None or index > wanted else f"chunk {index} is twice")


def own_text(rows: Sequence[Row]) -> str:
    """The text of the hub's own rows. Raises `Torn` or `BrokenChunks` where they are not whole."""
    if len({row.meta.get("write_id") for row in rows}) > 1:
        raise Torn("torn: its records come from different writes")
    count = rows[0].meta.get("chunk_count")
    if count != len(rows):
        raise Torn(f"torn: {len(rows)} of {count} records are there")
    return join_own([_part(row) for row in rows])


def _part(row: Row) -> Part:
    if not _is_slice(row):
        raise Broken(f"record {row.id!r} does not say which part of the text it is")
    text = row.text or ""
    return Part(row.meta["start"], row.meta["end"], text, changed=sha(text) != row.meta.get("memhub_sha"))


# --- writing


def shared_meta(state: State, current: Meta, said: State, *, document_id: str, project: str, uuid: UUID) -> Meta:
    """The metadata that every row of a memory gets.

    current, said: the document's metadata now, and the state read from it: what is said as wanted keeps the form
    somebody else gave it.
    """
    meta: Meta = {"document_id": document_id, "memhub_id": str(uuid), "project_name": project}
    for name, key in KEYS.items():
        if name in state:
            meta[key] = current[key] if name in said and said[name] == state[name] else state[name]
    if "kind" in state:
        kept = "kind" in said and said["kind"] == state["kind"]
        types = (_said(current, "doc_type"), _said(current, "artifact_type")) if kept else types_of(state["kind"])
        meta |= dict(zip(("doc_type", "artifact_type"), types, strict=True))
    if "tags" in state:
        meta |= tag_meta(state["tags"], current, said)
    return meta


def tag_meta(tags: list[str], current: Meta, said: State) -> Meta:
    if said.get("tags") == tags and "tags" in current:
        return {key: current[key] for key in ("tags", "tags_list") if key in current}
    return {"tags": ",".join(tags), "tags_list": tags or None}


def applied(meta: Mapping[str, Any], changes: Mapping[str, Any]) -> Meta:
    """Metadata after an update or upsert: merged, None removes."""
    return {key: value for key, value in {**meta, **changes}.items() if value is not None}


def why_not(meta: Mapping[str, Any]) -> str:
    """Why Chroma cannot hold this metadata ('' when it can)."""
    for key, value in meta.items():
        if not key or key.startswith("#") or key == "chroma:document":
            return f"the metadata key {key!r} is reserved"
        values = value if isinstance(value, list) else [value]
        for one in (key, *values):
            reason = unstorable(one) or _bad_number(one)
            if reason:
                return f"the metadata {key!r} {reason}"
    return ""


def _bad_number(value: Any) -> str:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is an integer beyond 64 bits"
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return ""
    return "is not a finite number" if isinstance(value, float) else ""
