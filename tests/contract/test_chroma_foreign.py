"""ChromaStore and records that somebody else wrote or changed, on a real Chroma server."""

from __future__ import annotations

from uuid import uuid4

import pytest

from blocks.state import complete, kind_of
from blocks.stores.base import Write
from blocks.stores.chroma import ChromaStore
from blocks.stores.chunks import split
from tests.contract.writes import LONG, do, made, seen, update
from tests.original_store import PROJECTS, fill, memories, open_server

VECTOR = [0.1] * 384


@pytest.fixture
def client(chroma_server):
    return open_server(chroma_server)


@pytest.fixture
def store(chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="site")
    store.plant()
    return store


@pytest.fixture
def rows(store, client):
    return client.get_collection(store.collection, embedding_function=None)


@pytest.fixture
def originals(client, collection):
    """80 memories of the original engine, by id."""
    items = memories(80)
    fill(client, items, collection)
    return {item.id: item for item in items}


def put(rows, id, document, **metadata):
    rows.upsert(ids=[id], documents=[document], metadatas=[metadata], embeddings=[VECTOR])


def change(rows, id, document=None, **metadata):
    rows.update(
        ids=[id],
        documents=[document] if document else None,
        metadatas=[metadata] if metadata else None,
        embeddings=[VECTOR],
    )


# --- the original layout


def test_the_original_layout_reads_exactly(originals, chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="any", local_project="*")
    found = seen(store)
    assert found.keys() == originals.keys()
    for id, item in originals.items():
        meta, state = item.metadata, found[id].state
        assert state["text"] == item.text
        assert state["kind"] == kind_of(meta["doc_type"], meta["artifact_type"])
        assert state["tags"] == [tag for tag in meta["tags"].split(",") if tag]
        assert (state["title"], state["client"]) == (meta["title"], meta["client_name"])
        assert not {"label", "description"} & state.keys()


def test_one_project_is_read_and_the_rest_is_out_of_scope(originals, chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="my-site", local_project="website")
    mine = {id for id, item in originals.items() if item.metadata["project_name"] == "website"}
    assert seen(store).keys() == mine
    other = next(id for id in originals if id not in mine)
    snapshot = store.get([other])[other]
    assert snapshot is not None
    assert (snapshot.in_scope, snapshot.project) == (False, originals[other].metadata["project_name"])


def test_everything_but_what_others_claim(originals, chroma_server, collection):
    store = ChromaStore(
        url=chroma_server, collection=collection, slug="any", local_project="*", claimed=frozenset({"website"})
    )
    assert {snapshot.project for snapshot in store.look().snapshots} == set(PROJECTS) - {"website"}
    assert made(store).project == "any"


def test_records_of_no_project_are_offered_and_adopted(originals, chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="planner", claimed=frozenset({"website"}))
    others = store.others()
    assert {snapshot.project for snapshot in others} == {"monitoring", "agents"}
    store.adopt(others[0].id)
    assert seen(store)[others[0].id].state == others[0].state


def test_marks_leave_the_text_and_the_chunks_alone(originals, client, chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="planner")
    rows = client.get_collection(collection, embedding_function=None)
    before, stored = seen(store), rows.get()
    marks = [
        Write("mark", uuid4(), snapshot.state | {"label": "l", "description": "d"}, id=id, expected=snapshot.hash)
        for id, snapshot in before.items()
    ]
    assert {outcome.status for outcome in do(store, *marks)} == {"done"}
    after = seen(store)
    for write in marks:
        assert after[write.id].uuid == write.uuid
        assert after[write.id].state == before[write.id].state | {"label": "l", "description": "d"}
        assert after[write.id].keep == before[write.id].keep
    now = rows.get()
    assert (now["ids"], now["documents"]) == (stored["ids"], stored["documents"])
    for old, new in zip(stored["metadatas"], now["metadatas"], strict=True):
        assert new.items() >= old.items()


