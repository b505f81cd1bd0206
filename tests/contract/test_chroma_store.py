"""ChromaStore against a real Chroma server: what the hub writes comes back exactly, compared before and verified."""

from __future__ import annotations

from uuid import uuid4

import pytest

from blocks.state import complete
from blocks.stores import chroma_rows, chroma_write
from blocks.stores.base import StoreError, Write
from blocks.stores.chroma import ChromaStore
from blocks.stores.chroma_http import AnswerError
from blocks.stores.chroma_records import PRINTED
from tests.contract.writes import LONG, create, do, made, seen, update
from tests.original_store import cheap_vectors, open_server

ORIGINAL_KEYS = {*PRINTED, "document_id", "chunk_index"} - {"label", "description"}


@pytest.fixture
def store(chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="site")
    store.plant()
    return store


@pytest.fixture
def rows(store, chroma_server):
    return open_server(chroma_server).get_collection(store.collection, embedding_function=None)


HARD = {
    "empty": "",
    "blank": " \r\n\t \n",
    "crlf": "one\r\ntwo\rthree\n",
    "blank edges": "\n\n  text  \n\n",
    "astral": "\U0001d11e\U0001f469\u200d\U0001f4bb" * 300,
    "separators": "a\u2028b\u2029c\u0085d\ufeff\u200b" * 200,
    "no space": "x" * 1234,
    "only spaces": " " * 1234,
    "just a chunk": "y" * 500,
    "just more": "y" * 501,
    "200k": "word " * 40_000,
    "repeating": "abc" * 700,
    "controls": "".join(map(chr, range(1, 32))) * 40,
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_a_text_comes_back_exactly(store, text):
    snapshot = made(store, text)
    assert snapshot.state["text"] == text
    assert seen(store) == {snapshot.id: snapshot}
    assert store.get([snapshot.id]) == {snapshot.id: snapshot}


def test_every_field_comes_back(store):
    fields = {
        "label": "release/notes",
        "title": "Über alles",
        "description": "what agents read\nin two lines",
        "kind": "gotcha",
        "tags": ["a, b", "c", "déjà"],
        "source": "git",
        "file_path": "a b/ç.py",
        "client": "Acme",
        "priority": "high",
        "status": "open",
        "created_at": "2025-01-01T10:00:00+02:00",
    }
    snapshot = made(store, LONG, **fields, limit=9, read_only=True)
    assert seen(store)[snapshot.id].state == fields | {"text": LONG}
    assert snapshot.chunks == 5


def test_a_record_of_the_hub_has_the_original_layout(store, rows):
    snapshot = made(store, LONG, kind="fix", tags=["b", "c,d"])
    found = rows.get()
    assert found["ids"] == [f"{snapshot.uuid}_chunk_{index}" for index in range(5)]
    for index, meta in enumerate(found["metadatas"]):
        assert meta.keys() >= ORIGINAL_KEYS
        assert (meta["doc_type"], meta["artifact_type"]) == ("runtime_artifact", "fix")
        assert (meta["chunk_index"], meta["tags"], meta["client_name"]) == (index, "b,c,d", "")
        assert (meta["project_name"], meta["document_id"]) == ("site", str(snapshot.uuid))


def test_many_memories_at_once(store):
    writes = [create(f"text {number} " * number) for number in range(60)]
    outcomes = do(store, *writes)
    assert {outcome.status for outcome in outcomes} == {"done"}
    texts = {snapshot.uuid: snapshot.state["text"] for snapshot in store.look().snapshots}
    assert texts == {write.uuid: write.state["text"] for write in writes}


@pytest.mark.parametrize("text", ["short", LONG + LONG, LONG[:700], "changed " + LONG, LONG + " more", "", LONG])
def test_an_update_comes_back_exactly(store, rows, text):
    snapshot = made(store, LONG, tags=["x"])
    (outcome,) = do(store, update(snapshot, text=text, title="New", tags=[]))
    assert outcome.status == "done"
    assert outcome.snapshot.state == snapshot.state | {"text": text, "title": "New", "tags": []}
    assert seen(store) == {snapshot.id: outcome.snapshot}
    assert "tags_list" not in rows.get()["metadatas"][0]


def test_unchanged_chunks_are_not_embedded_again(store, monkeypatch):
    snapshot = made(store, LONG)
    asked = []

    def embed(texts):
        asked.extend(texts)
        return cheap_vectors(texts)

    monkeypatch.setattr("blocks.stores.chroma.embed", embed)
    do(store, update(snapshot, text=LONG + "!"))
    assert len(asked) == 1
    assert asked[0].endswith("!")


def test_an_update_of_a_title_keeps_the_vectors(store, rows):
    snapshot = made(store, LONG)
    before = rows.get(include=["embeddings"])["embeddings"].tolist()
    do(store, update(snapshot, title="New"))
    assert rows.get(include=["embeddings"])["embeddings"].tolist() == before


def test_compare_before_write(store, rows):
    snapshot = made(store, LONG)
    rows.update(ids=[f"{snapshot.id}_chunk_0"], metadatas=[{"title": "Somebody's"}])
    for op in ("update", "mark", "delete"):
        write = Write(op, snapshot.uuid, snapshot.state | {"title": "Ours"}, id=snapshot.id, expected=snapshot.hash)
        (outcome,) = do(store, write)
        assert outcome.status == "changed"
        assert outcome.snapshot.state["title"] == "Somebody's"
    assert seen(store)[snapshot.id].state["title"] == "Somebody's"


def test_an_edit_while_the_vectors_are_made_is_seen(store, rows, monkeypatch):
    snapshot = made(store, LONG)

    def embed(texts):
        rows.update(ids=[f"{snapshot.id}_chunk_0"], metadatas=[{"title": "Meanwhile"}])
        return cheap_vectors(texts)

    monkeypatch.setattr("blocks.stores.chroma.embed", embed)
    (outcome,) = do(store, update(snapshot, text="Ours"))
    assert outcome.status == "changed"
    assert outcome.snapshot.state["title"] == "Meanwhile"


def test_without_an_expectation_nothing_is_compared(store):
    snapshot = made(store)
    (outcome,) = do(store, Write("update", snapshot.uuid, {"text": "New"}, id=snapshot.id))
    assert outcome.snapshot.state == snapshot.state | {"text": "New"}


def test_what_is_gone_is_gone(store):
    snapshot = made(store)
    writes = [Write(op, snapshot.uuid, snapshot.state, id="nobody") for op in ("update", "mark", "delete")]
    assert [outcome.status for outcome in do(store, *writes)] == ["gone"] * 3
    assert store.get(["nobody", snapshot.id]) == {"nobody": None, snapshot.id: snapshot}


def test_a_delete_takes_every_chunk_and_keeps_what_brings_it_back(store, rows):
    snapshot = made(store, LONG)
    rows.update(ids=[f"{snapshot.id}_chunk_{n}" for n in range(5)], metadatas=[{"team": "blue", "n": 3}] * 5)
    (outcome,) = do(store, Write("delete", snapshot.uuid, id=snapshot.id, expected=snapshot.hash))
    assert outcome.status == "done"
    assert rows.get()["ids"] == []
    assert outcome.keep["foreign"] == {"team": "blue", "n": 3}
    restore = Write("create", snapshot.uuid, snapshot.state, id=outcome.keep["document_id"], keep=outcome.keep)
    (again,) = do(store, restore)
    assert (again.snapshot.state, again.snapshot.keep) == (snapshot.state, outcome.keep)
    assert rows.get()["metadatas"][4]["team"] == "blue"


def test_a_create_that_came_through_after_all_is_adopted(store, rows):
    write = create(LONG)
    first, second = do(store, write)[0], do(store, write)[0]
    assert (second.status, second.snapshot) == ("done", first.snapshot)
    assert len(rows.get()["ids"]) == 5


def test_a_create_that_broke_off_is_finished(store, rows):
    write = create(LONG)
    do(store, write)
    rows.delete(ids=[f"{write.uuid}_chunk_3"])
    (outcome,) = do(store, write)
    assert outcome.status == "done"
    assert seen(store)[str(write.uuid)].state["text"] == LONG


def test_a_create_does_not_overwrite_what_has_that_id(store):
    taken = made(store)
    (outcome,) = do(store, Write("create", uuid4(), complete({"text": "Ours"}), id=taken.id))
    assert (outcome.status, outcome.snapshot) == ("changed", taken)
    assert seen(store) == {taken.id: taken}


def test_two_writes_to_one_memory_in_one_go(store):
    snapshot = made(store)
    first = update(snapshot, text="One")
    second = Write("update", snapshot.uuid, {"text": "Two"}, id=snapshot.id)
    assert [outcome.status for outcome in do(store, first, second)] == ["done", "done"]
    assert seen(store)[snapshot.id].state["text"] == "Two"


def test_find_by_mark_and_mark_again(store):
    snapshot, nobody, other = made(store, LONG), uuid4(), uuid4()
    assert store.find([snapshot.uuid, nobody]) == {snapshot.uuid: [snapshot], nobody: []}
    (outcome,) = do(store, Write("mark", other, {}, id=snapshot.id, expected=snapshot.hash))
    assert (outcome.snapshot.uuid, outcome.snapshot.state) == (other, snapshot.state)
    assert store.find([snapshot.uuid, other]) == {snapshot.uuid: [], other: [outcome.snapshot]}


BAD = {
    "NUL in text": {"text": "a\0b"},
    "NUL in title": {"title": "\0"},
    "surrogate": {"description": "\ud800"},
    "NUL in tag": {"tags": ["a\0"]},
    "too long": {"description": "x" * 10_000_000},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_what_cannot_be_stored_is_refused_and_the_rest_goes_on(store, fields):
    writes = [create("one"), create(**fields), create("three")]
    outcomes = {outcome.write.uuid: outcome for outcome in do(store, *writes)}
    assert [outcomes[write.uuid].status for write in writes] == ["done", "refused", "done"]
    assert outcomes[writes[1].uuid].error


def test_an_item_only_the_server_minds_is_found_among_many(store, monkeypatch):
    monkeypatch.setattr(chroma_write.records, "why_not", lambda meta: "")
    bad = Write("create", uuid4(), complete({"text": "bad"}), keep={"foreign": {"#": "reserved"}})
    writes = [create(f"text {number}") for number in range(20)]
    writes.insert(13, bad)
    outcomes = do(store, *writes)
    assert [outcome.write.uuid for outcome in outcomes if outcome.status == "refused"] == [bad.uuid]
    assert [outcome.status for outcome in outcomes].count("done") == 20
    assert len(store.look().snapshots) == 20


def test_what_is_refused_after_a_part_of_it_was_taken_is_unclear(store, monkeypatch):
    snapshot = made(store, LONG)

    def refuse(self, rows):
        raise AnswerError(400, b'{"error": "InvalidArgumentError", "message": "no"}')

    monkeypatch.setattr(chroma_rows.Rows, "update", refuse)
    (meant, other) = do(store, update(snapshot, text=f"{LONG} and more"), create("another"))
    assert (meant.status, meant.error) == ("unclear", "Chroma answered 400: no")
    assert other.status == "unclear"  # its own calls were sent together with those


def test_a_write_that_is_not_seen_afterwards_is_unclear(store, monkeypatch):
    snapshot = made(store)
    monkeypatch.setattr(chroma_rows.Rows, "update", lambda self, rows: list(rows))
    (outcome,) = do(store, update(snapshot, title="New"))
    assert outcome.status == "unclear"


def test_a_connection_that_breaks_while_writing_leaves_it_unclear(store, monkeypatch):
    snapshot = made(store, LONG)

    def broken(self, ids):
        raise StoreError("the connection broke", kind="refused")

    monkeypatch.setattr(chroma_rows.Rows, "delete", broken)
    outcomes = do(store, update(snapshot, text="Short"), create("other"))
    assert {outcome.status for outcome in outcomes} == {"unclear"}
    monkeypatch.undo()
    assert "torn" in seen(store)[snapshot.id].problem
    (outcome,) = do(store, Write("update", snapshot.uuid, snapshot.state | {"text": "Short"}, id=snapshot.id))
    assert outcome.status == "done"
    assert seen(store)[snapshot.id] == outcome.snapshot


def test_a_server_error_for_all_is_unclear_for_each(store, monkeypatch):
    def failing(self, rows):
        raise AnswerError(500, b"")

    monkeypatch.setattr(chroma_rows.Rows, "upsert", failing)
    assert [outcome.status for outcome in do(store, create(), create(), create())] == ["unclear"] * 3


def test_small_calls_read_and_write_the_same(chroma_server, collection):
    """As under Chroma Cloud's quota, only smaller."""
    store = ChromaStore(url=chroma_server, collection=collection, slug="site")
    store.most = 4
    store.plant()
    writes = [create(LONG, title=str(number)) for number in range(3)]
    assert {outcome.status for outcome in do(store, *writes)} == {"done"}
    assert [snapshot.state["text"] for snapshot in store.look().snapshots] == [LONG] * 3
    (outcome,) = do(store, Write("update", writes[1].uuid, {"text": "Short"}, id=str(writes[1].uuid)))
    assert store.get([str(writes[1].uuid)])[str(writes[1].uuid)] == outcome.snapshot


def test_a_memory_larger_than_one_request(store, monkeypatch):
    monkeypatch.setattr(chroma_rows, "MAX_BYTES", 10_000)
    snapshot = made(store, LONG)
    assert seen(store) == {snapshot.id: snapshot}
