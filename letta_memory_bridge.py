#!/usr/bin/env python3
"""Letta Memory Bridge: the memory blocks that agents share, from a shell or from Python.

    python3 letta_memory_bridge.py list
    python3 letta_memory_bridge.py create-block chromadb_gotchas 'Several filters need an $and'
    python3 letta_memory_bridge.py sync --project planner

    from letta_memory_bridge import LettaMemoryBridge
    for block in LettaMemoryBridge().list_blocks():
        print(block.label, block.value[:100])

It talks to Memory Hub, to a Letta server of your own, or to Letta Cloud; all three answer the same API. This one file
is all there is to copy; it needs letta-client and rich, and chromadb only to read a store's folder.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:  # imported where they are used: `import letta_memory_bridge` stays light
    from letta_client import Letta
    from letta_client.types import AgentState, BlockResponse
    from rich.console import Console

CLOUD = "https://api.letta.com"
LOCAL = "http://localhost:8283"
HUB = "http://127.0.0.1:8000"
HUB_KEYS = "mhub_"  # how the tokens of Memory Hub begin
PROJECT = "planner"  # the original script's default
MODEL = "letta/letta-free"  # needs no account at a model provider

PAGE = 200  # blocks in one call
LABEL = re.compile(r"[A-Za-z0-9_/-]{1,50}")  # a server refuses to look for another one, though there may be some
BLOCK_ID = re.compile(r"block-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AGENT_ID = re.compile(r"agent-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIMIT = 100_000  # characters of a new block
IF_NEW = {"If-None-Match": "*"}  # a hub makes no second block of a label then; a Letta server knows no such thing
TRIES = 10  # to append to a block that others are writing to
TIMEOUT = 30.0  # seconds for one call
LONGEST_SYNC = 600.0  # seconds

Say = Callable[[str], None]
T = TypeVar("T")


# --- what can go wrong


class BridgeError(Exception):
    """What went wrong, in one sentence (`message`), and what to do about it (`hint`)."""

    code = 1  # of the command

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message, self.hint = message, hint


class UsageError(BridgeError):
    """Called in a way that cannot work."""

    code = 2


class ConnectionRefused(BridgeError):
    """Nothing answers at the address."""


class Unclear(BridgeError):
    """The connection ended before the answer came: what was asked for may or may not have been done."""


class Unauthorized(BridgeError):
    """The key is missing, wrong, or may not do this."""


class NotFound(BridgeError):
    """There is no such block, agent or project."""


class LabelTaken(BridgeError):
    """There is a block with this label already."""


class Changed(BridgeError):
    """Somebody else wrote at the same moment."""


class NotSynced(BridgeError):
    """The sync ended, and not well. result: as `sync_from_local_rag` returns it, if there is one."""

    def __init__(self, message: str, hint: str = "", result: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint)
        self.result = result


def need(package: str, error: ImportError) -> BridgeError:
    return BridgeError(f"The package {package} is not installed ({error}).", f"Install it: pip install {package}")


# --- where to


@dataclass(frozen=True)
class Target:
    """The server. why: how the address was found, '' where somebody named it."""

    url: str
    key: str = field(default="", repr=False)
    why: str = ""

    @property
    def is_cloud(self) -> bool:
        return host_of(self.url) == host_of(CLOUD)

    @property
    def has_token(self) -> bool:
        return self.key.startswith(HUB_KEYS)

    @property
    def refused_hint(self) -> str:
        if self.is_cloud:
            return "Letta Cloud is on the internet: check this machine's network and proxy."
        if self.has_token:
            return "Start the hub: `make run` in its folder; or name its address: --url, LETTA_BASE_URL."
        return (
            "Is the server running? Start the hub with `make run` in its folder and give --url http://127.0.0.1:8000"
            " and a token, or start a Letta server (the package letta brings none any more); --url names another"
            " address."
        )

    @property
    def forbidden_hint(self) -> str:
        if not self.has_token:
            return ""
        return "To write, make an editor's token: Settings > Tokens, or `manage.py create_token PROJECT NAME`."

    def unauthorized_hint(self, is_hub: bool) -> str:
        if is_hub or self.has_token:
            return (
                "Make a token on the project's page Settings > Tokens, or with `manage.py create_token PROJECT NAME`,"
                " and give it as --api-key or LETTA_API_KEY."
            )
        if self.is_cloud:
            return (
                "Get a key at https://app.letta.com/api-keys and give it as --api-key or LETTA_API_KEY; a server of"
                f" your own is named with --url {LOCAL}."
            )
        return "Give the server's password as --api-key or LETTA_API_KEY."


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def on_this_machine(url: str) -> bool:
    return host_of(url) in ("localhost", "::1") or host_of(url).startswith("127.")


def find_target(base_url: str | None = None, api_key: str | None = None) -> Target:
    """The server to talk to, from arguments and environment. Raises `UsageError` or `Unauthorized`."""
    key = (os.environ.get("LETTA_API_KEY", "") if api_key is None else api_key).strip()
    if not all("!" <= character <= "~" for character in key):
        raise Unauthorized("Unauthorized: the key contains a blank or a character that no key has.", "Copy it anew.")
    url = (base_url or os.environ.get("LETTA_BASE_URL", "")).strip()
    if url:
        return Target(clean_address(url), key)
    if key.startswith(HUB_KEYS):
        hub = os.environ.get("MEMORYHUB_URL", "").strip()
        return Target(clean_address(hub or HUB), key, "the key is a token of Memory Hub")
    if key:
        return Target(CLOUD, key, "Letta Cloud, since there is a key and no --url")
    return Target(LOCAL, "", "there is neither --url nor a key")


def clean_address(url: str) -> str:
    """An address without what letta-client adds by itself. Raises `UsageError` where it is none."""
    if url == "cloud":
        return CLOUD
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # a name that cannot be looked up is a ValueError
    except ValueError:
        right = False
    if not right or not re.fullmatch("[!-~]+", url) or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is not an address.", "It looks like http://127.0.0.1:8000")
    return url.rstrip("/").removesuffix("/v1")


# --- calls


def connect(target: Target, timeout: float) -> Letta:
    """The client: it never repeats a write by itself, and takes nothing from the environment."""
    try:
        from letta_client import DefaultHttpxClient, Letta
    except ImportError as error:
        raise need("letta-client", error) from error
    # Letta sees an empty key as none, and HTTP forbids the header that would be made of it.
    key = target.key or "none"
    http = DefaultHttpxClient(
        base_url=target.url,
        timeout=timeout,
        trust_env=not on_this_machine(target.url),
        follow_redirects=not target.has_token,  # the token would be left out, and a POST become a GET
    )
    return Letta(base_url=target.url, api_key=key, timeout=timeout, max_retries=0, http_client=http)


@contextmanager
def answers(target: Target) -> Iterator[None]:
    """Whatever a call raises, as `BridgeError`, without the key, which an error of httpx may quote."""
    import letta_client

    try:
        yield
    except letta_client.APIStatusError as error:
        raise status_error(target, error.status_code, said(error.body), error.response.headers) from None
    except letta_client.APIConnectionError as error:
        raise connection_error(target, error) from None
    except (ValueError, AttributeError) as error:  # no JSON, or a page without blocks
        if isinstance(error, UnicodeError):
            raise
        raise not_a_server(target) from None


def with_id(answer: T) -> T:
    """An answer, if it is what was asked for and no page of another program. Raises ValueError."""
    if not hasattr(answer, "id"):
        raise ValueError("no id")
    return answer


def not_a_server(target: Target) -> BridgeError:
    return BridgeError(
        f"What answers at {target.url} is neither Memory Hub nor a Letta server.",
        "Check host and port of the address, and leave out any path behind it.",
    )


def said(body: object) -> str:
    """The server's own words in an answer that is an error."""
    if isinstance(body, Mapping):
        body = body.get("detail") or body.get("message") or body.get("error") or ""
    if isinstance(body, list):
        items: list[Any] = body
        body = "; ".join(str(one.get("msg", one)) if isinstance(one, Mapping) else str(one) for one in items)
    text = one_line(body if isinstance(body, str) else "")
    return "" if text.startswith("<") else text[:300].rstrip(". ")


