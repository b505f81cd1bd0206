"""Reading and making blocks through /v1 of the hub, against a real Letta server: calls a second.

The same loop of letta-client 1.12 for both, with one thread and with eight; the hub's web server runs as in production
(granian, a process of its own, SQLite). The client takes its part of the time, most with eight threads: `bare` is the
same read over a plain HTTP connection. The target is 3 times Letta's rate of reading.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any
from urllib.parse import urlsplit

TEXT = "What was learnt, in a few words. " * 30


def run(quick: bool) -> Iterator[tuple]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "memoryhub.settings")
    os.environ |= {"SECRET_KEY": "benchmark-" * 6, "MEMORYHUB_ENV_FILE": os.devnull}
    os.environ |= {
        "MEMORYHUB_DATA": tempfile.gettempdir(),
        "FIELD_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }
    from tests.servers.letta_server import LettaServer
    from tests.servers.web import WebServer

    yield "what", "threads", "Letta/s", "hub/s", "times Letta's"
    letta, hub = LettaServer().start(), None
    try:
        hub = WebServer().start()
        servers = ((letta.url, "none"), (hub.url, hub.tokens["editor"]))
        yield from _compare(servers, 40 if quick else 400)
    finally:
        letta.stop()
        if hub:
            hub.stop()


def _compare(servers: tuple[tuple[str, str], tuple[str, str]], calls: int) -> Iterator[tuple]:
    for what, make in (("create", _creator), ("read", _reader), ("read, bare", _bare_reader)):
        for threads in (1, 8):
            # Turn and turn about, so that what else the machine does hits both; the best of each.
            rounds = [[_rate(make(*server), calls, threads) for server in servers] for _ in range(3)]
            theirs, ours = (max(rates) for rates in zip(*rounds, strict=True))
            yield what, threads, f"{theirs:.0f}", f"{ours:.0f}", f"{ours / theirs:.1f}"


def _rate(call: Callable[[], Any], calls: int, threads: int) -> float:
    """Calls a second."""
    for _ in range(5):
        call()
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(call) for _ in range(calls)]:
            future.result()
    return calls / (time.perf_counter() - began)


def _client(url: str, key: str) -> Any:
    from letta_client import Letta

    return Letta(base_url=url, api_key=key, max_retries=0, timeout=60)


def _creator(url: str, key: str) -> Callable[[], Any]:
    client = _client(url, key)
    return lambda: client.blocks.create(label="benchmark", value=TEXT, tags=["benchmark"])


def _reader(url: str, key: str) -> Callable[[], Any]:
    client = _client(url, key)
    block = client.blocks.create(label="benchmark", value=TEXT)
    return lambda: client.blocks.retrieve(block.id)


def _bare_reader(url: str, key: str) -> Callable[[], Any]:
    block = _client(url, key).blocks.create(label="benchmark", value=TEXT)
    mine = local()

    def read() -> bytes:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        mine.connection.request("GET", f"/v1/blocks/{block.id}", headers={"Authorization": f"Bearer {key}"})
        answer = mine.connection.getresponse()
        body: bytes = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url} answers {answer.status}")
        return body

    return read
