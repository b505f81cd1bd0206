"""Letta's API for blocks and agents, on a real Letta server and on the hub: the same through letta-client.

`other` names where they differ on purpose; see differences.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from letta_client import APIStatusError, AsyncLetta, Letta

from tests.contract.differences import DIFFERENCES, FAILS
from tests.contract.letta import DIRECT, Server
from tests.contract.test_letta_contract import GONE

T = TypeVar("T")
NOBODY = "agent-00000000-0000-4000-8000-000000000000"
MODEL: Any = {"model": "letta/letta-free", "embedding": "letta/letta-free", "include_base_tools": False}


@pytest.fixture(params=["letta", "hub"])
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "letta":
        return Server(request.getfixturevalue("letta_server"))
    hub = request.getfixturevalue("hub_server")
    return Server(hub.url, hub.tokens["editor"])


@pytest.fixture
def other(server: Server) -> Callable[[str, T, T], T]:
    """What is expected where the servers differ: of Letta the one, of the hub the other."""

    def choose(why: str, letta: T, hub: T) -> T:
        assert why in DIFFERENCES
        return hub if server.key else letta

    return choose


@pytest.fixture
def client(server: Server) -> Iterator[Letta]:
    with Letta(base_url=server.url, api_key=server.key or "none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def tag() -> str:
    return f"tag-{uuid4().hex[:8]}"


def status(call: Callable[[], Any]) -> int:
    try:
        call()
    except APIStatusError as error:
        return error.status_code
    return 200


def body_of(server: Server, method: str, path: str, said: bytes | None = None) -> tuple[int, str, Any]:
    """(status, content type, JSON) also of an error; redirects are not followed."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {server.key}"} if server.key else {})
    request = urllib.request.Request(server.url + path, said, headers, method=method)
    try:
        with DIRECT.open(request, timeout=60) as reply:
            return reply.status, reply.headers.get_content_type(), json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), json.loads(error.read() or b"null")


# --- Blocks -----------------------------------------------------------------------------------------------


def test_a_block_lives(client: Letta, tag: str) -> None:
    made = client.blocks.create(
        label="notes", value="one", description="What for", tags=[tag], metadata={"a": [1, None]}
    )
    assert (made.label, made.value, made.description, made.tags) == ("notes", "one", "What for", [tag])
    assert (made.limit, made.metadata, made.read_only) == (100_000, {"a": [1, None]}, False)
    assert client.blocks.retrieve(made.id).value == "one"

    changed = client.blocks.update(made.id, value="two", limit=500, read_only=True)
    assert (changed.value, changed.limit, changed.read_only, changed.description) == ("two", 500, True, "What for")
    assert client.blocks.update(made.id, value="three").value == "three"  # read_only is about an agent's own tools
    assert [block.value for block in client.blocks.list(tags=[tag])] == ["three"]

    client.blocks.delete(made.id)
    assert status(lambda: client.blocks.retrieve(made.id)) == 404
    assert status(lambda: client.blocks.delete(made.id)) == 404
    assert list(client.blocks.list(tags=[tag])) == []


def test_the_asynchronous_client(server: Server, tag: str) -> None:
    async def story() -> list[str]:
        async with AsyncLetta(base_url=server.url, api_key=server.key or "none", max_retries=0) as client:
            for number in range(3):
                await client.blocks.create(label="notes", value=f"{number}", tags=[tag])
            found = [block async for block in client.blocks.list(tags=[tag], limit=2)]
            await client.blocks.update(found[0].id, value="changed")
            agent = await client.agents.create(name=tag, block_ids=[found[0].id], **MODEL)
            block = await client.agents.blocks.retrieve("notes", agent_id=agent.id)
            await client.agents.delete(agent.id)
            return [block.value, *(block.value for block in found)]

    assert asyncio.run(story()) == ["changed", "0", "1", "2"]


def test_the_client_pages_through_all_blocks_by_itself(client: Letta, tag: str) -> None:
    made = [client.blocks.create(label="n", value=str(number), tags=[tag]).id for number in range(7)]

    assert [block.id for block in client.blocks.list(tags=[tag], limit=3)] == made
    assert [block.id for block in client.blocks.list(tags=[tag], limit=3, order="desc")] == made[::-1]