def status_error(target: Target, status: int, words: str, headers: Mapping[str, str]) -> BridgeError:
    """The error for an HTTP status."""
    told = f": {words}" if words else ""
    if 300 <= status < 400:  # what stands before a hub, such as from http:// to https://; a Letta server's gateway
        kind = BridgeError if target.has_token else NotFound
        there = server_of(headers.get("location", ""))
        return kind(f"{target.url} sends on to {there}.", "Give that address as --url.")
    if status == 401:
        is_hub = "Memory Hub" in headers.get("www-authenticate", "")
        why = "does not accept the key" if target.key else "wants a key, and there is none"
        return Unauthorized(f"Unauthorized: {target.url} {why}{told}.", target.unauthorized_hint(is_hub))
    if status == 403:
        return Unauthorized(
            f"Unauthorized: {target.url} does not allow this with this key{told}.", target.forbidden_hint
        )
    if status == 404:
        if words.lower() in ("", "not found"):  # any web server's: a hub and a Letta server say what is missing
            why = f"Not found at {target.url}: it seems that no Letta server and no hub answers there."
            return NotFound(why, "Check host and port: --url http://127.0.0.1:8000 is a hub's, :8283 a Letta server's.")
        return NotFound(f"Not found at {target.url}{told}.")
    if status in (409, 412):
        return Changed(f"{words}." if words else "Somebody else changed it at the same moment.", "Look and try again.")
    if status == 429:
        wait = headers.get("retry-after", "")
        return BridgeError(f"{target.url} takes no more calls now{told}.", f"Try again in {wait or 'some'} seconds.")
    if status >= 500:
        return BridgeError(f"{target.url} failed ({status}){told}.", "Look at the log of the server.")
    return BridgeError(f"{target.url} refused this ({status}){told}.")


def server_of(location: str) -> str:
    """The beginning of an address, without what was asked for."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else location or "elsewhere"


def connection_error(target: Target, error: BaseException) -> BridgeError:
    """Why there was no answer, from the types of the errors behind it."""
    import socket
    import ssl
    from urllib.error import URLError

    causes = list(causes_of(error))
    unreached, slow = [URLError], [TimeoutError]
    if httpx := sys.modules.get("httpx"):  # not in a call that did without it
        unreached += [httpx.ConnectTimeout, httpx.ConnectError]
        slow += [httpx.TimeoutException]

    def behind(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if behind(socket.gaierror):
        return ConnectionRefused(f"There is no host {host_of(target.url)}.", "Check the address and the network.")
    if behind(ssl.SSLError):
        return ConnectionRefused(f"No secure connection to {target.url} can be made.", "Is it http:// instead?")
    if behind(*unreached):
        what = "nothing listens at" if behind(ConnectionRefusedError) else "there is no way to"
        return ConnectionRefused(f"Connection refused: {what} {target.url}.", target.refused_hint)
    if behind(*slow):
        return Unclear(f"{target.url} did not answer in time.", "Is it busy or stuck? --timeout waits longer.")
    return Unclear(f"The connection to {target.url} broke before the answer came.", "Look whether it was done.")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def ask_hub(target: Target, method: str, path: str, timeout: float) -> Any:
    """The JSON that the hub's own API answers. Raises `BridgeError`.

    With the standard library alone: letta-client takes longer to import than the call, and a shell that ends may be
    waiting for it.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError

    try:
        with hub_request(target, method, path, timeout) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            raise status_error(target, error.code, said(body_of(error)), lower(error.headers.items())) from None
    except (OSError, HTTPException) as error:
        raise connection_error(target, error) from None
    except ValueError:
        raise not_a_server(target) from None


def hub_request(target: Target, method: str, path: str, timeout: float) -> Any:
    """The open answer. Nobody is followed elsewhere: urllib would take the token along."""
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {target.key}"} if target.key else {})
    body = b"{}" if method == "POST" else None
    request = Request(target.url + path, body, headers, method=method)  # noqa: S310 (`clean_address` lets http pass only)
    proxies = ProxyHandler({} if on_this_machine(target.url) else None)
    return build_opener(proxies, Stay).open(request, timeout=timeout)


def lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def body_of(error: Any) -> object:
    try:
        return json.load(error)
    except (OSError, ValueError):
        return ""


# --- the bridge


