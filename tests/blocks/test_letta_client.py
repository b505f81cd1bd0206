"""The clients of Letta servers: one a server, and no connection outlives its client."""

from __future__ import annotations

import gc
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from blocks.stores import letta_calls

URL = "http://127.0.0.1:9"


def test_threads_that_begin_at_once_share_a_client():
    letta_calls._client.cache_clear()
    together = Barrier(8)

    def client(_):
        together.wait()
        return letta_calls.connect(URL, "none", 5.0)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(client, range(8))))) == 1


def test_the_connections_of_a_client_are_closed_when_nobody_has_it_any_more():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = letta_calls._client.__wrapped__(f"http://127.0.0.1:{listening.getsockname()[1]}", "none", 5.0)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.get, "/v1/blocks/", cast_to=object)
            connection, _ = listening.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]")
                assert asked.result() == []
                del server, asked
                gc.collect()
                connection.settimeout(30)
                assert connection.recv(1) == b""  # the client has hung up
