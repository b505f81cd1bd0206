"""What granian serves: each request goes to what suits it.

Pages and APIs run as WSGI in WEB_THREADS threads: their work is in the database, and a thread that stays is the
quickest way through Django (two thirds more requests a second than through its ASGI handler). What stays open for
long, as live updates do, would use up those threads, so it runs on the event loop.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote_from_bytes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "memoryhub.settings")

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.asgi import get_asgi_application

from memoryhub.wsgi import application as wsgi_application

Receive = Callable[[], Awaitable[Any]]

LIVE = re.compile(r"/p/[^/]+/live/\Z")
ASCII = "".join(map(chr, range(128)))

wsgi: Any = wsgi_application
pages = WSGIMiddleware(wsgi, workers=settings.WEB_THREADS)
streams = get_asgi_application()

from blocks.api import mcp  # noqa: E402 - it needs the apps
from blocks.stores.embeddings import embed  # noqa: E402


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif LIVE.match(scope["path"]):
        await streams(scope, receive, send)
    elif scope["path"].rstrip("/") == mcp.PATH:
        await mcp.endpoint(scope, receive, send)
    else:
        await pages(_for_wsgi(scope), _whole(receive), send)


def _for_wsgi(scope: Any) -> Any:
    """What WSGI cannot tell apart or take: in it `X_Forwarded_Proto` would pass for a proxy's `X-Forwarded-Proto`."""
    headers = [(name, value) for name, value in scope["headers"] if b"_" not in name]
    return {**scope, "headers": headers, "query_string": quote_from_bytes(scope["query_string"], ASCII).encode()}


def _whole(receive: Receive) -> Receive:
    """A body that breaks off is an error (Django's UnreadablePostError), never a shorter one: half a text is none."""

    async def read() -> Any:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the request broke off")
        return message

    return read


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    async with mcp.running():
        threading.Thread(target=embed, args=(["warm"],), daemon=True).start()  # else the first search waits for it
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
