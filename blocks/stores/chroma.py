"""A local store: the memories of one project in a collection of a Chroma server, in the original engine's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from blocks.state import FIELDS, unstorable
from blocks.stores.base import WHOLE, Look, Outcome, Probe, Snapshot, StoreError, Write
from blocks.stores.chroma_http import CLOUD, AnswerError, connect, errors, place
from blocks.stores.chroma_records import Document, document_id, documents, presumed, snapshot_of
from blocks.stores.chroma_rows import CLOUD_QUOTA, Row, Rows, Where, batched
from blocks.stores.chroma_write import Writer
from blocks.stores.embeddings import embed
from blocks.stores.prints import Kept, Print

if TYPE_CHECKING:
    from chromadb.api import ServerAPI
    from chromadb.api.models.Collection import Collection
    from chromadb.types import Collection as CollectionModel

T = TypeVar("T")
Ours = Callable[[Sequence[str]], Iterable[str]]
ALL = "*"
ASKED = 500  # documents asked for in one condition
OVER = 4  # rows asked for to get a document: some have several, some are of other projects
DESCRIPTION = "Project management documents and context"  # as the original engine describes its collection
STAMPS = "memory_hub_state"  # a collection beside: a number in another one's metadata could change its settings
STAMPS_ARE = "By these numbers Memory Hub knows an older copy of this server. Without them every sync stops and asks."
NOBODY = frozenset[str]()


class ChromaStore:
    """One project's side of a Chroma collection.

    local_project: the project_name of its records; '' is the slug, '*' all records but those of `claimed`, the
    project_names of other projects. timeout: seconds for one call. Thread-safe as far as httpx is.
    """

    side = "local"
    threaded = True
    fields = frozenset(FIELDS) - {"limit", "read_only"}

    def __init__(
        self,
        *,
        url: str,
        slug: str,
        api_key: str = "",
        tenant: str = "default_tenant",
        database: str = "default_database",
        collection: str = "project_memory",
        local_project: str = "",
        timeout: float = 15.0,
        claimed: frozenset[str] = NOBODY,
    ) -> None:
        self.url, self.api_key, self.timeout = url, api_key, timeout
        self.tenant, self.database, self.collection = tenant, database, collection
        self.everything = local_project == ALL
        self.project = slug if self.everything else local_project or slug
        self.claimed = claimed - {self.project}
        self.most = CLOUD_QUOTA if CLOUD in url else None
        self._rows: Rows | None = None

    # --- the connection

    @property
    def _server(self) -> ServerAPI:
        return connect(self.url, self.api_key, self.timeout)

    def probe(self) -> Probe:
        try:
            shown = place(self.url)
            version = self._version()
            self._check_database()
            holds = self._holds()
        except StoreError as error:
            kind = error.kind if error.kind in HELP else "other"
            return Probe(kind, f"Not connected: {error}.", self.help_for(kind))  # type: ignore[arg-type]
        return Probe("ok", f"Connected to Chroma {version} at {shown}: {holds}.", version=version)

    def help_for(self, kind: str) -> str:
        return HELP.get(kind, HELP["other"])

    def _version(self) -> str:
        with errors():
            version: object = self._server.get_version()
        if not isinstance(version, str):
            raise StoreError("what answered is not a Chroma server", permanent=True, kind="not_a_server")
        return version

    def _holds(self) -> str:
        rows = self._find_rows()
        if rows is None:
            return f"the collection {self.collection} is not there yet and will be made"
        return f"the collection {self.collection} holds {rows.count()} records"

    def _check_database(self) -> None:
        try:
            with errors():
                self._server.get_database(self.database, tenant=self.tenant)
        except AnswerError as error:
            if error.status == 404 and error.kind == "other":
                message = f"there is no database {self.database!r} of the tenant {self.tenant!r}"
                raise StoreError(message, permanent=True) from error
            raise

    def identify(self, known: str) -> str:
        rows = self._find_rows()
        return str(rows.collection.id) if rows else ""

    def plant(self) -> str:
        with errors():
            model = self._server.get_or_create_collection(
                self.collection, metadata={"description": DESCRIPTION}, tenant=self.tenant, database=self.database
            )
        return str(self._open(model).collection.id)

    def read_stamp(self, key: str) -> int:
        try:
            with errors():
                model = self._server.get_collection(STAMPS, tenant=self.tenant, database=self.database)
        except AnswerError as error:
            if error.status != 404:
                raise
            self._check_database()
            return 0
        id = self._stamp_id(key)
        number = Rows(self._collection(model), self.most).metas([id]).get(id, {}).get("number")
        return number if isinstance(number, int) else 0

    def write_stamp(self, key: str, number: int) -> None:
        with errors():
            model = self._server.get_or_create_collection(
                STAMPS, metadata={"description": STAMPS_ARE}, tenant=self.tenant, database=self.database
            )
        row = Row(self._stamp_id(key), STAMPS_ARE, {"number": number}, [0.0])
        Rows(self._collection(model), self.most).upsert([row])
        if self.read_stamp(key) != number:  # what is not there would show an older copy
            raise StoreError("Chroma did not keep the hub's number.")

    def _stamp_id(self, key: str) -> str:
        return f"{key}:{self._need_rows().collection.id}"

    def _find_rows(self) -> Rows | None:
        """The collection as it is there now, looked up anew; None if there is none."""
        self._rows = None
        try:
            with errors():
                model = self._server.get_collection(self.collection, tenant=self.tenant, database=self.database)
        except AnswerError as error:
            if error.status != 404:
                raise
            self._check_database()  # else the 404 says nothing about the collection
            return None
        return self._open(model)

    def _open(self, model: CollectionModel) -> Rows:
        self._rows = Rows(self._collection(model), self.most)
        return self._rows

    def _collection(self, model: CollectionModel) -> Collection:
        from chromadb.api.models.Collection import Collection

        return Collection(client=self._server, model=model, embedding_function=None)

    def rows_for_import(self, *, create: bool) -> Rows | None:
        """The collection's rows, to put records into as they are; None where there is none and `create` is False."""
        rows = self._find_rows()
        if rows is None and create:
            self.plant()
            rows = self._rows
        return rows

    def _need_rows(self) -> Rows:
        rows = self._rows or self._find_rows()
        if rows is None:
            raise StoreError(f"the collection {self.collection} is not there")
        return rows

    # --- reading

    def look(self, known: str = "") -> Look:
        rows = self._find_rows()
        if rows is None:
            return Look([])
        shown, pages, read = Print(), Kept[Row](), Reading(rows, self._documents)
        for page in rows.pages(self._scope(), presumed):
            shown.add([[row.id, row.text, row.meta] for row in page])
            if known:
                pages.add(page)
            else:
                read.take(page)
        if not known:
            return read.look(str(shown))
        look = partial(self._again, pages, read, str(shown))
        return Look([], print=str(shown), full=look) if str(shown) == known else look()

    def _again(self, pages: Kept[Row], read: Reading, shown: str) -> Look:
        """A look at what was kept of one; anew where that was too much to keep."""
        if pages.dropped:
            return self.look()
        read.take(pages.items)
        return read.look(shown)

    def _scope(self) -> Where | None:
        if not self.everything:
            return {"project_name": self.project}
        return {"project_name": {"$nin": sorted(self.claimed)}} if self.claimed else None

    def _in_scope(self, document: Document) -> bool:
        name = document.meta.get("project_name")
        return name not in self.claimed if self.everything else name == self.project

    def _snapshot(self, document: Document) -> Snapshot:
        return snapshot_of(document, self._in_scope(document))

    def get(self, ids: Sequence[str]) -> dict[str, Snapshot | None]:
        rows = self._rows or self._find_rows()
        found = self._documents(rows, list(ids), True) if rows else {}
        return {id: self._snapshot(found[id]) if id in found else None for id in ids}

    def _documents(self, rows: Rows, ids: list[str], prove: bool) -> dict[str, Document]:
        """Documents by id. prove: also look for records that do not say their document_id, by all the ids."""
        found: dict[str, Document] = {}
        for some in batched(ids, ASKED):
            found |= documents(rows.matching({"document_id": {"$in": some}}))
        missing = set(ids) - found.keys() if prove else set()
        if missing:
            unsaid = [id for id in rows.ids() if presumed(id) in missing or id in missing]
            found |= {id: document for id, document in documents(rows.of(unsaid)).items() if id in missing}
        return found

    def find(self, uuids: Sequence[UUID]) -> dict[UUID, list[Snapshot]]:
        result: dict[UUID, list[Snapshot]] = {uuid: [] for uuid in uuids}
        rows = self._rows or self._find_rows()
        if rows is None:
            return result
        marked: dict[str, Document] = {}
        for some in batched([str(uuid) for uuid in uuids], ASKED):
            marked |= documents(rows.matching({"memhub_id": {"$in": some}}))
        for document in self._documents(rows, list(marked), True).values():  # with its rows that lack the mark
            snapshot = self._snapshot(document)
            if snapshot.uuid in result:
                result[snapshot.uuid].append(snapshot)
        return result

    def others(self) -> list[Snapshot]:
        rows = self._find_rows()
        if rows is None or self.everything:
            return []
        where = {"project_name": {"$nin": sorted({self.project} | self.claimed)}}
        return [snapshot_of(document, in_scope=False) for document in documents(rows.matching(where)).values()]

    def nearest(self, vector: list[float], count: int, ours: Ours | None = None) -> dict[str, float]:
        """The `count` documents in scope nearest in meaning, nearest first, each with its cosine similarity.

        ours: those of some documents that are known to be in scope; the others are looked at.
        """
        return self._ask(lambda rows: self._nearest(rows, vector, count, ours or (lambda ids: ()))) or {}

    def _nearest(self, rows: Rows, vector: list[float], count: int, ours: Ours) -> dict[str, float]:
        """Without a condition first: Chroma looks through all rows for one, which takes ten times as long; where most
        of the nearest are others' documents, with it."""
        asked, where = OVER * count, None
        while True:
            near = rows.nearest(vector, asked, where)
            best = self._best(rows, near, count, ours)
            if len(best) >= count or len(near) < asked or asked >= rows.one_call:
                return dict(list(best.items())[:count])
            if where is None and (where := self._scope()):
                continue
            asked = min(OVER * asked, rows.one_call)

    def _best(self, rows: Rows, near: Sequence[tuple[str, float]], count: int, ours: Ours) -> dict[str, float]:
        """At least the first `count` documents in scope, of rows that are given nearest first. Of rows that by their
        ids are one document's only the nearest counts."""
        first: dict[str, tuple[str, float]] = {}
        for id, similarity in near:
            first.setdefault(presumed(id), (id, similarity))
        known, best = set(ours(list(first))), dict[str, float]()
        for some in batched(list(first), count):
            metas = rows.metas([first[document][0] for document in some if document not in known])
            for document in some:
                id, similarity = first[document]
                found = [(Row(id, None, metas[id]), similarity)] if id in metas else []
                seen = {document: similarity} if document in known else self._similar(found)
                best |= {one: similarity for one in seen if one not in best}
            if len(best) >= count:
                break
        return best

    def _similar(self, near: Iterable[tuple[Row, float]]) -> dict[str, float]:
        """The similarity of each document in scope: that of its nearest row."""
        best: dict[str, float] = {}
        for row, similarity in near:
            if self._in_scope(Document(document_id(row), [row], row.meta)):
                best.setdefault(document_id(row), similarity)
        return best

    def similarities(self, vector: list[float], ids: Sequence[str]) -> dict[str, float]:
        """The cosine similarity of documents, as far as they are there: that of the nearest of each one's rows."""
        where: Where = {"document_id": {"$in": list(ids)}}
        near = self._ask(lambda rows: rows.similar(vector, where)) if ids else None
        return self._similar(sorted(near or (), key=lambda pair: -pair[1]))

    def _ask(self, call: Callable[[Rows], T]) -> T | None:
        """Ask the collection as it is known, and once more where it was made anew since; None if there is none."""
        if self._rows:
            try:
                return call(self._rows)
            except AnswerError as error:
                if error.status != 404:
                    raise
        rows = self._find_rows()
        return call(rows) if rows else None

    # --- writing

    def write(self, writes: Iterable[Write]) -> Iterator[Outcome]:
        rows = self._need_rows()
        writer = Writer(
            rows=rows,
            read=lambda ids, prove: self._documents(rows, ids, prove),
            snapshot=self._snapshot,
            embed=embed,
            fields=self.fields,
            project=self.project,
            any_project=self.everything,
        )
        return writer.write(writes)

    def adopt(self, id: str) -> None:
        rows = self._need_rows()
        document = self._documents(rows, [id], True).get(id)
        if document is None:
            raise StoreError(f"the document {id!r} is not there", permanent=True)
        for row in document.rows:
            row.meta = {"project_name": self.project}
        rows.update(document.rows)

    def agents_at_work(self, ids: Sequence[str]) -> dict[str, str]:
        return {}

    def agent_turn(self, id: str, begun_by: datetime, going_on_at: datetime) -> str:
        return ""