def test_before(server: Server, tag: str, other: Any) -> None:
    made = [server.block(tags=[tag])["id"] for _ in range(6)]
    query = f"tags={tag}&limit=2&"

    assert server.ids(f"{query}before={made[4]}") == other("before", made[:2], made[2:4])
    assert server.ids(f"{query}before={made[2]}&order=desc") == other("before", made[:3:-1], [made[4], made[3]])
    assert server.ids(f"{query}after={made[0]}&before={made[4]}") == made[1:3]


def test_filters(server: Server, client: Letta, tag: str) -> None:
    def ids(**filters: Any) -> set[str]:
        return {block.id for block in client.blocks.list(tags=[tag], **filters)}

    one = client.blocks.create(label=f"{tag}-One", value="Alpha beta", description="First words", tags=[tag]).id
    two = client.blocks.create(label=f"{tag}-Two", value="gamma", tags=[tag], project_id="p", template_name="t").id

    assert ids(label=f"{tag}-One") == {one}
    assert ids(label_search="-on") == {one}
    assert ids(value_search="A BET") == {one}
    assert ids(description_search="WORD") == {one}
    assert ids(project_id="p") == ids(name="t") == {two}
    assert ids(templates_only=True) == ids(identifier_keys=["x"]) == set()
    assert ids(identity_id="identity-00000000-0000-4000-8000-000000000000") == set()
    assert ids() == {one, two}


def test_searches_know_the_capitals_of_all_alphabets(client: Letta, tag: str) -> None:
    fields: Any = {"value": "Ärger mit ΩMEGA (3 €)", "description": "Größe", "label": "ÉTÉ", "tags": [tag]}
    id = client.blocks.create(**fields).id
    client.agents.create(name=f"Élan {tag}", tags=[tag], **MODEL)

    searches: Any = [{"value_search": "ωmega (3 €"}, {"value_search": "äRGER"}, {"description_search": "GRÖ"}]
    for search in searches:
        assert [block.id for block in client.blocks.list(tags=[tag], **search)] == [id]
    assert list(client.blocks.list(tags=[tag], value_search="ωmega.")) == []
    assert len(list(client.agents.list(tags=[tag], query_text="éLAN"))) == 1


METADATA: list[dict[str, Any]] = [
    {"kind": 5, "created_at": 1_700_000_000, "title": ["x"], "source": True},
    {"kind": {"of": "ours"}, "status": 0, "priority": 1.5, "created_at": [2026, 1, 2]},
    {"kind": "project_details", "created_at": "2026, in May", "memhub": None},
]


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_comes_back_whatever_its_names(client: Letta, metadata: dict[str, Any]) -> None:
    made = client.blocks.create(label="x", value="y", metadata=metadata)
    other = client.blocks.create(label="x", value="y", metadata={"kind": "error", "created_at": "2026-01-02", "a": 1})
    for block in (made, client.blocks.update(other.id, metadata=metadata), client.blocks.update(made.id, value="z")):
        assert block.metadata == metadata
        assert client.blocks.retrieve(block.id).metadata == metadata


def test_two_filters_by_label(server: Server, tag: str, other: Any) -> None:
    id = server.block(tags=[tag], label=f"{tag}-one")["id"]

    assert server.ids(f"label={tag}-one&label_search=ONE") == [id]
    assert server.ids(f"label={tag}-one&label_search=two") == other("label_and_search", [id], [])


def test_filter_by_how_many_agents_see_a_block(client: Letta, tag: str) -> None:
    def ids(**filters: Any) -> set[str]:
        return {block.id for block in client.blocks.list(tags=[tag], **filters)}

    none, one, two = (client.blocks.create(label=f"l{n}", value="x", tags=[tag]).id for n in range(3))
    client.agents.create(block_ids=[one, two], **MODEL)
    client.agents.create(block_ids=[two], **MODEL)

    assert ids(connected_to_agents_count_gt=0) == {one, two}
    assert ids(connected_to_agents_count_lt=2) == {none, one}
    assert ids(connected_to_agents_count_eq=[0, 2]) == {none, two}
    assert ids(connected_to_agents_count_gt=0, connected_to_agents_count_lt=2) == {one}


