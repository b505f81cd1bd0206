"""What a Letta server really does, as far as the hub is built on it: noticed here when a new version differs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from letta_client import APIConnectionError, APIStatusError, Letta

from tests.contract.letta import Server, proxy, raw

GONE = "block-00000000-0000-4000-8000-000000000000"


@pytest.fixture
def server(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def tag() -> str:
    return f"tag-{uuid4().hex[:8]}"


def test_a_block_has_no_time_and_no_version(server: Server) -> None:
    block = server.block()

    assert not {"created_at", "updated_at", "version", "etag"} & set(block)
    assert {"id", "label", "value", "description", "limit", "tags", "metadata", "read_only", "hidden"} <= set(block)
    assert (block["limit"], block["description"], block["metadata"], block["tags"]) == (100_000, None, {}, [])


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_the_client_repeats_writes_unless_told_not_to(letta_server: str, server: Server, tag: str, method: str) -> None:
    block = server.block()["id"]

    def send(client: Letta) -> object:
        if method == "POST":
            return client.blocks.create(label="x", value="y", tags=[tag])
        return client.blocks.update(block, value="z")

    for retries in (2, 0):
        seen: list[str] = []
        with (
            proxy(letta_server, lose=method, seen=seen) as url,
            Letta(base_url=url, api_key="none", max_retries=retries) as client,
            pytest.raises(APIConnectionError),
        ):
            send(client)
        assert len(seen) == retries + 1
    assert len(server.ids(f"tags={tag}")) == (4 if method == "POST" else 0)


def test_the_client_takes_key_and_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTA_API_KEY", "from-the-environment")
    monkeypatch.delenv("LETTA_BASE_URL", raising=False)
    with Letta() as client:
        assert (client.api_key, client.base_url.host) == ("from-the-environment", "api.letta.com")
    with Letta(base_url="http://localhost:1", api_key="none") as client:
        assert (client.api_key, client.base_url.host) == ("none", "localhost")


def test_an_empty_key_makes_no_request(letta_server: str) -> None:
    with Letta(base_url=letta_server, api_key="", max_retries=0) as client, pytest.raises(APIConnectionError):
        client.blocks.list(limit=1)


def test_a_missing_block_is_404_and_a_malformed_id_422(server: Server) -> None:
    for method, body in (("GET", None), ("PATCH", {"value": "x"}), ("DELETE", None)):
        assert server.call(method, f"/v1/blocks/{GONE}", body)[0] == 404
        assert server.call(method, "/v1/blocks/nonsense", body)[0] == 422


def test_an_id_cannot_be_chosen(server: Server) -> None:
    assert server.block(id=GONE)["id"] != GONE


# Lists


def test_pages(server: Server, tag: str) -> None:
    made = [server.block(tags=[tag])["id"] for _ in range(7)]

    assert server.ids(f"tags={tag}&limit=3") == made[:3]
    assert server.ids(f"tags={tag}&limit=3&after={made[2]}") == made[3:6]
    assert server.ids(f"tags={tag}&limit=3&order=desc") == made[:3:-1]
    assert server.ids(f"tags={tag}&limit=3&order=desc&after={made[4]}") == made[3:0:-1]


def test_an_unknown_cursor_begins_again_at_page_1(server: Server, tag: str) -> None:
    made = [server.block(tags=[tag])["id"] for _ in range(3)]

    assert server.ids(f"tags={tag}&after={GONE}") == made


def test_tags_are_matched_exactly_any_or_all(server: Server, tag: str) -> None:
    both = server.block(tags=[f"{tag} a,b", f" {tag}"])["id"]
    one = server.block(tags=[f" {tag}"])["id"]

    assert server.ids(f"tags={quote(f'{tag} a,b')}&tags={quote(f' {tag}')}") == [both, one]
    assert server.ids(f"tags={quote(f'{tag} a,b')}&tags={quote(f' {tag}')}&match_all_tags=true") == [both]
    assert server.ids(f"tags={tag}") == []


def test_hidden_blocks_and_templates_are_not_listed_but_exist(server: Server, tag: str) -> None:
    hidden, template = server.block(tags=[tag], hidden=True)["id"], server.block(tags=[tag], is_template=True)["id"]

    assert server.ids(f"tags={tag}") == []
    assert server.ids(f"tags={tag}&show_hidden_blocks=true") == [hidden]
    assert server.ids(f"tags={tag}&templates_only=true") == [template]
    assert server.show(hidden)["id"] == hidden
    assert server.show(template)["id"] == template


def test_many_tags_fit_into_one_call(server: Server) -> None:
    uuids = [uuid4() for _ in range(100)]
    made = server.block(tags=[f"memhub:memory:{uuids[60]}"])["id"]

    assert server.ids("&".join(f"tags=memhub:memory:{uuid}" for uuid in uuids)) == [made]


def test_a_label_that_no_query_accepts_can_exist(server: Server) -> None:
    server.block(label="two words")

    assert server.call("GET", "/v1/blocks/?label=two%20words")[0] == 422
    assert server.call("GET", f"/v1/blocks/?label={'x' * 51}")[0] == 422


def test_a_number_beyond_64_bits_is_stored_and_breaks_every_list(server: Server, tag: str) -> None:
    block = server.block(tags=[tag])
    try:
        assert server.call("PATCH", f"/v1/blocks/{block['id']}", {"metadata": {"x": 2**64}})[0] == 500
        assert server.call("GET", f"/v1/blocks/?tags={tag}")[0] == 500
        assert server.call("GET", f"/v1/blocks/{block['id']}")[0] == 500
    finally:
        server.delete(block["id"])
    assert server.ids(f"tags={tag}") == []


# Writes


def test_nothing_is_enforced(server: Server, tag: str) -> None:
    made = [server.block(label="", value="longer than the limit", limit=3, tags=[tag])["id"] for _ in range(2)]

    assert server.ids(f"tags={tag}") == made
    assert server.show(made[0])["value"] == "longer than the limit"
    assert server.block(limit=-5)["limit"] == -5


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"value": "a\0b"}, 200),
        ({"label": "a\0b"}, 500),
        ({"description": "a\0b"}, 500),
        ({"value": "\ud800"}, 500),
        ({"limit": 2**31}, 500),
        ({"label": None}, 422),
        ({"tags": [5]}, 422),
    ],
)
def test_what_the_server_says_to_impossible_content(server: Server, fields: dict[str, Any], status: int) -> None:
    answer, block = server.call("POST", "/v1/blocks/", {"label": "x", "value": "y"} | fields)

    assert answer == status
    if block:
        assert block["value"] == "ab"


def test_a_patch_ignores_null_and_replaces_metadata_and_tags_whole(server: Server) -> None:
    id = server.block(description="d", metadata={"a": 1, "b": 2}, tags=["a", "b"])["id"]

    server.edit(id, description=None, metadata={"c": 3}, tags=["c"])
    shown = server.show(id)
    assert (shown["description"], shown["metadata"], shown["tags"]) == ("d", {"c": 3}, ["c"])

    server.edit(id, description="", metadata={}, tags=[])
    shown = server.show(id)
    assert (shown["description"], shown["metadata"], shown["tags"]) == ("", {}, [])


def test_overlapping_patches_are_200_or_409(server: Server) -> None:
    id = server.block()["id"]

    def patch(number: int) -> int:
        return server.call("PATCH", f"/v1/blocks/{id}", {"value": f"{number} " * 50_000})[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(patch, range(40)))

    assert statuses <= {200, 409}
    assert 200 in statuses


# Agents


def test_deleting_an_attached_block_takes_it_from_its_agents(server: Server) -> None:
    block = server.block(label="shared")["id"]
    agent = server.agent(block)
    assert [one["id"] for one in server.call("GET", f"/v1/blocks/{block}/agents")[1]] == [agent]

    server.delete(block)

    assert server.call("GET", f"/v1/agents/{agent}/core-memory/blocks")[1] == []
    assert server.call("GET", f"/v1/blocks/{block}/agents") == (200, [])  # no proof of anything


def test_an_agent_takes_a_label_once(server: Server) -> None:
    first, second = server.block(label="shared")["id"], server.block(label="shared")["id"]
    agent = server.agent(first)

    assert server.call("PATCH", f"/v1/agents/{agent}/core-memory/blocks/attach/{second}", {})[0] == 409


# The connection


def test_health_ignores_the_key_and_blocks_do_not(secure_letta_server: tuple[str, str]) -> None:
    url, password = secure_letta_server

    assert raw(url, "GET", "/v1/health/")[0] == 200
    assert raw(url, "GET", "/v1/blocks/?limit=1")[0] == 401
    for key, status in (("wrong", 401), (password, 200)):
        with Letta(base_url=url, api_key=key, max_retries=0) as client:
            try:
                client.blocks.list(limit=1)
                answer = 200
            except APIStatusError as error:
                answer = error.status_code
        assert answer == status


def test_health_is_under_v1(server: Server) -> None:
    assert server.call("GET", "/v1/health/") == (200, {"version": "0.16.8", "status": "ok"})
    assert server.call("GET", "/health")[0] == 404