def to_stderr(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(sentence + "\n")


class LettaMemoryBridge:
    """The blocks of one server: Memory Hub, a Letta server, or Letta Cloud.

    base_url, api_key: default to LETTA_BASE_URL and LETTA_API_KEY; without an address a hub's token goes to the hub
    on this machine (MEMORYHUB_URL), another key to Letta Cloud, and without a key it is http://localhost:8283.
    timeout: seconds for one call. say: gets sentences on what is done; default: standard error.

    Nothing is sent until a method is called. Every method raises `BridgeError`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        say: Say = to_stderr,
    ) -> None:
        self.target = find_target(base_url, api_key)
        self.base_url, self.api_key = self.target.url, self.target.key
        self.timeout, self.say = timeout, say
        if self.target.why:
            say(f"Using {self.base_url} ({self.target.why}).")

    @cached_property
    def client(self) -> Letta:
        """The letta-client, for what this class does not do."""
        return connect(self.target, self.timeout)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def __enter__(self) -> LettaMemoryBridge:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- blocks

    def list_blocks(self) -> list[BlockResponse]:
        """All blocks, oldest first; each has `id`, `label`, `value`, `description`, `tags`, `metadata`, `limit`."""
        return self._all(self.client.blocks.list)

    def _all(self, fetch: Callable[..., Any], **query: Any) -> list[Any]:
        """Every page. Where the item at which a page ends is deleted meanwhile, a Letta server begins again with the
        first page, and the hub answers 404: then it goes on from the item before."""
        found: dict[str, Any] = {}
        gone = 0
        while gone < TRIES:
            cursor = next(reversed(found), None)
            try:
                with answers(self.target):
                    page = fetch(limit=PAGE, order="asc", **query, **({"after": cursor} if cursor else {})).items
                    new = {item.id: item for item in page if item.id not in found}
                is_gone = bool(cursor and page and not new)
            except NotFound:
                if not cursor:
                    raise
                is_gone = True
            if is_gone and cursor:
                del found[cursor]
                gone += 1
                continue
            found |= new
            if len(page) < PAGE:
                return list(found.values())
        raise BridgeError(f"The list of {self.base_url} changes while it is read.", "Try again.")

    def get_block(self, block_id: str) -> BlockResponse:
        """A block by its id or its label. Raises `NotFound`."""
        if not BLOCK_ID.fullmatch(block_id):
            return self._by_label(block_id)
        with answers(self.target):
            return with_id(self.client.blocks.retrieve(block_id))

    def find_blocks(self, label: str) -> list[BlockResponse]:
        """All blocks with this label: a Letta server takes it more than once."""
        check_text(label=label)
        if LABEL.fullmatch(label):
            return [block for block in self._all(self.client.blocks.list, label=label) if block.label == label]
        return [block for block in self.list_blocks() if block.label == label]

    def _by_label(self, label: str) -> BlockResponse:
        found = self.find_blocks(label)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(block.id) for block in found)
            raise BridgeError(f"{len(found)} blocks have the label {label!r}.", f"Name one by its id: {ids}")
        labels = [block.label or "" for block in self.list_blocks()]
        near = difflib.get_close_matches(label, labels, 3, 0.6)
        hint = f"There is {' and '.join(map(repr, near))}." if near else "`list` shows what there is."
        raise NotFound(f"There is no block {label!r} at {self.base_url}.", hint)

    def create_block(
        self,
        label: str,
        value: str,
        template: bool = False,
        *,
        description: str = "",
        tags: Sequence[str] = (),
        limit: int = LIMIT,
    ) -> str:
        """Make a block; its id. Raises `LabelTaken` where there is one with this label."""
        check_text(label=label, value=value, description=description, tags="\n".join(tags))
        check_length(value, limit)
        if not label.strip():
            raise UsageError("A block needs a label.")
        fields = {"is_template": template, "description": description, "tags": list(tags), "limit": limit}
        if template:
            return self._create(label, value, **fields)
        self._check_free(label)
        try:
            return self._create(label, value, **fields, extra_headers=IF_NEW)
        except Changed:  # somebody else made one just now
            self._check_free(label)
            raise

    def _check_free(self, label: str) -> None:
        if taken := self.find_blocks(label):
            hint = "--update replaces its text, --append adds to it (in Python: update_block, append_block)."
            raise LabelTaken(f"There is a block {label!r} already ({taken[0].id}).", hint)

    def _create(self, label: str, value: str, **fields: Any) -> str:
        """Create what is not there yet; where the answer is lost, look whether it is there now."""
        given = {name: content for name, content in fields.items() if content or name == "is_template"}
        try:
            with answers(self.target):
                return str(self.client.blocks.create(label=label, value=value, **given).id)
        except Unclear:
            made = [block for block in self.find_blocks(label) if block.value == value]
            if not made:
                raise
            return str(made[0].id)

    def update_block(self, block_id: str, value: str, *, limit: int | None = None) -> bool:
        """Replace the text of a block, named by its id or label. limit: a new one, in characters. True."""
        block = self.get_block(block_id)
        check_text(value=value)
        check_length(value, limit or block.limit)
        self._patch(str(block.id), value, **({"limit": limit} if limit else {}))
        return True

    def append_block(self, block_id: str, text: str) -> bool:
        """Add lines at the end of a block, keeping what others add meanwhile where the server can tell. True."""
        check_text(value=text)
        id = str(self.get_block(block_id).id)
        for left in reversed(range(TRIES)):
            with answers(self.target):
                answer = self.client.blocks.with_raw_response.retrieve(id)
                block, etag = with_id(answer.parse()), answer.headers.get("etag")
            value = joined(block.value, text)
            check_length(value, block.limit)
            try:
                self._patch(id, value, **({"extra_headers": {"If-Match": etag}} if etag else {}))
                break
            except Changed:
                if not left:
                    raise
                time.sleep(os.urandom(1)[0] / 1000)  # others may be at it as often
        return True

    def _patch(self, id: str, value: str, **options: Any) -> None:
        try:
            with answers(self.target):
                self.client.blocks.update(id, value=value, **options)
        except Unclear:
            if self.get_block(id).value != value:
                raise

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """The blocks that have all words of the query (else any), in label, title, description, tags or text."""
        return search(self.list_blocks(), query)[:limit]

    # --- agents

    def list_agents(self) -> list[AgentState]:
        """All agents; `blocks` are those that each sees."""
        return self._all(self.client.agents.list, include=["agent.blocks"])

    def find_agent(self, name: str) -> AgentState:
        """An agent by its id or its name. Raises `NotFound`."""
        if AGENT_ID.fullmatch(name):
            with answers(self.target):
                return with_id(self.client.agents.retrieve(name))
        found = [agent for agent in self.list_agents() if agent.name == name]
        if not found:
            raise NotFound(f"There is no agent {name!r} at {self.base_url}.", "`agents` shows who there is.")
        if len(found) > 1:
            ids = ", ".join(agent.id for agent in found)
            raise BridgeError(f"{len(found)} agents are called {name!r}.", f"Name one by its id: {ids}")
        return found[0]

    def attach_block(self, agent: str, block: str) -> bool:
        """Let an agent see a block, each named by its id or name. False if it did already."""
        found, wanted = self.find_agent(agent), self.get_block(block)
        seen = self._all(self.client.agents.blocks.list, agent_id=found.id)
        if wanted.id in {one.id for one in seen}:
            return False
        if wanted.label in {one.label for one in seen}:
            raise LabelTaken(f"The agent {found.name!r} has another block with the label {wanted.label!r}.")
        with answers(self.target):
            self.client.agents.blocks.attach(str(wanted.id), agent_id=found.id)
        return True

    def create_agent_with_shared_memory(
        self,
        agent_name: str,
        project_name: str = PROJECT,
        *,
        blocks: Sequence[str] = (),
        model: str = MODEL,
        embedding: str = "",
    ) -> str:
        """Make an agent that sees the project's shared memory, and `blocks` by id or label; its id."""
        check_text(name=agent_name)
        if not agent_name.strip():
            raise UsageError("An agent needs a name.")
        attached = [*self._shared_memory(self._project(project_name), bool(blocks)), *map(self.get_block, blocks)]
        options: dict[str, Any] = {"embedding": embedding} if embedding else {}
        with answers(self.target):
            ids = list(dict.fromkeys(str(block.id) for block in attached))
            agent = with_id(self.client.agents.create(name=agent_name, model=model, block_ids=ids, **options))
        labels = [block.label or "" for block in attached]
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        self.say(f"Created the agent {agent_name}; it sees {', '.join(labels[:5])}{more}.")
        return agent.id

    def _shared_memory(self, project: str, has_others: bool) -> list[BlockResponse]:
        """The digest block: the one that a hub keeps, where several have its label."""
        label = digest_label(project)
        found = sorted(self.find_blocks(label), key=lambda block: f"memhub:digest:{project}" not in (block.tags or ()))
        if not found and not has_others:
            hint = f"Run `sync --project {project}` first, or name blocks with --block."
            raise NotFound(f"There is no shared memory of the project {project!r} here (no block {label!r}).", hint)
        return found[:1]

    # --- sync

    def sync_from_local_rag(self, project_name: str = PROJECT, **options: Any) -> dict[str, Any]:
        """As `sync`, and says at the end what was done."""
        result = self.sync(project_name, **options)
        self.say(summary(result))
        return result

    def sync(
        self,
        project_name: str = PROJECT,
        *,
        chroma_url: str = "",
        chroma_path: str = "",
        collection: str = "project_memory",
        wait: bool = True,
    ) -> dict[str, Any]:
        """Bring the shared memory of a project up to date; what was done.

        Memory Hub is asked to sync the project (wait: until that is done): id, status, counters, errors, url. On a
        Letta server the block `shared_memory_{project}` is written from a local Chroma store (default: CHROMA_URL,
        CHROMA_PATH, else the hub's own): label, block_id, written, memories, kept_aside, agents, source.
        Raises `NotSynced`, which says why nothing came of it.
        """
        if self.is_hub:
            return self._hub_sync(self._project(project_name), wait)
        with open_store(chroma_url, chroma_path, collection, self.timeout) as store:
            self.say(f"Reading the local memories of {project_name} from {store.place}.")
            memories = ranked(read_memories(store, project_name))
            if not memories:
                raise nothing_to_sync(store, project_name)
        result = self._write_digest(project_name, memories) | {"source": store.place}
        if not result["agents"]:
            label = result["label"]
            self.say(
                f"No agent has {label} attached yet: `create-agent NAME` makes one that sees it,"
                f" `attach AGENT {label}` shows it to one."
            )
        return result

    @cached_property
    def hub_project(self) -> dict[str, Any] | None:
        """The project that the token belongs to, as the hub says; None where the server is no hub."""
        if self.target.is_cloud:
            return None
        try:
            answer = ask_hub(self.target, "GET", "/api/project", self.timeout)
        except NotFound:
            answer = None
        if isinstance(answer, dict) and "slug" in answer:
            return answer
        if self.target.has_token:
            message = f"What answers at {self.base_url} is not Memory Hub, and the key is a token of one."
            raise BridgeError(message, "Check the address, or leave the token out.")
        return None

    @property
    def is_hub(self) -> bool:
        """Whether the server is Memory Hub. Costs a call, once."""
        return self.hub_project is not None

    def check_project(self, name: str) -> None:
        """Raises `NotFound` where the server is a hub and the token belongs to another project."""
        if self.hub_project and name not in (self.hub_project["slug"], self.hub_project.get("name")):
            theirs = self.hub_project["slug"]
            hint = f"Leave --project out, or use a token of {name!r}: it is made on that project's Settings > Tokens."
            raise NotFound(f"This token belongs to the project {theirs!r}, not to {name!r}.", hint)

    def _project(self, name: str) -> str:
        """The project meant: with a hub's token always its own. The default name stands for it as well."""
        if not self.hub_project:
            return name
        if name != PROJECT:
            self.check_project(name)
        return str(self.hub_project["slug"])

    def _hub_sync(self, project: str, wait: bool) -> dict[str, Any]:
        try:
            run = self._run("POST", "/api/sync")
        except Changed as nothing:  # no server is connected: agents have the hub's own blocks, and see them at once
            return {"status": "done", "counters": {}, "errors": [], "note": nothing.message}
        self.say(f"The hub syncs {project}.")
        end, pause, told = time.monotonic() + LONGEST_SYNC, 0.2, False
        while wait and run["status"] in ("queued", "running"):
            if time.monotonic() > end:
                raise NotSynced(
                    f"The sync is still {run['status']}.", f"Watch it: {run.get('url', self.base_url)}", run
                )
            if not told and run["status"] == "queued" and time.monotonic() > end - LONGEST_SYNC + 15:
                self.say("It is still queued: is a worker of the hub running? `manage.py doctor` says so.")
                told = True
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
            run = self._run("GET", f"/api/sync/{run['id']}")
        return judged(run, project, wait)

    def _run(self, method: str, path: str) -> dict[str, Any]:
        """A sync run, as the hub tells of it."""
        run = ask_hub(self.target, method, path, self.timeout)
        if not isinstance(run, dict) or not {"id", "status"} <= run.keys():
            raise not_a_server(self.target)
        return run

    def _write_digest(self, project: str, memories: Sequence[Note]) -> dict[str, Any]:
        label, blocks = digest_label(project), self.list_blocks()
        block = digest_block(label, blocks)
        text, count = render(project, memories, (block.limit if block else None) or LIMIT)
        done = {"status": "done", "label": label, "memories": count, "kept_aside": None, "agents": 0}
        if block is None:
            id = self._create(label, text, description=DESCRIPTION, metadata={PRINTS: [fingerprint(text)]})
            return done | {"block_id": id, "written": "created"}
        done |= {"block_id": block.id, "agents": self._watchers(str(block.id)), "written": "unchanged"}
        if block.value != text:
            prints = prints_of(block)
            if block.value.strip() and fingerprint(block.value) not in prints:
                done["kept_aside"] = self._keep_aside(label, block.value, blocks)
            metadata = {**(block.metadata or {}), PRINTS: [*prints[-4:], fingerprint(text)]}
            self._patch(str(block.id), text, metadata=metadata)
            done["written"] = "updated"
        return done

    def _watchers(self, block_id: str) -> int:
        return len(self._all(self.client.blocks.agents.list, block_id=block_id))

    def _keep_aside(self, label: str, value: str, blocks: Sequence[BlockResponse]) -> str:
        """Keep a text that this script did not write in a block of its own; its label."""
        kept = {block.label: block.value for block in blocks if (block.label or "").startswith(f"{label}-before-")}
        for name, text in kept.items():
            if text == value and name:
                return name
        number = 1
        while f"{label}-before-{number}" in kept:
            number += 1
        name = f"{label}-before-{number}"
        self._create(name, value, description=f"What somebody wrote into {label}.", limit=max(LIMIT, len(value)))
        self.say(f"Somebody had written into {label}: that text is kept in {name}.")
        return name


def judged(run: dict[str, Any], project: str, wait: bool) -> dict[str, Any]:
    """A run of the hub, if it went well. Raises `NotSynced`."""
    status, url = run.get("status"), run.get("url") or ""
    errors = [error for error in run.get("errors") or () if isinstance(error, dict)]
    if not wait or (status == "done" and not errors):
        return run
    if status == "braked":  # what it told last is why
        why = str(errors[-1].get("error")) if errors else "the hub would have deleted or archived much"
        hint = f"An owner of the project approves it here, if it is right: {url}"
        raise NotSynced(f"Blocks not syncing: {why.removesuffix('.')}.", hint, run)
    named = "; ".join(map(error_in_words, errors[:3])) + (f"; and {len(errors) - 3} more" if len(errors) > 3 else "")
    why = f": {named.removesuffix('.')}" if named else ""
    raise NotSynced(f"Blocks not syncing: the sync of {project} ended as {status!r}{why}.", f"Look at it: {url}", run)


def error_in_words(error: Mapping[str, Any]) -> str:
    """An error of a run, with what it is about: a memory, a whole side, or the run itself."""
    title, side = error.get("title"), error.get("side")
    about = f"{title} ({side})" if title and side else title or side
    return f"{about}: {error.get('error')}" if about else str(error.get("error"))


def check_text(**fields: str) -> None:
    """Refuse what a Letta server drops silently or breaks on. Raises `UsageError`."""
    for name, text in fields.items():
        if "\0" in text:
            raise UsageError(f"The {name} contains a NUL character.", "Is it a text? Take the character out.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"The {name} is not UTF-8 (character {error.start + 1}).", "Convert it first.") from None


def check_length(value: str, limit: int | None) -> None:
    """Letta itself does not keep to a block's limit, and the agents that see it do."""
    if limit is not None and len(value) > limit:
        hint = "Shorten it, or raise the limit: --limit"
        raise UsageError(f"The text has {len(value)} characters, and the block's limit is {limit}.", hint)


def joined(value: str, text: str) -> str:
    return text if not value else f"{value}{'' if value.endswith(chr(10)) else chr(10)}{text}"


# --- the digest block, as Memory Hub writes it

PRINTS = "memhub_bridge"  # in the block's metadata: fingerprints of the last texts that this script wrote
DESCRIPTION = "The memories this project shares, in short."
MOST, LONGEST = 50, 500  # memories, and characters of each
FIRST = ("error", "fix", "decision", "gotcha")


@dataclass(frozen=True)
class Note:
    """A memory of the local store. created: aware."""

    id: str
    title: str
    kind: str
    text: str
    pinned: bool
    created: datetime


def digest_label(project: str) -> str:
    return f"shared_memory_{project}"


def digest_block(label: str, blocks: Iterable[BlockResponse]) -> BlockResponse | None:
    """The block with this label, if there is one. Raises `NotSynced` where it is not for this script to write."""
    found = [block for block in blocks if block.label == label]
    if any(tag.startswith("memhub:") for block in found for tag in block.tags or ()):
        hint = "Sync there: --url with the address of the hub, --api-key with a token."
        raise NotSynced(f"Blocks not syncing: Memory Hub keeps the block {label!r} itself.", hint)
    return found[0] if found else None


def prints_of(block: BlockResponse) -> list[str]:
    """The fingerprints of what this script wrote into a block; another text is somebody else's."""
    noted = (block.metadata or {}).get(PRINTS)
    return [one for one in noted if isinstance(one, str)] if isinstance(noted, list) else []


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def ranked(notes: Iterable[Note]) -> list[Note]:
    """Pinned first, then errors, fixes, decisions and gotchas, then the rest; newest first within each."""

    def key(note: Note) -> tuple[int, float, str]:
        kind = FIRST.index(note.kind) + 1 if note.kind in FIRST else len(FIRST) + 1
        return 0 if note.pinned else kind, -note.created.timestamp(), note.id

    return sorted(notes, key=key)


def render(project: str, notes: Sequence[Note], limit: int = LIMIT) -> tuple[str, int]:
    """The digest's text and how many memories are in it: at most `limit` characters, no clock in it."""
    text, number = f"# Shared Memory: {project}\n", 0
    for number, note in enumerate(notes[:MOST], 1):
        entry = f"\n## [{number}] {note.title} ({note.kind})\n{note.text[:LONGEST]}\n"
        if len(text) + len(entry) > limit:
            return text, number - 1
        text += entry
    return text, number


# --- the local store

Row = tuple[str, str, dict[str, Any]]  # id, text, metadata
CHUNK_ID = re.compile(r"(.+)_chunk_(\d+)", re.DOTALL)
OVERLAP = 50  # characters that two chunks of the original engine share at most
BATCH = 2_000  # ids in one call
DEFAULT_STORE = "http://127.0.0.1:8001"
DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"


@dataclass(frozen=True)
class Store:
    """A collection. get: as a Chroma collection's, by `ids` or `where`, with `include`."""

    place: str
    get: Callable[..., Mapping[str, Any]]

    def rows(self, where: dict[str, Any] | None = None) -> Iterator[Row]:
        ids = self.get(where=where, include=[])["ids"]
        for start in range(0, len(ids), BATCH):
            got = self.get(ids=ids[start : start + BATCH], include=["documents", "metadatas"])
            for id, text, meta in zip(got["ids"], got["documents"], got["metadatas"], strict=True):
                yield id, text or "", meta or {}


@contextmanager
def open_store(url: str, path: str, collection: str, timeout: float) -> Iterator[Store]:
    """The local store that was named, else that of the environment, else the hub's own. Raises `NotSynced`."""
    if not url and not path:
        url, path = os.environ.get("CHROMA_URL", ""), os.environ.get("CHROMA_PATH", "")
        if not url and not path:
            url, path = default_store()
    with open_server(clean_address(url), collection, timeout) if url else open_folder(Path(path), collection) as store:
        yield store


def default_store() -> tuple[str, str]:
    import httpx

    try:
        httpx.get(f"{DEFAULT_STORE}/api/v2/heartbeat", timeout=2, trust_env=False).raise_for_status()
        return DEFAULT_STORE, ""
    except httpx.HTTPError:
        folder = Path(__file__).resolve().parent / "var" / "chroma"
    if (folder / "chroma.sqlite3").is_file():
        return "", str(folder)
    raise NotSynced(
        f"Blocks not syncing: there is no local store, neither at {DEFAULT_STORE} nor in {folder}.",
        "Name it: --chroma-url, --chroma-path, CHROMA_URL or CHROMA_PATH.",
    )


@contextmanager
def open_server(url: str, collection: str, timeout: float) -> Iterator[Store]:
    """A collection of a Chroma server, over its HTTP API."""
    import httpx

    with httpx.Client(base_url=url, timeout=timeout, trust_env=not on_this_machine(url)) as http:

        def ask(method: str, path: str, body: Any = None) -> Any:
            try:
                answer = http.request(method, DATABASE + path, json=body)
                if answer.status_code == 404:
                    answer.json()["error"]
                    return None
                return answer.raise_for_status().json()
            except httpx.HTTPStatusError as error:
                words = f"({error.response.status_code})"
                raise NotSynced(f"The Chroma server {url} refused to be read {words}.", "Look at its log.") from None
            except httpx.HTTPError:
                hint = "Start it (`make run` starts the hub's), or name another: --chroma-url, --chroma-path."
                raise NotSynced(f"Connection refused: no Chroma server answers at {url}.", hint) from None
            except (ValueError, KeyError):
                raise NotSynced(f"What answers at {url} is not a Chroma server.", "Check the port.") from None

        model = ask("GET", f"/collections/{quote(collection, safe='')}")
        if model is None:
            raise no_collection(url, collection, [one["name"] for one in ask("GET", "/collections") or ()])

        def get(**query: Any) -> Mapping[str, Any]:
            body = {name: value for name, value in query.items() if value is not None}
            answer: Mapping[str, Any] = ask("POST", f"/collections/{model['id']}/get", body)
            return answer

        yield Store(url, get)


@contextmanager
def open_folder(folder: Path, collection: str) -> Iterator[Store]:
    """A collection of a Chroma folder. It may be in use: a copy of its database, as of one moment, is opened."""
    from tempfile import TemporaryDirectory

    if not (folder / "chroma.sqlite3").is_file():
        raise NotSynced(f"Blocks not syncing: {folder} is not a Chroma folder (no chroma.sqlite3 in it).")
    try:
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError
    except ImportError as error:
        raise need("chromadb", error) from error

    with TemporaryDirectory(prefix="memory-bridge-") as copy:
        copy_database(folder / "chroma.sqlite3", Path(copy) / "chroma.sqlite3")
        try:
            client: Any = chromadb.PersistentClient(copy, settings=Settings(anonymized_telemetry=False))
            try:
                names = [one.name for one in client.list_collections()]
                if collection not in names:
                    raise no_collection(str(folder), collection, names)
                yield Store(str(folder), client.get_collection(collection, embedding_function=None).get)
            finally:
                client.close()
        except ChromaError as error:
            raise NotSynced(f"{folder} cannot be read as a Chroma store: {one_line(str(error))}") from None


def copy_database(source: Path, target: Path) -> None:
    """SQLite's own backup: consistent also while another process writes."""
    import sqlite3
    from contextlib import closing

    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source.resolve()))}?mode=ro", uri=True, timeout=10)) as original,
            closing(sqlite3.connect(target)) as copy,
        ):
            original.backup(copy)
    except sqlite3.Error as error:
        raise NotSynced(f"{source} cannot be read ({error}).", "Is another program writing to it? Try again.") from None