def test_the_order_of_blocks_by_how_many_agents_see_them(server: Server, tag: str, other: Any) -> None:
    made = [server.block(tags=[tag])["id"] for _ in range(6)]
    expected, query = other("oldest_first", sorted(made), made), f"tags={tag}&connected_to_agents_count_eq=0"

    assert server.ids(query) == expected
    assert server.ids(f"{query}&order=desc") == expected[::-1]
    if expected == made:
        assert server.ids(f"{query}&after={made[2]}") == made[3:]


def test_percent_in_a_search(server: Server, tag: str, other: Any) -> None:
    server.block(tags=[tag], value="plain")
    marked = server.block(tags=[tag], value="100 %")["id"]

    assert (server.ids(f"tags={tag}&value_search=%25") == [marked]) is other("searches", False, True)
    slashed = server.block(tags=[tag], value="C:\\temp")["id"]
    assert server.ids(f"tags={tag}&value_search=%5C") == other("searches", [marked], [slashed])


def test_count(server: Server, tag: str, other: Any) -> None:
    for number in range(3):
        server.block(tags=[tag, f"{tag}-{number}"], label=f"{tag}-{number}")
    server.block(tags=[tag], hidden=True)

    def count(query: str) -> int:
        return server.call("GET", f"/v1/blocks/count?{query}")[1]

    assert count(f"tags={tag}-0&tags={tag}-1") == 2
    assert count(f"tags={tag}&tags={tag}-1&match_all_tags=true") == 1
    assert count(f"label={tag}-1") == 1
    assert count(f"tags={tag}") == other("counts", 4, 3)


@pytest.mark.parametrize(
    ("query", "why", "letta", "hub"),
    [
        ("limit=x", "", 422, 422),
        ("order=up", "", 422, 422),
        ("order_by=label", "", 422, 422),
        ("templates_only=maybe", "", 422, 422),
        (f"value_search={'x' * 201}", "", 422, 422),
        ("value_search=", "", 422, 422),
        ("description_search=", "", 422, 422),
        ("label_search=", "", 422, 422),
        ("label=", "", 422, 422),
        ("name=", "", 422, 422),
        ("limit=-1", "ranges", 500, 422),
        ("limit=0", "ranges", 200, 422),
        (f"limit={10**20}", "ranges", 500, 422),
        (f"connected_to_agents_count_gt={2**40}", "ranges", 500, 422),
        ("label=two%20words", "labels", 422, 200),
        ("label_search=a%25", "labels", 422, 200),
        ("after=nonsense", "cursors", 200, 422),
        (f"after={GONE}", "cursors", 200, 404),
        (f"before={GONE}", "cursors", 200, 404),
    ],
)
def test_what_a_list_refuses(server: Server, other: Any, query: str, why: str, letta: int, hub: int) -> None:
    assert server.call("GET", f"/v1/blocks/?{query}")[0] == (other(why, letta, hub) if why else letta)


@pytest.mark.parametrize(
    ("fields", "why", "letta", "hub"),
    [
        ({"value": None}, "", 200, 200),
        ({"limit": "12"}, "", 200, 200),
        ({"read_only": "yes"}, "", 200, 200),
        ({"unknown": 1}, "", 200, 200),
        ({"value": 5}, "", 422, 422),
        ({"limit": 1.5}, "", 422, 422),
        ({"limit": None}, "", 422, 422),
        ({"read_only": None}, "", 422, 422),
        ({"metadata": []}, "", 422, 422),
        ({"limit": 3}, "limits", 200, 422),
        ({"limit": -5}, "limits", 200, 422),
        ({"label": ""}, "limits", 200, 422),
        ({"value": "a\0b"}, "storable", 200, 422),
        ({"label": "a\0b"}, "storable", 500, 422),
        ({"value": "\ud800"}, "storable", 500, 422),
        ({"limit": 2**31}, "storable", 500, 422),
        ({"value": "x" * 1_000_001, "limit": 2_000_000}, "sizes", 200, 422),
        ({"metadata": {"kind": "x" * 401}}, "sizes", 200, 422),
        ({"label": "x" * 501}, "sizes", 200, 422),
        ({"tags": [f"memhub:{number}" for number in range(21)]}, "sizes", 200, 422),
    ],
)
def test_what_a_new_block_may_be(
    server: Server, other: Any, fields: dict[str, Any], why: str, letta: int, hub: int
) -> None:
    said = {"label": "x", "value": "text"} | fields
    assert server.call("POST", "/v1/blocks/", said)[0] == (other(why, letta, hub) if why else letta)