def test_metadata_changed_on_any_chunk_of_a_marked_original_wins(originals, client, chroma_server, collection):
    store = ChromaStore(url=chroma_server, collection=collection, slug="planner")
    rows = client.get_collection(collection, embedding_function=None)
    before = next(s for s in store.look().snapshots if s.chunks > 2)
    mark = Write("mark", uuid4(), before.state | {"label": "l"}, id=before.id, expected=before.hash)
    (outcome,) = do(store, mark)
    change(rows, f"{before.id}_chunk_2", status="changed there")
    assert seen(store)[before.id].state == outcome.snapshot.state | {"status": "changed there"}
    (outcome,) = do(store, Write("mark", mark.uuid, before.state | {"description": "d"}, id=before.id))
    assert outcome.snapshot.state["status"] == "changed there"
    assert seen(store)[before.id].state["status"] == "changed there"


def test_a_mark_does_not_overwrite_what_is_said(store, rows):
    put(rows, "d_chunk_0", "text", document_id="d", project_name="site", title="Theirs", chunk_index=0)
    (outcome,) = do(store, Write("mark", uuid4(), complete({"title": "Ours", "text": "Ours"}), id="d"))
    assert (outcome.snapshot.state["title"], outcome.snapshot.state["text"]) == ("Theirs", "text")


@pytest.mark.parametrize("text", [None, "Short", LONG + LONG])
def test_an_update_keeps_foreign_metadata_on_every_chunk(originals, client, chroma_server, collection, text):
    store = ChromaStore(url=chroma_server, collection=collection, slug="planner")
    snapshot = next(s for s in store.look().snapshots if s.chunks > 3)
    state = complete(snapshot.state) | {"title": "New", "text": text or snapshot.state["text"]}
    write = Write("update", uuid4(), state, id=snapshot.id, expected=snapshot.hash)
    (outcome,) = do(store, write)
    assert outcome.status == "done"
    assert outcome.snapshot.state == {name: state[name] for name in store.fields}
    assert seen(store)[snapshot.id] == outcome.snapshot
    assert outcome.snapshot.keep == snapshot.keep
    rows = client.get_collection(collection, embedding_function=None).get(where={"document_id": snapshot.id})
    assert all(meta.items() >= snapshot.keep["foreign"].items() for meta in rows["metadatas"])


def test_a_kind_in_another_form_keeps_its_form(store, rows):
    put(rows, "d", "text", project_name="site", doc_type="error", artifact_type="", priority=5)
    (snapshot,) = store.look().snapshots
    assert (snapshot.state["kind"], snapshot.state["priority"]) == ("error", "5")
    do(store, Write("update", uuid4(), snapshot.state | {"text": "New"}, id=snapshot.id))
    meta = rows.get()["metadatas"][0]
    assert (meta["doc_type"], meta["priority"]) == ("error", 5)


# --- somebody else's edits of the hub's records


def test_an_edited_chunk_replaces_its_part(store, rows):
    snapshot = made(store, LONG)
    old = rows.get(ids=[f"{snapshot.id}_chunk_1"])["documents"][0]
    change(rows, f"{snapshot.id}_chunk_1", old.replace("word80", "EIGHTY"))
    assert seen(store)[snapshot.id].state["text"] == LONG.replace("word80", "EIGHTY")


def test_an_edited_chunk_wins_over_its_neighbours_and_is_updated_exactly(store, rows):
    snapshot, chunk = made(store, LONG), split(LONG)[1]
    change(rows, f"{snapshot.id}_chunk_1", "EDITED")
    edited = seen(store)[snapshot.id]
    assert edited.state["text"] == LONG[: chunk.start] + "EDITED" + LONG[chunk.end :]
    (outcome,) = do(store, update(edited, title="New"))
    assert outcome.snapshot.state == edited.state | {"title": "New"}
    assert seen(store) == {snapshot.id: outcome.snapshot}


def test_metadata_changed_on_one_chunk_wins(store, rows):
    snapshot = made(store, LONG, tags=["a,b", "c"])
    change(rows, f"{snapshot.id}_chunk_3", title="Theirs")
    change(rows, f"{snapshot.id}_chunk_0", status="open")
    change(rows, f"{snapshot.id}_chunk_4", tags="x,y")
    assert seen(store)[snapshot.id].state == snapshot.state | {
        "title": "Theirs",
        "status": "open",
        "tags": ["x", "y"],
    }


