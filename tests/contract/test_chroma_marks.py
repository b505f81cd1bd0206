"""Marks on records that were read a moment ago, on a real Chroma server: planted without reading them again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from blocks.stores import chroma, chroma_write
from blocks.stores.base import Write
from blocks.stores.chroma import ChromaStore
from blocks.stores.chroma_rows import Rows
from tests.contract.writes import do, seen
from tests.original_store import cheap_vectors, fill, memories, open_server


@pytest.fixture
def rows(chroma_server: str, collection: str) -> Any:
    """20 memories of the original engine, some of several rows."""
    return fill(open_server(chroma_server), memories(20, ["site"]), collection)


@pytest.fixture(params=[0, 2_000], ids=["folded", "whole"])
def store(
    chroma_server: str, collection: str, rows: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> ChromaStore:
    """Its looks show snapshots as those of a large collection do, and as those of a small one."""
    monkeypatch.setattr(chroma, "WHOLE", request.param)
    return ChromaStore(url=chroma_server, collection=collection, slug="site")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was read in full."""
    asked: list[object] = []
    real = Rows.matching

    def matching(self: Rows, where: Any) -> Any:
        asked.append(where)
        return real(self, where)

    monkeypatch.setattr(Rows, "matching", matching)
    return asked


def marks(store: ChromaStore, *ids: str) -> list[Write]:
    found = seen(store)
    chosen = [found[id] for id in ids or found]
    more = {"label": "l", "description": "d"}
    return [Write("mark", uuid4(), {**one.state, **more}, one.id, one.hash, one) for one in chosen]


def longest(rows: Any) -> tuple[str, list[str]]:
    """The document with the most rows, and their ids in order."""
    found = rows.get(include=["metadatas"])
    by_document: dict[str, list[str]] = {}
    for id, meta in sorted(zip(found["ids"], found["metadatas"], strict=True), key=lambda row: row[1]["chunk_index"]):
        by_document.setdefault(meta["document_id"], []).append(id)
    return max(by_document.items(), key=lambda pair: len(pair[1]))


def test_they_are_as_those_on_what_is_read_again(store: ChromaStore, rows: Any, read: list[object]) -> None:
    before = rows.get(include=["documents", "metadatas"])
    quick = marks(store)
    outcomes = do(store, *quick)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert not read
    after = rows.get(include=["documents", "metadatas"])
    assert after["documents"] == before["documents"]
    by_quick = {outcome.write.id: outcome.snapshot for outcome in outcomes}
    assert seen(store) == by_quick
    again = [Write("mark", write.uuid, write.state, write.id) for write in quick]
    assert {outcome.status for outcome in do(store, *again)} == {"done"}
    assert rows.get(include=["metadatas"])["metadatas"] == after["metadatas"], "nothing was left to be said"


def test_what_somebody_changes_afterwards_in_any_chunk_wins(store: ChromaStore, rows: Any) -> None:
    """The mark has what tells the changed chunk from the others."""
    id, ids = longest(rows)
    do(store, *marks(store, id))
    rows.update(ids=ids[-1:], metadatas=[{"title": "Changed in the last chunk"}])
    assert seen(store)[id].state["title"] == "Changed in the last chunk"


def test_a_text_written_after_the_look_stays_and_is_seen(store: ChromaStore, rows: Any) -> None:
    id, ids = longest(rows)
    (mark,) = marks(store, id)
    rows.update(ids=ids[:1], documents=["somebody's words"], embeddings=cheap_vectors(["x"]))
    (outcome,) = do(store, mark)
    assert outcome.status == "done"
    now = seen(store)[id]
    assert (now.uuid, now.state["text"][:16]) == (mark.uuid, "somebody's words")
    assert outcome.snapshot is not None
    assert now.hash != outcome.snapshot.hash, "so that the next look takes it in"


@pytest.mark.parametrize("gone", [slice(None), slice(1, 2)])
def test_rows_that_are_gone_are_missed(store: ChromaStore, rows: Any, gone: slice) -> None:
    id, ids = longest(rows)
    (mark,) = marks(store, id)
    rows.delete(ids=ids[gone])
    (outcome,) = do(store, mark)
    assert outcome.status == "unclear"


def test_what_was_read_too_long_ago_is_read_again(
    store: ChromaStore, rows: Any, read: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    id, ids = longest(rows)
    (mark,) = marks(store, id)
    rows.update(ids=ids[:1], documents=["somebody's words"], embeddings=cheap_vectors(["x"]))
    monkeypatch.setattr(chroma_write, "FRESH", 0.0)
    (outcome,) = do(store, mark)
    assert outcome.status == "changed"
    assert read


def test_a_record_with_another_hubs_mark_is_compared_first(store: ChromaStore, rows: Any, read: list[object]) -> None:
    id, ids = longest(rows)
    rows.update(ids=ids, metadatas=[{"memhub_id": str(uuid4())} for _ in ids])
    (outcome,) = do(store, *marks(store, id))
    assert outcome.status == "done"
    assert read
