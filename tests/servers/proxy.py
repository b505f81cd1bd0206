"""A proxy before a real server, which disturbs chosen requests as networks, gateways and dying servers do."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
JSON, HTML = "application/json", "text/html"

# reset_before: the connection is reset, nothing arrives. reset_after: it arrives, the reply is lost. late_reply: it
# arrives, and the reply comes after the client's patience. late_request: it arrives after the client's patience.
# failed_after: it arrives, and the answer is 500. truncated: the reply ends before its Content-Length. half: half of
# the JSON, said to be all. The numbers are answers instead of the server's; not_found: a gateway's page with 404.
FAULTS: tuple[str, ...] = (
    *("reset_before", "reset_after", "late_reply", "late_request", "failed_after", "truncated", "half"),
    *("garbage", "other_json", "html", "not_found", "409", "429", "500", "502", "503"),
)
ARRIVES = {"", "reset_after", "late_reply", "late_request", "failed_after", "truncated", "half", "garbage", "html"}
ARRIVES |= {"other_json"}
PAGE = b"<html><body><h1>A gateway's page</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """One request that came, and what was done to it. body: '' or its hash."""

    method: str
    path: str
    body: str
    fault: str

    @property
    def reads(self) -> bool:
        return self.method == "GET" or self.path.endswith(("/get", "/query", "/count"))


@dataclass
class Proxy:
    """choose: the fault for a request, by method and path. patience: seconds after which the client has given up."""

    target: str
    url: str = ""
    choose: Callable[[str, str], str] = lambda method, path: ""
    patience: float = 2.0
    log: list[Request] = field(default_factory=list)
    late: list[threading.Event] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, choose: Callable[[str, str], str] = lambda method, path: "") -> None:
        """From now on do this; forget what was."""
        self.settle()
        with self.lock:
            self.choose, self.log = choose, []

    def settle(self) -> None:
        """Wait until what was under way has arrived."""
        for event in self.late:
            assert event.wait(60)
        self.late.clear()

    def note(self, method: str, path: str, body: bytes) -> str:
        with self.lock:
            fault = self.choose(method, path)
            self.log.append(Request(method, path, hashlib.sha256(body).hexdigest() if body else "", fault))
        return fault

    def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(self.target + path, body or None, {"Content-Type": JSON}, method=method)
        try:
            with DIRECT.open(request, timeout=120) as reply:
                return int(reply.status), bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def send_late(self, method: str, path: str, body: bytes) -> None:
        arrived = threading.Event()
        self.late.append(arrived)
        time.sleep(self.patience)
        self.send(method, path, body)
        arrived.set()

    def repeated(self) -> list[Request]:
        """Writes that were sent again, to the letter, without a look in between at what became of them."""
        found: list[Request] = []
        open_writes: set[Request] = set()
        for request in self.log:
            if request.reads:
                path = request.path.partition("?")[0].rstrip("/")
                open_writes = {one for one in open_writes if not one.path.rstrip("/").startswith(path)}
            elif any((one.method, one.path, one.body) == _key(request) for one in open_writes):
                found.append(request)
            elif request.fault:
                open_writes.add(request)
        return found


def _key(request: Request) -> tuple[str, str, str]:
    return request.method, request.path, request.body


class Quiet(ThreadingHTTPServer):
    """Says nothing of connections that end."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (ConnectionError, ValueError)):
            super().handle_error(request, client_address)


@contextmanager
def faulty_proxy(target: str) -> Iterator[Proxy]:
    """A proxy before `target`, which disturbs nothing until it is told to."""
    proxy = Proxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the client died while it was sending
                self.close_connection = True
                return
            fault = proxy.note(self.command, self.path, body)
            status, data = 0, b""
            if fault == "late_request":
                proxy.send_late(self.command, self.path, body)
            elif fault in ARRIVES:
                status, data = proxy.send(self.command, self.path, body)
            self.answer(fault, status, data)

        def answer(self, fault: str, status: int, data: bytes) -> None:
            if fault in ("reset_before", "reset_after", "late_request"):
                self.reset()
            elif fault == "late_reply":
                time.sleep(proxy.patience)
                self.reset()
            elif fault == "truncated":
                self.reply(status, JSON, data[: len(data) // 2], length=len(data) + 10)
                self.close_connection = True
            else:
                self.reply(*replaced(fault, status, data))

        def reply(self, status: int, kind: str, data: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data) if length is None else length))
            if status == 429:
                self.send_header("Retry-After", "2")
            self.end_headers()
            self.wfile.write(data)

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = pass_on

        def log_message(self, *arguments: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def replaced(fault: str, status: int, data: bytes) -> tuple[int, str, bytes]:
    """The reply that comes instead."""
    if fault == "refused":  # as Chroma says it
        return 400, JSON, b'{"error": "InvalidArgumentError", "message": "the quota is used up"}'
    if fault == "failed_after":
        return 500, JSON, b'{"detail": "An internal server error occurred"}'
    if fault == "half":
        return status, JSON, data[: len(data) // 2]
    if fault == "garbage":
        return status, JSON, b'{"id": "block-\xff\xfe", '
    if fault == "other_json":
        return status, JSON, json.dumps({"status": "ok"}).encode()
    if fault == "html":
        return 200, HTML, PAGE
    if fault == "not_found":
        return 404, HTML, PAGE
    if fault:
        return int(fault), JSON, json.dumps({"detail": f"answered {fault}"}).encode()
    return status, JSON, data
