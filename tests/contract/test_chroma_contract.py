"""What the local store relies on: facts about a real Chroma server, each by itself."""

from __future__ import annotations

from uuid import uuid4

import pytest
from chromadb.errors import ChromaError, InternalError, InvalidArgumentError, NotFoundError
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction

from tests.original_store import open_server

VECTOR = [0.1] * 384


@pytest.fixture
def rows(chroma_server, collection):
    return open_server(chroma_server).create_collection(collection, embedding_function=None)


def put(rows, id="a", document="x", **metadata):
    rows.upsert(ids=[id], documents=[document], metadatas=[metadata or None], embeddings=[VECTOR])


def metadata(rows, id="a"):
    return rows.get(ids=[id])["metadatas"][0]


@pytest.mark.parametrize("text", ["", " \r\n\ta\u2028\u00a0 ", "a\0b", "\U0001d11e \u00e9", "x" * 200_000])
def test_a_document_comes_back_exactly(rows, text):
    put(rows, document=text, key="value")
    assert rows.get(ids=["a"])["documents"] == [text]


def test_upsert_and_update_merge_metadata(rows):
    put(rows, one="1", two="2")
    put(rows, two="3")
    rows.update(ids=["a"], metadatas=[{"three": "4"}])
    assert metadata(rows) == {"one": "1", "two": "3", "three": "4"}


def test_none_removes_a_key(rows):
    put(rows, one="1", two=["a", "b"], three="3")
    rows.update(ids=["a"], metadatas=[{"one": None, "two": None}])
    assert metadata(rows) == {"three": "3"}


def test_none_for_a_key_that_is_not_there_is_nothing(rows):
    put(rows, one="1", two=None)
    assert metadata(rows) == {"one": "1"}


def test_a_list_keeps_its_order_and_is_replaced_whole(rows):
    put(rows, tags=["b", "a,c"])
    assert metadata(rows)["tags"] == ["b", "a,c"]
    put(rows, tags=["z"])
    assert metadata(rows)["tags"] == ["z"]


def test_an_empty_list_is_refused_before_it_is_sent(rows):
    with pytest.raises(ValueError, match="non-empty"):
        put(rows, tags=[])


def test_add_on_an_id_that_is_there_does_nothing(rows):
    put(rows, document="first")
    rows.add(ids=["a"], documents=["second"], embeddings=[VECTOR])
    assert rows.get(ids=["a"])["documents"] == ["first"]


def test_update_of_a_missing_id_does_nothing(rows):
    rows.update(ids=["nobody"], metadatas=[{"one": "1"}])
    assert rows.get()["ids"] == []


def test_update_of_metadata_keeps_document_and_vector(rows):
    put(rows, document="text", one="1")
    rows.update(ids=["a"], metadatas=[{"one": "2"}])
    found = rows.get(ids=["a"], include=["documents", "embeddings"])
    assert found["documents"] == ["text"]
    assert found["embeddings"][0].tolist() == pytest.approx(VECTOR)


def test_rows_come_in_insertion_order_whatever_was_asked(rows):
    for id in ("c", "a", "b"):
        put(rows, id)
    assert rows.get(ids=["a", "b", "c", "nobody"])["ids"] == ["c", "a", "b"]


def test_not_in_also_finds_rows_without_the_key(rows):
    put(rows, "a", project_name="one")
    put(rows, "b", project_name="two")
    put(rows, "c", other=1)
    assert rows.get(where={"project_name": {"$nin": ["one"]}})["ids"] == ["b", "c"]


def test_in_takes_thousands_of_values_but_not_any_number(rows):
    put(rows, document_id="v7")
    assert rows.get(where={"document_id": {"$in": [f"v{n}" for n in range(5000)]}})["ids"] == ["a"]
    with pytest.raises(InternalError):
        rows.get(where={"document_id": {"$in": [f"v{n}" for n in range(40_000)]}})


@pytest.mark.parametrize("key", ["", "#key"])
def test_some_metadata_keys_are_reserved(rows, key):
    with pytest.raises(InvalidArgumentError):
        rows.upsert(ids=["a"], documents=["x"], metadatas=[{key: "value"}], embeddings=[VECTOR])


@pytest.mark.parametrize(("number", "stored"), [(2**63, float(2**63)), (float("nan"), None), (float("inf"), None)])
def test_some_numbers_do_not_come_back(rows, number, stored):
    put(rows, number=number)
    assert (metadata(rows) or {}).get("number") == stored


def test_one_bad_row_refuses_its_whole_batch(rows):
    with pytest.raises(InvalidArgumentError):
        rows.upsert(ids=["a", "b"], documents=["x", "y"], metadatas=[{"k": 1}, {"#": 1}], embeddings=[VECTOR] * 2)
    assert rows.get()["ids"] == []


def test_a_missing_collection_is_not_found(chroma_server, collection):
    with pytest.raises(NotFoundError):
        open_server(chroma_server).get_collection(collection, embedding_function=None)


def test_a_collection_opened_without_a_function_keeps_the_stored_one(chroma_server, collection):
    client = open_server(chroma_server)
    client.create_collection(collection, embedding_function=DefaultEmbeddingFunction(), metadata={"description": "x"})
    again = client.get_or_create_collection(collection, embedding_function=None, metadata={"description": "other"})
    assert again.metadata == {"description": "x"}
    assert again.configuration_json["embedding_function"]["name"] == "default"


def test_a_collection_made_without_a_function_measures_l2_and_opens_with_the_default_one(chroma_server, collection):
    client = open_server(chroma_server)
    made = client.create_collection(collection, embedding_function=None)
    assert made.configuration_json["hnsw"]["space"] == "l2"
    assert client.get_collection(collection, embedding_function=DefaultEmbeddingFunction()).id == made.id


def test_a_collection_made_again_has_another_id(chroma_server, collection):
    client = open_server(chroma_server)
    first = client.create_collection(collection, embedding_function=None).id
    client.delete_collection(collection)
    assert client.create_collection(collection, embedding_function=None).id != first


def test_a_name_may_not_have_a_space(chroma_server):
    with pytest.raises(ChromaError):
        open_server(chroma_server).create_collection(f"a b {uuid4().hex}", embedding_function=None)


def test_a_vector_of_another_length_is_refused(rows):
    put(rows)
    with pytest.raises(InvalidArgumentError):
        rows.upsert(ids=["b"], documents=["x"], embeddings=[[0.1] * 3])


def test_a_batch_of_more_than_5461_is_refused(rows):
    ids = [str(number) for number in range(5462)]
    with pytest.raises(ValueError, match="5461"):
        rows.upsert(ids=ids, documents=ids, embeddings=[VECTOR] * len(ids))


def test_the_http_client_has_no_timeout_of_its_own(chroma_server):
    assert open_server(chroma_server)._server._session.timeout.read is None


def test_where_takes_one_condition_and_and_takes_two(rows):
    put(rows, one="1", two="2")
    with pytest.raises(ValueError, match="exactly one"):
        rows.get(where={"one": "1", "two": "2"})
    assert rows.get(where={"$and": [{"one": "1"}, {"two": "2"}]})["ids"] == ["a"]
