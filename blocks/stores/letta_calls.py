"""HTTP calls to a Letta server through letta-client, with answers as plain JSON and errors told apart.

letta-client repeats POST and PATCH by itself (one create whose reply was lost made three blocks) and takes the
address and the key from the environment where they are missing: here it never retries and always gets both. Its
models are passed by, because making them costs more than the listing itself.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from letta_client import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, Letta

from blocks.stores import deadline
from blocks.stores.base import StoreError
from blocks.stores.patience import Patience

PAGE = 500  # blocks a list call; the server has no maximum
NO_KEY = "none"  # an empty key makes a header that HTTP forbids; a server without a password accepts any
THREADS = 8
CONNECTIONS = httpx.Limits(max_connections=2 * THREADS, max_keepalive_connections=2 * THREADS, keepalive_expiry=2)

Method = Literal["get", "post", "patch", "delete"]
Query = Mapping[str, Any]


class _Http(DefaultHttpxClient):
    """Closes its connections when nobody has it any more."""

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process, of anything
            self.close()


def connect(url: str, key: str, timeout: float) -> Letta:
    """The client of a server, one a process: making one takes longer than many a call. Raises httpx.InvalidURL."""
    with _making:  # several threads at once would make one each
        return _client(url, key, timeout)


_making = Lock()


@lru_cache(maxsize=64)
def _client(url: str, key: str, timeout: float) -> Letta:
    http = _Http(base_url=url, timeout=timeout, limits=CONNECTIONS)
    deadline.limit(http, timeout)
    return Letta(base_url=url, api_key=key, timeout=timeout, max_retries=0, http_client=http)


class CallError(StoreError):
    """A call that failed. status: of HTTP, None without an answer. broke: the connection ended before the answer."""

    def __init__(
        self, message: str, *, kind: str, status: int | None = None, permanent: bool = False, broke: bool = False
    ) -> None:
        super().__init__(message, permanent=permanent, kind=kind)
        self.status = status
        self.broke = broke

    @property
    def gone(self) -> bool:
        """Whether a Letta server says that there is no such item: a 404 of anything else on the way is no proof."""
        return self.status == 404 and self.kind == "other"


class Calls:
    """One server. url: without /v1. api_key: '' where the server wants none. timeout: seconds a call."""

    def __init__(self, *, url: str, api_key: str, timeout: float) -> None:
        self.url = url.strip().rstrip("/")
        self.shown_url = without_credentials(self.url)
        self._key = api_key.strip() or NO_KEY
        self._timeout = timeout
        self._client: Letta | None = None
        self._patience = Patience()

    def __repr__(self) -> str:
        return f"<Calls {self.shown_url}>"

    def _connect(self) -> Letta:
        if not all("!" <= character <= "~" for character in self._key):
            raise self._error("The API key contains a blank or a character that no key has.", "unauthorized")
        if not is_http_address(self.url):
            raise self._error(f"{self.shown_url or 'An empty address'} is not an http:// address.", "refused")
        try:
            return connect(self.url, self._key, self._timeout)
        except httpx.InvalidURL:
            raise self._error(f"{self.shown_url} is not an address.", "refused") from None

    def _error(self, message: str, kind: str) -> CallError:
        return CallError(message, kind=kind, permanent=True)

    @property
    def client(self) -> Letta:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def call(self, method: Method, path: str, *, query: Query | None = None, body: Any = None) -> Any:
        """The JSON of the answer. Raises CallError, whose text never holds the key.

        Only a read is repeated, once: on a connection that broke (Letta closes one after an answer of 500, often only
        when the next request is already on its way), and after the time that a server with too much to do asks for. A
        write is not: the next run looks what became of it. All calls wait for that time.
        """
        try:
            return self._call(method, path, query, body)
        except CallError as error:
            if method != "get" or not (error.status == 429 or (error.broke and not error.status)):
                raise
        return self._call(method, path, query, body)

    def _call(self, method: Method, path: str, query: Query | None, body: Any) -> Any:
        options: Any = {"params": dict(query)} if query else {}
        self._patience.wait()
        try:
            if method == "get":
                answer: Any = self.client.get(path, cast_to=object, options=options)
            else:
                answer = getattr(self.client, method)(path, cast_to=object, body=body, options=options)
        except APIStatusError as error:
            if error.status_code == 429:
                self._patience.asked_for(error.response.headers.get("retry-after"))
            raise status_error(error.status_code, self.shown_url, error.body) from error
        except APIConnectionError as error:
            raise connection_error(error, self.shown_url) from None  # its text may quote the request's headers
        except ValueError:  # says it is JSON and is not
            raise CallError(f"{self.shown_url} answers with broken JSON.", kind="not_a_server") from None
        if isinstance(answer, str):  # not JSON: a web page, such as a proxy or a login puts in between
            raise self.strange()
        return answer

    def strange(self) -> CallError:
        """That what answered is no Letta server; whatever it was asked to do may be done or not."""
        return CallError(f"What answers at {self.shown_url} is not a Letta server.", kind="not_a_server")

    def blocks(self, query: Query) -> list[Any]:
        """One page of blocks."""
        return self._list("/v1/blocks/", query)

    def _list(self, path: str, query: Query) -> list[Any]:
        answer = self.call("get", path, query=query)
        if not isinstance(answer, list):
            raise self.strange()
        return answer

    def block(self, id: str) -> dict[str, Any] | None:
        """A block by id, None where the server says that there is none."""
        try:
            block = self.call("get", block_path(id))
        except CallError as error:
            if error.gone:
                return None
            raise
        if not isinstance(block, dict) or block.get("id") != id:
            raise self.strange()
        return block

    def agents(self, id: str) -> list[dict[str, Any]]:
        """The agents a block is attached to."""
        return list(self.listed(f"{block_path(id)}/agents", {}))

    def listed(self, path: str, query: Query, most: int = 2**31) -> Iterator[dict[str, Any]]:
        """What a list route holds, page by page, each once; those that have an id. No more pages after `most`."""
        seen: set[str] = set()
        query = {**query, "limit": 100, "order": "asc"}
        while True:
            page = self._list(path, query)
            named = [one for one in page if isinstance(one, dict) and isinstance(one.get("id"), str)]
            yield from (one for one in named if one["id"] not in seen)
            if len(page) < query["limit"] or not named or named[-1]["id"] in seen:
                return
            seen.update(one["id"] for one in named)
            query["after"] = named[-1]["id"]
            if len(seen) >= most:
                return


def block_path(id: str) -> str:
    return f"/v1/blocks/{quote(id, safe='')}"


def is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "The address"


def status_error(status: int, url: str, body: Any) -> CallError:
    """By status, and by whether Letta wrote the answer: it says why in JSON, under `detail` mostly.

    408, 409, 425, 429 and 5xx pass; the rest would be answered the same again.
    """
    passes = status in (408, 409, 425, 429) or status >= 500
    if status in (401, 403):
        message, kind = f"{url} does not accept the API key ({status}).", "unauthorized"
    elif status >= 500:
        message, kind = f"{url} failed ({status}).", "other"
    elif passes or _is_lettas(body):
        message, kind = f"{url} refused the request ({status}).", "other"
    else:
        message, kind = f"What answers at {url} is not a Letta server ({status}).", "not_a_server"
    return CallError(message, kind=kind, status=status, permanent=not passes and kind != "not_a_server")


def _is_lettas(body: Any) -> bool:
    """Not a web page, and not the answer of a server that has no such address."""
    return isinstance(body, dict) and body.get("detail") not in ("Not Found", "Method Not Allowed")


def connection_error(error: APIConnectionError, url: str) -> CallError:
    """What went wrong on the way, from the types of the errors behind it."""
    causes = list(causes_of(error))
    broke = False
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        message = f"There is no host {urlsplit(url).hostname}."
    elif isinstance(error, APITimeoutError):
        message = f"{url} did not answer in time."
    elif any(isinstance(cause, httpx.ConnectError) for cause in causes):
        message = f"Nothing answers at {url}."
    else:
        message, broke = f"The connection to {url} broke.", True
    return CallError(message, kind="refused", broke=broke)


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
