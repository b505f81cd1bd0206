"""A store that is down, slow, full, or answers garbage, in front of real servers: at every place where it is asked.

MEMORYHUB_FAULTS=2 (or more) goes through every garbage at every place, so many times; else some of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from blocks.models import Memory
from tests.servers.chroma import ChromaServer
from tests.servers.faulty import Answer, Faulty, Rule
from tests.servers.letta_faithful import faithful_letta
from tests.syncjobs.scene import Scene

pytestmark = pytest.mark.contract

ROUNDS = int(os.environ.get("MEMORYHUB_FAULTS", 0))
PAGE = b"<!doctype html><html><body><h1>Welcome</h1><p>Sign in to go on.</p></body></html>"

GARBAGE = {
    "a page": Answer(200, PAGE, "text/html"),
    "a page that says it is JSON": Answer(200, PAGE),
    "a page not found": Answer(404, PAGE, "text/html"),
    "another API's not found": Answer(404, b'{"detail":"Not Found"}'),
    "a way to a login": Answer(302, b"", "text/html", headers={"Location": "/login"}),
    "bad gateway": Answer(502, PAGE, "text/html"),
    "unprocessable": Answer(422, PAGE, "text/html"),
    "null": Answer(200, b"null"),
    "a number": Answer(200, b"7"),
    "an object": Answer(200, b"{}"),
    "another object": Answer(200, b'{"id": "block-1", "ids": 5, "documents": "x", "metadatas": {}, "deleted": "no"}'),
    "no items": Answer(200, b"[]"),
    "strange items": Answer(200, b'[1, "x", {}, null, {"id": 5}]'),
    "halves": Answer(200, b'{"ids": ["a", "b"], "documents": ["x"], "metadatas": [{"a": 1}], "include": []}'),
    "cut off": Answer(200, b'{"ids": ["a", "b"], "docu', cut=20),
    "half a JSON": Answer(200, b'{"ids": ["a", "b"], "docu'),
    "nothing at all": Answer(200, b"", cut=0),
}

LETTA = {
    "all": ("", ""),
    "list": ("GET", "/v1/blocks/?"),
    "one": ("GET", "/v1/blocks/block-"),
    "make": ("POST", "/v1/blocks/"),
    "change": ("PATCH", "/v1/blocks/"),
    "remove": ("DELETE", "/v1/blocks/"),
    "agents": ("GET", "/v1/agents/"),
    "runs": ("GET", "/v1/runs/"),
    "digest": ("GET", "memhub%3Adigest"),
    "mark": ("GET", "memhub%3Amemory"),
}
CHROMA = {
    "all": ("", ""),
    "collection": ("GET", "/collections/{name}"),
    "count": ("GET", "/count"),
    "read": ("POST", "/get"),
    "store": ("POST", "/upsert"),
    "change": ("POST", "/update"),
    "remove": ("POST", "/delete"),
    "limits": ("GET", "/pre-flight-checks"),
}
PLACES = [*(("letta", name) for name in LETTA), *(("chroma", name) for name in CHROMA)]


@pytest.fixture(autouse=True)
def nothing_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """These servers answer before the next run, or not at all."""
    monkeypatch.setattr("syncjobs.recover.UNDER_WAY", 0.0)


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, db: None, chroma_server: str, collection: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """With a real Chroma server; with a real Letta server too where everything there goes through the bad answers."""
    monkeypatch.setattr("syncjobs.run.time.sleep", lambda seconds: None)
    with ExitStack() as stack:
        if getattr(request.node, "callspec", None) and request.node.callspec.params == {
            "server": "letta",
            "place": "all",
        }:
            letta_url = request.getfixturevalue("letta_server")
        else:
            letta_url, _ = stack.enter_context(faithful_letta())
        letta, chroma = (stack.enter_context(Faulty(url)) for url in (letta_url, chroma_server))
        yield Scene(letta, chroma, collection)


def at(method: str, part: str, answer: Answer) -> Rule:
    return lambda asked, path: answer if asked.startswith(method) and part in path else None


def busy(scene: Scene, memories: list[Memory]) -> list[Memory]:
    """Something to do of every kind: to make, to rename, to change here and there, to remove, to put together.

    Takes the last five, and returns the memories that are left with these in front.
    """
    named, changed, seen, removed, both = memories[-5:]
    made = scene.create()
    scene.retitle(named)
    scene.edit(changed)
    scene.edit_block(seen)
    scene.archive(removed)
    scene.retitle(both)
    scene.edit_block(both)
    return [made, named, changed, seen, both, *memories[:-5]]


@pytest.mark.parametrize(("server", "place"), PLACES)
def test_garbage_loses_and_doubles_nothing(scene: Scene, server: str, place: str) -> None:
    faulty = getattr(scene, server)
    method, part = (LETTA if server == "letta" else CHROMA)[place]
    part = part.format(name=scene.collection)
    memories = [scene.create() for _ in range(10)]
    scene.run()
    for name, answer in chosen(place):
        memories = [scene.create(), *busy(scene, memories)]
        with faulty.answering(at(method, part, answer)):
            run = scene.run()
        assert faulty.asked or place in ("limits", "mark"), (place, name, run.status, run.errors)
        assert run.status in ("done", "failed"), (name, run.errors)
        told(run.errors, name)
        if ROUNDS:
            scene.at_peace()
    scene.at_peace()


def chosen(place: str) -> list[tuple[str, Answer]]:
    """Each place meets some kinds of garbage, and all kinds meet some place; also where the real server had done it."""
    kinds = list(GARBAGE.items())
    late = [(f"{name}, though done", replace(answer, done=True)) for name, answer in kinds]
    if ROUNDS:
        return (kinds + late) * ROUNDS
    start = 2 * [name for _, name in PLACES].index(place)
    return [kinds[start % len(kinds)], late[(start + 1) % len(kinds)]]


def told(errors: list[dict[str, str]], name: str) -> None:
    """What people read is a sentence, not a traceback or the name of an exception."""
    for error in errors:
        raw = [word for word in RAW if word in error["error"]]
        assert error["error"], name
        assert not raw, (name, error["error"])


RAW = ("Traceback", "Error:", "object has no", "NoneType")


@pytest.mark.parametrize(
    ("server", "place"), [("letta", "change"), ("letta", "list"), ("chroma", "read"), ("chroma", "store")]
)
def test_a_server_that_sends_a_byte_now_and_then(scene: Scene, server: str, place: str, settings: Any) -> None:
    """Each wait is short, all of them together would take days."""
    faulty = getattr(scene, server)
    memories = [scene.create() for _ in range(5)]
    scene.at_peace()
    busy(scene, memories)
    patience, settings.STORE_TIMEOUT = settings.STORE_TIMEOUT, 1.0
    with faulty.answering(at(*(LETTA if server == "letta" else CHROMA)[place], Answer(200, b" " * 10**6, pause=0.3))):
        run = scene.run()
    settings.STORE_TIMEOUT = patience
    assert run.status == "failed"
    told(run.errors, place)
    scene.at_peace()


# As the real server answers on a disk that is full (measured with a small one): it fails, though it has stored what it
# was sent; then it fails; then it says nothing any more, to reads too, until it is started again.
STORED = Answer(
    500,
    b'{"error":"InternalError","message":"Error in compaction: Failed to apply logs to the metadata segment"}',
    done=True,
)
FULL = Answer(
    500,
    b'{"error":"InternalError","message":"Query error: Database error: error returned from database: '
    b'(code: 13) database or disk is full"}',
)
SILENT = Answer(200, b" " * 1000, pause=0.3)


def test_a_chroma_server_whose_disk_is_full(scene: Scene, settings: Any) -> None:
    memories = [scene.create() for _ in range(6)]
    scene.at_peace()
    patience = settings.STORE_TIMEOUT
    for answers in ([STORED], [FULL], [STORED, FULL], [STORED, FULL, SILENT], [FULL] * 2 + [STORED], [SILENT]):
        memories = busy(scene, memories)
        left = list(answers)

        def rule(method: str, path: str, left: list[Answer] = left) -> Answer | None:
            writes = path.endswith(("/upsert", "/update", "/delete"))
            if not writes and left != [SILENT]:
                return None
            return left.pop(0) if len(left) > 1 else left[0]

        settings.STORE_TIMEOUT = 1.0 if SILENT in answers else patience
        with scene.chroma.answering(rule):
            run = scene.run()
        settings.STORE_TIMEOUT = patience
        assert run.status == "failed"
        told(run.errors, str(answers))
        if answers == [FULL]:
            assert any("disk is full" in error["error"] for error in run.errors)
            assert len(scene.chroma.asked) < 12  # not each memory by itself, again and again
        scene.at_peace()


def test_a_chroma_server_that_is_down(
    db: None, fresh_chroma_server: ChromaServer, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncjobs.run.time.sleep", lambda seconds: None)
    with faithful_letta() as (url, _), Faulty(url) as letta, Faulty(fresh_chroma_server.url) as chroma:
        scene = Scene(letta, chroma, collection)
        memories = [scene.create() for _ in range(5)]
        scene.at_peace()
        local = scene.project.local_store
        assert local
        local.url = fresh_chroma_server.url  # itself: another address, whose records are known by their marks
        local.save()
        scene.at_peace()
        busy(scene, memories)
        fresh_chroma_server.stop()
        run = scene.run()
        assert [error["error"].partition(".")[0] for error in run.errors] == ["Nothing listens at that address"]
        fresh_chroma_server.start()
        scene.at_peace()