def no_collection(place: str, collection: str, names: Sequence[str]) -> NotSynced:
    there = f"There: {', '.join(sorted(names))}; --collection names one." if names else "It has none at all."
    return NotSynced(f"Blocks not syncing: {place} has no collection {collection!r}.", there)


def nothing_to_sync(store: Store, project: str) -> NotSynced:
    names = sorted({str(meta.get("project_name") or "") for _, _, meta in store.rows()} - {""})
    start = "Blocks not syncing: "
    if not names:
        return NotSynced(f"{start}the local store {store.place} holds no memories of any project.")
    hint = f"Projects there: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}; name one with --project."
    return NotSynced(f"{start}the local store {store.place} has no memories of the project {project!r}.", hint)


def read_memories(store: Store, project: str) -> list[Note]:
    """The memories of a project, each put together from its chunks."""
    documents: dict[str, list[Row]] = {}
    for row in store.rows({"project_name": project}):
        documents.setdefault(document_of(row), []).append(row)
    return [note_of(id, sorted(rows, key=place_of)) for id, rows in documents.items()]


def document_of(row: Row) -> str:
    """The document that a row belongs to: as it says, else by its id, else it is one by itself."""
    named = row[2].get("document_id")
    match = CHUNK_ID.fullmatch(row[0])
    return named if isinstance(named, str) and named else match[1] if match else row[0]


