"""Records of several chunks on a real Chroma server, torn between two calls: by a kill, or by a broken connection.

Also where another program changes a chunk of the torn record, or the connection breaks again while it is finished.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.original_store import cheap_vectors
from tests.servers.letta_faithful import faithful_letta
from tests.servers.proxy import Proxy, faulty_proxy
from tests.syncjobs.mixed import LONG, Mixed, Victim
from tests.syncjobs.peace import LOCAL, Thing

pytestmark = pytest.mark.contract
MOST_CALLS = 12
EVERY = bool({"MEMORYHUB_KILLS", "MEMORYHUB_FAULTS"} & os.environ.keys())


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    victim = Victim(tmp_path_factory.mktemp("hub"))
    yield victim
    victim.stop()


@pytest.fixture(scope="module")
def proxy(chroma_server: str) -> Iterator[Proxy]:
    with faulty_proxy(chroma_server) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def mixed(victim: Victim, proxy: Proxy, chroma_server: str) -> Iterator[Mixed]:
    """A project whose hub sees Chroma through the proxy."""
    with faithful_letta() as (url, _):
        collection = f"memory-{uuid4().hex}"
        yield Mixed(victim, url, proxy.url, collection, straight_chroma=chroma_server, start=3).begin()


# --- what makes a write of several calls


def grow(mixed: Mixed) -> None:
    mixed.edit({pick(mixed, lambda text: len(text) < 600): mixed.text(LONG)})


def shrink(mixed: Mixed) -> None:
    mixed.edit({pick(mixed, lambda text: len(text) > 600): mixed.text()})


def reword(mixed: Mixed) -> None:
    """Its first chunk and its last; those between stay."""
    live = mixed.facts().live
    uuid = pick(mixed, lambda text: len(text) > 600)
    lines = live[uuid].splitlines()
    mixed.edit({uuid: "\n".join([f"{mixed.number:05}{lines[0][5:]}", *lines[1:], f"and {mixed.text()}"])})


def create(mixed: Mixed) -> None:
    mixed.create([mixed.text(LONG)])


def delete(mixed: Mixed) -> None:
    uuid = pick(mixed, lambda text: len(text) > 600)
    mixed.deleted.add(uuid)
    mixed.victim.call("archive", slug=mixed.slug, uuids=[uuid])
    mixed.create([mixed.text(LONG)])


def pick(mixed: Mixed, fits: Callable[[str], bool]) -> str:
    live = mixed.facts().live
    fitting = sorted(uuid for uuid, text in live.items() if fits(text))
    if not fitting:
        mixed.create([mixed.text(LONG), mixed.text()])
        mixed.heal()
        return pick(mixed, fits)
    return mixed.dice.choice(fitting)


CHANGES = (grow, shrink, reword, create, delete)
changes = pytest.mark.parametrize("change", CHANGES)
some_changes = pytest.mark.parametrize("change", CHANGES if EVERY else (grow, shrink, delete))


def torn(mixed: Mixed) -> list[Thing]:
    return [thing for thing in mixed.sides()[LOCAL] if thing.problem]


# --- how it is torn


def break_off(mixed: Mixed, proxy: Proxy, how: str, number: int) -> bool:
    """A run that ends, or loses its connection, at a call that writes. False: there were fewer calls."""
    if how.startswith(("before", "after")):
        return mixed.sync({"label": how, "at": number}).killed
    writes = iter(range(1, 1000))

    def choose(method: str, path: str) -> str:
        write = path.endswith(("/upsert", "/update", "/delete"))
        return how if write and next(writes) >= number else ""

    proxy.begin(choose)
    mixed.sync()
    broke = any(request.fault for request in proxy.log)
    proxy.begin()
    return broke


HOW = ("after write chroma", "reset_after", "before write chroma", "reset_before")


@changes
def test_a_torn_record_is_finished(mixed: Mixed, proxy: Proxy, change: Callable[[Mixed], None]) -> None:
    """Broken off at the first call that writes, at the second, ...; in one way each, or in every way."""
    found = 0
    for number in range(1, MOST_CALLS):
        broke = False
        for how in HOW if EVERY else HOW[number % 2 :: 2][:1]:
            change(mixed)
            broke = break_off(mixed, proxy, how, number)
            found += len(torn(mixed))
            mixed.heal()
        if not broke:
            break
    else:
        pytest.fail("it takes more calls than that")
    assert found


@some_changes
def test_the_connection_breaks_again_while_it_is_finished(
    mixed: Mixed, proxy: Proxy, change: Callable[[Mixed], None]
) -> None:
    change(mixed)
    assert mixed.sync({"label": "after write chroma", "at": 1}).killed
    assert torn(mixed)
    for number in (1, 2, 1):
        break_off(mixed, proxy, "reset_before", number)
    mixed.heal()


@pytest.mark.parametrize("number", [1, 2])
def test_a_request_arrives_late(mixed: Mixed, proxy: Proxy, number: int) -> None:
    """When the next run has begun already, and the memory has another text by then."""
    uuid = pick(mixed, lambda text: len(text) > 600)
    mixed.edit({uuid: mixed.text(LONG // 2)})
    writes = iter(range(1, 1000))

    def choose(method: str, path: str) -> str:
        write = path.endswith(("/upsert", "/update", "/delete"))
        return "late_request" if write and next(writes) == number else ""

    proxy.begin(choose)
    proxy.patience = 2.0
    mixed.sync(STORE_TIMEOUT=0.8)
    text = mixed.text(LONG)
    mixed.edit({uuid: text})
    assert not all(event.is_set() for event in proxy.late)
    mixed.sync()
    proxy.begin()
    mixed.heal()
    assert mixed.facts().live[uuid] == text


@some_changes
def test_refused_in_the_middle(mixed: Mixed, proxy: Proxy, change: Callable[[Mixed], None]) -> None:
    """Once the first call of a write was taken; then also whatever would finish it. Later the server takes it."""
    change(mixed)
    writes = iter(range(1000))

    def choose(method: str, path: str) -> str:
        write = path.endswith(("/upsert", "/update", "/delete"))
        return "refused" if write and next(writes) else ""

    proxy.begin(choose)
    assert mixed.sync().result["status"] == "failed"
    assert torn(mixed)
    assert mixed.sync().result["status"] == "failed"
    proxy.begin()
    mixed.heal()


@some_changes
@pytest.mark.parametrize("which", [0, -1])
def test_what_another_program_writes_into_a_torn_record_is_kept(
    mixed: Mixed, change: Callable[[Mixed], None], which: int
) -> None:
    """Into its first chunk or its last, of the old write or of the new one; then the hub is killed once more."""
    change(mixed)
    assert mixed.sync({"label": "after write chroma", "at": 1}).killed
    (record,) = torn(mixed)
    rows = mixed.rows.get(where={"document_id": record.id}, include=["metadatas"])
    places = {meta["chunk_index"]: id for id, meta in zip(rows["ids"], rows["metadatas"], strict=True)}
    text = f"another program wrote {mixed.text()}"
    mixed.rows.update(ids=[places[sorted(places)[which]]], documents=[text], embeddings=cheap_vectors([text]))
    mixed.fragments.add(text)
    assert mixed.sync({"within": "recover", "label": "before write chroma", "at": 1}).killed
    mixed.heal()


@pytest.mark.parametrize("written", [False, True])
def test_some_rows_of_a_record_are_gone_and_no_journal_says_so(mixed: Mixed, written: bool) -> None:
    """As after a backup taken in the middle of a write. What is found twice is written whole again."""
    uuid = pick(mixed, lambda text: len(text) > 600)
    ids = sorted(mixed.rows.get(where={"memhub_id": uuid}, include=[])["ids"])
    mixed.rows.delete(ids=ids[1:2])
    if written:
        text = f"another program wrote {mixed.text()}"
        mixed.rows.update(ids=ids[2:3], documents=[text], embeddings=cheap_vectors([text]))
        mixed.fragments.add(text)
    assert torn(mixed)
    assert mixed.sync().result["status"] == "failed"
    assert torn(mixed)
    mixed.heal()
