"""A small HTTP server in memory that answers like a real Letta server on the routes the hub uses.

For tests that need hundreds of runs. tests/contract/test_letta_faithful.py shows that it is faithful: the contract
tests of the real server, run against this one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

VERSION = "0.16.8"
ID = re.compile(r"block-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LABEL = re.compile(r"[A-Za-z0-9_/-]{1,50}")
NULLS = ["label", "description", "hidden", "project_id", "template_name", "template_id", "base_template_id"]
NULLS += ["deployment_id", "entity_id", "created_by_id", "last_updated_by_id"]
FALSE = ("read_only", "is_template", "preserve_on_migration")
EMPTY: dict[str, Any] = {"value": "", "limit": 100_000, "metadata": {}, "tags": []}
EMPTY |= dict.fromkeys(NULLS) | dict.fromkeys(FALSE, False)
TEXTS = ("label", "value", "description")

Query = dict[str, list[str]]


class Refused(Exception):
    """The answer is `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass
class Memory:
    """All that the server knows, in the order it was made. blocks, agents: by id."""

    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    # --- blocks

    def list_blocks(self, query: Query) -> list[Any]:
        label = query.get("label")
        if label and not LABEL.fullmatch(label[0]):
            raise Refused(422)
        found = [block for block in self.blocks.values() if _matches(block, query)]
        return [_shown(block) for block in _page(found, query, 50)]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        said = _checked(body)
        block = {**EMPTY, "metadata": {}, "tags": [], **said, "id": f"block-{uuid4()}"}
        if block["label"] is None:
            raise Refused(422)
        self.blocks[block["id"]] = block
        return _shown(block)

    def block(self, id: str) -> dict[str, Any]:
        if not ID.fullmatch(id):
            raise Refused(422)
        if id not in self.blocks:
            raise Refused(404)
        return self.blocks[id]

    def show(self, id: str) -> dict[str, Any]:
        return _shown(self.block(id))

    def edit(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        block = self.block(id)
        block.update({name: value for name, value in _checked(body).items() if value is not None})
        return _shown(block)

    def delete(self, id: str) -> dict[str, Any]:
        block = self.block(id)
        del self.blocks[id]
        for agent in self.agents.values():
            agent["block_ids"] = [one for one in agent["block_ids"] if one != id]
        return {"message": f"Block {block['id']} deleted"}

    # --- agents

    def list_agents(self, query: Query) -> list[Any]:
        return [self._agent(agent, query) for agent in _page(list(self.agents.values()), query, 50)]

    def _agent(self, agent: dict[str, Any], query: Query) -> dict[str, Any]:
        shown = {"id": agent["id"], "name": agent["name"]}
        if "agent.blocks" in query.get("include", ()):
            shown["blocks"] = [_shown(self.blocks[id]) for id in agent["block_ids"]]
        return shown

    def create_agent(self, body: dict[str, Any]) -> dict[str, Any]:
        id = f"agent-{uuid4()}"
        self.agents[id] = {"id": id, "name": body.get("name") or f"Agent {id[-4:]}", "block_ids": body["block_ids"]}
        return self._agent(self.agents[id], {"include": ["agent.blocks"]})

    def agent(self, id: str) -> dict[str, Any]:
        if id not in self.agents:
            raise Refused(404)
        return self.agents[id]

    def delete_agent(self, id: str) -> None:
        self.agent(id)
        del self.agents[id]

    def agents_of(self, id: str, query: Query) -> list[Any]:
        having = [agent for agent in self.agents.values() if id in agent["block_ids"]]
        return [self._agent(agent, {}) for agent in _page(having, query, 50)]

    def blocks_of(self, id: str) -> list[Any]:
        return [_shown(self.blocks[block]) for block in self.agent(id)["block_ids"]]

    def attach(self, id: str, block_id: str) -> dict[str, Any]:
        agent, block = self.agent(id), self.block(block_id)
        labels = [self.blocks[one]["label"] for one in agent["block_ids"] if one != block_id]
        if block["label"] in labels:
            raise Refused(409)
        if block_id not in agent["block_ids"]:
            agent["block_ids"].append(block_id)
        return self._agent(agent, {"include": ["agent.blocks"]})


def _matches(block: dict[str, Any], query: Query) -> bool:
    wanted, has = query.get("tags", []), block["tags"]
    how = all if query.get("match_all_tags") == ["true"] else any
    if wanted and not how(tag in has for tag in wanted):
        return False
    if "label" in query and block["label"] != query["label"][0]:
        return False
    if block["hidden"] and query.get("show_hidden_blocks") != ["true"]:
        return False
    return bool(block["is_template"]) == (query.get("templates_only") == ["true"])


def _page(found: list[dict[str, Any]], query: Query, default: int) -> list[dict[str, Any]]:
    """An unknown cursor begins again at the first page."""
    if query.get("order") == ["desc"]:
        found = found[::-1]
    ids = [one["id"] for one in found]
    after = query.get("after", [""])[0]
    start = ids.index(after) + 1 if after in ids else 0
    return found[start : start + int(query.get("limit", [str(default)])[-1])]


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that the server takes. Raises `Refused`: 422 for a wrong type, 500 for the database."""
    said = {name: value for name, value in body.items() if name in EMPTY}
    tags = said.get("tags")
    if ("label" in said and said["label"] is None) or not all(isinstance(tag, str) for tag in tags or ()):
        raise Refused(422)
    for name in TEXTS:
        _check_text(name, said.get(name) or "")
    if not -(2**31) <= (said.get("limit") or 0) < 2**31:
        raise Refused(500)
    if "value" in said:
        said["value"] = (said["value"] or "").replace("\0", "")
    copy: dict[str, Any] = json.loads(json.dumps(said))
    return copy


def _check_text(name: str, text: str) -> None:
    if ("\0" in text and name != "value") or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused(500)


def _shown(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it is sent. Raises `Refused`: one with too large a number is stored, and cannot be shown."""
    if any(type(value) is int and not -(2**63) <= value < 2**64 for value in block["metadata"].values()):
        raise Refused(500)
    return dict(block)


Route = tuple[str, "re.Pattern[str]", Callable[..., Any]]


def _routes(memory: Memory) -> list[Route]:
    """Method, path, and what answers: called with the path's parts, the query and the body."""
    table: list[tuple[str, str, Callable[..., Any]]] = [
        ("GET", "/v1/health/", lambda query, body: {"version": VERSION, "status": "ok"}),
        ("GET", "/v1/runs/", lambda query, body: []),
        ("GET", "/v1/blocks/", lambda query, body: memory.list_blocks(query)),
        ("POST", "/v1/blocks/", lambda query, body: memory.create(body)),
        ("GET", "/v1/blocks/([^/]+)", lambda id, query, body: memory.show(id)),
        ("PATCH", "/v1/blocks/([^/]+)", lambda id, query, body: memory.edit(id, body)),
        ("DELETE", "/v1/blocks/([^/]+)", lambda id, query, body: memory.delete(id)),
        ("GET", "/v1/blocks/([^/]+)/agents", lambda id, query, body: memory.agents_of(id, query)),
        ("GET", "/v1/agents/", lambda query, body: memory.list_agents(query)),
        ("POST", "/v1/agents/", lambda query, body: memory.create_agent(body)),
        ("GET", "/v1/agents/([^/]+)", lambda id, query, body: memory._agent(memory.agent(id), query)),
        ("DELETE", "/v1/agents/([^/]+)", lambda id, query, body: memory.delete_agent(id)),
        ("GET", "/v1/agents/([^/]+)/core-memory/blocks", lambda id, query, body: memory.blocks_of(id)),
        (
            "PATCH",
            "/v1/agents/([^/]+)/core-memory/blocks/attach/([^/]+)",
            lambda id, block, query, body: memory.attach(id, block),
        ),
    ]
    return [(method, re.compile(path), answer) for method, path, answer in table]


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that were killed."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def faithful_letta() -> Iterator[tuple[str, Memory]]:
    """(base URL, what it holds) of a server that lives as long as the block."""
    memory = Memory()
    routes = _routes(memory)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one piece
        disable_nagle_algorithm = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            said = self.rfile.read(length)
            if len(said) < length:  # the client died while it was sending
                self.close_connection = True
                return
            status, answer = self._find(parts.path, parse_qs(parts.query, keep_blank_values=True), said)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _find(self, path: str, query: Query, said: bytes) -> tuple[int, Any]:
            for method, pattern, answer in routes:
                match = pattern.fullmatch(path)
                if match and method == self.command:
                    try:
                        with memory.lock:
                            return 200, answer(*map(unquote, match.groups()), query, json.loads(said or b"null"))
                    except Refused as refused:
                        return refused.status, {"detail": f"answered {refused.status}"}
            return 404, {"detail": "Not Found"}

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *arguments: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", memory
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
