"""`Look.print` on the real servers: the same while nothing changes, another one after any change."""

from __future__ import annotations

import pytest

from blocks.stores import chroma, prints
from blocks.stores.chroma import ChromaStore
from blocks.stores.letta import LettaStore
from tests.contract.letta import HUB, Server
from tests.contract.writes import made, update
from tests.original_store import cheap_vectors, open_server

VECTOR = [0.1] * 384


@pytest.fixture
def local(chroma_server, collection, monkeypatch):
    monkeypatch.setattr(chroma, "embed", cheap_vectors)
    store = ChromaStore(url=chroma_server, collection=collection, slug="site")
    store.plant()
    for number in range(5):
        made(store, f"text {number} " * 100)
    return store


@pytest.fixture
def letta(letta_server, slug):
    server = Server(letta_server)
    store = LettaStore(url=letta_server, api_key="", slug=slug, hub_id=HUB)
    for number in range(3):
        server.block(label=f"note-{number}", tags=[f"memhub:project:{slug}", "b", "a"], metadata={"x": [1, 2.5, None]})
    return store


@pytest.fixture
def slug(collection):
    return collection


@pytest.mark.parametrize("side", ["local", "letta"])
def test_an_unchanged_side_says_only_that(request, side):
    store = request.getfixturevalue(side)
    look = store.look()
    assert look.print
    for _ in range(5):  # Chroma orders the keys of metadata anew in each answer
        again = store.look(look.print)
        assert (again.snapshots, again.print) == ([], look.print)
        assert again.full().snapshots == look.snapshots
    assert store.look("another").snapshots == look.snapshots


def test_every_change_of_a_record_is_another_print(local, chroma_server):
    rows = open_server(chroma_server).get_collection(local.collection, embedding_function=None)
    seen = [local.look().print]
    one = rows.get(limit=1)["ids"][0]
    rows.update(ids=[one], documents=["another text"], embeddings=[VECTOR])
    seen.append(local.look().print)
    rows.update(ids=[one], metadatas=[{"priority": "high"}])
    seen.append(local.look().print)
    rows.update(ids=[one], metadatas=[{"foreign": ["a", "b"]}])
    seen.append(local.look().print)
    rows.update(ids=[one], metadatas=[{"foreign": ["b", "a"]}])
    seen.append(local.look().print)
    rows.delete(ids=[one])
    seen.append(local.look().print)
    made(local, "a new one")
    seen.append(local.look().print)
    assert len(set(seen)) == len(seen)
    assert all(seen)


def test_every_change_of_a_block_is_another_print(letta, letta_server, slug):
    server = Server(letta_server)
    id = letta.look().snapshots[0].id
    seen = [letta.look().print]
    for fields in (
        {"value": "new"},
        {"tags": [f"memhub:project:{slug}", "a"]},
        {"metadata": {"x": [1, 2.5]}},
        {"limit": 9},
    ):
        server.edit(id, **fields)
        seen.append(letta.look().print)
    server.agent(id)
    seen.append(letta.look().print)
    assert letta.write_digest(slug, "the digest", None) == "written"
    seen.append(letta.look().print)
    server.edit(id, hidden=True)
    seen.append(letta.look().print)
    server.block(label="new", tags=[f"memhub:project:{slug}"])
    seen.append(letta.look().print)
    assert len(set(seen)) == len(seen)
    assert all(seen)


@pytest.mark.parametrize("side", ["local", "letta"])
def test_what_is_too_much_to_keep_is_read_anew(request, side, monkeypatch):
    monkeypatch.setattr(prints, "KEPT", 2)
    store = request.getfixturevalue(side)
    look = store.look()
    assert store.look(look.print).full().snapshots == look.snapshots
    assert store.look("another").snapshots == look.snapshots


def test_a_number_of_more_than_64_bits_has_no_print(letta, letta_server, slug):
    Server(letta_server).block(tags=[f"memhub:project:{slug}"], metadata={"x": 1e308})
    assert letta.look().print
    shown = prints.Print()
    shown.add([2**70])
    assert str(shown) == ""


def test_a_large_collection_is_read_in_parts_and_records_stay_whole(local, monkeypatch):
    """Also those whose chunks lie apart, under ids that do not say whose they are."""
    rows = open_server(local.url).get_collection(local.collection, embedding_function=None)
    for number in range(12):
        metadata = {"document_id": f"scattered-{number % 2}", "chunk_index": number // 2, "project_name": "site"}
        rows.add(ids=[f"row {number}"], documents=[f"part {number}"], metadatas=[metadata], embeddings=[VECTOR])
    whole = {snapshot.id: snapshot for snapshot in local.look().snapshots}
    monkeypatch.setattr("blocks.stores.chroma_rows.ONE_CALL", 4)
    monkeypatch.setattr("blocks.stores.chroma_rows.MANY_IDS", 4)
    parts = ChromaStore(url=local.url, collection=local.collection, slug="site").look()
    assert {snapshot.id: snapshot for snapshot in parts.snapshots} == whole
    assert len(whole) == 7


def test_an_update_is_another_print(local):
    look = local.look()
    (outcome,) = local.write([update(look.snapshots[0], text="another text")])
    assert outcome.status == "done"
    assert local.look(look.print).full is None