class Reading:
    """Rows on their way to be snapshots, page by page: those of a large collection are not held all at once."""

    def __init__(self, rows: Rows, read: Callable[[Rows, list[str], bool], dict[str, Document]]) -> None:
        self.rows, self.read = rows, read
        self.snapshots: dict[str, Snapshot] = {}
        self.scattered: set[str] = set()  # documents with rows on more than one page

    def take(self, page: list[Row]) -> None:
        for id, document in documents(page).items():
            if id in self.snapshots:
                self.scattered.add(id)
            snapshot = snapshot_of(document)
            self.snapshots[id] = snapshot if len(self.snapshots) < WHOLE else snapshot.folded()

    def look(self, shown: str) -> Look:
        """All that was taken. shown: its print."""
        if self.scattered:
            again = self.read(self.rows, sorted(self.scattered), True)
            self.snapshots |= {id: snapshot_of(document) for id, document in again.items()}
        problems = [
            f"the document {id!r} is left alone: its id {reason}" for id in self.snapshots if (reason := unstorable(id))
        ]
        found = [snapshot for id, snapshot in self.snapshots.items() if not unstorable(id)]
        return Look(found, problems=problems, print=shown)


HELP = {
    "refused": "Start the Chroma server, or correct the address: host, port, and http or https.",
    "unauthorized": "Enter an API key that may use this tenant and database.",
    "not_a_server": "Something else answers there: correct the port, and leave out any path behind it.",
    "other": "Check the tenant, the database and the collection name, then look at the server's log.",
}
