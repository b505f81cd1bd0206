"""A text to begin with where two sides changed the same one (pure: standard library only).

Nothing is decided by it: a person reads it, edits it, and saves it or not.
"""

from __future__ import annotations

from blocks.diff import opcodes
from blocks.merge import regions, split


def propose(base: str | None, ours: str, theirs: str) -> tuple[str, int]:
    """Both changes in one text, and in how many places they meet: there, our lines come first, then theirs.

    base: what both began with; None where that is not known.
    """
    parts = _two_way(split(ours), split(theirs)) if base is None else _three_way(base, ours, theirs)
    text, clashes = "", 0
    for lines, clash in parts:
        for line in lines:
            text += ("" if not text or text.endswith(("\r", "\n")) else "\n") + line
        clashes += clash
    return text, clashes


def _two_way(a: list[str], b: list[str]) -> list[tuple[list[str], bool]]:
    """Where nothing is known of what was before, everything of both stays."""
    return [
        (a[i1:i2], False) if tag == "equal" else (a[i1:i2] + b[j1:j2], tag == "replace")
        for tag, i1, i2, j1, j2 in opcodes(a, b)
    ]


def _three_way(base: str, ours: str, theirs: str) -> list[tuple[list[str], bool]]:
    parts: list[tuple[list[str], bool]] = []
    for region in regions(base, ours, theirs):
        if region.merged is not None:
            parts.append((region.merged, False))
        else:
            parts += [_region(*lines) for lines in _split(region.base, region.ours, region.theirs)]
    return parts


def _split(base: list[str], a: list[str], b: list[str]) -> list[tuple[list[str], list[str], list[str]]]:
    """Line by line where no side has added or removed lines."""
    if len(base) == len(a) == len(b):
        return [([x], [y], [z]) for x, y, z in zip(base, a, b, strict=True)]
    return [(base, a, b)]


def _region(base: list[str], a: list[str], b: list[str]) -> tuple[list[str], bool]:
    if a in (base, b):
        return b, False
    if b == base:
        return a, False
    if base and b[: len(base)] == base:
        return a + b[len(base) :], False
    if base and a[: len(base)] == base:
        return b + a[len(base) :], False
    return a + b, True
