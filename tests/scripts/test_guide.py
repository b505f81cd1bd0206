"""The examples of docs/agents.md, typed in as they stand, with the hub's address and a token."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from memoryhub.settings import BASE_DIR
from tests.contract.letta import DIRECT, Server
from tests.scripts.bridge import bridge, environment
from tests.scripts.shell import examples, filled, manage, token
from tests.servers.web import WebServer

pytestmark = pytest.mark.contract
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "guide", "version": "1"}},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[WebServer]:
    server = WebServer().start()
    yield server
    server.stop()


@pytest.fixture
def plain(hub: WebServer) -> str:
    return hub.tokens["editor"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with what the guide says to copy."""
    for name in ("letta_memory_bridge.py", "rag_tools.py"):
        shutil.copy(BASE_DIR / name, tmp_path)
    git = ["git", "-c", "user.name=Maria", "-c", "user.email=maria@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "Begin"], cwd=tmp_path, check=True)
    return tmp_path


def run(folder: Path, hub: WebServer, *command: str) -> str:
    """What a command prints that stands in the guide. The hub of this machine is on another port here."""
    variables = environment(MEMORYHUB_URL=hub.url, HOME=str(folder), MEMORYHUB_SPOOL=str(folder / "spool.jsonl"))
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(folder: Path, hub: WebServer, plain: str, lines: str) -> str:
    return run(folder, hub, "python3", "-c", filled(lines, hub.url, plain))


def test_the_command_that_makes_a_token(hub: WebServer) -> None:
    program, script, *arguments = shlex.split(examples("Tokens")[0])
    assert (program, script) == (".venv/bin/python", "manage.py")
    made = json.loads(manage(hub, *arguments, "--json"))
    assert Server(hub.url, made["token"]).call("GET", "/api/project")[1]["agent"] == "Claude on Maria's laptop"


def test_the_letta_client(folder: Path, hub: WebServer, plain: str) -> None:
    assert python(folder, hub, plain, examples("Letta clients")[0]) == "deploy_steps: 1. Run the tests\n"


def test_the_bridge_from_a_shell_and_from_python(folder: Path, hub: WebServer, plain: str) -> None:
    shell, script = examples("letta_memory_bridge.py")
    said = run(folder, hub, "bash", "-ec", filled(shell, hub.url, plain))
    assert "Several filters need an $and" in said
    server = Server(hub.url, plain)
    texts = {block["label"]: block["value"] for block in server.call("GET", "/v1/blocks/?limit=100")[1]}
    assert texts["chromadb_gotchas"] == "Several filters need an $and\nNames have no spaces"
    assert texts["last_commits"].endswith("Begin\n")

    key = f"import os; os.environ['LETTA_API_KEY'] = {plain!r}\n"
    assert "parser_bugs: Parser bugs and their fixes\n" in python(folder, hub, plain, key + script)
    names = [agent["name"] for agent in server.call("GET", "/v1/agents/")[1]]
    assert names.count("debug_assistant") >= 2


def test_what_one_agent_makes_another_lists(hub: WebServer) -> None:
    a, b = token(hub, "planner", "Agent A"), token(hub, "planner", "Agent B")
    made = bridge("create-block", "shared_gotchas", "Names have no spaces", "--url", hub.url, "--api-key", a)
    assert made.returncode == 0
    assert "shared_gotchas" in bridge("list", "--url", hub.url, "--api-key", b).stdout


def agent(folder: Path, hub: WebServer, name: str, lines: str) -> str:
    """What a program of an agent prints, which has a token of its own."""
    key = f"import os; os.environ['MEMORYHUB_TOKEN'] = {token(hub, 'planner', name)!r}\n"
    return run(folder, hub, "python3", "-c", f"{key}from rag_tools import *\n{lines}")


def test_what_agent_a_logs_agent_b_finds(folder: Path, hub: WebServer) -> None:
    agent(folder, hub, "Agent A", "log_error('ChromaDB: Expected where to have exactly one operator', 'import.py')")
    found = agent(folder, hub, "Agent B", "print(recall('chromadb where operator'))")
    assert "[ERROR] ChromaDB: Expected where to have exactly one operator" in found


def test_what_was_remembered_on_monday_is_recalled_on_wednesday(folder: Path, hub: WebServer) -> None:
    agent(folder, hub, "Claude", "remember('The parser drops empty lines; keep them with --blank', title='Parser')")
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3")) as database:  # the two days between
        for table, columns in (("blocks_memory", ("created_at", "changed_at")), ("blocks_revision", ("created_at",))):
            aged = ", ".join(f"{name} = datetime({name}, '-2 days')" for name in columns)
            assert database.execute(f"UPDATE {table} SET {aged}").rowcount
        database.commit()
    assert "The parser drops empty lines" in agent(folder, hub, "GPT", "print(recall('parser empty lines'))")


def test_the_rag_tools_from_a_shell_and_from_python(folder: Path, hub: WebServer, plain: str) -> None:
    shell, script = examples("rag_tools.py")
    said = run(folder, hub, "bash", "-ec", filled(shell, hub.url, plain))
    assert ". [ERROR] ChromaDB: Expected where" in said
    assert "cron on deploy:\n  The index is being rebuilt" in said
    assert "reachable: True" in said
    assert "exactly one operator" in (folder / "prompt.md").read_text()

    key = f"import os; os.environ['MEMORYHUB_TOKEN'] = {plain!r}\n"
    said = python(folder, hub, plain, key + script)
    assert "[GOTCHA] Several filters fail in ChromaDB" in said
    assert "client: Acme" in said
    texts = {memory["text"] for memory in Server(hub.url, plain).call("GET", "/api/memories?limit=100")[1]["items"]}
    assert "**Gotcha**: Several filters fail in ChromaDB\n\n**Workaround**: Put them in one $and" in texts
    assert "**Decision**: SQLite for small teams\n\n**Rationale**: One file to back up" in texts
    assert "Begin" in " ".join(texts)


# --- MCP


def configurations() -> list[dict[str, Any]]:
    """The server that each client's file names: url and headers, as they are sent."""
    found: list[dict[str, Any]] = []
    for example in examples("MCP"):
        if example.startswith("["):
            server = tomllib.loads(example)["mcp_servers"]["memory-hub"]
            found.append({"url": server["url"], "token": f"Bearer ${{{server['bearer_token_env_var']}}}"})
        elif example.startswith("{"):
            file = json.loads(example)
            servers = next(file[name] for name in ("mcpServers", "servers", "context_servers") if name in file)
            server = servers["memory-hub"]
            found.append(through_program(server) if "command" in server else directly(server))
        elif example.startswith("claude"):
            *_, url, option, header = shlex.split(example.replace("\\\n", " "))
            assert option == "--header"
            found.append({"url": url, "token": header.removeprefix("Authorization: ")})
    return found


def directly(server: dict[str, Any]) -> dict[str, Any]:
    url = next(server[name] for name in ("url", "httpUrl", "serverUrl") if name in server)
    return {"url": url, "token": server["headers"]["Authorization"]}


def through_program(server: dict[str, Any]) -> dict[str, Any]:
    url = next(one for one in server["args"] if one.startswith("http:"))
    header = server["args"][server["args"].index("--header") + 1]
    assert header == "Authorization:${HUB}"
    return {"url": url, "token": server["env"]["HUB"]}


def test_every_clients_file_names_the_endpoint_and_the_token(hub: WebServer, plain: str) -> None:
    found = configurations()
    assert len(found) == 9
    for server in found:
        assert server["url"] == "http://127.0.0.1:8000/mcp"
        sent = re.sub(r"\$\{[^}]*\}|\$MEMORYHUB_TOKEN", plain, server["token"]).replace("mhub_...", plain)
        assert sent == f"Bearer {plain}"
    assert initialized(hub.url, plain) == "Memory Hub"


def initialized(url: str, plain: str) -> str:
    """What the endpoint says it is to a client that comes with the headers of the files."""
    from urllib.request import Request

    headers = {"Authorization": f"Bearer {plain}", "Content-Type": "application/json"}
    headers["Accept"] = "application/json, text/event-stream"
    with DIRECT.open(Request(f"{url}/mcp", json.dumps(INITIALIZE).encode(), headers), timeout=60) as answer:
        return str(json.loads(answer.read())["result"]["serverInfo"]["name"])


def test_the_mcp_client_of_python(folder: Path, hub: WebServer, plain: str) -> None:
    assert "[ERROR] ValueError: $and needs two conditions" in python(folder, hub, plain, examples("MCP")[-1])


def test_no_example_is_left_out() -> None:
    tried = (
        "Tokens",
        "Letta clients",
        "letta_memory_bridge.py",
        "When a shell ends",
        "From cron",
        "MCP",
        "rag_tools.py",
    )
    text = (BASE_DIR / "docs/agents.md").read_text()
    with_examples = [title for title in re.findall(r"^## (.+)$", text, re.MULTILINE) if examples(title)]
    assert set(with_examples) <= set(tried)
