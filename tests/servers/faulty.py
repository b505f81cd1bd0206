"""A server that stands in front of a real one and, where a rule says so, answers something else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

Rule = Callable[[str, str], "Answer | None"]  # by method and path with query; None: what the real server says


@dataclass(frozen=True)
class Answer:
    """What comes instead of the real answer. done: the real server has carried the request out all the same.

    cut: the connection ends after so many bytes of the body. pause: seconds between two bytes of it.
    """

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    done: bool = False
    cut: int | None = None
    pause: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class Faulty:
    """`url` is its address; `rule` may be changed at any time. asked: what a rule answered, as (method, path)."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.rule: Rule = honest
        self.asked: list[tuple[str, str]] = []
        none = httpx.Limits(max_keepalive_connections=0)  # the real server may be restarted at any time
        self.client = httpx.Client(base_url=target, timeout=60, trust_env=False, limits=none)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Faulty:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.client.close()

    @contextmanager
    def answering(self, rule: Rule) -> Iterator[None]:
        self.asked, self.rule = [], rule
        try:
            yield
        finally:
            self.rule = honest


def honest(method: str, path: str) -> Answer | None:
    return None


def _handler(faulty: Faulty) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one piece
        disable_nagle_algorithm = True

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = faulty.rule(self.command, self.path)
            if answer:
                faulty.asked.append((self.command, self.path))
            if answer is None or answer.done:
                kept = {name: value for name, value in self.headers.items() if name.lower() not in DROPPED}
                real = faulty.client.request(self.command, self.path, content=body, headers=kept)
                answer = answer or Answer(
                    real.status_code, real.content, real.headers.get("content-type", "application/json")
                )
            self.send(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            try:
                self.send_body(answer)
            except OSError:  # the hub had enough
                self.close_connection = True

        def send_body(self, answer: Answer) -> None:
            if answer.pause:
                for number in range(len(answer.body)):
                    self.wfile.write(answer.body[number : number + 1])
                    self.wfile.flush()
                    time.sleep(answer.pause)
                return
            self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


DROPPED = ("host", "content-length", "connection", "accept-encoding", "transfer-encoding")