def place_of(row: Row) -> int:
    index, match = row[2].get("chunk_index"), CHUNK_ID.fullmatch(row[0])
    return index if isinstance(index, int) else int(match[2]) if match else 0


def note_of(id: str, rows: Sequence[Row]) -> Note:
    meta = rows[0][2]
    doc_type, artifact = str(meta.get("doc_type") or ""), str(meta.get("artifact_type") or "")
    kind = artifact if doc_type == "runtime_artifact" and artifact else "/".join(filter(None, (doc_type, artifact)))
    listed = meta.get("tags_list")
    tags = listed if isinstance(listed, list) else str(meta.get("tags") or "").split(",")
    return Note(
        id=id,
        title=str(meta.get("title") or meta.get("label") or id),
        kind=kind or "project_details",
        text=text_of(rows),
        pinned="pinned" in {str(tag).strip() for tag in tags},
        created=moment(str(meta.get("created_at") or "")),
    )


def moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def text_of(rows: Sequence[Row]) -> str:
    """The whole text. The hub's chunks say which slice they are; others share their longest overlap."""
    if all(is_slice(row) for row in rows):
        text = ""
        for _, chunk, meta in rows:
            text = text[: meta["start"]] + chunk
        return text
    text = rows[0][1]
    for (_, before, _), (_, chunk, _) in pairwise(rows):
        text += chunk[overlap(before, chunk) :]
    return text


