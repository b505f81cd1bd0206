"""Writing memories to a collection: batches that compare right before they write, and verify right after.

A memory is several rows, and nothing makes several calls one: every row carries the write_id and chunk_count of its
write, new rows come first and surplus ones go last, so a write that breaks off leaves a document that says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from blocks.state import State, complete, unstorable
from blocks.stores import chroma_records as records
from blocks.stores import deadline
from blocks.stores.base import Outcome, Snapshot, StoreError, Write
from blocks.stores.chroma_http import AnswerError, Unsendable
from blocks.stores.chroma_records import Document, Meta, Unmarked
from blocks.stores.chroma_rows import Row, Rows, meta_length
from blocks.stores.chunks import split

MOST_WRITES = 500  # of one batch
MOST_TEXT = 100_000  # characters of one batch: about two seconds of embedding
MOST_META = 9_000_000  # characters: a row has to fit into one request
FRESH = 5.0  # seconds after which documents are compared again: this process was stopped, or its machine slept
TOO_LATE = 45.0  # seconds after which nothing more of a write is sent; somebody else has its lease after 90
COMPARISONS = 3  # at most: a server that is slow is written to all the same
GIVE_UP_AFTER = 3  # single writes in a row that the server failed at: it minds none of them, it is full or ill
NO_SERVER = ("refused", "not_a_server")  # every other write would fail too, each after a timeout perhaps

Embed = Callable[[list[str]], list[list[float]]]
Read = Callable[[list[str], bool], dict[str, Document]]


@dataclass
class Step:
    """What one write does to the rows, and what the document is afterwards (None: not there)."""

    write: Write
    after: Document | None = None
    upserts: list[Row] = field(default_factory=list)
    updates: list[Row] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    keep: dict[str, Any] = field(default_factory=dict)
    shown: Snapshot | None = None  # the item afterwards, where it is known without its rows


@dataclass
class Writer:
    """read(ids, prove): documents by id (`prove`: a missing one is proven absent). project: for what the hub makes."""

    rows: Rows
    read: Read
    snapshot: Callable[[Document], Snapshot]
    embed: Embed
    fields: frozenset[str]
    project: str
    any_project: bool
    failures: int = 0  # single writes in a row that the server failed at
    away: StoreError | None = None  # why nothing more is tried
    compared: float = 0.0  # when the documents of the batch were asked for

    def write(self, writes: Iterable[Write]) -> Iterator[Outcome]:
        for batch in batches(writes):
            sound: list[Write] = []
            marks: list[Write] = []
            for write in batch:
                reason = self._why_refused(write)
                if reason:
                    yield Outcome(write, "refused", error=reason)
                else:
                    (marks if was_just_read(write) else sound).append(write)
            yield from self._carry_out(marks, self._mark_quickly)
            yield from self._carry_out(sound, self._batch)

    def _carry_out(self, writes: list[Write], how: Callable[[list[Write]], Iterator[Outcome]]) -> Iterator[Outcome]:
        if self.away:
            yield from (Outcome(write, "unclear", error=str(self.away)) for write in writes)
        elif writes:
            yield from how(writes)

    def _why_refused(self, write: Write) -> str:
        for name, value in write.state.items():
            for one in value if isinstance(value, list) else [value]:
                if name in self.fields and (reason := unstorable(one)):
                    return f"{name} {reason}"
        meta = {key: value for key, value in write.state.items() if key != "text"}
        if meta_length(meta) > MOST_META:
            return "the fields besides the text are too long for a record"
        return unstorable(write.id) or records.why_not(write.keep.get("foreign", {}))

    def _mark_quickly(self, writes: list[Write]) -> Iterator[Outcome]:
        """Marks of what nobody has marked, on what was read a moment ago: a mark only adds what nobody says there."""
        self.compared = time.time()
        yield from self._execute([self._quick_mark(write, write.seen.unfolded()) for write in writes if write.seen], {})

    def _quick_mark(self, write: Write, seen: Snapshot) -> Step:
        known: Unmarked = seen.raw
        unsaid = {name: value for name, value in self._fields_of(write.state).items() if name not in seen.state}
        changes = self._shared(write, None, None, unsaid)
        del changes["project_name"]
        if known.named:
            del changes["document_id"]
        pairs = zip(known.ids, known.prints, strict=True)
        rows = [Row(id, None, changes | {"memhub_meta": records.patched(old, changes)}) for id, old in pairs]
        after = replace(seen, uuid=write.uuid, state={**seen.state, **unsaid}, raw=None)
        return Step(write, Document(seen.id, rows), updates=rows, shown=after)

    def _batch(self, writes: list[Write]) -> Iterator[Outcome]:
        vectors = self._vectors(writes)
        for _ in range(COMPARISONS):
            self.compared = time.time()
            planned = [self._plan(write, document) for write, document in self._documents(writes)]
            steps = [one for one in planned if isinstance(one, Step)]
            self._embed(steps, vectors)  # only what changed since the vectors were made
            if self._age() < FRESH:
                break
        yield from (one for one in planned if isinstance(one, Outcome))
        yield from self._execute(steps, vectors)

    def _age(self) -> float:
        """Seconds since what is about to be written was compared with what is there."""
        return abs(time.time() - self.compared)

    def _documents(self, writes: list[Write]) -> Iterator[tuple[Write, Document | None]]:
        ids = [target(write) for write in writes]
        found = self.read(ids, any(write.op != "create" or write.id for write in writes))
        return zip(writes, map(found.get, ids), strict=True)

    def _vectors(self, writes: list[Write]) -> dict[str, list[float]]:
        """The vectors of the chunks that will be new, made before the comparison: it takes a while."""
        vectors: dict[str, list[float]] = {}
        creates = [write for write in writes if write.op == "create"]
        updates = [write for write in writes if write.op == "update"]
        steps = [self._rewrite(write, None) for write in creates]
        if updates:
            planned = [self._plan(write, document) for write, document in self._documents(updates)]
            steps += [step for step in planned if isinstance(step, Step)]
        self._embed(steps, vectors)
        return vectors

    def _embed(self, steps: list[Step], vectors: dict[str, list[float]]) -> None:
        texts = list({row.text or "" for step in steps for row in step.upserts} - vectors.keys())
        vectors.update(zip(texts, self.embed(texts), strict=True))

    # --- one write to a step, or to what keeps it from being one

    def _plan(self, write: Write, document: Document | None) -> Step | Outcome:
        now = self.snapshot(document) if document else None
        if write.op == "create":
            return self._create(write, document, now)
        if document is None or now is None:
            return Outcome(write, "gone")
        if write.expected not in (None, now.hash) or (write.op == "mark" and now.problem):
            return Outcome(write, "changed", now)
        if write.op == "delete":
            return Step(write, deletes=[row.id for row in document.rows], keep=now.keep)
        if write.op == "mark":
            return self._mark(write, document, now)
        if not document.own and not now.problem and write.state.get("text", now.state["text"]) == now.state["text"]:
            return self._update_meta(write, document, now)
        return self._rewrite(write, document, now)

    def _create(self, write: Write, document: Document | None, now: Snapshot | None) -> Step | Outcome:
        """Something may be there already: what an earlier try of the same create left, or somebody else's."""
        if document is None or now is None:
            return self._rewrite(write, None)
        if now.uuid == write.uuid and now.problem:
            return self._rewrite(write, document, now)
        same = now.uuid == write.uuid and now.state == self._fields_of(complete(write.state))
        return Outcome(write, "done" if same else "changed", now)

    def _fields_of(self, state: State) -> State:
        return {name: value for name, value in state.items() if name in self.fields}

    def _mark(self, write: Write, document: Document, now: Snapshot) -> Step:
        unsaid = {name: value for name, value in self._fields_of(write.state).items() if name not in now.state}
        unsaid.pop("text", None)
        changes = self._shared(write, document, now, unsaid)
        del changes["project_name"]
        return merging(write, document, changes)

    def _update_meta(self, write: Write, document: Document, now: Snapshot) -> Step:
        """Another program's record whose text stays: its chunks do as well."""
        return merging(write, document, self._shared(write, document, now, self._fields_of(write.state)))

    def _shared(self, write: Write, document: Document | None, now: Snapshot | None, state: State) -> Meta:
        return records.shared_meta(
            state,
            document.meta if document else {},
            now.state if now else {},
            document_id=document.id if document else target(write),
            project=self._project(write, now),
            uuid=write.uuid,
        )

    def _project(self, write: Write, now: Snapshot | None) -> str:
        if now is not None:
            return now.project or self.project
        return str((self.any_project and write.keep.get("project_name")) or self.project)

    def _rewrite(self, write: Write, document: Document | None, now: Snapshot | None = None) -> Step:
        """The document as the hub writes it: a row for each exact slice, those with the right text kept."""
        said = now.state if now else {}
        state = self._fields_of(complete(write.state) if document is None else {**said, **write.state})
        shared = self._shared(write, document, now, state)
        chunks = split(state.get("text", ""))
        shared |= {"write_id": uuid4().hex, "chunk_count": len(chunks), "memhub_meta": records.prints(shared)}
        foreign = records.foreign(document.meta) if document else write.keep.get("foreign", {})
        old = {row.id: row for row in document.rows} if document else {}
        step = Step(write, Document(shared["document_id"], []))
        ids = row_ids(shared["document_id"], list(old), len(chunks))
        for index, (id, chunk) in enumerate(zip(ids, chunks, strict=True)):
            own = {"chunk_index": index, "start": chunk.start, "end": chunk.end, "memhub_sha": records.sha(chunk.text)}
            add(step, old.get(id), Row(id, chunk.text, shared | own), foreign)
        step.deletes = [id for id in old if id not in {row.id for row in written(step).rows}]
        written(step).meta = records.merged(written(step).rows)
        return step

    # --- the calls

    def _execute(self, steps: list[Step], vectors: dict[str, list[float]], begun: bool = False) -> Iterator[Outcome]:
        """The steps, all at once; if the server does not take them, in halves, to find the one it minds.

        begun: some of their calls were taken already. What is refused then may be half there: that is unclear.
        """
        if not steps:
            return
        if self.away:
            yield from (Outcome(step.write, "unclear", error=str(self.away)) for step in steps)
            return
        taken = self.rows.taken
        try:
            self._send(steps, vectors)
        except StoreError as error:
            if error.kind == "unauthorized":
                raise
            begun = begun or self.rows.taken > taken
            if error.kind in NO_SERVER or self.failures >= GIVE_UP_AFTER:
                self.away = error
            elif len(steps) > 1 and isinstance(error, (AnswerError, Unsendable)):
                middle = len(steps) // 2
                yield from self._execute(steps[:middle], vectors, begun)
                yield from self._execute(steps[middle:], vectors, begun)
                return
            self.failures += not error.permanent
            status = "refused" if error.permanent and not self.away and not begun else "unclear"
            yield from (Outcome(step.write, status, error=str(error)) for step in steps)  # type: ignore[arg-type]
            return
        self.failures = 0
        quick = [step for step in steps if step.shown]
        yield from self._verified_marks(quick) if quick else self._verified(steps)

    def _send(self, steps: list[Step], vectors: dict[str, list[float]]) -> None:
        upserts = [row for step in steps for row in step.upserts]
        for row in upserts:
            row.vector = vectors[row.text or ""]
        with deadline.sent_by(self.compared + TOO_LATE):  # later, the rows may be another write's
            self.rows.upsert(upserts)
            self.rows.update(row for step in steps for row in step.updates)
            self.rows.delete([id for step in steps for id in step.deletes])

    def _verified_marks(self, steps: list[Step]) -> Iterator[Outcome]:
        """Look which rows carry the marks just written: an update of a missing row says nothing."""
        try:
            found = set(self.rows.ids({"memhub_id": {"$in": [str(step.write.uuid) for step in steps]}}))
        except StoreError as error:
            yield from (Outcome(step.write, "unclear", error=str(error)) for step in steps)
            return
        for step in steps:
            if all(row.id in found for row in written(step).rows):
                yield Outcome(step.write, "done", step.shown)
            else:
                yield Outcome(step.write, "unclear", error="it was deleted, or somebody else marked it, meanwhile")

    def _verified(self, steps: list[Step]) -> Iterator[Outcome]:
        """Read back that the rows are there and ours, and the rest is gone: an update of a missing row says nothing."""
        ids = [row.id for step in steps if step.after for row in step.after.rows]
        try:
            found = self.rows.metas(ids + [id for step in steps for id in step.deletes])
        except StoreError as error:
            yield from (Outcome(step.write, "unclear", error=str(error)) for step in steps)
            return
        for step in steps:
            rows = step.after.rows if step.after else []
            if not all(ours(row, found.get(row.id, {})) for row in rows):
                yield Outcome(step.write, "unclear", error="somebody else wrote it at the same time")
            elif any(id in found for id in step.deletes):
                yield Outcome(step.write, "unclear", error="Chroma still shows what it said it had deleted")
            elif step.after is None:
                yield Outcome(step.write, "done", keep=step.keep)
            else:
                yield Outcome(step.write, "done", self.snapshot(step.after))