def test_a_tag_with_a_comma_survives_until_somebody_changes_the_tags(store, rows):
    snapshot = made(store, "text", tags=["a,b", "c"])
    assert seen(store)[snapshot.id].state["tags"] == ["a,b", "c"]
    change(rows, f"{snapshot.id}_chunk_0", tags="a,b,c,d")
    assert seen(store)[snapshot.id].state["tags"] == ["a", "b", "c", "d"]


def test_another_project_name_is_out_of_scope_and_not_gone(store, rows):
    snapshot = made(store)
    change(rows, f"{snapshot.id}_chunk_0", project_name="elsewhere")
    assert seen(store) == {}
    found = store.get([snapshot.id])[snapshot.id]
    assert (found.in_scope, found.project, found.state) == (False, "elsewhere", snapshot.state)


# --- what cannot be read


def test_differing_write_ids_are_torn(store, rows):
    snapshot = made(store, LONG)
    change(rows, f"{snapshot.id}_chunk_2", write_id="other")
    torn = seen(store)[snapshot.id]
    assert "torn" in torn.problem
    assert (torn.state, torn.uuid) == ({}, snapshot.uuid)


def test_a_missing_chunk_is_torn(store, rows):
    snapshot = made(store, LONG)
    rows.delete(ids=[f"{snapshot.id}_chunk_4"])
    assert "4 of 5" in seen(store)[snapshot.id].problem


def test_a_missing_chunk_of_another_program_is_a_problem(store, rows):
    for index in (0, 2):
        put(rows, f"d_chunk_{index}", f"part {index}", document_id="d", project_name="site", chunk_index=index)
    assert seen(store)["d"].problem == "chunk 1 is missing"


@pytest.mark.parametrize("metadata", [{"title": "a\0"}, {"team": "a\0"}, {"title": ["a"]}, {"list": ["a\0"]}])
def test_unreadable_metadata_is_a_problem_of_its_item_alone(store, rows, metadata):
    put(rows, "bad", "text", project_name="site", **metadata)
    good = made(store)
    found = seen(store)
    assert found["bad"].problem
    assert found["bad"].state == {}
    assert found[good.id] == good


def test_a_nul_in_the_text_and_a_missing_text_are_problems(store, rows):
    put(rows, "nul", "a\0b", project_name="site")
    rows.upsert(ids=["none"], metadatas=[{"project_name": "site"}], embeddings=[VECTOR])
    found = seen(store)
    assert "NUL" in found["nul"].problem
    assert "no text" in found["none"].problem


def test_an_unreadable_item_is_not_marked(store, rows):
    put(rows, "nul", "a\0b", project_name="site")
    (outcome,) = do(store, Write("mark", uuid4(), complete({}), id="nul"))
    assert outcome.status == "changed"


def test_a_nul_in_an_id_is_reported_and_left_alone(store, rows):
    put(rows, "a\0b", "text", project_name="site")
    look = store.look()
    assert look.snapshots == []
    assert "NUL" in look.problems[0]


# --- records that say less


def test_records_without_a_document_id_go_by_their_ids(store, rows):
    put(rows, "loose", "alone", project_name="site")
    put(rows, "pair_chunk_1", "second", project_name="site")
    put(rows, "pair_chunk_0", "first ", project_name="site")
    found = seen(store)
    assert {id: snapshot.state["text"] for id, snapshot in found.items()} == {"loose": "alone", "pair": "first second"}
    assert store.get(["loose", "pair", "nobody"]) == found | {"nobody": None}


def test_records_without_a_document_id_are_marked_and_deleted(store, rows):
    put(rows, "pair_chunk_0", "first ", project_name="site")
    put(rows, "pair_chunk_1", "second", project_name="site")
    uuid = uuid4()
    (marked,) = do(store, Write("mark", uuid, {"label": "l"}, id="pair"))
    assert store.find([uuid]) == {uuid: [marked.snapshot]}
    do(store, Write("delete", uuid, id="pair"))
    assert rows.get()["ids"] == []


def test_a_record_without_metadata_belongs_to_everything(chroma_server, collection, store, rows):
    rows.upsert(ids=["bare"], documents=["text"], embeddings=[VECTOR])
    assert seen(store) == {}
    everything = ChromaStore(url=chroma_server, collection=collection, slug="any", local_project="*")
    assert seen(everything)["bare"].state == {"text": "text"}
