"""Three-way merges of one field (pure: standard library only)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CLASH = object()


def merge_field(name: str, base: Any, ours: Any, theirs: Any) -> Any:
    """The value all can live with, or `CLASH`. Tags merge as sets; anything else only where one side changed."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if name == "tags":
        return merge_tags(base or (), ours, theirs)
    return CLASH


def merge_tags(base: Iterable[str], ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """What either added is in, what either removed is out."""
    base, ours, theirs = set(base), set(ours), set(theirs)
    return sorted((ours & theirs) | (ours - base) | (theirs - base))
