"""The web server as it is started: what the way through granian and the event loop must not change."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from a2wsgi import WSGIMiddleware

from memoryhub import asgi
from memoryhub.settings import BASE_DIR
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.start


class Served:
    """`manage.py serve` with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "MEMORYHUB_ENV_FILE": os.devnull,
            "MEMORYHUB_DATA": str(folder),
            "SECRET_KEY": "only-for-tests",
            "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
            "DATABASE_URL": "",
            "PORT": str(self.port),
        }
        for arguments in (("migrate", "-v0"), ("collectstatic", "-v0", "--noinput")):
            subprocess.run([sys.executable, "manage.py", *arguments], cwd=BASE_DIR, env=self.environment, check=True)
        self.process = subprocess.Popen([sys.executable, "manage.py", "serve"], cwd=BASE_DIR, env=self.environment)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if b" 200 " in self.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not come up")

    def send(self, request: bytes) -> bytes:
        """The whole answer to what is sent over one connection, which is then half closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            if b"Connection: close" not in request:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    def manage(self, *arguments: str) -> str:
        """What a command prints."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=BASE_DIR, env=self.environment, check=True, text=True, stdout=subprocess.PIPE
        ).stdout

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("served"))
    try:
        served.wait()
        yield served
    finally:
        served.stop()


def test_an_unusual_address_is_answered(served: Served) -> None:
    for path in (b"/%ff", b"/?\xc3\xa9=\xff", b"/p/%00/", b"/a%2Fb?%zz"):
        answer = served.send(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.split(b" ", 2)[1] in (b"302", b"404", b"400"), answer[:200]


def test_nobody_passes_for_a_proxy(served: Served) -> None:
    request = b"GET /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nX_Forwarded_Host: evil\r\nContent_Length: 7\r\n"
    assert served.send(request + b"Connection: close\r\n\r\n").split(b" ", 2)[1] == b"200"


def answer_to(monkeypatch: pytest.MonkeyPatch, messages: list[Any]) -> list[Any]:
    """What a WSGI application behind the real way in reads as the body, or the error it gets."""
    got: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            got.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        except OSError as error:
            got.append(error)
        start_response("200 OK", [])
        return [b""]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    monkeypatch.setattr(asgi, "pages", WSGIMiddleware(app, workers=1))
    headers = [(b"content-length", b"8")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(asgi.application(scope, receive, send))
    return got


def test_a_body_in_parts_is_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Any] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.request", "body": b"half"},
    ]
    assert answer_to(monkeypatch, parts) == [b"halfhalf"]


def test_half_a_body_is_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an edit whose second half got lost on the way would be saved as a shorter text."""
    parts: list[Any] = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    (error,) = answer_to(monkeypatch, parts)
    assert isinstance(error, ConnectionResetError)
