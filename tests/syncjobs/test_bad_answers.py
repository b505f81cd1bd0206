"""A store that is down, slow, full, or answers garbage, in front of real servers: at every place where it is asked.

MEMORYHUB_FAULTS=2 (or more) goes through every garbage at every place, so many times; else some of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from blocks.models import Memory
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


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, db: None, chroma_server: str, collection: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """With a real Letta server where that is the one that answers badly; else the one in memory, which is faster."""
    monkeypatch.setattr("syncjobs.run.time.sleep", lambda seconds: None)
    with ExitStack() as stack:
        if "chroma" in request.node.callspec.params.values():
            letta_url, _ = stack.enter_context(faithful_letta())
        else:
            letta_url = request.getfixturevalue("letta_server")
        letta, chroma = (stack.enter_context(Faulty(url)) for url in (letta_url, chroma_server))
        yield Scene(letta, chroma, collection)


def at(method: str, part: str, answer: Answer) -> Rule:
    return lambda asked, path: answer if asked.startswith(method) and part in path else None


def busy(scene: Scene, memories: list[Memory]) -> list[Memory]:
    """Something to do of every kind: to make, to change here and there, to remove, and a change on both sides."""
    changed, seen, removed, both = memories[-4:]  # retitled and edited there: put together
    made = scene.create()
    scene.retitle(seen)
    scene.edit(changed)
    scene.edit_block(seen)
    scene.archive(removed)
    scene.edit(both)
    return [made, *(memory for memory in memories if memory != removed)]


@pytest.mark.parametrize(("server", "place"), PLACES)
def test_garbage_loses_and_doubles_nothing(scene: Scene, server: str, place: str) -> None:
    faulty = getattr(scene, server)
    method, part = (LETTA if server == "letta" else CHROMA)[place]
    part = part.format(name=scene.collection)
    memories = [scene.create() for _ in range(6)]
    scene.at_peace()
    for name, answer in chosen(place):
        memories = [scene.create(), *busy(scene, memories)]
        with faulty.answering(at(method, part, answer)):
            run = scene.run()
        assert faulty.asked or place in ("limits", "mark"), (place, name)
        assert run.status in ("done", "failed"), (name, run.errors)
        told(run.errors, name)
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
