"""Any text, of any size, through both real servers: it comes back exactly, or the memory says why not.

MEMORYHUB_FAULTS is how many times more is tried than by default.
"""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blocks import actions
from blocks.models import Memory
from blocks.state import MARK, MAX_TEXT, State
from blocks.stores.base import Snapshot
from memoryhub.models import LettaServer, LocalStore, Project
from syncjobs import run as runs
from syncjobs.models import Conflict, Connection, SyncRun
from syncjobs.planning import restrict
from syncjobs.sides import open_letta, open_local
from tests import original_store
from tests.contract.letta import Server, raw

pytestmark = [pytest.mark.contract, pytest.mark.django_db]

TIMES = int(os.environ.get("MEMORYHUB_FAULTS", "1"))
some = settings(
    max_examples=3 * TIMES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds: to shrink one takes an hour
    print_blob=True,
)

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ODD = st.sampled_from(
    [
        *("\r\n", "\r", "\n", "\t", "e\u0301", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u202eabc\u202c"),
        *("\ufeff", "\u2028", "\u2029", "\x85", "\x0b", "\x1f", "\ue000", "\ufffe", "\U0010ffff", "مرحبا"),
        *(" ", "  ", ",", '"', "/"),
    ]
)
WORDS = st.lists(st.text(LETTERS, max_size=12) | ODD, max_size=12).map("".join)
LONG = st.tuples(WORDS.filter(bool), st.integers(400, 200_000)).map(lambda pair: (pair[0] * pair[1])[: pair[1]])
TAGS = st.lists(st.text(LETTERS, max_size=100) | WORDS.map(lambda tag: tag[:100]), max_size=6)
MANY_TAGS = st.integers(0, 200).map(lambda count: [f"{number:03},{'x' * 96}" for number in range(count)])
STATES = st.fixed_dictionaries(
    {
        "text": st.one_of(WORDS, WORDS, WORDS, LONG),
        "title": WORDS,
        "label": WORDS | st.text(LETTERS, max_size=300),
        "description": st.one_of(WORDS, WORDS, LONG.map(lambda text: text[:20_000])),
        "kind": WORDS.map(lambda kind: kind[:400])
        | st.sampled_from(["fix", "a/b", "a/", "/b", "runtime_artifact/fix"]),
        "tags": (TAGS | MANY_TAGS).map(lambda tags: [tag for tag in tags if not tag.strip().startswith(MARK)]),
        "source": WORDS,
        "file_path": WORDS,
        "client": WORDS,
        "priority": WORDS,
        "status": WORDS,
        "created_at": WORDS,
        "limit": st.integers(0, 2**31 - 1),
        "read_only": st.booleans(),
    }
)


class Batch(list[State]):
    """Memories; a failing example is shown by what differs, not whole."""

    def __repr__(self) -> str:
        return f"<{len(self)} memories>"


BATCHES = st.lists(STATES, min_size=6, max_size=10).map(Batch)


def differences(seen: dict[Any, State], wanted: dict[Any, State]) -> list[str]:
    """Where what is seen is not what it has to be, in few words however long the texts are."""
    found = [f"{key} is {'not there' if key in wanted else 'too much'}" for key in seen.keys() ^ wanted.keys()]
    for key in seen.keys() & wanted.keys():
        for name in seen[key].keys() | wanted[key].keys():
            one, other = seen[key].get(name), wanted[key].get(name)
            if one != other:
                pairs = enumerate(zip(str(one), str(other), strict=False))
                place = next((number for number, (a, b) in pairs if a != b), 0)
                shown = [repr(str(value)[max(0, place - 9) : place + 40]) for value in (one, other)]
                found.append(f"{name} at {place}: {shown[0]} instead of {shown[1]}")
    return found


class Between:
    """A project between the real servers, with a collection of its own."""

    def __init__(self, letta_url: str, chroma_url: str) -> None:
        self.slug = f"sizes-{uuid4().hex[:12]}"
        self.server = Server(letta_url)
        letta = LettaServer.objects.get_or_create(name="Letta", url=letta_url)[0]
        local = LocalStore.objects.create(name=self.slug, url=chroma_url, collection=self.slug)
        self.project = Project.objects.create(slug=self.slug, name="Sizes", letta_server=letta, local_store=local)

    def sync(self) -> SyncRun:
        run = SyncRun(project=Project.objects.get(slug=self.slug), trigger="button")
        runs.start(run)
        return run

    def states(self) -> dict[UUID, State]:
        return {memory.uuid: memory.state for memory in Memory.objects.filter(project=self.project).live()}

    def sides(self) -> dict[str, dict[UUID | None, Snapshot]]:
        stores = (open_letta(self.project), open_local(self.project))
        return {store.side: {snapshot.uuid: snapshot for snapshot in store.look().snapshots} for store in stores}

    def shown(self, side: str) -> dict[UUID | None, State]:
        return {uuid: snapshot.state for uuid, snapshot in self.sides()[side].items()}

    def forget(self) -> None:
        """Another hub, that never saw any of it."""
        Memory.objects.filter(project=self.project).delete()
        Connection.objects.filter(project=self.project).delete()

    def block(self, **fields: Any) -> str:
        """A block that somebody else made, in this project."""
        tags = [*fields.pop("tags", ()), f"memhub:project:{self.slug}"]
        return str(self.server.block(tags=tags, **fields)["id"])

    def rows(self) -> Any:
        """The collection as somebody else sees it."""
        client = original_store.open_server(self.project.local_store.url)  # type: ignore[union-attr]
        return client.get_or_create_collection(self.slug, embedding_function=None)

    def record(self, id: str, text: str, **metadata: Any) -> None:
        rows, metadata = self.rows(), {"document_id": id, "project_name": self.slug, **metadata}
        rows.add(ids=[id], documents=[text], metadatas=[metadata], embeddings=original_store.cheap_vectors([text]))


@pytest.fixture
def between(letta_server: str, chroma_server: str, monkeypatch: pytest.MonkeyPatch) -> Between:
    monkeypatch.setattr(
        "django.conf.settings.STORE_TIMEOUT", 120.0
    )  # how long 20 MB take beside other work is not what is asked here
    return Between(letta_server, chroma_server)


def carried(states: dict[UUID, State], side: str) -> dict[UUID, State]:
    fields = frozenset(next(iter(states.values()), {})) - ({"limit", "read_only"} if side == "local" else set())
    return {uuid: restrict(state, fields) for uuid, state in states.items()}


def nothing_to_do(run: SyncRun) -> None:
    did = {name: count for name, count in run.counters.items() if count and name != "unchanged"}
    assert (run.status, did, run.errors) == ("done", {}, [])


@some
@given(batch=BATCHES)
def test_what_the_hub_has_is_on_both_sides_and_another_hub_reads_it(
    letta_server: str, chroma_server: str, batch: Batch
) -> None:
    between = Between(letta_server, chroma_server)
    for state in batch:
        actions.create(between.project, state, user=None)
    states = between.states()
    run = between.sync()
    assert (run.status, run.errors) == ("done", [])
    for side in ("letta", "local"):
        assert differences(between.shown(side), carried(states, side)) == []
    nothing_to_do(between.sync())
    between.forget()
    run = between.sync()
    assert (run.status, run.errors) == ("done", [])
    assert differences(between.states(), states) == []
    assert [conflict.fields for conflict in Conflict.objects.filter(memory__project=between.project)] == []
    nothing_to_do(between.sync())


# --- what somebody else made


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
KNOWN = st.sampled_from(["title", "kind", "source", "status", "created_at", "n", "é", "a b"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(LETTERS, max_size=20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=5), values, max_size=3),
    max_leaves=6,
)
BLOCKS = st.fixed_dictionaries(
    {
        "value": st.one_of(WORDS, WORDS, WORDS, LONG),
        "label": WORDS | st.text(LETTERS, max_size=300) | st.sampled_from(["", "a b", "same", "same"]),
        "description": st.none() | WORDS | LONG,
        "limit": st.integers(-5, 2**31 - 1) | st.just(3),
        "read_only": st.booleans(),
        "tags": (TAGS | MANY_TAGS).map(lambda tags: [tag for tag in tags if not tag.strip().startswith(MARK)]),
        "metadata": st.none() | st.dictionaries(KNOWN, JSON, max_size=4),
    }
)
VALUES = st.one_of(
    NUMBERS,
    st.booleans(),
    WORDS,
    st.lists(st.text(LETTERS, max_size=9), min_size=1, max_size=4),
    st.lists(st.integers(-9, 9), min_size=1, max_size=3),
)
KEYS = st.sampled_from(
    ["title", "doc_type", "artifact_type", "source", "tags", "created_at", "status", "extra", "é", "client_name"]
)
RECORDS = st.fixed_dictionaries({"text": WORDS | LONG, "metadata": st.dictionaries(KEYS, VALUES, max_size=6)})


@some
@given(batch=st.lists(BLOCKS, min_size=6, max_size=10).map(Batch))
def test_blocks_that_others_made_come_back_from_the_records(
    letta_server: str, chroma_server: str, batch: Batch
) -> None:
    between = Between(letta_server, chroma_server)
    ids = [between.block(**fields) for fields in batch]
    run = between.sync()
    assert (run.status, run.errors) == ("done", [])
    states = between.states()
    read = {snapshot.id: snapshot for snapshot in between.sides()["letta"].values()}
    for id, fields in zip(ids, batch, strict=True):
        state = states[read[id].uuid]  # type: ignore[index]
        assert (state["text"], state["label"], state["limit"]) == (fields["value"], fields["label"], fields["limit"])
        assert set(state["tags"]) == {tag.strip() for tag in fields["tags"]} - {""}
        shown = between.server.show(id)
        assert shown["value"] == fields["value"]
        assert {**(fields["metadata"] or {}), **shown["metadata"]} == shown["metadata"]
    assert differences(between.shown("local"), carried(states, "local")) == []
    nothing_to_do(between.sync())
    between.forget()
    for id in ids:
        between.server.delete(id)
    run = between.sync()  # another hub, that has the records only, makes the blocks again
    assert (run.status, run.errors) == ("done", [])
    assert differences(carried(between.states(), "local"), carried(states, "local")) == []
    assert differences(between.shown("letta"), between.states()) == []
    nothing_to_do(between.sync())


@some
@given(batch=st.lists(RECORDS, min_size=6, max_size=10).map(Batch))
def test_records_that_others_made_are_blocks(letta_server: str, chroma_server: str, batch: Batch) -> None:
    between = Between(letta_server, chroma_server)
    for number, fields in enumerate(batch):
        between.record(f"record {number}", fields["text"], **fields["metadata"])
    run = between.sync()
    taken = {snapshot.id: snapshot for snapshot in open_local(between.project).look().snapshots}
    states, blocks = between.states(), between.shown("letta")
    for number, fields in enumerate(batch):
        snapshot = taken[f"record {number}"]
        said = [error["error"] for error in run.errors if f"record {number}:" in error["error"]]
        if said:  # why it was not taken in; there it is as it was
            assert snapshot.uuid not in states
            assert between.rows().get(ids=[snapshot.id], include=["documents"])["documents"] == [fields["text"]]
        else:
            assert snapshot.state["text"] == fields["text"]
            assert states[snapshot.uuid]["text"] == blocks[snapshot.uuid]["text"] == fields["text"]  # type: ignore[index]
    assert differences(blocks, states) == []
    assert len(run.errors) + len(states) == len(batch)
    assert not between.sync().counters["pulled"]


def test_a_comma_in_a_tag_survives_from_block_to_record_and_back(between: Between) -> None:
    tags = ["a, b", "a", 'quoted "tag", too', *(f"{number:03},{'x' * 96}" for number in range(197))]
    id = between.block(tags=tags)
    between.sync()
    between.forget()
    between.server.delete(id)
    between.sync()
    (block,) = raw(between.server.url, "GET", f"/v1/blocks/?tags=memhub:project:{between.slug}")[1]
    assert sorted(tag for tag in block["tags"] if not tag.startswith(MARK)) == sorted(tags)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_metadata_of_64_bits_stands_in_no_ones_way(between: Between, number: int) -> None:
    id = between.block(value="one", metadata={"id": number})
    assert between.sync().status == "done"
    memory = Memory.objects.get(project=between.project)
    actions.edit(memory, {"text": "two"}, user=None, based_on=memory.number)
    run = between.sync()
    assert (run.status, run.errors) == ("done", [])
    assert between.server.show(id)["value"] == "two"
    assert between.server.show(id)["metadata"]["id"] == number
    memory.refresh_from_db()
    actions.archive([memory], user=None)
    between.sync()
    actions.unarchive([memory], user=None)
    between.sync()
    (block,) = raw(between.server.url, "GET", f"/v1/blocks/?tags=memhub:project:{between.slug}")[1]
    assert block["metadata"]["id"] == number  # as it was kept


def breaks_the_list(between: Between, id: str) -> None:
    """Put a number of more than 64 bits into a block: its server answers 500, and yet it is stored."""
    assert raw(between.server.url, "PATCH", f"/v1/blocks/{id}", {"metadata": {"n": 2**70}})[0] == 500


def test_a_block_that_breaks_every_list_is_named_and_the_rest_goes_on(between: Between) -> None:
    ids = [between.block(label=f"block-{number}", value=f"text {number}") for number in range(5)]
    between.sync()
    broken = Memory.objects.get(project=between.project, text="text 2")
    breaks_the_list(between, ids[2])
    between.server.edit(ids[4], value="text 4, by somebody")
    between.record("record", "a record that is new")
    fresh = actions.create(between.project, {"text": "new in the hub", "title": "new"}, user=None)
    run = between.sync()
    said = {error["memory"]: error["error"] for error in run.errors}
    assert "500" in said[str(broken.uuid)]
    assert ids[1] in said[""]
    assert ids[3] in said[""]
    states = dict(Memory.objects.filter(project=between.project).values_list("text", "sync_state"))
    rest = ("text 0", "text 1", "text 3", "text 4, by somebody", "a record that is new", "new in the hub")
    assert states == {"text 2": "problem", **dict.fromkeys(rest, "synced")}
    assert between.shown("letta")[fresh.uuid]["text"] == "new in the hub"
    assert between.project.connections.get(side="letta").failures == 0  # it is looked at as often as before
    assert raw(between.server.url, "PATCH", f"/v1/blocks/{ids[2]}", {"metadata": {}})[0] == 200
    assert between.sync().status == "done"
    broken.refresh_from_db()
    assert (broken.text, broken.sync_state) == ("text 2", "synced")


def test_what_is_too_large_stays_where_it_is_and_the_rest_goes_on(between: Between) -> None:
    small = between.block(label="small", value="small")
    between.sync()
    memory = Memory.objects.get(project=between.project)
    large = "An agent's whole log\n" * 1_000_000
    assert len(large) > 20 * MAX_TEXT
    other = between.block(label="log", value=large)
    between.server.edit(small, value=large)
    between.record("record", "a record that is new")
    run = between.sync()
    said = {error["memory"]: error["error"] for error in run.errors}
    assert f"its text has {len(large):,} characters" in said[str(memory.uuid)]
    assert other in said[""]
    memory.refresh_from_db()
    assert (memory.text, memory.sync_state) == ("small", "problem")
    assert between.server.show(small)["value"] == between.server.show(other)["value"] == large
    states = Memory.objects.filter(project=between.project).values_list("text", "sync_state")
    assert sorted(states) == [("a record that is new", "synced"), ("small", "problem")]
    between.server.edit(small, value="small again")
    between.sync()
    memory.refresh_from_db()
    assert (memory.text, memory.sync_state) == ("small again", "synced")