def is_slice(row: Row) -> bool:
    start, end = row[2].get("start"), row[2].get("end")
    return isinstance(start, int) and isinstance(end, int) and end - start == len(row[1])


def overlap(before: str, chunk: str) -> int:
    """How many characters at the start of `chunk` repeat the end of `before`."""
    sizes = range(min(OVERLAP, len(before), len(chunk)), 0, -1)
    return next((size for size in sizes if before.endswith(chunk[:size])), 0)


# --- search

WEIGHTS = {"label": 5, "title": 5, "tags": 3, "description": 2, "text": 1}
AROUND = 60  # characters of an excerpt on both sides of the hit


@dataclass(frozen=True)
class Hit:
    """A block that was found. fields: where the words are; excerpt: the place in the text, or its beginning."""

    block: BlockResponse
    score: int
    fields: tuple[str, ...]
    excerpt: str


def search(blocks: Iterable[BlockResponse], query: str) -> list[Hit]:
    """Best first: more of the words, then words in label or title, then in tags, description and text."""
    words = list(dict.fromkeys(query.casefold().split()))
    if not words:
        raise UsageError("There is nothing to search for.")
    found = [(len(matched), hit) for block in blocks for matched, hit in [match(block, words)] if matched]
    most = max((count for count, _ in found), default=0)
    hits = [hit for count, hit in found if count == len(words) or most < len(words)]
    counts = {id(hit): count for count, hit in found}
    return sorted(hits, key=lambda hit: (-counts[id(hit)], -hit.score, hit.block.label or ""))


def match(block: BlockResponse, words: Sequence[str]) -> tuple[set[str], Hit]:
    """The words that a block has, and where."""
    parts = parts_of(block)
    where = {name: [word for word in words if word in part.casefold()] for name, part in parts.items()}
    score = sum(WEIGHTS[name] * len(some) for name, some in where.items())
    fields = tuple(name for name, some in where.items() if some)
    matched = {word for some in where.values() for word in some}
    return matched, Hit(block, score, fields, excerpt(parts["text"], where["text"]))


def parts_of(block: BlockResponse) -> dict[str, str]:
    title = (block.metadata or {}).get("title")
    return {
        "label": block.label or "",
        "title": title if isinstance(title, str) else "",
        "tags": "\n".join(tag for tag in block.tags or () if not tag.startswith("memhub:")),
        "description": block.description or "",
        "text": block.value,
    }


