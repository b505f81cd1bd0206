"""letta_memory_bridge.py against a hub as it runs in production."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from letta_client import ConflictError

import letta_memory_bridge
from letta_memory_bridge import LabelTaken, LettaMemoryBridge
from memoryhub.settings import BASE_DIR
from tests.original_store import fill, memories, open_server
from tests.scripts.bridge import bridge, shell
from tests.servers.web import WebServer

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def hub() -> Iterator[WebServer]:
    server = WebServer().start()
    yield server
    server.stop()


@pytest.fixture
def ours(hub: WebServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LettaMemoryBridge]:
    monkeypatch.setenv("MEMORYHUB_URL", hub.url)
    with LettaMemoryBridge(api_key=hub.tokens["editor"], say=lambda sentence: None) as found:
        yield found


@pytest.fixture
def label() -> str:
    return f"note_{uuid4().hex[:12]}"


def test_the_guides_examples(hub: WebServer, ours: LettaMemoryBridge, label: str) -> None:
    key = ("--api-key", hub.tokens["editor"], "--url", hub.url)
    id = bridge("create-block", label, "1. Run tests\n   2. Tag", *key).stdout.strip()

    assert label in bridge("list", *key).stdout
    assert {block.label: block.value for block in ours.list_blocks()}[label] == "1. Run tests\n   2. Tag"
    assert bridge("create-block", label, "x", *key).returncode == 1
    assert bridge("create-block", label, "3. Deploy", "--append", *key).stdout.strip() == id
    assert json.loads(bridge("search", "deploy run", "--json", *key).stdout)[0]["label"] == label
    assert bridge("get-block", label, *key).stdout == "1. Run tests\n   2. Tag\n3. Deploy"
    done = bridge("sync", *key)  # there is nothing but the hub's own blocks
    assert (done.returncode, done.stdout[:16]) == (0, "Nothing to sync.")
    ours.sync_from_local_rag()


def test_of_several_that_make_a_block_at_once_one_does(hub: WebServer, label: str) -> None:
    key = ("--api-key", hub.tokens["editor"], "--url", hub.url)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda text: shell("create-block", label, text, *key), "abcd"))

    assert sorted(one.returncode for one in done) == [0, 1, 1, 1]
    assert all(f"block '{label}' already" in one.stderr for one in done if one.returncode)


def test_one_that_is_made_while_we_look_is_no_second_one(
    ours: LettaMemoryBridge, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.create_block(label, "theirs")
    find = ours.find_blocks
    looks: Iterator[list[Any]] = iter([[]])  # the first finds nothing yet
    monkeypatch.setattr(ours, "find_blocks", lambda name: next(looks, find(name)))

    with pytest.raises(LabelTaken):
        ours.create_block(label, "ours")
    assert [block.value for block in find(label)] == ["theirs"]


def test_an_agent_with_the_shared_memory_sees_what_is_remembered_later(ours: LettaMemoryBridge, label: str) -> None:
    wanted: dict[str, Any] = {"label": "shared_memory_planner", "value": "a block that is called as the digest is"}
    with pytest.raises(ConflictError, match="digest has this label"):
        ours.client.blocks.create(**wanted)
    assert ours.get_block("shared_memory_planner").value.startswith("# Shared Memory: planner")
    ours.client.blocks.create(**wanted, tags=["memhub:project:another"])  # of another hub
    agent = ours.create_agent_with_shared_memory(agent_name="debug_assistant", project_name="planner")
    ours.create_block(label, "remembered later")
    (block,) = ours.client.agents.blocks.list(agent_id=agent)
    assert (block.label, block.tags) == ("shared_memory_planner", ["memhub:digest:planner"])
    assert f"{label} (project_details)\nremembered later\n" in block.value

    more = ours.create_agent_with_shared_memory("helper", "planner", blocks=[label])
    assert {one.label for one in ours.client.agents.blocks.list(agent_id=more)} == {"shared_memory_planner", label}
    ours.append_block(str(block.id), "a note of an agent")  # becomes a memory of its own
    kept = [one for one in ours.list_blocks() if one.value == "a note of an agent"]
    assert [(one.metadata or {})["title"] for one in kept] == ["a note of an agent (written into the digest block)"]
    assert "a note of an agent" in ours.get_block(str(block.id)).value


def test_what_others_append_meanwhile_is_kept(
    ours: LettaMemoryBridge, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = ours.create_block(label, "one")
    patch, tries = ours._patch, []

    def late(block: str, value: str, **options: Any) -> None:
        tries.append(value)
        if len(tries) == 1:
            patch(block, "one\ntheirs")
        patch(block, value, **options)

    monkeypatch.setattr(ours, "_patch", late)
    ours.append_block(id, "ours")
    assert ours.get_block(id).value == "one\ntheirs\nours"
    assert len(tries) == 2


def test_many_append_at_once(hub: WebServer, ours: LettaMemoryBridge, label: str) -> None:
    id = ours.create_block(label, "")

    def append(number: int) -> None:
        with LettaMemoryBridge(hub.url, hub.tokens["editor"], say=print) as theirs:
            theirs.append_block(id, f"{number}")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(append, range(24)))
    assert sorted(ours.get_block(id).value.splitlines(), key=int) == [f"{number}" for number in range(24)]


def test_the_list_goes_on_when_the_block_it_stands_at_is_deleted(
    ours: LettaMemoryBridge, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [ours.create_block(f"{label}-{number}", label, tags=[label]) for number in range(7)]
    monkeypatch.setattr(letta_memory_bridge, "PAGE", 3)
    fetch, calls = ours.client.blocks.list, []

    def page(**query: Any) -> Any:
        calls.append(query)
        if len(calls) == 2:
            ours.client.blocks.delete(ids[2])
        return fetch(**query)

    found = [block.id for block in ours._all(page, tags=[label])]
    assert found == [id for id in ids if id != ids[2]]
    assert len(calls) > 3


def test_what_a_token_may_not_do(hub: WebServer, label: str) -> None:
    viewer, other = hub.tokens["viewer"], hub.tokens["other"]
    for command, token, words in (
        (("create-block", label, "x"), viewer, "Unauthorized"),
        (("create-block", label, "x"), viewer, "make an editor's token"),
        (("list", "--project", "planner"), other, "'other', not to 'planner'"),
        (("list",), "mhub_wrong", "Settings > Tokens"),
        (("sync",), "sk-of-the-cloud", "Settings > Tokens"),
    ):
        done = bridge(*command, "--api-key", token, "--url", hub.url)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert token not in done.stderr
    assert bridge("list", "--project", "other", "--api-key", other, "--url", hub.url).returncode == 0


def test_sync_runs_on_the_hub(hub: WebServer, chroma_server: str, collection: str) -> None:
    fill(open_server(chroma_server), memories(5, projects=("other",)), collection)
    setup = ("setup_project", "other", "--chroma-url", chroma_server, "--collection", collection)
    assert manage(hub, *setup).wait(300) == 0
    worker = manage(hub, "db_worker", "--queue-name", "sync,default,push", "--interval", "0.3", "--no-startup-delay")
    try:
        key = ("--api-key", hub.tokens["other"], "--url", hub.url)
        done = bridge("sync", "--json", *key)
        result = json.loads(done.stdout)
        assert (done.returncode, result["status"], result["errors"]) == (0, "done", [])
        assert result["url"].startswith(hub.url)
        labels = [block["label"] for block in json.loads(bridge("list", "--json", *key).stdout)]
        assert len(labels) == 5
        assert bridge("sync", *key).stdout.startswith("Done: 5 unchanged.")
        assert bridge("create-agent", "helper", *key).returncode == 0
        (agent,) = json.loads(bridge("agents", "--json", *key).stdout)
        assert [block["label"] for block in agent["blocks"]] == ["shared_memory_other"]
    finally:
        worker.terminate()
        worker.wait(60)


def manage(hub: WebServer, *arguments: str) -> subprocess.Popen[bytes]:
    with hub.log.open("ab") as log:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.Popen(command, cwd=BASE_DIR, env=hub.environment(), stdout=log, stderr=log)
