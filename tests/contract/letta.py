"""Helpers of the Letta tests: raw calls, stores, and a proxy that loses replies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

from blocks.stores.base import Write
from blocks.stores.letta import LettaStore

HUB = "hub-under-test"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def raw(url: str, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """(status, JSON) of a call that nothing of ours stands before."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url + path, data, headers, method=method)
    try:
        with DIRECT.open(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


class Server:
    """A Letta server as somebody else sees it."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url, self.key = url, key

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return raw(self.url, method, path, body, self.key)

    def block(self, **fields: Any) -> dict[str, Any]:
        status, block = self.call("POST", "/v1/blocks/", {"label": "note", "value": "text"} | fields)
        assert status == 200
        return block

    def show(self, id: str) -> Any:
        return self.call("GET", f"/v1/blocks/{id}")[1]

    def edit(self, id: str, **fields: Any) -> None:
        assert self.call("PATCH", f"/v1/blocks/{id}", fields)[0] == 200

    def delete(self, id: str) -> None:
        assert self.call("DELETE", f"/v1/blocks/{id}")[0] == 200

    def ids(self, query: str = "") -> list[str]:
        return [block["id"] for block in self.call("GET", f"/v1/blocks/?limit=1000&{query}")[1]]

    def agent(self, *block_ids: str) -> str:
        body = {"model": "letta/letta-free", "embedding": "letta/letta-free", "include_base_tools": False}
        status, agent = self.call("POST", "/v1/agents/", body | {"block_ids": list(block_ids)})
        assert status == 200
        return agent["id"]

    def store(self, slug: str, **options: Any) -> LettaStore:
        defaults: dict[str, Any] = {"api_key": self.key, "hub_id": HUB, "timeout": 10}
        return LettaStore(url=self.url, slug=slug, **(defaults | options))


def state(text: str = "text", **fields: Any) -> dict[str, Any]:
    full = {
        "label": "note",
        "title": "A note",
        "description": "",
        "text": text,
        "kind": "fix",
        "tags": ["one", "two, three"],
        "source": "somewhere",
        "file_path": "a/b.py",
        "client": "",
        "priority": "high",
        "status": "",
        "created_at": "2026-01-02T03:04:05+00:00",
        "limit": 100_000,
        "read_only": False,
    }
    return full | fields


def write(store: LettaStore, op: Any, **fields: Any) -> Any:
    """The `Outcome` of a single write."""
    (outcome,) = store.write([Write(op, **{"uuid": uuid4()} | fields)])
    return outcome


def create(store: LettaStore, text: str = "text", uuid: UUID | None = None, **fields: Any) -> Any:
    outcome = write(store, "create", uuid=uuid or uuid4(), state=state(text, **fields))
    assert outcome.status == "done", outcome.error
    return outcome


@contextmanager
def proxy(target: str, lose: str = "", seen: list[str] | None = None) -> Iterator[str]:
    """An address that passes everything on to `target`, and drops the reply to requests with method `lose`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            if seen is not None:
                seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(target + self.path, body, headers, method=self.command)
            try:
                with DIRECT.open(request, timeout=30) as reply:
                    status, data = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, data = error.code, error.read()
            if self.command == lose:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = pass_on

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url


@contextmanager
def answering(status: int, kind: str, text: str) -> Iterator[str]:
    """The address of something that answers every request the same."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