def excerpt(text: str, words: Sequence[str]) -> str:
    """One line around the first place where one of the words stands."""
    found = re.search("|".join(map(re.escape, words)), text, re.IGNORECASE) if words else None
    start = max(0, found.start() - AROUND) if found else 0
    end = found.end() + AROUND if found else 2 * AROUND
    return f"{'…' if start else ''}{one_line(text[start:end])}{'…' if end < len(text) else ''}"


# What steers a terminal, turns the direction of writing round, or cannot be encoded; not tab and line feed.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """To be shown in one line."""
    return STEERING.sub("\ufffd", " ".join(text.split()))


# --- the command

EPILOG = """\
CONTENT is a text; - reads it from standard input, and one that begins with - stands after --.
A block is named by its label or its id.
--url, --api-key, --project, --timeout, --quiet and --json may stand before or after the command.

environment:
  LETTA_BASE_URL, LETTA_API_KEY   address and key of the server (--url and --api-key win)
  MEMORYHUB_URL                   the hub, where a key begins with mhub_ (default: http://127.0.0.1:8000)
  CHROMA_URL, CHROMA_PATH         the local store that `sync` reads for a plain Letta server

Without an address: a token of Memory Hub (mhub_...) goes to the hub on this machine, any other key to Letta Cloud,
and without a key it is http://localhost:8283.

exit codes: 0 done, 1 the server failed or refused, or there is no such thing, 2 wrong usage
"""


