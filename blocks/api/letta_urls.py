"""The addresses of Letta's API, each with and without a slash at its end: nobody is sent on, a body would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path
from django.urls.resolvers import RoutePattern

from blocks.api import letta, letta_agents, letta_blocks
from memoryhub.api import open_urls

letta.api.get("/health/", auth=None)(letta.health)
letta.api.add_router("", letta_blocks.router)
letta.api.add_router("", letta_agents.router)
letta.api.add_router("", letta.last)


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view that answers in JSON also where an API passes an error on to Django."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Exception as error:
            return letta.failed(request, error)

    return answer


def both_ways(patterns: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    """The slash first: where a label comes last, it is no part of it."""
    for pattern in patterns:
        route = str(pattern.pattern).removesuffix("/")
        if route and isinstance(pattern, URLPattern) and isinstance(pattern.pattern, RoutePattern):
            view = guarded(pattern.callback)
            yield path(f"{route}/", view, name=pattern.name)
            yield path(route, view)


v1 = list(both_ways(open_urls(letta.api)))
health, not_offered = v1[0].callback, v1[-1].callback

app_name = "letta"
urlpatterns: list[URLPattern | URLResolver] = [
    path("health", health),  # as the original guide asks
    path("health/", health),
    path("v1", not_offered, {"rest": ""}),
    path("v1/", not_offered, {"rest": ""}),
    path("v1/", include(v1)),
]
