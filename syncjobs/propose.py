"""A text to begin with where two sides changed the same one (pure: standard library only).

Nothing is decided by it: a person reads it, edits it, and saves it or not.
"""

from __future__ import annotations

import re

from blocks.diff import opcodes
from blocks.merge import Changed, regions, split

ENDING = re.compile(r"\r\n|\r|\n")
LAST = re.compile(r"(?:\r\n|\r|\n)\Z")


def propose(base: str | None, ours: str, theirs: str) -> tuple[str, int]:
    """Both changes in one text, and in how many places they meet: there, our lines come first, then theirs.

    base: what both began with; None where that is not known.
    """
    a, b = (ended(text, ours, theirs) for text in (ours, theirs))
    parts = _two_way(split(a), split(b)) if base is None else _three_way(ended(base, ours, theirs), a, b)
    text = "".join(line for lines, _ in parts for line in lines)
    if not _ends(base, ours, theirs):
        text = LAST.sub("", text)
    return text, sum(clash for _, clash in parts)


def only_additions(base: str, ours: str, theirs: str) -> bool:
    """Whether all that clashes are lines that both added at one place, so that both can stay."""
    found = regions(*(ended(text, ours, theirs) for text in (base, ours, theirs)))
    clashes = [region for region in found if isinstance(region, Changed) and region.merged is None]
    return bool(clashes) and not any(region.base for region in clashes)


def ended(text: str, *others: str) -> str:
    """A text whose last line ends as its others do, so that it is the same line where something was added after it.

    others: where it has only one line, theirs count.
    """
    if not text or text.endswith(("\r", "\n")):
        return text
    found = (ENDING.search(known) for known in (text, *others))
    return text + next((match[0] for match in found if match), "\n")


def _ends(base: str | None, ours: str, theirs: str) -> bool:
    """Whether the last line of both in one has an ending: as both have it, else as the one that changed it."""
    before, a, b = (text.endswith(("\r", "\n")) for text in (base or "", ours, theirs))
    if not ours or not theirs:
        return a or b
    return a if a == b else not before


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