def target(write: Write) -> str:
    """The document_id a write is about."""
    return write.id or str(write.uuid)


def was_just_read(write: Write) -> bool:
    """Whether it marks what is known well enough not to be read once more."""
    seen = write.seen if write.op == "mark" else None
    known = seen.raw if seen and isinstance(seen.raw, Unmarked) else None
    return bool(seen and known and write.expected == seen.hash and abs(time.time() - known.read_at) < FRESH)


def batches(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """The writes in batches that are not too long and name no document twice."""
    batch: dict[str, Write] = {}
    length = 0
    for write in writes:
        size = len(write.state.get("text", "")) if write.op in ("create", "update") else 0
        if batch and (target(write) in batch or len(batch) >= MOST_WRITES or length + size > MOST_TEXT):
            yield list(batch.values())
            batch, length = {}, 0
        batch[target(write)] = write
        length += size
    if batch:
        yield list(batch.values())


def row_ids(document_id: str, old: list[str], count: int) -> list[str]:
    """The ids of `count` rows: those that are there, then new ones of the original engine's form."""
    made = (f"{document_id}_chunk_{index}" for index in range(len(old) + count))
    fresh = (id for id in made if id not in old)
    return old[:count] + [next(fresh) for _ in range(count - len(old))]


def add(step: Step, old: Row | None, row: Row, foreign: Meta) -> None:
    """Put a row of a rewritten document into its step."""
    if old is None:
        row.meta = {**foreign, **row.meta}
        step.upserts.append(row)
    elif old.text == row.text:
        step.updates.append(row)
    else:
        step.upserts.append(row)
    written(step).rows.append(Row(row.id, row.text, records.applied(old.meta if old else {}, row.meta)))


def merging(write: Write, document: Document, changes: Meta) -> Step:
    """Metadata merged into every row of a document, each with the prints that tell when somebody changes one."""
    updates = [Row(row.id, None, changes | records.reprinted(row.meta, changes)) for row in document.rows]
    pairs = zip(document.rows, updates, strict=True)
    rows = [Row(row.id, row.text, records.applied(row.meta, update.meta)) for row, update in pairs]
    return Step(write, Document(document.id, rows, records.merged(rows)), updates=updates)


def written(step: Step) -> Document:
    if step.after is None:
        raise ValueError("a delete leaves no document")
    return step.after


def ours(row: Row, found: Meta) -> bool:
    """Whether a row read back still carries the marks just written."""
    return all(found.get(key) == row.meta.get(key) for key in ("memhub_id", "write_id"))
