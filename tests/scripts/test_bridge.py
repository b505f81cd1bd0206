"""letta_memory_bridge.py against a real Letta server: blocks, search and agents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import letta_memory_bridge
from letta_memory_bridge import (
    BridgeError,
    LabelTaken,
    LettaMemoryBridge,
    NotFound,
    Unauthorized,
    UsageError,
    find_target,
)
from tests.contract.letta import Server, answering, proxy
from tests.scripts.bridge import SCRIPT, bridge, environment, shell
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.contract
MISSING = "block-00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LETTA_BASE_URL", "LETTA_API_KEY", "MEMORYHUB_URL", "CHROMA_URL", "CHROMA_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def label() -> str:
    return f"note_{uuid4().hex[:12]}"


@pytest.fixture
def ours(letta_server: str) -> Iterator[LettaMemoryBridge]:
    with LettaMemoryBridge(letta_server, say=lambda sentence: None) as found:
        yield found


# --- the class


def test_blocks_are_made_read_and_changed(ours: LettaMemoryBridge, server: Server, label: str) -> None:
    id = ours.create_block(label=label, value="parser bugs")

    assert server.show(id)["value"] == "parser bugs"
    assert ours.get_block(id).label == label
    assert ours.get_block(label).id == id
    assert ours.update_block(id, "fixed") is True
    assert ours.append_block(label, "again") is True
    assert server.show(id)["value"] == "fixed\nagain"
    assert {block.label: block.value for block in ours.list_blocks()}[label] == "fixed\nagain"


def test_a_template_is_one(ours: LettaMemoryBridge, server: Server, label: str) -> None:
    assert server.show(ours.create_block(label, "form", template=True))["is_template"] is True


def test_a_label_is_taken_once(ours: LettaMemoryBridge, server: Server) -> None:
    label = f"with blank {uuid4()}"  # the server refuses to look for such a label
    id = ours.create_block(label, "one")

    with pytest.raises(LabelTaken, match=id):
        ours.create_block(label, "two")
    assert [block.value for block in ours.find_blocks(label)] == ["one"]


def test_of_two_blocks_with_one_label_none_is_guessed(ours: LettaMemoryBridge, server: Server, label: str) -> None:
    ids = [server.block(label=label, value=value)["id"] for value in ("one", "two")]

    with pytest.raises(BridgeError, match="2 blocks") as error:
        ours.update_block(label, "new")
    assert all(id in error.value.hint for id in ids)
    assert [server.show(id)["value"] for id in ids] == ["one", "two"]


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d"])
def test_what_letta_drops_or_breaks_on_is_refused(
    ours: LettaMemoryBridge, server: Server, label: str, text: str
) -> None:
    id = server.block(label=label, value="old")["id"]

    for act in (
        lambda: ours.create_block(f"{label}x", text),
        lambda: ours.create_block(text, "x"),
        lambda: ours.update_block(id, text),
        lambda: ours.append_block(id, text),
        lambda: ours.get_block(text),
    ):
        with pytest.raises(UsageError):
            act()
    assert server.show(id)["value"] == "old"


def test_the_limit_is_kept_which_letta_does_not_do(ours: LettaMemoryBridge, server: Server, label: str) -> None:
    id = server.block(label=label, value="12345", limit=10)["id"]

    for act in (lambda: ours.update_block(id, "x" * 11), lambda: ours.append_block(id, "12345")):
        with pytest.raises(UsageError, match="limit is 10"):
            act()
    with pytest.raises(UsageError):
        ours.create_block(f"{label}x", "x" * 100_001)
    assert ours.append_block(id, "1234")
    assert ours.update_block(id, "x" * 11, limit=20)
    assert server.show(id)["limit"] == 20
    assert ours.create_block(f"{label}x", "x" * 100_001, limit=200_000)


def test_the_list_is_complete(
    ours: LettaMemoryBridge, server: Server, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [server.block(label=label)["id"] for _ in range(7)]
    monkeypatch.setattr(letta_memory_bridge, "PAGE", 3)

    assert [block.id for block in ours.find_blocks(label)] == ids
    assert set(ids) <= {block.id for block in ours.list_blocks()}


def test_the_list_goes_on_when_the_block_it_stands_at_is_deleted(
    ours: LettaMemoryBridge, server: Server, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [server.block(label=label)["id"] for _ in range(9)]
    monkeypatch.setattr(letta_memory_bridge, "PAGE", 3)
    fetch, calls = ours.client.blocks.list, []

    def page(**query: Any) -> Any:
        calls.append(query)
        if len(calls) == 3:
            server.delete(ids[5])
        return fetch(**query)

    assert [block.id for block in ours._all(page, label=label)] == [id for id in ids if id != ids[5]]
    assert len(calls) > 4


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_lost_reply_changes_nothing_twice(letta_server: str, server: Server, label: str, method: str) -> None:
    id = server.block(label=f"{label}x", value="one")["id"]
    seen: list[str] = []

    with proxy(letta_server, lose=method, seen=seen) as url, LettaMemoryBridge(url, say=print) as ours:
        made = ours.create_block(label, "text")
        ours.append_block(id, "two")

    assert len([call for call in seen if call.startswith(method)]) == 1
    assert server.show(made)["value"] == "text"
    assert [block["id"] for block in json.loads(bridge("--url", letta_server, "list", "--json").stdout)].count(
        made
    ) == 1
    assert server.show(id)["value"] == "one\ntwo"


def test_an_agent_sees_the_blocks_it_was_made_with(ours: LettaMemoryBridge, server: Server, label: str) -> None:
    server.block(label=f"shared_memory_{label}")
    other = server.block(label=label)["id"]

    id = ours.create_agent_with_shared_memory(agent_name=label, project_name=label)
    assert {block.label for block in ours.find_agent(label).blocks} == {f"shared_memory_{label}"}
    assert ours.attach_block(label, other)
    assert not ours.attach_block(id, label)
    assert {block.label for block in ours.find_agent(label).blocks} == {f"shared_memory_{label}", label}


def test_an_agent_without_a_shared_memory_is_not_made(ours: LettaMemoryBridge, label: str) -> None:
    with pytest.raises(NotFound, match="sync --project"):
        ours.create_agent_with_shared_memory(label, label)
    with pytest.raises(NotFound, match="agent"):
        ours.find_agent(label)


# --- the command


def test_a_block_from_the_shell(letta_server: str, server: Server, label: str) -> None:
    text = "1. Requires $and operator for multiple filters\n   2. [red]Names[/red] have no spaces"

    made = bridge("create-block", label, text, "--url", letta_server)
    again = bridge("create-block", label, "other", "--url", letta_server)
    added = bridge("--url", letta_server, "create-block", label, "3. more", "--append", "--json")

    id = made.stdout.strip()
    assert (made.returncode, server.show(id)["label"]) == (0, label)
    assert (again.returncode, again.stdout) == (1, "")
    assert label in again.stderr
    assert "--update" in again.stderr
    assert "--append" in again.stderr
    assert json.loads(added.stdout) == {"id": id, "label": label, "done": "appended"}
    assert bridge("get-block", label, "--url", letta_server).stdout == f"{text}\n3. more"
    assert bridge("create-block", label, "new", "--update", "--url", letta_server).returncode == 0
    assert bridge("get-block", id, LETTA_BASE_URL=letta_server).stdout == "new"


def test_content_that_looks_like_an_option(letta_server: str, server: Server, label: str) -> None:
    made = bridge("create-block", label, "--url", letta_server, "--", "-v")
    assert server.show(made.stdout.strip())["value"] == "-v"
    listed = bridge("update-block", label, "- one\n- two", "--url", letta_server)
    assert server.show(listed.stdout.strip())["value"] == "- one\n- two"


def test_content_from_standard_input(letta_server: str, server: Server, label: str) -> None:
    text = "- été ✓\n\n  two\r\n"
    id = bridge("create-block", label, "-", "--url", letta_server, stdin=text).stdout.strip()

    assert server.show(id)["value"] == text
    done = bridge("update-block", label, "-", "--url", letta_server, stdin=b"\xff\xfe")
    assert (done.returncode, "UTF-8" in done.stderr) == (2, True)
    assert server.show(id)["value"] == text


def test_what_is_not_there(letta_server: str, server: Server, label: str) -> None:
    server.block(label=label)

    near = bridge("get-block", label[:-1], "--url", letta_server)
    assert (near.returncode, near.stdout) == (1, "")
    assert f"'{label}'" in near.stderr
    for name in (MISSING, "block-x", b"\xff".decode(errors="surrogateescape")):
        assert bridge("get-block", name, "--url", letta_server).returncode in (1, 2)
    assert bridge("attach", "nobody", label, "--url", letta_server).returncode == 1


def test_the_list_is_a_table_and_steers_no_terminal(letta_server: str, server: Server, label: str) -> None:
    id = server.block(label=label, value="[bold]two\nlines\x1b[31m red " + "long " * 100)["id"]

    table = bridge("list", LETTA_BASE_URL=letta_server)
    line = next(line for line in table.stdout.splitlines() if label in line)
    assert "[bold]two lines" in line
    assert id in line
    assert "…" in line
    assert "\x1b" not in table.stdout
    narrow = bridge("list", LETTA_BASE_URL=letta_server, COLUMNS="30").stdout
    assert max(map(cell_len, narrow.splitlines())) <= 30
    assert label[:8] in narrow
    blocks = json.loads(bridge("list", "--json", LETTA_BASE_URL=letta_server).stdout)
    assert [block["value"][-5:] for block in blocks if block["id"] == id] == ["long "]


def test_search_puts_labels_and_titles_first(letta_server: str, server: Server) -> None:
    word = f"zq{uuid4().hex[:8]}"
    server.block(label="in-text", value=f"much before\n{'x ' * 100}the {word.upper()} here\n{'y ' * 100}")
    server.block(label="in-tag", tags=[word])
    server.block(label="in-title", metadata={"title": f"About {word}"})
    server.block(label="in-description", description=f"on {word}")
    server.block(label=f"in-{word}", value=f"and {word} rare{word}")

    hits = json.loads(bridge("search", word, "--json", "--url", letta_server).stdout)
    assert [hit["label"] for hit in hits] == [f"in-{word}", "in-title", "in-tag", "in-description", "in-text"]
    assert f"the {word.upper()} here" in hits[-1]["excerpt"]
    assert len(hits[-1]["excerpt"]) < 150
    both = json.loads(bridge("search", f"RARE{word} {word}", "--json", "--url", letta_server).stdout)
    assert [hit["label"] for hit in both] == [f"in-{word}"]
    some = json.loads(bridge("search", f"{word} nowhere{word}", "--json", "--url", letta_server, "--limit=2").stdout)
    assert len(some) == 2
    nothing = bridge("search", f"nowhere{word}", "--url", letta_server)
    assert (nothing.returncode, nothing.stdout, "Nothing" in nothing.stderr) == (0, "", True)
    assert bridge("search", " ", "--url", letta_server).returncode == 2


def test_agents_from_the_shell(letta_server: str, server: Server, label: str) -> None:
    block = server.block(label=label)["id"]

    alone = bridge("create-agent", label, "--project", label, "--url", letta_server)
    assert (alone.returncode, alone.stdout) == (1, "")
    id = bridge("create-agent", label, "--block", label, "--url", letta_server).stdout.strip()
    agents = {agent["id"]: agent for agent in json.loads(bridge("agents", "--json", "--url", letta_server).stdout)}
    assert agents[id] == {"id": id, "name": label, "blocks": [{"id": block, "label": label}]}
    assert label in bridge("agents", "--url", letta_server).stdout


# --- the guide's three troubles, and others


@pytest.mark.parametrize(
    ("arguments", "named", "help"),
    [
        (("--url", "http://127.0.0.1:{port}"), "http://127.0.0.1:{port}", "make run"),
        (("--url", "http://127.0.0.1:{port}", "--api-key", "mhub_x"), "http://127.0.0.1:{port}", "make run"),
    ],
)
def test_connection_refused(arguments: tuple[str, ...], named: str, help: str) -> None:
    port = free_port()

    done = bridge("list", *(argument.format(port=port) for argument in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Connection refused" in done.stderr
    assert named.format(port=port) in done.stderr
    assert help in done.stderr


def test_unauthorized(secure_letta_server: tuple[str, str]) -> None:
    url, password = secure_letta_server

    for arguments in ((), ("--api-key", "wrong-key-1234")):
        done = bridge("list", "--url", url, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Unauthorized" in done.stderr
        assert "--api-key" in done.stderr
        assert "wrong-key" not in done.stderr
    assert bridge("list", "--json", "--url", url, "--api-key", password).returncode == 0
    assert bridge("list", "--json", "--url", url, LETTA_API_KEY=password).returncode == 0
    assert bridge("list", "--url", url, "--api-key=wrong", LETTA_API_KEY=password).returncode == 1
    assert bridge("sync", "--url", url, "--api-key=wrong").returncode == 1


@pytest.mark.parametrize(("status", "kind"), [(200, "text/html"), (404, "text/html"), (200, "application/json")])
def test_something_else_answers(status: int, kind: str) -> None:
    with answering(status, kind, "<html>no</html>") as url:
        for command in (
            ("list",),
            ("get-block", MISSING),
            ("search", "x"),
            ("create-block", "x", "y"),
            ("sync", "--api-key", "mhub_x"),
        ):
            done = bridge(*command, "--url", url)
            assert (done.returncode, done.stdout) == (1, "")
            assert "\nHint: " in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("create-block", "x"),
        ("list", "--url", "localhost:8283"),
        ("list", "--url", "http://"),
        ("list", "--url", "http://two words:8000"),
        ("list", "--url", "http://hub..example"),
        ("list", "--url", "http://\u2603\U0001f600.example"),
        ("list", "--url", "http://hub:8000/?a=1"),
        ("sync", "--no-wait", "--url", "http://hub\x01"),
        ("list", "--timeout", "0"),
        ("create-block", "x", "y", "--update", "--append"),
        ("create-block", "", "y", "--url", "http://127.0.0.1:1"),
        ("sync", "--chroma-url", "http://x", "--chroma-path", "x"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    done = bridge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_a_reader_that_has_enough(letta_server: str, server: Server, label: str) -> None:
    server.block(label=label, value="x" * 2_000_000)
    command = [sys.executable, str(SCRIPT), "get-block", label, "--json", "--url", letta_server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 1


def test_streams_that_are_closed_or_full(letta_server: str, server: Server, label: str) -> None:
    server.block(label=label, value="old")
    for command, streams, code, told in (
        ("list", ">/dev/full", 1, "Error: The output cannot be used: No space left on device.\n"),
        (f"get-block {label}", ">/dev/full", 1, "Error: The output cannot be used: No space left on device.\n"),
        (f"update-block {label} -", "<&-", 2, "Error: Standard input is closed.\n"),
        ("list", ">&-", 0, ""),
        (f"get-block {label}", ">&-", 0, ""),
        ("get-block nothing", "2>&-", 1, ""),
    ):
        line = ["sh", "-c", f'"$@" {streams}', "sh", sys.executable, str(SCRIPT), *command.split()]
        done = subprocess.run(line, capture_output=True, text=True, env=environment(LETTA_BASE_URL=letta_server))
        assert (done.returncode, done.stdout, done.stderr) == (code, "", told)
    assert bridge("get-block", label, LETTA_BASE_URL=letta_server).stdout == "old"


def test_in_a_shell_that_is_not_utf8(letta_server: str, server: Server, label: str) -> None:
    id = server.block(label=label, value="\u00e9t\u00e9 \U0001f47e")["id"]

    table = shell("list", LETTA_BASE_URL=letta_server, PYTHONIOENCODING="ascii")
    assert (table.returncode, table.stderr) == (0, "")
    assert label in table.stdout
    block = json.loads(shell("get-block", id, "--json", LETTA_BASE_URL=letta_server, PYTHONIOENCODING="ascii").stdout)
    assert block["value"] == "\u00e9t\u00e9 \U0001f47e"
    assert shell("get-block", id, LETTA_BASE_URL=letta_server, PYTHONIOENCODING="ascii").stdout == block["value"]
    assert shell("get-block", MISSING, LETTA_BASE_URL=letta_server).returncode == 1


def test_nothing_but_python_is_imported_at_first() -> None:
    code = "import sys, letta_memory_bridge; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=SCRIPT.parent, check=True)
    assert not {"letta_client", "rich", "chromadb", "httpx", "django", "pydantic"} & set(done.stdout.decode().split())


# --- where to


@pytest.mark.parametrize(
    ("base_url", "api_key", "environment", "url", "key"),
    [
        (None, None, {}, "http://localhost:8283", ""),
        (None, "mhub_abc", {}, "http://127.0.0.1:8000", "mhub_abc"),
        (None, None, {"LETTA_API_KEY": "mhub_abc", "MEMORYHUB_URL": "http://h:1/"}, "http://h:1", "mhub_abc"),
        (None, "sk-1", {}, "https://api.letta.com", "sk-1"),
        (None, None, {"LETTA_API_KEY": "sk-1\n"}, "https://api.letta.com", "sk-1"),
        (None, "sk-2", {"LETTA_API_KEY": "mhub_abc"}, "https://api.letta.com", "sk-2"),
        (None, "mhub_abc", {"LETTA_BASE_URL": "http://h:1/v1/"}, "http://h:1", "mhub_abc"),
        ("http://g:2", "", {"LETTA_BASE_URL": "http://h:1", "LETTA_API_KEY": "sk-1"}, "http://g:2", ""),
        ("cloud", "sk-1", {}, "https://api.letta.com", "sk-1"),
    ],
)
def test_where_to(
    monkeypatch: pytest.MonkeyPatch,
    base_url: str | None,
    api_key: str | None,
    environment: dict[str, str],
    url: str,
    key: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    found = find_target(base_url, api_key)
    assert (found.url, found.key) == (url, key)
    said: list[str] = []
    with LettaMemoryBridge(base_url, api_key, say=said.append):
        assert [url in sentence for sentence in said] == ([] if base_url or "LETTA_BASE_URL" in environment else [True])
    assert not (key and key in repr(found))


def test_a_key_that_no_header_can_carry() -> None:
    with pytest.raises(Unauthorized):
        find_target(None, "two words")


# --- search, in itself


@given(st.text(max_size=300), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3))
def test_an_excerpt_is_one_short_line(text: str, words: list[str]) -> None:
    found = letta_memory_bridge.excerpt(text, words)
    assert len(found.splitlines()) <= 1
    assert len(found) <= 2 * letta_memory_bridge.AROUND + 12


def test_search_counts_words_before_fields() -> None:
    def block(label: str, value: str) -> Any:
        return SimpleNamespace(label=label, value=value, tags=None, metadata=None, description=None)

    blocks = [block("login", ""), block("x", "the login of a queue"), block("queue", "x"), block("y", "nothing")]
    labels = [hit.block.label for hit in letta_memory_bridge.search(blocks, "LOGIN queue")]
    assert labels == ["x"]
    labels = [hit.block.label for hit in letta_memory_bridge.search(blocks, "LOGIN queue absent")]
    assert labels == ["x", "login", "queue"]
