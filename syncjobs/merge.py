"""Three-way merges of one field (pure: standard library only, and the merge of texts)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blocks.merge import CLASH, merge_text

__all__ = ["CLASH", "first_contact", "merge_field", "merge_tags", "merge_text"]


def merge_field(name: str, base: Any, ours: Any, theirs: Any) -> Any:
    """The value all can live with, or `CLASH`. Texts merge line by line, tags as sets; the rest only as a whole."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if name == "text":
        return CLASH if base is None else merge_text(base, ours, theirs)
    if name == "tags":
        return merge_tags(base or (), ours, theirs)
    return CLASH


def merge_tags(base: Iterable[str], ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """What either added is in, what either removed is out."""
    base, ours, theirs = set(base), set(ours), set(theirs)
    return sorted((ours & theirs) | (ours - base) | (theirs - base))


def first_contact(name: str, ours: Any, theirs: Any) -> Any:
    """The value of a field that was never in step, of an item that is known by its text; else `CLASH`.

    What only one says is taken, tags are joined, and of texts that differ in line ends or in the space around them the
    longer one stays, which lacks nothing of the other. Of two times at which it was made the earlier one is right.
    """
    if name == "tags":
        return merge_tags((), ours, theirs)
    if name == "text":
        return max(ours, theirs, key=len) if _trimmed(ours) == _trimmed(theirs) else CLASH
    if not (isinstance(ours, str) and isinstance(theirs, str)):
        return CLASH
    if not ours or not theirs:
        return ours or theirs
    return min(ours, theirs) if name == "created_at" else CLASH


def _trimmed(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
