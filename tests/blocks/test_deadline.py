"""A call ends, however slowly the server goes on answering."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from blocks.stores import deadline

WAIT = 0.3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Long: " + b"x" * 1000


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server that sends the head of an answer byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def serve(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        for number in range(len(HEAD)):
            try:
                connection.sendall(HEAD[number : number + 1])
            except OSError:
                return
            time.sleep(WAIT / 3)


def test_a_head_that_comes_byte_by_byte(trickle: str) -> None:
    with httpx.Client(timeout=WAIT, trust_env=False) as client:
        deadline.limit(client, WAIT)
        began = time.monotonic()
        with pytest.raises(httpx.TimeoutException):
            client.get(trickle)
    assert WAIT < time.monotonic() - began < len(HEAD) * WAIT / 3 / 2


def test_nothing_is_sent_when_it_is_too_late(trickle: str) -> None:
    with httpx.Client(timeout=WAIT, trust_env=False) as client:
        deadline.limit(client, WAIT)
        with deadline.sent_by(time.time() - 1), pytest.raises(httpx.WriteTimeout):
            client.get(trickle)
