"""ChromaStore and its server: the test of a connection, identity, outages, search."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from blocks.stores.base import StoreError
from blocks.stores.chroma import ChromaStore
from blocks.stores.embeddings import embed
from tests.contract.writes import create, do, made
from tests.original_store import open_server


@pytest.fixture
def answering():
    """Start a web server that answers everything in one way; returns its address."""
    servers = []

    def start(status, body=b"", **headers):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def probe(url, **options):
    return ChromaStore(url=url, slug="site", timeout=2, **options).probe()


def test_a_server_that_answers(chroma_server, collection):
    first = probe(chroma_server, collection=collection)
    assert (first.kind, first.help) == ("ok", "")
    assert first.version
    assert "will be made" in first.message
    store = ChromaStore(url=chroma_server + "/", slug="site", collection=collection)
    store.plant()
    made(store)
    assert "holds 1 records" in store.probe().message


def test_nothing_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        answer = probe(f"http://127.0.0.1:{free.getsockname()[1]}")
    assert answer.kind == "refused"
    assert "nothing listens" in answer.message
    assert answer.help


def test_no_such_host():
    answer = probe("http://nobody.invalid:8001")
    assert (answer.kind, "no host" in answer.message) == ("refused", True)


def test_no_answer_in_time():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = ChromaStore(url=f"http://127.0.0.1:{silent.getsockname()[1]}", slug="site", timeout=0.2)
        answer = store.probe()
    assert (answer.kind, "in time" in answer.message) == ("refused", True)


@pytest.mark.parametrize("url", ["localhost:8001", "ftp://localhost", "http://", "", "http://[::1"])
def test_no_address(url):
    assert probe(url).kind == "refused"


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(answering, status):
    answer = probe(answering(status, b'{"error":"AuthError","message":"no"}'), api_key="wrong-key")
    assert answer.kind == "unauthorized"
    assert "wrong-key" not in answer.message + answer.help


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>Hello</html>"), (404, b"<html>no</html>"), (200, b"{}"), (200, b"\xff")]
)
def test_something_else_answers(answering, status, body):
    assert probe(answering(status, body)).kind == "not_a_server"


def test_a_redirect_is_not_followed(answering):
    assert probe(answering(302, Location="http://example.org/")).kind == "not_a_server"


def test_a_database_that_is_not_there(chroma_server):
    answer = probe(chroma_server, database="nowhere")
    assert (answer.kind, "'nowhere'" in answer.message) == ("other", True)
    with pytest.raises(StoreError):
        ChromaStore(url=chroma_server, slug="site", database="nowhere").identify("")


def test_a_missing_collection_is_empty_and_is_planted(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    assert store.identify("") == ""
    assert (store.look().snapshots, store.look().complete) == ([], True)
    with pytest.raises(StoreError):
        do(store, create())
    identity = store.plant()
    assert store.identify("") == store.plant() == identity


def test_a_collection_made_again_has_another_identity(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    first = store.plant()
    made(store)
    open_server(chroma_server).delete_collection(collection)
    assert store.identify(first) == ""
    assert store.plant() != first


def test_a_collection_that_vanished_is_an_error_and_not_an_absence(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    store.plant()
    id = made(store).id
    open_server(chroma_server).delete_collection(collection)
    with pytest.raises(StoreError):
        store.get([id])


def test_an_answer_that_is_no_chromas_is_never_an_empty_store(answering):
    store = ChromaStore(url=answering(404, b"not here"), slug="site", timeout=2)
    for call in (store.look, lambda: store.identify(""), lambda: store.get(["a"])):
        with pytest.raises(StoreError):
            call()


def test_a_server_that_stops_and_comes_back(fresh_chroma_server):
    store = ChromaStore(url=fresh_chroma_server.url, slug="site", timeout=2)
    identity = store.plant()
    snapshot = made(store)
    fresh_chroma_server.stop()
    for call in (store.look, lambda: store.get([snapshot.id]), lambda: do(store, create())):
        with pytest.raises(StoreError) as caught:
            call()
        assert (caught.value.permanent, caught.value.kind) == (False, "refused")
    assert store.probe().kind == "refused"
    fresh_chroma_server.start()
    assert store.identify(identity) == identity
    assert store.look().snapshots == [snapshot]


def test_search_by_meaning(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    (vector,) = embed(["a kitten naps on a couch"])
    assert store.nearest(vector, 3) == {}
    store.plant()
    texts = ["The cat sleeps on the sofa. " * 60, "The invoice is overdue.", "Deploy on Tuesdays only."]
    ids = [made(store, text).id for text in texts]
    elsewhere = ChromaStore(url=chroma_server, slug="other", collection=collection)
    theirs = made(elsewhere, "A kitten naps on a couch").id
    found = store.nearest(vector, 2)
    assert next(iter(found)) == ids[0]
    assert len(found) == 2
    best, second = found.values()
    assert 1 > best > second
    assert set(store.nearest(vector, 10)) == set(ids)
    assert elsewhere.nearest(vector, 1) == {theirs: pytest.approx(1, abs=0.01)}


def test_the_similarity_of_some_documents(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    (vector,) = embed(["a kitten naps on a couch"])
    store.plant()
    ids = [made(store, text).id for text in ("The cat sleeps on the sofa. " * 60, "The invoice is overdue.")]
    similar = store.similarities(vector, [*ids, "nowhere"])
    assert set(similar) == set(ids)
    assert similar == pytest.approx(store.nearest(vector, 2), abs=0.001)


def test_few_of_many_neighbours_are_ours(chroma_server, collection):
    """Others' documents lie nearer than all of ours: ours are found all the same."""
    elsewhere = ChromaStore(url=chroma_server, slug="other", collection=collection)
    elsewhere.plant()
    for number in range(12):
        made(elsewhere, f"A kitten naps on a couch {number}")
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    ids = [made(store, text).id for text in ("The invoice is overdue.", "Deploy on Tuesdays only.")]
    assert set(store.nearest(embed(["a kitten naps on a couch"])[0], 2)) == set(ids)


def test_a_collection_made_anew_is_found(chroma_server, collection):
    store = ChromaStore(url=chroma_server, slug="site", collection=collection)
    store.plant()
    made(store, "The invoice is overdue.")
    (vector,) = embed(["payment"])
    assert len(store.nearest(vector, 1)) == 1
    open_server(chroma_server).delete_collection(collection)
    assert store.nearest(vector, 1) == {}
    again = ChromaStore(url=chroma_server, slug="site", collection=collection)
    again.plant()
    made(again, "The invoice is due.")
    assert len(store.nearest(vector, 1)) == 1
