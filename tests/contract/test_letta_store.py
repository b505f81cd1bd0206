"""LettaStore against a real Letta server."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any
from uuid import uuid4

import pytest

from blocks.state import state_hash
from blocks.stores.base import StoreError, Write
from blocks.stores.letta import LettaStore
from tests.contract.letta import HUB, Server, answering, create, proxy, raw, state, write

HARD_TEXTS = {
    "crlf": "one\r\ntwo\rthree\n",
    "blanks": "\t tab \u00a0\u2028 end  \n\n",
    "combining": "e\u0301 \u00e9 \u1112\u1161\u11ab \u0928\u093f",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e007f \ufeff \uffff",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f\x80",
    "long": "0123456789 \u20ac\n" * 16_000,
    "markup": "</script><b>&amp; ' \" \\ \\u0000 {{ x }}",
    "empty": "",
}


@pytest.fixture
def server(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def slug() -> str:
    return f"p-{uuid4().hex[:8]}"


@pytest.fixture
def store(server: Server, slug: str) -> LettaStore:
    return server.store(slug)


# Reading back


@pytest.mark.parametrize("name", HARD_TEXTS)
def test_a_text_comes_back_exactly(store: LettaStore, name: str) -> None:
    created = create(store, HARD_TEXTS[name], title=HARD_TEXTS[name][:50])

    (shown,) = store.look().snapshots

    assert shown.state == state(HARD_TEXTS[name], title=HARD_TEXTS[name][:50])
    assert shown.hash == created.snapshot.hash == state_hash(state(HARD_TEXTS[name], title=HARD_TEXTS[name][:50]))
    assert shown.uuid == created.write.uuid


def test_a_state_comes_back_exactly(store: LettaStore, slug: str) -> None:
    said = state(read_only=True, limit=7, description="About", tags=["a,b", "c d", "e:f", "\u00e9"])

    created = create(store, **said)

    (shown,) = store.look().snapshots
    assert shown.state == said
    assert (shown.uuid, shown.project, shown.in_scope, shown.problem) == (created.write.uuid, slug, True, "")
    assert shown.keep == {"id": shown.id}


def test_agents_read_the_title_where_there_is_no_description(store: LettaStore, server: Server) -> None:
    created = create(store, title="Title", description="")

    assert server.show(created.snapshot.id)["description"] == "Title"
    assert created.snapshot.state["description"] == ""


def test_a_description_that_equals_the_title_stays_one(store: LettaStore) -> None:
    created = create(store, title="Title", description="Title")
    assert created.snapshot.state["description"] == "Title"

    done = write(store, "update", id=created.snapshot.id, state={"description": ""}, uuid=created.write.uuid)

    assert done.snapshot.state["description"] == ""


def test_what_a_foreign_block_does_not_say_is_left_out(server: Server, slug: str) -> None:
    tag = f"memhub:project:{slug}"
    block = server.block(label="any label!", tags=[tag, " x ", "y"], metadata={"title": 5, "status": "open", "z": [1]})

    (shown,) = server.store(slug).look().snapshots

    assert shown.state == {
        "label": "any label!",
        "description": "",
        "text": "text",
        "tags": ["x", "y"],
        "status": "open",
        "limit": 100_000,
        "read_only": False,
    }
    assert shown.uuid is None
    assert shown.keep == {"id": block["id"], "tags": [" x "], "metadata": {"title": 5, "z": [1]}}


def test_a_look_goes_over_several_pages(server: Server, slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.stores.letta_list.PAGE", 4)
    store = server.store(slug)
    made = [create(store, str(number)).snapshot.id for number in range(9)]

    look = store.look()

    assert [snapshot.id for snapshot in look.snapshots] == made
    assert look.complete


def test_a_block_that_breaks_the_list_hides_only_itself(
    server: Server, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.stores.letta_list.PAGE", 4)
    store = server.store(slug)
    writes = [create(store, str(number)) for number in range(11)]
    made = [one.snapshot.id for one in writes]
    poisoned, uuid = made.pop(5), writes[5].write.uuid
    poison(server, poisoned)
    try:
        look = store.look()
        shown = store.get([poisoned])[poisoned]
        found = store.find([uuid])[uuid]
    finally:
        server.delete(poisoned)

    assert sorted(snapshot.id for snapshot in look.snapshots) == sorted(made)
    assert not look.complete
    assert len(look.problems) == 1
    assert shown is not None
    assert "500" in shown.problem
    assert [one.problem for one in found] == [one.problem for one in found if "500" in one.problem] != []


def poison(server: Server, id: str) -> None:
    """Put a number into a block that its server then cannot show: the answer is 500, and yet it is stored."""
    raw(server.url, "PATCH", f"/v1/blocks/{id}", {"metadata": {"number": 2**70}})


GOOD = {"id": "block-1", "label": "a", "value": "b", "limit": 5, "tags": ["memhub:project:p"], "metadata": None}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"label": None}, "label"),
        ({"value": 5}, "value"),
        ({"limit": "5"}, "limit"),
        ({"limit": True}, "limit"),
        ({"metadata": ["x"]}, "metadata"),
        ({"description": {}}, "description"),
        ({"read_only": "no"}, "read_only"),
        ({"value": "half \ud800"}, "text"),
        ({"tags": ["memhub:project:p", 5]}, "tags"),
    ],
)
def test_a_block_that_cannot_be_understood_is_a_problem_of_its_own(fields: dict[str, Any], named: str) -> None:
    with answering(200, "application/json", json.dumps([GOOD | fields | {"id": "block-2"}, GOOD])) as url:
        look = Server(url).store("p").look()

    bad, good = look.snapshots
    assert look.complete
    assert (bad.id, bad.state, named in bad.problem) == ("block-2", {}, True)
    assert good.problem == ""


def test_what_is_no_block_makes_a_look_incomplete() -> None:
    with answering(200, "application/json", json.dumps([GOOD, "x", None, {"label": "y"}])) as url:
        look = Server(url).store("p").look()

    assert [one.id for one in look.snapshots] == ["block-1"]
    assert not look.complete
    assert len(look.problems) == 3


def test_a_list_that_fails_altogether_is_an_error() -> None:
    with answering(500, "application/json", "{}") as url, pytest.raises(StoreError) as caught:
        Server(url).store("p").look()

    assert not caught.value.permanent


def test_an_answer_that_is_no_block_is_unclear() -> None:
    with answering(200, "application/json", "null") as url:
        assert write(Server(url).store("p"), "create", state=state()).status == "unclear"


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_create_is_not_refused_for_good_by_what_passes(status: int) -> None:
    with answering(status, "application/json", '{"detail": "somebody else writes"}') as url:
        assert write(Server(url).store("p"), "create", state=state()).status == "unclear"


# Scope


def test_scope_rules(server: Server, slug: str) -> None:
    def mine(rule: str) -> set[str]:
        look = server.store(slug, rule=rule).look()
        assert look.complete
        return {snapshot.id for snapshot in look.snapshots} & set(made.values())

    own, other = f"memhub:project:{slug}", "memhub:project:another"
    team = f"team-{slug}"
    made = {
        "tagged": server.block(label="a", tags=[own])["id"],
        "team": server.block(label="b", tags=[team])["id"],
        "label": server.block(label=f"{slug}/c")["id"],
        "nothing": server.block(label="d")["id"],
        "other": server.block(label=f"{slug}/e", tags=[other, team])["id"],
        "human": server.block(label="human", tags=[own, team])["id"],
        "persona": server.block(label="persona", tags=[own])["id"],
        "hidden": server.block(label="f", tags=[own], hidden=True)["id"],
        "template": server.block(label="g", tags=[own], is_template=True)["id"],
        "digest": server.block(label=f"{slug}/h", tags=[own, team, f"memhub:digest:{slug}"])["id"],
        "marker": server.block(label=f"{slug}/i", tags=[own, team, "memhub:marker:x"])["id"],
    }

    assert mine("") == {made["tagged"]}
    assert mine(f"tag:{team}") == {made["tagged"], made["team"]}
    assert mine(f"label:{slug}/") == {made["tagged"], made["label"]}
    assert mine("all") == {made["tagged"], made["team"], made["label"], made["nothing"]}


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown scope rule"):
        LettaStore(url="http://localhost", api_key="", slug="p", hub_id=HUB, rule="name:x")


def test_others_are_in_no_project_and_can_be_adopted(server: Server, slug: str, store: LettaStore) -> None:
    free = server.block(tags=["theirs"])["id"]
    taken = server.block(tags=["memhub:project:another"])["id"]
    mine = create(store).snapshot.id
    others = {snapshot.id for snapshot in store.others()}
    assert free in others
    assert not {taken, mine} & others

    store.adopt(free)

    assert {snapshot.id for snapshot in store.look().snapshots} == {free, mine}
    assert sorted(server.show(free)["tags"]) == [f"memhub:project:{slug}", "theirs"]
    with pytest.raises(StoreError, match="another"):
        store.adopt(taken)
    with pytest.raises(StoreError, match="agent's own"):
        store.adopt(server.block(label="human")["id"])
    with pytest.raises(StoreError, match="not exist"):
        store.adopt("")


# Finding


def test_get_proves_that_a_block_is_gone(store: LettaStore, server: Server) -> None:
    there, gone = create(store).snapshot.id, create(store).snapshot.id
    server.delete(gone)

    got: dict[str, Any] = store.get([there, gone, "no-block-id"])

    assert got[there].id == there
    assert got[gone] is None
    assert got["no-block-id"].problem


def test_private_blocks_are_out_of_scope_however_they_are_found(store: LettaStore, server: Server) -> None:
    tags = [f"memhub:project:{store.slug}"]
    private: list[dict[str, Any]] = [{"hidden": True}, {"is_template": True}, {"label": "human"}, {"label": "persona"}]
    ids = [server.block(tags=tags, **fields)["id"] for fields in private]

    assert [one.in_scope for one in store.get(ids).values() if one] == [False] * 4


def test_find_sees_blocks_that_are_out_of_scope_hidden_or_templates(store: LettaStore, server: Server) -> None:
    uuids = [uuid4() for _ in range(5)]
    tags = [[f"memhub:memory:{uuid}"] for uuid in uuids]
    plain, copy = server.block(tags=tags[0])["id"], server.block(tags=tags[0])["id"]
    hidden, template = server.block(tags=tags[1], hidden=True), server.block(tags=tags[2], is_template=True)
    mine = create(store, uuid=uuids[3])

    found = store.find(uuids)

    assert {uuid: {one.id for one in found[uuid]} for uuid in uuids} == {
        uuids[0]: {plain, copy},
        uuids[1]: {hidden["id"]},
        uuids[2]: {template["id"]},
        uuids[3]: {mine.snapshot.id},
        uuids[4]: set(),
    }


# Writing


def test_an_update_keeps_what_is_foreign(store: LettaStore, server: Server) -> None:
    created = create(store, tags=["a", "b"])
    id, uuid = created.snapshot.id, created.write.uuid
    tags = [*server.show(id)["tags"], " odd ", "memhub:future"]
    server.edit(id, tags=tags, metadata=server.show(id)["metadata"] | {"theirs": {"x": [1, None]}, "client": 7})
    (before,) = store.look().snapshots

    wanted = state("new", tags=["b", "c", "odd"])
    del wanted["client"]
    done = write(store, "update", id=id, uuid=uuid, expected=before.hash, state=wanted)

    shown = server.show(id)
    assert done.status == "done"
    assert done.snapshot.state == wanted
    assert shown["metadata"]["theirs"] == {"x": [1, None]}
    assert shown["metadata"]["client"] == 7
    assert sorted(shown["tags"]) == sorted(
        [" odd ", "b", "c", "memhub:future", f"memhub:memory:{uuid}", f"memhub:project:{store.slug}"]
    )


def test_an_update_sends_only_what_differs(store: LettaStore, letta_server: str) -> None:
    created = create(store)
    seen: list[str] = []
    with proxy(letta_server, seen=seen) as url:
        through = Server(url).store(store.slug)
        done = write(through, "update", id=created.snapshot.id, uuid=created.write.uuid, state=state())

    assert done.status == "done"
    assert seen == [f"GET /v1/blocks/{created.snapshot.id}"]


@pytest.mark.parametrize("op", ["update", "mark", "delete"])
def test_nothing_is_written_over_what_was_not_expected(store: LettaStore, server: Server, op: str) -> None:
    created = create(store)
    server.edit(created.snapshot.id, value="theirs")

    outcome = write(
        store,
        op,
        id=created.snapshot.id,
        uuid=created.write.uuid,
        state=state("ours"),
        expected=created.snapshot.hash,
    )

    assert outcome.status == "changed"
    assert outcome.snapshot.state["text"] == "theirs"
    assert server.show(created.snapshot.id)["value"] == "theirs"


@pytest.mark.parametrize("op", ["update", "mark", "delete"])
def test_a_block_that_is_gone(store: LettaStore, server: Server, op: str) -> None:
    created = create(store)
    server.delete(created.snapshot.id)

    assert write(store, op, id=created.snapshot.id, state=state("ours")).status == "gone"


def test_overlapping_updates_never_lose_one_silently(store: LettaStore, server: Server) -> None:
    created = create(store)
    id, uuid = created.snapshot.id, created.write.uuid

    outcomes = list(
        store.write(Write("update", uuid, state(f"text {number}"), id, created.snapshot.hash) for number in range(16))
    )

    statuses = [outcome.status for outcome in outcomes]
    assert set(statuses) <= {"done", "changed"}
    assert "changed" in statuses
    assert server.show(id)["value"] in [one.write.state["text"] for one in outcomes if one.status == "done"]


def test_a_mark_adds_only_what_the_block_does_not_say(store: LettaStore, server: Server) -> None:
    block = server.block(label="their label", value="their text", tags=["theirs"], metadata={"status": "open", "x": 1})
    uuid = uuid4()

    done = write(store, "mark", id=block["id"], uuid=uuid, state=state("ours", title="Their label", status="ours"))

    shown = server.show(block["id"])
    assert (done.status, done.snapshot.uuid, done.snapshot.project) == ("done", uuid, store.slug)
    assert (shown["label"], shown["value"], shown["description"]) == ("their label", "their text", "Their label")
    assert shown["metadata"]["status"] == "open"
    assert shown["metadata"]["x"] == 1
    assert shown["metadata"]["kind"] == "fix"
    assert done.snapshot.state["tags"] == ["theirs"]


def test_a_copied_block_is_marked_anew(store: LettaStore, server: Server) -> None:
    original = create(store)
    shown = server.show(original.snapshot.id)
    copy = server.block(tags=shown["tags"], metadata=shown["metadata"])
    uuid = uuid4()

    done = write(store, "mark", id=copy["id"], uuid=uuid, state=state())

    assert done.snapshot.uuid == uuid
    assert server.show(copy["id"])["metadata"]["memhub_id"] == str(uuid)
    assert [one.id for one in store.find([original.write.uuid])[original.write.uuid]] == [original.snapshot.id]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"text": "a\0b"}, "NUL"),
        ({"title": "a\ud800"}, "surrogate"),
        ({"label": 5}, "label"),
        ({"label": "human"}, "agent's own"),
        ({"limit": 2**31}, "limit"),
        ({"limit": -1}, "limit"),
        ({"tags": ["a\0"]}, "NUL"),
        ({"tags": ["memhub:memory:x"]}, "memhub:"),
        ({"tags": [None]}, "tag"),
    ],
)
def test_what_letta_cannot_hold_is_refused_unsent(store: LettaStore, fields: dict, word: str) -> None:
    outcome = write(store, "create", state=state(**fields))

    assert outcome.status == "refused"
    assert word in outcome.error
    assert store.look().snapshots == []


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, float("nan"), float("inf"), {"deep": ["\0"]}, {"\ud800": 1}])
def test_foreign_metadata_that_letta_cannot_hold_is_refused_unsent(store: LettaStore, value: object) -> None:
    assert write(store, "create", state=state(), keep={"metadata": {"x": value}}).status == "refused"


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63)])
def test_foreign_metadata_of_64_bits_stays_to_the_last_digit(store: LettaStore, server: Server, value: int) -> None:
    id = server.block(tags=[store.scope.tag], metadata={"id": value})["id"]
    snapshot = store.get([id])[id]
    assert snapshot
    outcome = write(store, "update", id=id, state={**snapshot.state, "text": "two"}, uuid=uuid4())
    assert (outcome.status, outcome.error) == ("done", "")
    assert (server.show(id)["value"], server.show(id)["metadata"]["id"]) == ("two", value)
    assert [shown.problem for shown in store.look().snapshots] == [""]


def test_what_is_refused_in_metadata_is_named_and_what_to_do(store: LettaStore) -> None:
    metadata = {"n": 1, "deep": [{"id": 2**64}]}
    said = write(store, "create", state=state(), keep={"metadata": metadata}).error
    assert said.startswith(
        "The metadata contains a number of more than 64 bits, under “deep.id”. The block stays in Letta"
    )


def test_one_bad_item_does_not_stop_the_rest(store: LettaStore) -> None:
    texts = ["a", "b\0", "c", *map(str, range(30))]

    outcomes = list(store.write(Write("create", uuid4(), state(text)) for text in texts))

    assert sorted(one.write.state["text"] for one in outcomes) == sorted(texts)
    assert [one.write.state["text"] for one in outcomes if one.status == "refused"] == ["b\0"]
    assert len(store.look().snapshots) == len(texts) - 1


def test_a_create_is_one_request(store: LettaStore, letta_server: str) -> None:
    seen: list[str] = []
    with proxy(letta_server, seen=seen) as url:
        create(Server(url).store(store.slug))

    assert seen == ["POST /v1/blocks/"]


@pytest.mark.parametrize(("op", "method"), [("create", "POST"), ("update", "PATCH"), ("delete", "DELETE")])
def test_a_lost_reply_is_unclear_and_never_repeated(
    store: LettaStore, server: Server, letta_server: str, op: str, method: str
) -> None:
    id = "" if op == "create" else create(store).snapshot.id
    uuid = uuid4()
    seen: list[str] = []
    with proxy(letta_server, lose=method, seen=seen) as url:
        outcome = write(Server(url).store(store.slug), op, id=id, uuid=uuid, state=state("sent"))

    assert outcome.status == "unclear"
    assert len([one for one in seen if one.startswith(method)]) == 1
    assert len(store.find([uuid])[uuid]) == (op != "delete")


def test_writes_end_where_no_server_answers(slug: str) -> None:
    away = Server("http://127.0.0.1:9").store(slug)

    with pytest.raises(StoreError) as caught:
        list(away.write(Write("create", uuid4(), state()) for _ in range(100)))

    assert not caught.value.permanent
    assert caught.value.kind == "refused"


# Deleting and bringing back


def test_a_deleted_block_comes_back_with_its_agents(store: LettaStore, server: Server) -> None:
    created = create(store)
    id, uuid = created.snapshot.id, created.write.uuid
    server.edit(id, tags=[*server.show(id)["tags"], " odd "], metadata=server.show(id)["metadata"] | {"theirs": [1]})
    agents = [server.agent(id), server.agent(id), server.agent(id)]
    assert {agent["id"] for agent in store.agents(id)} == set(agents)

    deleted = write(store, "delete", id=id, uuid=uuid)

    assert (deleted.status, deleted.snapshot) == ("done", None)
    assert server.show(id) is None
    assert set(deleted.keep.pop("agents")) == set(agents)
    assert deleted.keep == {"id": id, "tags": [" odd "], "metadata": {"theirs": [1]}}

    raw_delete_agent(server, agents[0])  # gone meanwhile: 404
    attach(server, agents[1], server.block(label="note")["id"])  # has a block with this label meanwhile: 409
    wanted = state(tags=["odd", "one"])
    back = write(store, "create", uuid=uuid, state=wanted, keep=deleted.keep | {"agents": agents})

    shown = server.show(back.snapshot.id)
    assert (back.status, back.error) == ("done", "")
    assert [agent["id"] for agent in store.agents(back.snapshot.id)] == [agents[2]]
    assert shown["metadata"]["theirs"] == [1]
    assert " odd " in shown["tags"]
    assert back.snapshot.state == wanted


def raw_delete_agent(server: Server, id: str) -> None:
    assert raw(server.url, "DELETE", f"/v1/agents/{id}")[0] == 200


def attach(server: Server, agent: str, block: str) -> None:
    assert raw(server.url, "PATCH", f"/v1/agents/{agent}/core-memory/blocks/attach/{block}", {})[0] == 200


# The server behind the address


def test_a_server_is_known_again_by_its_marker(store: LettaStore, server: Server) -> None:
    store = server.store(store.slug, hub_id=f"hub-{uuid4()}")
    assert store.identify("") == ""

    identity = store.plant()

    assert store.plant() == identity
    assert store.identify("") == store.identify(identity) == identity
    assert identity not in server.ids()
    server.delete(identity)
    assert store.identify(identity) == ""


def test_another_hubs_marker_is_not_ours(store: LettaStore, server: Server) -> None:
    theirs = server.store(store.slug, hub_id=f"hub-{uuid4()}").plant()

    assert server.store(store.slug, hub_id=f"hub-{uuid4()}").identify(theirs) == ""


def test_probe_of_a_letta_server(store: LettaStore) -> None:
    probe = store.probe()

    assert probe.kind == "ok"
    assert probe.version == "0.16.8"


def test_probe_with_a_wrong_key(secure_letta_server: tuple[str, str]) -> None:
    url, password = secure_letta_server

    assert Server(url).store("p", api_key="wrong").probe().kind == "unauthorized"
    assert Server(url).store("p", api_key="").probe().kind == "unauthorized"
    assert Server(url).store("p", api_key=password).probe().kind == "ok"
    with pytest.raises(StoreError) as caught:
        list(Server(url).store("p", api_key="wrong").write([Write("create", uuid4(), state())]))
    assert (caught.value.kind, caught.value.permanent) == ("unauthorized", True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://no-such-host.invalid:8283", "localhost:8283", "", "http://[", "http://a:b"]
)
def test_probe_where_nothing_answers(slug: str, url: str) -> None:
    probe = LettaStore(url=url, api_key="", slug=slug, hub_id=HUB, timeout=3).probe()

    assert probe.kind == "refused"
    assert "letta server" in probe.help


def test_probe_where_the_answer_does_not_come(slug: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        probe = LettaStore(url=url, api_key="", slug=slug, hub_id=HUB, timeout=0.2).probe()

    assert (probe.kind, "in time" in probe.message) == ("refused", True)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (200, "text/html", "<html>"),
        (404, "text/html", "<html>"),
        (404, "application/json", '{"detail": "Not Found"}'),
        (200, "application/json", '{"status": "ok"}'),
        (200, "application/json", "[]"),
        (200, "application/json", '["a"]'),
        (200, "application/json", "{not json"),
        (500, "text/plain", "oops"),
        (405, "text/plain", "oops"),
    ],
)
def test_probe_of_something_else(slug: str, status: int, kind: str, text: str) -> None:
    with answering(status, kind, text) as url:
        probe = LettaStore(url=url, api_key="", slug=slug, hub_id=HUB, timeout=5).probe()

    assert probe.kind == "not_a_server"
    assert probe.help


def test_a_look_at_something_else_says_what_it_is_not(slug: str) -> None:
    with answering(404, "application/json", '{"detail": "Not Found"}') as url:
        store = LettaStore(url=url, api_key="", slug=slug, hub_id=HUB, timeout=5)
        with pytest.raises(StoreError, match="not a Letta server"):
            store.look()


@pytest.mark.parametrize("key", ["sk-secret", "sk-secret\nx", "sk-secret-\u00e9"])
def test_the_key_is_shown_nowhere(slug: str, key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = LettaStore(url="http://me:sk-secret@127.0.0.1:9", api_key=key, slug=slug, hub_id=HUB, timeout=1)

    with pytest.raises(StoreError) as caught:
        store.look()

    shown = "".join(traceback.format_exception(caught.value)) + repr(store) + repr(store.probe()) + caplog.text
    assert "sk-secret" not in shown


# The digest


def test_the_digest(store: LettaStore, server: Server, slug: str) -> None:
    assert store.read_digest(slug) == (None, 100_000, False)
    assert store.write_digest(slug, "one", None) == "written"

    assert store.read_digest(slug) == ("one", 100_000, True)
    (id,) = server.ids(f"tags=memhub:digest:{slug}")
    assert server.show(id)["label"] == f"shared_memory_{slug}"
    assert server.show(id)["tags"] == [f"memhub:digest:{slug}"]
    assert store.write_digest(slug, "two", None) == "changed"
    assert store.write_digest(slug, "two", "other") == "changed"
    assert store.write_digest(slug, "two", "one") == "written"
    assert store.read_digest(slug)[0] == server.show(id)["value"] == "two"
    assert store.look().snapshots == []


def test_the_digest_says_itself_whether_a_hub_wrote_its_text(store: LettaStore, server: Server, slug: str) -> None:
    store.write_digest(slug, "one", None)
    (id,) = server.ids(f"tags=memhub:digest:{slug}")
    server.edit(id, metadata={**server.show(id)["metadata"], "theirs": 2**63})

    store.write_digest(slug, "two", "one")

    assert store.read_digest(slug).ours
    ours = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    assert server.show(id)["metadata"] == {"theirs": 2**63, "memhub_digest": ours}
    server.edit(id, value="two, and a note")
    assert not store.read_digest(slug).ours


def test_the_original_bridges_digest_is_taken_over(store: LettaStore, server: Server, slug: str) -> None:
    server.block(label=f"shared_memory_{slug}", tags=["memhub:project:another"])
    block = server.block(label=f"shared_memory_{slug}", value="old", tags=["theirs"])

    assert store.read_digest(slug)[0] == "old"
    assert store.write_digest(slug, "new", "old") == "written"

    assert sorted(server.show(block["id"])["tags"]) == [f"memhub:digest:{slug}", "theirs"]


def test_the_digest_keeps_to_its_limit(store: LettaStore, server: Server, slug: str) -> None:
    server.block(label=f"shared_memory_{slug}", value="old", limit=5)

    assert store.read_digest(slug) == ("old", 5, False)
    with pytest.raises(StoreError, match="5"):
        store.write_digest(slug, "123456", "old")
    assert store.read_digest(slug)[0] == "old"


def test_a_look_tells_which_agents_see_a_block(store: LettaStore, server: Server) -> None:
    made = create(store).snapshot
    agent = server.agent(made.id)

    look = store.look()

    assert look.agents is not None
    assert [known["id"] for known in look.agents[made.id]] == [agent]
    assert look.agents[made.id][0]["name"]