def test_an_address_with_and_without_a_slash(server: Server, other: Any) -> None:
    id = server.block()["id"]
    said = json.dumps({"label": "x", "value": "y"}).encode()

    assert body_of(server, "POST", "/v1/blocks/", said)[0] == 200
    assert body_of(server, "GET", f"/v1/blocks/{id}")[0] == 200
    assert body_of(server, "POST", "/v1/blocks", said)[0] == other("slashes", 307, 200)
    # A GET is followed to where it is sent on.
    assert body_of(server, "GET", f"/v1/blocks/{id}/")[0] == 200


def test_errors_are_json_with_a_detail(server: Server, other: Any) -> None:
    id = server.block()["id"]
    asked = [
        ("GET", f"/v1/blocks/{GONE}", None, 404),
        ("GET", f"/v1/agents/{NOBODY}", None, 404),
        ("GET", "/v1/blocks/nonsense", None, 422),
        ("POST", "/v1/blocks/", b"{", 422),
        ("POST", "/v1/blocks/", b"[]", 422),
        ("POST", "/v1/blocks/", b"{}", 422),
        ("PATCH", f"/v1/blocks/{id}", b"", 422),
        ("PUT", f"/v1/blocks/{id}", b"{}", 405),
        ("DELETE", "/v1/blocks/", None, 405),
        ("GET", "/v1/nonsense", None, other("no_model", 404, 501)),
    ]
    for method, path, said, expected in asked:
        code, kind, answer = body_of(server, method, path, said)
        assert (code, kind) == (expected, "application/json"), (method, path)
        assert isinstance(answer["detail"], str)
        assert ("trace_id" in answer) is (code == 422)


@pytest.mark.parametrize("change", [{"hidden": True}, {"is_template": True}, {"label": "persona"}])
def test_a_block_that_becomes_private(server: Server, other: Any, change: dict[str, Any]) -> None:
    id = server.block()["id"]

    assert server.call("PATCH", f"/v1/blocks/{id}", change)[0] == other("memories", 200, 422)


# --- Agents -----------------------------------------------------------------------------------------------


def test_an_agent_lives(client: Letta, tag: str, other: Any) -> None:
    shared = client.blocks.create(label="shared", value="for all").id
    blocks: Any = [{"label": "human", "value": "h"}, {"label": "notes", "value": "n", "tags": [tag]}]
    agent = client.agents.create(
        name=f"Agent {tag}", block_ids=[shared], memory_blocks=blocks, tags=[tag], metadata={"a": 1}, **MODEL
    )
    assert {block.label for block in agent.blocks} == {"shared", "human", "notes"}
    assert {block.label for block in agent.memory.blocks} == {"shared", "human", "notes"}
    assert (agent.name, agent.metadata, agent.tags) == (f"Agent {tag}", {"a": 1}, [tag])
    assert (agent.model, agent.agent_type, agent.tools) == ("letta/letta-free", "letta_v1_agent", [])
    assert len(list(client.blocks.list(tags=[tag]))) == 1

    again = client.agents.retrieve(agent.id)
    assert (again.id, again.name) == (agent.id, agent.name)
    assert len(again.blocks) == other("relations", 0, 3)
    assert len(client.agents.retrieve(agent.id, include=["agent.blocks"]).blocks) == 3

    changed = client.agents.update(agent.id, name="Another", description="d", tags=[], block_ids=[shared])
    assert (changed.name, changed.description) == ("Another", "d")
    assert [block.id for block in client.agents.blocks.list(agent.id)] == [shared]

    client.agents.delete(agent.id)
    assert status(lambda: client.agents.retrieve(agent.id)) == 404
    assert status(lambda: client.agents.delete(agent.id)) == 404
    assert client.blocks.retrieve(shared).value == "for all"


