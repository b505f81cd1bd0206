"""Preconditions: a memory's ETag is the number of its latest revision."""

from __future__ import annotations

import re

from django.http import HttpRequest

from blocks.api.writing import overtaken
from blocks.models import Memory


def etag_of(memory: Memory) -> str:
    return f'"{memory.number}"'


def _named(header: str) -> set[str]:
    """The tags of a header, without quotes; weak ones too, as a proxy that compresses makes them."""
    return set(re.findall(r'(?:W/)?"?([^\s",]+)"?', header))


def unchanged(request: HttpRequest, memory: Memory) -> bool:
    """Whether the caller has this revision already (If-None-Match)."""
    return bool({"*", str(memory.number)} & _named(request.headers.get("If-None-Match", "")))


def outdated(request: HttpRequest, memory: Memory) -> str:
    """Why the present revision is not one the caller means (If-Match); '' if it is."""
    asked = request.headers.get("If-Match")
    named = {"*"} if asked is None else _named(asked)
    if "*" in named:
        return ""
    return overtaken([int(tag) for tag in named if re.fullmatch("[1-9][0-9]{0,18}", tag)], memory)