def parser() -> argparse.ArgumentParser:
    """Options that every command has may stand before and after it, so they have no defaults here."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    shared.add_argument("--url", metavar="ADDRESS", help="of Memory Hub or a Letta server; `cloud` for Letta Cloud")
    shared.add_argument("--api-key", metavar="KEY", help="a token of Memory Hub, or a key of the Letta server")
    shared.add_argument("--project", metavar="NAME", help=f"default: the token's project, or {PROJECT}")
    shared.add_argument("--timeout", type=positive, metavar="SECONDS", help=f"for one call (default: {TIMEOUT:g})")
    shared.add_argument("--quiet", action="store_true", help="say nothing but results and errors")
    shared.add_argument("--json", action="store_true", help="print JSON")
    main = argparse.ArgumentParser(
        prog="letta_memory_bridge.py",
        description="The memory blocks that agents share: Memory Hub, a Letta server, or Letta Cloud.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, help: str, *arguments: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help, parents=[shared], allow_abbrev=False)
        for argument in arguments:
            command.add_argument(argument.lower(), metavar=argument)
        return command

    sync = add("sync", "bring the project's shared memory up to date")
    no_wait = "only ask the hub for it; --timeout is then for all of it, for the end of a shell"
    sync.add_argument("--no-wait", action="store_true", help=no_wait)
    store = sync.add_mutually_exclusive_group()
    store.add_argument("--chroma-url", default="", metavar="ADDRESS", help="the local store: a Chroma server")
    store.add_argument("--chroma-path", default="", metavar="FOLDER", help="the local store: a folder (only read)")
    sync.add_argument("--collection", default="project_memory", metavar="NAME", help="default: project_memory")
    add("list", "list the blocks")
    create = add("create-block", "make a block", "LABEL", "CONTENT")
    there = create.add_mutually_exclusive_group()
    there.add_argument("--update", action="store_true", help="where the label exists: replace the block's text")
    there.add_argument("--append", action="store_true", help="where the label exists: add to the block's text")
    create.add_argument("--description", default="", metavar="TEXT", help="what the block is for")
    create.add_argument("--tag", action="append", default=[], metavar="TAG", help="may be given more than once")
    create.add_argument("--limit", type=whole, metavar="CHARACTERS", help=f"default: {LIMIT}")
    update = add("update-block", "replace the text of a block, or add to it", "BLOCK", "CONTENT")
    update.add_argument("--append", action="store_true", help="add to the text")
    update.add_argument("--limit", type=whole, metavar="CHARACTERS", help="set the block's limit too")
    add("get-block", "print the text of a block", "BLOCK")
    find = add("search", "find blocks by words", "QUERY")
    find.add_argument("--limit", type=whole, default=10, metavar="N", help="default: 10")
    add("agents", "list the agents and the blocks each sees")
    add("attach", "let an agent see a block", "AGENT", "BLOCK")
    agent = add("create-agent", "make an agent that sees the project's shared memory", "NAME")
    agent.add_argument("--block", action="append", default=[], metavar="BLOCK", help="attach this one as well")
    agent.add_argument("--model", default=MODEL, metavar="MODEL", help=f"default: {MODEL}")
    agent.add_argument("--embedding", default="", metavar="MODEL", help="default: the server's")
    return main


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError
    return number


def whole(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**31:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    given = parser().parse_args(arguments)
    for name in ("url", "api_key", "project"):
        vars(given).setdefault(name, None)
    vars(given).setdefault("timeout", TIMEOUT)
    quiet, given.json = "quiet" in given, "json" in given
    if sys.stdout is None:  # closed by whoever wants nothing of it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for where it is not UTF-8
    try:
        return run(given, (lambda sentence: None) if quiet else to_stderr)
    except BridgeError as error:
        to_stderr(f"Error: {error.message}" + (f"\nHint: {error.hint}" if error.hint else ""))
        return error.code
    except OSError as error:  # of the output, as a rule: others are a `BridgeError` by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read this has enough
            to_stderr(f"Error: {error.filename or 'The output'} cannot be used: {error.strerror or error}.")
        return 1
    except KeyboardInterrupt:
        return 130


def run(given: argparse.Namespace, say: Say) -> int:
    bridge = LettaMemoryBridge(given.url, given.api_key, timeout=given.timeout, say=say)
    with bridge, limit(given, bridge.target):
        if given.project is not None and bridge.target.has_token:
            bridge.check_project(given.project)
        COMMANDS[given.command](bridge, given)
    sys.stdout.flush()
    return 0


def limit(given: argparse.Namespace, target: Target) -> AbstractContextManager[None]:
    """What only asks a hub for something may be ended at any moment; what writes may not."""
    asks = given.command == "sync" and given.no_wait and target.has_token
    return at_most(given.timeout, target.url) if asks else nullcontext()


@contextmanager
def at_most(seconds: float, url: str) -> Iterator[None]:
    """End the process where this takes longer, whatever it waits for: nothing else limits the look-up of a name, or an
    answer that comes byte by byte."""
    from threading import Timer

    def end() -> None:
        os.write(2, f"Error: {url} did not answer in {seconds:g} seconds.\n".encode())
        os._exit(1)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def content(given: argparse.Namespace) -> str:
    """The text of the command line, or of standard input."""
    text: str = given.content
    if text != "-":
        return text
    if sys.stdin is None:
        raise UsageError("Standard input is closed.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"Standard input is not UTF-8 (byte {error.start + 1}).", "Convert it first.") from None


def write(given: argparse.Namespace, data: Any, text: str) -> None:
    """A result: as JSON, or as text in a line."""
    if not given.json:
        sys.stdout.write(shown(text) + ("" if text.endswith("\n") else "\n"))
        return
    as_it_is = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=not as_it_is) + "\n")


def shown(text: str) -> str:
    """A text as it is; on a terminal without what would steer it."""
    return STEERING.sub("\ufffd", text.replace("\r\n", "\n")) if sys.stdout.isatty() else text


def console() -> Console:
    try:
        from rich.console import Console
    except ImportError as error:
        raise need("rich", error) from error
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=160 if piped else None)  # the usual 80 cut what a program wants


def show_table(columns: Mapping[str, Mapping[str, Any]], rows: Iterable[Sequence[str]]) -> None:
    """A table of what fits. The first column names the rows and gets up to a third of the width; what has no width
    shares the rest; an ID is left out where there is no room for it."""
    screen = console()
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(one_line(cell)) for cell in row] for row in rows]
    names = [name for name in columns if name != "ID" or screen.width >= 100]
    first = max(text.cell_len for text in [Text(names[0]), *(row[0] for row in cells)])
    widths = {name: columns[name].get("width", 0) for name in names} | {names[0]: min(first, max(8, screen.width // 3))}
    rest = screen.width - sum(widths.values()) - 3 * len(names) - 1  # blanks around the columns
    table = Table(box=SIMPLE_HEAD)
    for name, width in widths.items():
        size = {"width": width} if width else {"max_width": max(1, rest // list(widths.values()).count(0))}
        table.add_column(name, **(dict(columns[name]) | size))
    for row in cells:
        table.add_row(*row[: len(names)])
    screen.print(table)


def block_json(block: BlockResponse) -> dict[str, Any]:
    return block.to_dict(mode="json")


FOLD: dict[str, Any] = {"overflow": "fold", "style": "bold"}
CUT: dict[str, Any] = {"overflow": "ellipsis", "no_wrap": True}
NUMBER: dict[str, Any] = {"justify": "right", "width": 6, "overflow": "fold"}
ID: dict[str, Any] = {"no_wrap": True, "style": "dim", "width": 42}


def show_blocks(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    blocks = bridge.list_blocks()
    if given.json:
        write(given, [block_json(block) for block in blocks], "")
    elif not blocks:
        bridge.say("There are no blocks yet: create-block makes one.")
    else:
        columns = {"Label": FOLD, "Text": CUT, "Length": NUMBER, "ID": ID}
        rows = [(block.label or "", block.value[:300], str(len(block.value)), str(block.id)) for block in blocks]
        show_table(columns, rows)


def make_block(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    text = content(given)
    try:
        id = bridge.create_block(
            given.label, text, description=given.description, tags=given.tag, limit=given.limit or LIMIT
        )
    except LabelTaken:
        if not given.update and not given.append:
            raise
        change_block(bridge, given, given.label, text)
        return
    bridge.say(f"Created the block {given.label}.")
    write(given, {"id": id, "label": given.label, "done": "created"}, id)


def update_block(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    change_block(bridge, given, given.block, content(given))


def change_block(bridge: LettaMemoryBridge, given: argparse.Namespace, name: str, text: str) -> None:
    block = bridge.get_block(name)
    if given.append:
        bridge.append_block(str(block.id), text)
    else:
        bridge.update_block(str(block.id), text, limit=given.limit)
    done = "appended" if given.append else "updated"
    bridge.say(f"{done.capitalize()} {'to ' if given.append else ''}the block {block.label}.")
    write(given, {"id": block.id, "label": block.label, "done": done}, str(block.id))


def print_block(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    block = bridge.get_block(given.block)
    if given.json or sys.stdout.isatty():
        write(given, block_json(block), block.value)
    else:  # to the character, for a file or another program
        sys.stdout.buffer.write(block.value.encode(errors="replace"))
        sys.stdout.buffer.flush()


def show_hits(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    hits = bridge.search(given.query, given.limit)
    if given.json:
        found = ("id", "label", "description", "tags")
        rows = [{name: getattr(hit.block, name) for name in found} for hit in hits]
        more = [{"score": hit.score, "fields": hit.fields, "excerpt": hit.excerpt} for hit in hits]
        write(given, [row | one for row, one in zip(rows, more, strict=True)], "")
    elif not hits:
        bridge.say("Nothing was found.")
    else:
        columns: dict[str, dict[str, Any]] = {"Label": FOLD, "Found in": {"width": 11}, "Excerpt": {}}
        show_table(columns, [(hit.block.label or "", ", ".join(hit.fields), hit.excerpt) for hit in hits])


def show_agents(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    agents = bridge.list_agents()
    seen = {agent.id: [(str(block.id), block.label or "") for block in agent.blocks or ()] for agent in agents}
    if given.json:
        named = {id: [{"id": block, "label": label} for block, label in blocks] for id, blocks in seen.items()}
        write(given, [{"id": one.id, "name": one.name, "blocks": named[one.id]} for one in agents], "")
    elif not agents:
        bridge.say("There are no agents yet: create-agent makes one.")
    else:
        rows = [(one.name, ", ".join(label for _, label in seen[one.id]) or "(none)", one.id) for one in agents]
        show_table({"Agent": FOLD, "Sees the blocks": {}, "ID": ID}, rows)


def attach(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    new = bridge.attach_block(given.agent, given.block)
    done = "attached" if new else "attached already"
    write(given, {"agent": given.agent, "block": given.block, "done": done}, f"{given.block}: {done}.")


def make_agent(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    id = bridge.create_agent_with_shared_memory(
        given.name, given.project or PROJECT, blocks=given.block, model=given.model, embedding=given.embedding
    )
    write(given, {"id": id, "name": given.name}, id)


def sync(bridge: LettaMemoryBridge, given: argparse.Namespace) -> None:
    options = {name: getattr(given, name) for name in ("chroma_url", "chroma_path", "collection")}
    try:
        result = bridge.sync(given.project or PROJECT, wait=not given.no_wait, **options)
    except NotSynced as error:
        if given.json and error.result:
            write(given, error.result, "")
        raise
    write(given, result, summary(result))


def summary(result: Mapping[str, Any]) -> str:
    """What a sync did, in a line or two."""
    if "label" in result:
        return f"{result['label']}: {result['written']}, {result['memories']} memories from {result['source']}."
    counted = [f"{number} {name}" for name, number in (result.get("counters") or {}).items() if number]
    what = {"done": ", ".join(counted) or "the project is empty, there was nothing to sync"}
    if "note" in result:
        return f"Nothing to sync. {result['note']}"
    line = f"{str(result.get('status')).capitalize()}: {what.get(str(result.get('status')), 'not waited for')}."
    return "\n".join(filter(None, (line, result.get("url"))))


COMMANDS: dict[str, Callable[[LettaMemoryBridge, argparse.Namespace], None]] = {
    "sync": sync,
    "list": show_blocks,
    "create-block": make_block,
    "update-block": update_block,
    "get-block": print_block,
    "search": show_hits,
    "agents": show_agents,
    "attach": attach,
    "create-agent": make_agent,
}

if __name__ == "__main__":
    sys.exit(main())