def test_agents_are_listed(client: Letta, server: Server, tag: str) -> None:
    made = [client.agents.create(name=f"{tag} {n}", tags=[tag, f"{tag}-{n}"], **MODEL).id for n in range(4)]

    def ids(**filters: Any) -> list[str]:
        return [agent.id for agent in client.agents.list(**filters)]

    assert ids(tags=[tag]) == made[::-1]
    assert ids(tags=[tag], order="asc", limit=3) == made
    assert ids(tags=[f"{tag}-1", f"{tag}-2"], order="asc") == made[1:3]
    assert ids(tags=[tag, f"{tag}-2"], match_all_tags=True) == [made[2]]
    assert ids(name=f"{tag} 3") == [made[3]]
    assert ids(query_text=tag.upper(), order="asc") == made
    assert ids(tags=[tag], project_id="none") == []
    assert ids(tags=[tag], created_by_id="nobody") == ids(tags=[tag], last_stop_reason="error") == []
    maker = client.agents.retrieve(made[0]).created_by_id
    assert ids(tags=[tag], created_by_id=maker, order="asc") == made
    assert server.call("GET", f"/v1/agents/count?tags={tag}&last_stop_reason=error")[1] == 0
    assert server.call("GET", f"/v1/agents/count?tags={tag}")[1] == 4


def test_what_an_agent_sees(client: Letta, tag: str) -> None:
    first, second, third = (client.blocks.create(label=label, value=label).id for label in ("a", "b", "a"))
    agent = client.agents.create(block_ids=[first], **MODEL).id

    client.agents.blocks.attach(second, agent_id=agent)
    client.agents.blocks.attach(second, agent_id=agent)  # again: nothing happens
    assert {block.id for block in client.agents.blocks.list(agent)} == {first, second}
    assert status(lambda: client.agents.blocks.attach(third, agent_id=agent)) == 409
    assert status(lambda: client.agents.blocks.attach(GONE, agent_id=agent)) == 404
    assert status(lambda: client.agents.blocks.attach("nonsense", agent_id=agent)) == 422
    assert status(lambda: client.agents.blocks.attach(first, agent_id=NOBODY)) == 404
    assert status(lambda: client.blocks.update(second, label="a")) == 409

    assert client.agents.blocks.retrieve("b", agent_id=agent).id == second
    assert client.agents.blocks.update("b", agent_id=agent, value="new").value == "new"
    assert client.blocks.retrieve(second).value == "new"
    assert status(lambda: client.agents.blocks.retrieve("c", agent_id=agent)) == 404
    assert status(lambda: client.agents.blocks.update("c", agent_id=agent, value="x")) == 404
    assert [one.id for one in client.blocks.agents.list(second)] == [agent]

    client.agents.blocks.detach(second, agent_id=agent)
    assert {block.id for block in client.agents.blocks.list(agent)} == {first}
    assert status(lambda: client.agents.blocks.detach(second, agent_id=agent)) == 404
    assert list(client.blocks.agents.list(second)) == []


