"""The rows of one collection, read and written in as few calls as the server's limits allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from blocks.stores.chroma_http import GarbageError, errors

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

Where = dict[str, Any]

ONE_CALL = 10_000  # rows read in one call; more than 32,766 fail
MANY_IDS = 2_000  # ids asked for, or rows written, in one call
AT_ONCE = 1_000  # rows of a large collection that are held unread
CLOUD_QUOTA = 300  # records in one call, for all of them
MAX_BYTES = 12_000_000  # of a request as estimated; a body of more than about 40 MB fails


@dataclass(slots=True)
class Row:
    """One record as stored. text is None where a record has no document."""

    id: str
    text: str | None
    meta: dict[str, Any]
    vector: list[float] | None = field(default=None, repr=False)


class Rows:
    """Reads and writes the rows of a collection. `most`: how many the server takes in one call (None: no quota)."""

    def __init__(self, collection: Collection, most: int | None = None) -> None:
        self.collection = collection
        self.one_call = most or ONE_CALL
        self.many_ids = most or MANY_IDS
        self.page = most
        self.taken = 0  # calls that the server took and that write

    def matching(self, where: Where | None) -> list[Row]:
        """All rows that match."""
        return [row for page in self.pages(where) for row in page]

    def pages(self, where: Where | None, group: Callable[[str], str] = str) -> Iterator[list[Row]]:
        """All rows that match: in one call where they are few enough, else by their ids, those of a group (by id)
        together; a listing by pages would skip rows when others are deleted meanwhile."""
        ids = self.ids(where) if self.count() > self.one_call else []
        if len(ids) > self.one_call:
            groups: dict[str, list[str]] = {}
            for id in ids:
                groups.setdefault(group(id), []).append(id)
            for some in packed(groups.values(), min(AT_ONCE, self.many_ids)):
                yield self.of(some)
        else:
            yield self._get(where=where)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all rows that match. Under a quota by pages, twice, since rows may go meanwhile."""
        if self.page is None:
            return self._list(where)
        return list(dict.fromkeys(id for _ in range(2) for id in self._paged(where, self.page)))

    def _list(self, where: Where | None, limit: int | None = None, offset: int | None = None) -> list[str]:
        with errors():
            return texts(self._ask(where=where, limit=limit, offset=offset, include=[])["ids"])

    def _paged(self, where: Where | None, page: int) -> Iterator[str]:
        offset = 0
        while ids := self._list(where, page, offset):
            yield from ids
            offset += page

    def of(self, ids: Sequence[str]) -> list[Row]:
        """The rows with these ids, as far as there are any."""
        return [row for some in batched(ids, self.many_ids) for row in self._get(ids=some)]

    def metas(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The metadata of these ids, as far as they exist."""
        found: dict[str, dict[str, Any]] = {}
        for some in batched(ids, self.many_ids):
            with errors():
                answer = self.collection.get(ids=some, include=["metadatas"])
                pairs = zip(texts(answer["ids"]), answer["metadatas"] or [], strict=True)
                found |= {id: dict(meta or {}) for id, meta in pairs}
        return found

    def count(self) -> int:
        """How many rows the collection has."""
        with errors():
            count: object = self.collection.count()
        if type(count) is not int:
            raise GarbageError
        return count

    def _get(self, ids: list[str] | None = None, where: Where | None = None) -> list[Row]:
        with errors():
            answer = self._ask(ids=ids, where=where, include=["documents", "metadatas"])
            columns = zip(answer["ids"], answer["documents"] or [], answer["metadatas"] or [], strict=True)
            return [row_of(*values) for values in columns]

    def _ask(self, **body: Any) -> Any:
        """What `Collection.get` asks, at half the cost: without its search of every value for sparse vectors, without
        a copy of the answer in Unicode, and without a response that keeps it."""
        of = self.collection
        client: Any = of._client
        path = f"/tenants/{of.tenant}/databases/{of.database}/collections/{of.id}/get"
        asked = orjson.dumps(body)
        with client._session.stream("POST", client._api_url + quote(path), content=asked) as response:
            return orjson.loads(b"".join(response.iter_bytes()))

    def upsert(self, rows: Iterable[Row]) -> None:
        """Store text, vector and metadata. Metadata is merged into what is there; None removes a key."""
        for some in self._packed(rows):
            with errors():
                self.collection.upsert(
                    ids=[row.id for row in some],
                    documents=[row.text or "" for row in some],
                    metadatas=[row.meta for row in some],
                    embeddings=[row.vector for row in some],  # type: ignore[arg-type]
                )
            self.taken += 1

    def update(self, rows: Iterable[Row]) -> None:
        """Merge metadata into rows that are there; silently nothing for one that is not."""
        for some in self._packed(rows):
            with errors():
                self.collection.update(ids=[row.id for row in some], metadatas=[row.meta for row in some])
            self.taken += 1

    def delete(self, ids: Sequence[str]) -> None:
        for some in batched(ids, self.many_ids):
            with errors():
                self.collection.delete(ids=some)
            self.taken += 1

    def nearest(self, vector: list[float], count: int, where: Where | None) -> list[tuple[str, float]]:
        """The ids of the `count` nearest rows and their cosine similarities, nearest first.

        Without their metadata: Chroma takes five times as long to find that too.
        """
        with errors():
            answer = self.collection.query(
                query_embeddings=[vector],  # type: ignore[arg-type]
                n_results=min(count, self.one_call),
                where=where,
                include=["distances"],
            )
            found, distances = texts(answer["ids"][0]), (answer["distances"] or [[]])[0]
            return [(id, self._similarity(far)) for id, far in zip(found, distances, strict=True)]

    def _similarity(self, distance: float) -> float:
        """Of two vectors of length 1, whose squared distance is twice one less their cosine."""
        return 1 - distance / 2 if self._space == "l2" else 1 - distance

    @cached_property
    def _space(self) -> str:
        """How the collection measures distances: l2 (squared; Chroma's default), cosine or ip."""
        settings: Any = self.collection.configuration_json or {}
        return str((settings.get("hnsw") or settings.get("spann") or {}).get("space") or "l2")

    def similar(self, vector: list[float], where: Where) -> list[tuple[Row, float]]:
        """All rows that match (without their texts) and their cosine similarities, in any order."""
        import numpy

        with errors():
            answer = self.collection.get(where=where, include=["metadatas", "embeddings"])
            vectors = numpy.asarray(answer["embeddings"], dtype=numpy.float32).reshape(-1, len(vector))
            lengths = numpy.linalg.norm(vectors, axis=1) * numpy.linalg.norm(vector)
            cosines = vectors @ numpy.asarray(vector, dtype=numpy.float32) / numpy.where(lengths == 0, 1, lengths)
            columns = zip(answer["ids"], answer["metadatas"] or [], cosines.tolist(), strict=True)
            return [(row_of(id, None, meta), cosine) for id, meta, cosine in columns]

    def _packed(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        batch: list[Row] = []
        size = 0
        for row in rows:
            size += estimate(row)
            if batch and (size > MAX_BYTES or len(batch) >= self.many_ids):
                yield batch
                batch, size = [], estimate(row)
            batch.append(row)
        if batch:
            yield batch


def row_of(id: Any, text: Any, meta: Any) -> Row:
    """A row as the server tells it. Raises `GarbageError` where that cannot be one."""
    if type(id) is not str or not isinstance(text, str | None) or not isinstance(meta, dict | None):
        raise GarbageError
    return Row(id, text, meta or {})


def texts(values: Any) -> list[str]:
    """A list of ids as the server tells it. Raises `GarbageError` where that is none."""
    if not isinstance(values, list) or not all(type(value) is str for value in values):
        raise GarbageError
    return values


def estimate(row: Row) -> int:
    """About the bytes a row takes in a request: a vector is 2 kB as base64, a character 4 bytes at most in UTF-8."""
    return (2_100 if row.vector else 0) + 4 * (len(row.id) + len(row.text or "") + meta_length(row.meta)) + 100


def meta_length(meta: Mapping[str, Any]) -> int:
    return sum(len(key) + (len(value) if isinstance(value, str) else len(str(value))) for key, value in meta.items())


def packed(groups: Iterable[list[str]], size: int) -> Iterator[list[str]]:
    """The groups put together to lists of at most `size`; a longer one stays by itself."""
    batch: list[str] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = batch + group
    if batch:
        yield batch


def batched(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """The items in lists of at most `size` (itertools.batched came with Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
