"""The shared memory as an MCP server: tools and resources for agents that speak the Model Context Protocol.

Streamable HTTP without sessions: each request carries its token and stands for itself, so any web process answers it.
The tools say and do what the API for memories does, by the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, close_old_connections
from django.http import Http404
from django.http.request import split_domain_port, validate_host
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ListResourcesResult, Tool, ToolAnnotations
from ninja.errors import HttpError
from pydantic import Field

from blocks import changes, recall
from blocks.api import resources, writing
from blocks.api.history import item as change_item
from blocks.api.memories import find
from blocks.api.queries import Words
from blocks.api.schemas import MemoryChanges, NewMemory, memories_out, memory_out
from blocks.models import Memory
from memoryhub.api import Limited, Unprocessable, admit
from memoryhub.tokens import Caller, TokenRefused

T = TypeVar("T")
PATH = "/mcp"
INSTRUCTIONS = """The memory that this team's agents share. Search it before you debug or decide: somebody may have been
here. What you find out that others would need again, remember; log errors with what caused them. Texts are Markdown."""
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

_caller: ContextVar[Caller] = ContextVar("caller")
_threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="mcp")


class Hub(MCPServer[Any]):
    """Lists the blocks of whoever asks as resources, and refuses arguments that a tool does not have: what is misspelt
    must not be a lost filter."""

    async def list_tools(self) -> list[Tool]:
        closed = {"additionalProperties": False}
        tools = await super().list_tools()
        return [tool.model_copy(update={"input_schema": tool.input_schema | closed}) for tool in tools]

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        known = {tool.name: tool.input_schema["properties"] for tool in await super().list_tools()}
        if others := sorted(set(arguments) - set(known.get(name, arguments))):
            named = ", ".join(known[name])
            raise ToolError(f"{name} has no argument {others[0][:100]!r}. Nothing was done; there are: {named}.")
        return await super().call_tool(name, arguments, context)

    async def _handle_list_resources(self, ctx: Any, params: Any) -> ListResourcesResult:
        after = params.cursor if params else None
        return await in_thread(lambda who: resources.page(who.project, after))


server = Hub("Memory Hub", instructions=INSTRUCTIONS, version="1")


async def in_thread(work: Callable[[Caller], T]) -> T:
    """Do what reads or writes the database in a thread, for whoever asks. Raises `ToolError` with a sentence."""
    context = copy_context()
    return await anyio.to_thread.run_sync(lambda: _threads.submit(context.run, _guarded, work).result())


def _guarded(work: Callable[[Caller], T]) -> T:
    close_old_connections()
    try:
        return work(_caller.get())
    except (Unprocessable, HttpError, PermissionDenied, Http404, writing.Newer) as error:
        raise ToolError(str(error)) from error
    except OperationalError as error:
        raise ToolError("The hub's database is busy. Nothing was changed; try again in a second.") from error
    finally:
        close_old_connections()


# --- Tools ----------------------------------------------------------------------------------------------

Query = Annotated[str, Field(description="Words, or a question in plain language.", min_length=1)]
Limit = Annotated[int, Field(ge=1, le=50)]
Kinds = Annotated[Words, Field(description="Only these kinds: error, fix, decision, gotcha, ...")]
Tags = Annotated[Words, Field(description="Only memories with all of these tags.")]
Uuid = Annotated[str, Field(description="As search, remember and list_changes say it.")]


@server.tool(title="Search the shared memory", annotations=READS)
async def search(query: Query, limit: Limit = 10, kinds: Kinds = [], tags: Tags = []) -> dict[str, Any]:  # noqa: B006
    """Find memories by meaning and by words, best first. `excerpt` shows where; `read` gives the whole text."""

    def work(who: Caller) -> dict[str, Any]:
        found = recall.search(who.project, query, limit=limit, kinds=kinds, tags=tags)
        items = [_brief(hit.memory) | {"score": round(hit.score, 3), "excerpt": hit.excerpt} for hit in found.hits]
        return {"items": items, "how": found.how, "note": found.note}

    return await in_thread(work)


@server.tool(title="Read a memory", annotations=READS)
async def read(uuid: Uuid) -> dict[str, Any]:
    """The whole text of a memory and all that is said of it. `revision` is what `update` asks for."""
    return await in_thread(lambda who: _whole(find(who.project, uuid)))


@server.tool(title="Remember", annotations=WRITES)
async def remember(
    text: Annotated[str, Field(description="Markdown. Write it for somebody who was not there.", min_length=1)],
    title: Annotated[str, Field(description="Empty: the first line of the text.")] = "",
    kind: Annotated[str, Field(description="decision, fix, gotcha, best_practice, meeting_notes, ...")] = "",
    tags: list[str] = [],  # noqa: B006
    source: Annotated[str, Field(description="Where it comes from: a file, a command, a link.")] = "",
) -> dict[str, Any]:
    """Keep something for all agents and people of the project."""
    said = {"text": text, "title": title, "kind": kind, "tags": tags, "source": source}
    return await in_thread(lambda who: _make(who, said))


@server.tool(title="Log an error", annotations=WRITES)
async def log_error(
    error: Annotated[str, Field(description="The message, and what led to it.", min_length=1)],
    source: Annotated[str, Field(description="The file, command or service it came from.")] = "",
    fix: Annotated[str, Field(description="What helped, if anything did.")] = "",
    tags: list[str] = [],  # noqa: B006
) -> dict[str, Any]:
    """Keep an error, so that the next agent that meets it finds it."""
    text = f"{error}\n\n**Fix**: {fix}" if fix else error
    said = {"text": text, "title": f"[ERROR] {error[:60]}", "kind": "error", "source": source, "tags": tags}
    return await in_thread(lambda who: _make(who, said))


@server.tool(title="Update a memory", annotations=WRITES)
async def update(
    uuid: Uuid,
    expected_revision: Annotated[int, Field(description="Of the memory as you read it.", ge=1)],
    text: Annotated[str | None, Field(description="The whole new text.")] = None,
    append: Annotated[str, Field(description="Instead of `text`: added at its end, on a line of its own.")] = "",
    title: str | None = None,
    kind: str | None = None,
    tags: list[str] | None = None,
    status: str | None = None,
) -> dict[str, Any]:
    """Change a memory. If somebody changed it since you read it, nothing is done: read it again and think anew."""
    said = {"text": text, "title": title, "kind": kind, "tags": tags, "status": status, "append": append or None}
    wanted = MemoryChanges.model_validate({name: value for name, value in said.items() if value is not None})

    def work(who: Caller) -> dict[str, Any]:
        memory = find(who.project, uuid)
        if not who.may_write:
            raise PermissionDenied(who.why_not)
        changed = writing.change(partial(writing.overtaken, [expected_revision]), who, memory.pk, wanted)
        changed.project = who.project
        return _whole(changed)

    return await in_thread(work)


@server.tool(title="List what changed", annotations=READS)
async def list_changes(
    since: Annotated[str, Field(description="`next` of the last call; empty: the newest.", pattern=r"^\d{0,18}$")] = "",
    limit: Annotated[int, Field(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """What was written in the project and by whom, oldest first, and `next` to go on from another time."""

    def work(who: Caller) -> dict[str, Any]:
        found = changes.since(who.project, int(since) if since else None, limit)
        return {"items": [change_item(row) for row in found.items], "next": str(found.next), "more": found.more}

    return await in_thread(work)


def _make(who: Caller, said: dict[str, Any]) -> dict[str, Any]:
    if not who.may_write:
        raise PermissionDenied(who.why_not)
    memory, _ = writing.create(who, NewMemory.model_validate({name: value for name, value in said.items() if value}))
    memory.project = who.project
    return _whole(memory)


def _brief(memory: Memory) -> dict[str, Any]:
    said = memory_out(memory, "", text=False)
    return {name: said[name] for name in ("uuid", "label", "title", "kind", "tags", "revision", "author", "changed_at")}


def _whole(memory: Memory) -> dict[str, Any]:
    (said,) = memories_out(memory.project, [memory], lambda _: "")
    del said["url"]
    return said


# --- Resources ------------------------------------------------------------------------------------------


@server.resource(resources.MEMORIES + "{uuid}", name="memory", title="A memory", mime_type="text/markdown")
async def memory(uuid: str) -> str:
    """The text of a memory."""
    return await _said(lambda who: find(who.project, uuid).text)


@server.resource(resources.BLOCKS + "{uuid}", name="block", title="Another block", mime_type="text/markdown")
async def block(uuid: str) -> str:
    """The text of a block that is no memory: the project's digest, or an agent's own."""
    return await _said(lambda who: resources.text_of(who.project, uuid))


async def _said(work: Callable[[Caller], str]) -> str:
    try:
        return await in_thread(work)
    except ToolError as error:
        raise ResourceError(str(error)) from error


# --- The endpoint ---------------------------------------------------------------------------------------

_app = server.streamable_http_app(
    streamable_http_path=PATH,
    stateless_http=True,
    json_response=True,
    max_request_body_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `_stranger` does it
)


def running() -> AbstractAsyncContextManager[None]:
    """Within this the endpoint answers. Once in a process."""
    return server.session_manager.run()


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application: MCP for whoever has a token."""
    headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
    try:
        if _stranger(headers):
            return await _refuse(send, 403, "This host or origin is not one of the hub's (ALLOWED_HOSTS).")
        kind, _, plain = headers.get("authorization", "").partition(" ")
        who = await sync_to_async(_admit, thread_sensitive=False)(plain.strip() if kind.lower() == "bearer" else "")
    except TokenRefused as error:
        return await _refuse(send, 401, str(error), ("www-authenticate", 'Bearer realm="Memory Hub"'))
    except Limited as error:
        return await _refuse(send, 429, str(error), ("retry-after", str(error.wait)))
    _caller.set(who)
    await _app({**scope, "path": PATH}, receive, send)


def _admit(plain: str) -> Caller:
    close_old_connections()
    try:
        if not plain:
            raise TokenRefused("Send a token: Authorization: Bearer mhub_...")
        return admit(plain)
    finally:
        close_old_connections()


def _stranger(headers: dict[str, str]) -> bool:
    """Whether the request is for, or from a page of, a host that is not the hub's: what a rebound name looks like."""
    named = [headers.get("host", ""), headers.get("origin", "").partition("//")[2] or headers.get("host", "")]
    return any(not validate_host(split_domain_port(name)[0], settings.ALLOWED_HOSTS) for name in named)


async def _refuse(send: Any, status: int, detail: str, *headers: tuple[str, str]) -> None:
    said = [("content-type", "application/json"), *headers]
    encoded = [(name.encode(), value.encode()) for name, value in said]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