def test_the_digest_block(client: Letta, tag: str, other: Any) -> None:
    label, mark = "shared_memory_planner", "memhub:digest:planner"
    assert len(client.blocks.list(label=label).items) == other("digest", 0, 1)
    for made in other("digest", ["# Shared Memory: planner\n"], []):  # what the hub writes into another server
        client.blocks.create(label=label, value=made, tags=[mark])

    (block,) = client.blocks.list(tags=[mark])
    assert (block.label, block.tags, block.hidden, block.limit) == (label, [mark], None, 100_000)
    assert block.value.startswith("# Shared Memory: planner\n")
    agent = client.agents.create(block_ids=[block.id or ""], **MODEL).id
    assert client.agents.blocks.retrieve(label, agent_id=agent).value == block.value
    assert [one.id for one in client.blocks.agents.list(block.id or "")] == [agent]

    note = f"a note of {tag}"
    written = client.agents.blocks.update(label, agent_id=agent, value=note).value
    assert (written or "").startswith(other("digest", note, "# Shared Memory: planner\n"))
    assert len([one for one in client.blocks.list(value_search=tag) if one.value == note]) == 1

    client.agents.blocks.detach(block.id or "", agent_id=agent)
    assert list(client.agents.blocks.list(agent)) == []
    assert status(lambda: client.blocks.delete(block.id or "")) == other("digest", 200, 409)
    assert len(client.blocks.list(tags=[mark]).items) == other("digest", 0, 1)


def test_the_blocks_of_an_agent_are_paged(client: Letta, other: Any) -> None:
    made = [client.blocks.create(label=f"l{n}", value="x").id for n in range(5)]
    agent = client.agents.create(block_ids=made, **MODEL).id
    expected = other("oldest_first", sorted(made), made)

    assert [block.id for block in client.agents.blocks.list(agent, order="asc", limit=2)] == expected
    assert [block.id for block in client.agents.blocks.list(agent, limit=2)] == expected[::-1]


def test_what_an_agent_says_that_said_nothing(client: Letta, other: Any) -> None:
    agent = client.agents.create(memory_blocks=[{"label": "human", "value": "h"}], **MODEL)

    assert (agent.metadata, agent.description) == (other("said_nothing", None, {}), None)
    described = agent.blocks[0].description or ""
    assert described.startswith("The human block") is other("said_nothing", True, False)


def test_many_agents_see_a_block(client: Letta) -> None:
    block = client.blocks.create(label="shared", value="x").id
    made = [client.agents.create(block_ids=[block], **MODEL).id for _ in range(3)]

    assert [agent.id for agent in client.blocks.agents.list(block, order="asc", limit=2)] == made


def test_a_label_with_a_slash(client: Letta, other: Any) -> None:
    block = client.blocks.create(label="a/b", value="x").id
    agent = client.agents.create(block_ids=[block], **MODEL).id

    found = status(lambda: client.agents.blocks.retrieve("a/b", agent_id=agent))
    assert found == other("slash_in_label", 404, 200)


def test_what_a_new_agent_may_be(server: Server, other: Any) -> None:
    same = [server.block(label="same")["id"] for _ in range(2)]

    def made(**fields: Any) -> int:
        return server.call("POST", "/v1/agents/", fields)[0]

    assert made(**MODEL, memory_blocks=[{"value": "no label"}]) == 422
    assert made(**MODEL, block_ids=["nonsense"]) == 422
    assert made(**MODEL, agent_type="unheard of") == 422
    assert made(**MODEL, block_ids=[same[0], same[0]]) == 200
    assert made(**MODEL, block_ids=[GONE]) == other("missing_blocks", 200, 404)
    assert made(**MODEL, block_ids=same) == other("one_label", 200, 409)
    assert made(**MODEL, name="x" * 201) == other("sizes", 200, 422)
    assert made(name="no model") == other("no_agent_needs_a_model", 400, 200)


def test_no_model_runs(client: Letta, other: Any) -> None:
    agent = client.agents.create(**MODEL).id
    if other("no_model", False, True):
        assert status(lambda: client.agents.messages.create(agent, input="hello")) == 501
        assert status(lambda: client.models.list()) == 501
    assert list(client.runs.list(agent_id=agent)) == []


# --- The list of differences ------------------------------------------------------------------------------


def test_every_difference_is_listed() -> None:
    listed = (Path(__file__).parents[2] / "docs" / "letta-api.md").read_text()
    lines = " ".join(listed.split())
    assert [sentence for sentence in DIFFERENCES.values() if sentence not in lines] == []


def test_every_difference_is_tested() -> None:
    named = set(re.findall(r'(?:other\(\s*|, )"(\w+)", ', Path(__file__).read_text()))
    assert set(DIFFERENCES) <= named | set(FAILS.values())
