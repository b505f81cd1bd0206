"""The MCP endpoint, as the SDK's own client sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.test_serve import Served

pytestmark = pytest.mark.start
NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A hub with two projects."""
    served = Served(tmp_path_factory.mktemp("mcp"))
    try:
        for slug in ("planner", "other"):
            served.manage("setup_project", slug)
        served.wait()
        yield served
    finally:
        served.stop()


def token(hub: Served, *arguments: str) -> str:
    return str(json.loads(hub.manage("create_token", *arguments, "--json"))["token"])


@pytest.fixture(scope="module")
def claude(hub: Served) -> str:
    return token(hub, "planner", "Claude")


def talk(hub: Served, plain: str, talking: Callable[[Client], Awaitable[Any]], mode: Any = "auto") -> Any:
    """What an agent with this token gets from a conversation with the hub."""

    async def connect() -> Any:
        headers = {"Authorization": f"Bearer {plain}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
            transport = streamable_http_client(f"http://localhost:{hub.port}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await talking(client)

    return asyncio.run(connect())


def call(hub: Served, plain: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of one tool; its error as {"error": text}."""

    async def talking(client: Client) -> dict[str, Any]:
        result: Any = await client.call_tool(tool, arguments)
        if result.is_error:
            return {"error": result.content[0].text}
        said: dict[str, Any] = result.structured_content
        return said

    answer: dict[str, Any] = talk(hub, plain, talking)
    return answer


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_what_there_is(hub: Served, claude: str, mode: str) -> None:
    async def talking(client: Client) -> Any:
        tools = (await client.list_tools()).tools
        return {tool.name: bool(tool.annotations and tool.annotations.read_only_hint) for tool in tools}

    assert talk(hub, claude, talking, mode) == {
        "search": True,
        "read": True,
        "remember": False,
        "log_error": False,
        "update": False,
        "list_changes": True,
    }


def test_a_tool_names_all_its_arguments(hub: Served, claude: str) -> None:
    async def talking(client: Client) -> Any:
        return [tool.input_schema["additionalProperties"] for tool in (await client.list_tools()).tools]

    assert talk(hub, claude, talking) == [False] * 6


def test_what_one_agent_logs_another_finds(hub: Served, claude: str) -> None:
    error = "E4711: the lock file is stale"
    made = call(hub, claude, "log_error", error=error, source="deploy.sh", fix="delete it", tags=["deploy"])
    assert (made["kind"], made["author"], made["title"]) == ("error", "Claude", f"[ERROR] {error}")
    found = call(hub, token(hub, "planner", "GPT", "--role", "viewer"), "search", query="stale lock file")
    assert [item["uuid"] for item in found["items"]] == [made["uuid"]]
    assert "stale" in found["items"][0]["excerpt"]
    whole = call(hub, claude, "read", uuid=made["uuid"])
    assert whole["text"] == f"{error}\n\n**Fix**: delete it"
    assert (whole["source"], whole["tags"], whole["revision"]) == ("deploy.sh", ["deploy"], 1)


def test_an_update_names_the_revision_that_was_read(hub: Served, claude: str) -> None:
    made = call(hub, claude, "remember", text="# Rollback\n\nStop the queue.", kind="decision")
    assert made["title"] == "Rollback"
    changed = call(hub, claude, "update", uuid=made["uuid"], expected_revision=1, append="Then wait.")
    assert (changed["text"], changed["revision"]) == ("# Rollback\n\nStop the queue.\nThen wait.", 2)
    late = call(hub, claude, "update", uuid=made["uuid"], expected_revision=1, text="Mine.")
    assert "Revision 2 is newer" in late["error"]
    early = call(hub, claude, "update", uuid=made["uuid"], expected_revision=99, text="Mine.")
    assert "There is no revision 99 yet: the present one is 2." in early["error"]
    assert call(hub, claude, "read", uuid=made["uuid"])["text"] == changed["text"]


def test_what_changed_since(hub: Served, claude: str) -> None:
    before = call(hub, claude, "list_changes")["next"]
    made = call(hub, claude, "remember", text="Tuesdays only.", title="Deploys")
    news = call(hub, claude, "list_changes", since=before)
    assert [(item["uuid"], item["author"]) for item in news["items"]] == [(made["uuid"], "Claude")]
    assert call(hub, claude, "list_changes", since=news["next"])["items"] == []


def test_blocks_are_resources(hub: Served, claude: str) -> None:
    made = call(hub, claude, "remember", text="Ünïcode, and\r\nlines.\n", title="A resource")

    async def talking(client: Client) -> Any:
        listed = {str(one.uri): one for one in (await client.list_resources()).resources}
        one = listed[f"memhub://memories/{made['uuid']}"]
        (content,) = (await client.read_resource(str(one.uri))).contents
        return one.title, one.mime_type, content.text  # type: ignore[union-attr]

    assert talk(hub, claude, talking) == ("A resource", "text/markdown", "Ünïcode, and\r\nlines.\n")


OWN = """
from blocks import builtin
from memoryhub.models import Project
project = Project.objects.get(slug="planner")
for label, more in (("human", {}), ("persona", {}), ("unseen", {"hidden": True}), ("mould", {"is_template": True})):
    builtin.create(project, {"label": label, "value": f"of {label}", **more}, "Claude")
"""


def test_the_digest_is_the_first_resource_and_agents_own_blocks_are_some(hub: Served, claude: str) -> None:
    hub.manage("shell", "-v0", "-c", OWN)
    call(hub, claude, "remember", text="Zeppelins are slow.", kind="gotcha")

    async def talking(client: Client) -> Any:
        listed = (await client.list_resources()).resources
        said = [(await client.read_resource(str(one.uri))).contents[0] for one in listed[:3]]
        return [one.name for one in listed], [content.text for content in said]  # type: ignore[union-attr]

    names, texts = talk(hub, claude, talking)
    assert names[:3] == ["shared_memory_planner", "human", "persona"]
    assert texts[0].startswith("# Shared Memory: planner\n")
    assert "Zeppelins are slow." in texts[0]
    assert texts[1:] == ["of human", "of persona"]
    assert not {"unseen", "mould"} & {*names}
    assert len(names) == len({*names})


def test_a_token_reads_no_block_of_another_project(hub: Served, claude: str) -> None:
    async def first(client: Client) -> str:
        return str((await client.list_resources()).resources[0].uri)

    digest = talk(hub, claude, first)
    for uri in (digest, f"memhub://blocks/{NOWHERE}", "memhub://blocks/x"):
        with pytest.raises(ExceptionGroup) as caught:
            talk(hub, token(hub, "other", "Spy"), partial(read, uri=uri))
        assert caught.group_contains(MCPError, match="No such block", depth=None)


async def read(client: Client, uri: str) -> None:
    await client.read_resource(uri)


FILL = """
from blocks import actions, builtin
from memoryhub.models import Project
project = Project.objects.get(slug="other")
for number in range(205):
    actions.create(project, {"text": f"note {number}"})
    builtin.create(project, {"label": "human"}, "Claude")
"""


def test_long_lists_of_resources_come_in_pages(hub: Served) -> None:
    hub.manage("shell", "-v0", "-c", FILL)

    async def talking(client: Client) -> Any:
        pages: list[list[str]] = []
        cursor = None
        while not pages or cursor:
            page = await client.list_resources(cursor=cursor)
            cursor = page.next_cursor
            pages.append([str(one.uri) for one in page.resources])
        return [len(page) for page in pages], len({uri for page in pages for uri in page})

    assert talk(hub, token(hub, "other", "Reader"), talking) == ([200, 200, 11], 411)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("read", {"uuid": NOWHERE}, "No such memory"),
        ("read", {"uuid": "x"}, "No such memory"),
        ("remember", {"text": "x\0"}, "NUL"),
        ("remember", {"text": "x", "tags": ["memhub:memory:x"]}, "memhub:"),
        ("update", {"uuid": NOWHERE, "expected_revision": 1}, "No such memory"),
        ("search", {"query": "x", "limit": 0}, "limit"),
        ("search", {"query": "x", "tags": [f"t{number}" for number in range(1001)]}, "tags"),
        ("search", {"query": "x", "kinds": ["a\0"]}, "NUL"),
        ("list_changes", {"since": "x"}, "since"),
        (
            "search",
            {"query": "x", "kind": "error"},
            "no argument 'kind'. Nothing was done; there are: query, limit, kinds",
        ),
        ("remember", {"text": "x", "bogus": 1}, "no argument 'bogus'"),
        ("forget", {"uuid": NOWHERE}, "Unknown tool: forget"),
    ],
)
def test_what_is_wrong_is_said(hub: Served, claude: str, tool: str, arguments: dict[str, Any], said: str) -> None:
    assert said in call(hub, claude, tool, **arguments)["error"]


def test_a_viewers_token_reads_only(hub: Served, claude: str) -> None:
    viewer = token(hub, "planner", "Reader", "--role", "viewer")
    made = call(hub, claude, "remember", text="Stays.")
    assert "may only read" in call(hub, viewer, "remember", text="x")["error"]
    assert "may only read" in call(hub, viewer, "log_error", error="x")["error"]
    assert "may only read" in call(hub, viewer, "update", uuid=made["uuid"], expected_revision=1, text="x")["error"]
    assert call(hub, viewer, "read", uuid=made["uuid"])["text"] == "Stays."


def test_a_token_sees_its_project_only(hub: Served, claude: str) -> None:
    made = call(hub, claude, "remember", text="A secret of the planners: xylophone.")
    other = token(hub, "other", "Spy")
    assert "No such memory" in call(hub, other, "read", uuid=made["uuid"])["error"]
    assert "No such memory" in call(hub, other, "update", uuid=made["uuid"], expected_revision=1, text="x")["error"]
    assert call(hub, other, "search", query="xylophone")["items"] == []

    with pytest.raises(ExceptionGroup) as caught:
        talk(hub, other, partial(read, uri=f"memhub://memories/{made['uuid']}"))
    assert caught.group_contains(MCPError, match="No such memory", depth=None)


def post(hub: Served, **headers: str) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-11-25"}
    with httpx2.Client(trust_env=False, timeout=60) as client:
        return client.post(f"http://127.0.0.1:{hub.port}/mcp", json=body, headers=accept | headers)


def test_without_a_token_nobody_comes_in(hub: Served, claude: str) -> None:
    for authorization in ({}, {"Authorization": "Bearer mhub_wrong"}, {"Authorization": f"Basic {claude}"}):
        reply = post(hub, **authorization)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert "token" in reply.json()["detail"].lower()
    assert post(hub, Authorization=f"Bearer {claude}").status_code == 200


def test_pages_of_other_hosts_do_not_come_in(hub: Served, claude: str) -> None:
    """As a page would whose name was pointed at this machine (DNS rebinding)."""
    authorization = {"Authorization": f"Bearer {claude}"}
    assert post(hub, Host="evil.example", **authorization).status_code == 403
    assert post(hub, Origin="http://evil.example", **authorization).status_code == 403
    assert post(hub, Origin="http://localhost:3000", **authorization).status_code == 200
