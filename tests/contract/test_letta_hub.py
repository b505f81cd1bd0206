"""The hub as a Letta server: the contract tests of the real one, and those of the store that syncs with it, again.

So another hub can have this one as its Letta server. Where the hub differs on purpose, the test has to fail.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.contract.differences import DIFFERENCES, FAILS
from tests.contract.letta import Server
from tests.contract.test_letta_contract import *  # noqa: F403
from tests.contract.test_letta_store import *  # noqa: F403
from tests.servers.web import WebServer

# The real server itself, and what is about the client, a server of its own, or a proxy, which passes no tokens on.
for _name in (
    "server",
    "test_the_client_repeats_writes_unless_told_not_to",
    "test_the_client_takes_key_and_address_from_the_environment",
    "test_an_empty_key_makes_no_request",
    "test_health_ignores_the_key_and_blocks_do_not",
    "test_an_update_sends_only_what_differs",
    "test_a_create_is_one_request",
    "test_a_lost_reply_is_unclear_and_never_repeated",
    "test_probe_with_a_wrong_key",
    "test_probe_where_nothing_answers",
    "test_probe_where_the_answer_does_not_come",
    "test_probe_of_something_else",
):
    del globals()[_name]


@pytest.fixture
def letta_server(hub_server: WebServer) -> str:
    return hub_server.url


@pytest.fixture(name="server")
def the_hub(hub_server: WebServer) -> Server:
    return Server(hub_server.url, hub_server.tokens["editor"])


@pytest.fixture(autouse=True)
def different(request: pytest.FixtureRequest) -> None:
    if key := FAILS.get(request.node.name):
        request.applymarker(pytest.mark.xfail(reason=DIFFERENCES[key], strict=True))


def test_the_digest_that_the_hub_computes_is_left_to_it(server: Server) -> None:
    """Else two hubs with a project of the same name would take each other's digest for somebody's text, for ever."""
    store = server.store("planner")
    before = server.ids("show_hidden_blocks=true")

    assert store.read_digest("planner") == (None, 100_000, False)
    assert store.write_digest("planner", "ours", None) == "changed"

    assert server.ids("show_hidden_blocks=true") == before
    assert store.digest_id() in before
    assert store.look().print == store.look().print != ""


@pytest.mark.parametrize(
    ("path", "said", "made"), [("/v1/blocks/", {"value": "x"}, 200), ("/api/memories", {"text": "x"}, 201)]
)
def test_of_many_that_want_a_label_at_once_one_gets_it(
    server: Server, path: str, said: dict[str, str], made: int
) -> None:
    label = f"wanted-{uuid4().hex[:8]}"

    def take(_: int) -> int:
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json", "If-None-Match": "*"}
        body = json.dumps(said | {"label": label}).encode()
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.post(server.url + path, content=body, headers=headers).status_code

    with ThreadPoolExecutor(8) as threads:
        answers = sorted(threads.map(take, range(24)))
    assert answers == [made] + [412 if made == 200 else 409] * 23
    assert len(server.ids(f"label={label}")) == 1
