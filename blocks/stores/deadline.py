"""A limit for a whole call, where httpx has one for each wait only: a server that sends a byte now and then keeps a
call, and with it a run, for ever."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

FACTOR = 4  # a call may take so many times what a single wait in it may
SLICE = 2**16  # bytes that are sent between two looks at the clock

# Of the call that this thread is making. ends: as `time.monotonic()`. latest: as `time.time()`, see `sent_by`.
_call = threading.local()


@contextmanager
def sent_by(latest: float) -> Iterator[None]:
    """Let no call of this thread be sent after a moment of `time.time()`: it fails, with `httpx.TimeoutException`.

    For what follows from something read before. A process that is stopped, or whose machine sleeps, goes on in the
    middle; this is asked last, right before the bytes go out.
    """
    _call.latest = latest
    try:
        yield
    finally:
        _call.latest = None


def limit(client: httpx.Client, wait: float) -> None:
    """Let every call of a client end, with `httpx.TimeoutException`, `FACTOR` times `wait` seconds after its begin."""

    def begin(request: httpx.Request) -> None:
        _call.ends = time.monotonic() + FACTOR * wait

    client.event_hooks["request"].append(begin)
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend)


def _left(wait: float | None) -> float:
    left: float = _call.ends - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the call took too long")
    return left if wait is None else min(wait, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), SLICE):
            latest = getattr(_call, "latest", None)
            if latest is not None and time.time() > latest:
                raise httpcore.WriteTimeout("held up for too long")
            self._stream.write(buffer[start : start + SLICE], _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))
