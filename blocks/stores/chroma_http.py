"""The connection to a Chroma server: one per address and process, always with a timeout, errors told apart.

chromadb's own HTTP client is used below its `HttpClient`: that one asks the server three questions while it is being
made, before a timeout can be set, and reports a failed answer as a bare Exception. Importing chromadb takes a
second, so it is imported at first use.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from blocks.stores import deadline
from blocks.stores.base import StoreError

if TYPE_CHECKING:
    from chromadb.api import ServerAPI

CLOUD = "trychroma.com"


class AnswerError(StoreError):
    """The server answered, and not with success; `status` is its HTTP status."""

    def __init__(self, status: int, body: bytes) -> None:
        said = chroma_message(body)
        transient = status in (404, 408, 409, 425, 429) or status >= 500  # 404: the collection, not a record
        if status in (401, 403):
            kind, message = "unauthorized", f"Chroma did not accept the key ({status})"
        elif said or status >= 500:
            kind, message = "other", f"Chroma answered {status}: {said[:300] or 'no reason given'}"
        else:
            kind, message = "not_a_server", f"what answered ({status}) is not a Chroma server"
        super().__init__(message, permanent=not transient, kind=kind)
        self.status = status


def chroma_message(body: bytes) -> str:
    """What Chroma says in a failed answer; '' if Chroma did not write it."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("message") or said["error"]) if isinstance(said, dict) and "error" in said else ""


NOT_CHROMA = "what answered is not a Chroma server, or only a part of its answer came"
PRE_FLIGHT = "/pre-flight-checks"  # asked by chromadb itself before its first write, and remembered


class GarbageError(StoreError):
    """Something answered with success, but not with what Chroma answers. What it did is not known."""

    def __init__(self) -> None:
        super().__init__(NOT_CHROMA, kind="not_a_server")


class Unsendable(StoreError):
    """chromadb refused to send it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, permanent=True)


@lru_cache(maxsize=64)
def connect(url: str, api_key: str, timeout: float) -> ServerAPI:
    """The connection to the server at `url`; nothing is sent yet. timeout: seconds for one call.

    Raises `StoreError` where the url is none.
    """
    place(url)
    from chromadb.api import ServerAPI
    from chromadb.config import Settings, System

    settings = Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=url.rstrip("/"),
        chroma_server_http_port=8000,  # not used: the url says it
        chroma_server_ssl_enabled=url.startswith("https:"),
        chroma_server_headers={"X-Chroma-Token": api_key} if api_key else {},
        anonymized_telemetry=False,
    )
    server: ServerAPI = System(settings).instance(ServerAPI)  # type: ignore[type-abstract]
    session: httpx.Client = server._session  # type: ignore[attr-defined]
    session.timeout = httpx.Timeout(timeout)
    session.event_hooks = {"response": [_take_answer]}
    deadline.limit(session, timeout)
    return server


def place(url: str) -> str:
    """Host and port of an address, to be shown. Raises `StoreError` where it is none."""
    try:
        parts = urlsplit(url)
        shown, port = parts.hostname, parts.port
    except ValueError as error:
        raise StoreError(f"that is not an address ({error})", permanent=True, kind="refused") from error
    if parts.scheme not in ("http", "https") or not shown:
        raise StoreError("an address starts with http:// or https:// and a host", permanent=True, kind="refused")
    return f"{shown}:{port}" if port else shown


_call = threading.local()  # answered: a server has answered the call that this thread is making


def _take_answer(response: httpx.Response) -> None:
    if response.status_code >= 300:  # a redirect is no answer of Chroma's
        raise AnswerError(response.status_code, response.read())
    if not response.url.path.endswith(PRE_FLIGHT):
        _call.answered = True
    elif not _says_limits(response.read()):
        raise GarbageError


def _says_limits(body: bytes) -> bool:
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and type(said.get("max_batch_size")) is int


@contextmanager
def errors() -> Iterator[None]:
    """Whatever a call to Chroma raises, as `StoreError`."""
    from chromadb.errors import ChromaError

    _call.answered = False
    try:
        yield
    except httpx.TimeoutException as error:
        raise StoreError("Chroma did not answer in time", kind="refused") from error
    except httpx.RequestError as error:
        raise StoreError(unreachable(error), kind="refused") from error
    except (AttributeError, LookupError, json.JSONDecodeError) as error:
        raise GarbageError from error
    except (ChromaError, TypeError, ValueError) as error:
        if _call.answered:
            raise GarbageError from error
        raise Unsendable(str(error)) from error


def unreachable(error: BaseException) -> str:
    """Why there is no connection, by the error below httpx's."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, socket.gaierror):
            return "there is no host of that name"
        if isinstance(below, ConnectionRefusedError):
            return "nothing listens at that address"
        if isinstance(below, ssl.SSLError):
            return "no secure connection could be made"
        below = below.__cause__ or below.__context__
    return f"the connection to Chroma broke: {error}"
