"""A text to begin with where two sides changed the same one (pure: standard library only).

Nothing is decided by it: a person reads it, edits it, and saves it or not.
"""

from __future__ import annotations

import re

from blocks.diff import opcodes

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


def propose(base: str | None, ours: str, theirs: str) -> tuple[str, int]:
    """Both changes in one text, and in how many places they meet: there, our lines come first, then theirs.

    base: what both began with; None where that is not known.
    """
    a, b = LINE.findall(ours), LINE.findall(theirs)
    parts = _two_way(a, b) if base is None else _three_way(LINE.findall(base), a, b)
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


def _three_way(base: list[str], a: list[str], b: list[str]) -> list[tuple[list[str], bool]]:
    in_a, in_b = _kept(base, a), _kept(base, b)
    parts: list[tuple[list[str], bool]] = []
    i = j = k = 0
    for line in [n for n in range(len(base)) if n in in_a and n in in_b] + [len(base)]:
        to_a, to_b = in_a.get(line, len(a)), in_b.get(line, len(b))
        parts.extend(_region(*lines) for lines in _split(base[i:line], a[j:to_a], b[k:to_b]))
        parts.append((base[line : line + 1], False))
        i, j, k = line + 1, to_a + 1, to_b + 1
    return parts


def _kept(base: list[str], other: list[str]) -> dict[int, int]:
    """Which lines of the base are in the other text, and where."""
    equal = (code for code in opcodes(base, other) if code[0] == "equal")
    return {i1 + n: j1 + n for _, i1, i2, j1, _ in equal for n in range(i2 - i1)}


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
