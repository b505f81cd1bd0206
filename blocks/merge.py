"""Three-way merge of texts, line by line (pure: standard library only).

A line of the base that both texts kept is *stable*; what lies between stable lines was changed by one of them (taken),
by both alike (taken once), or by both differently (a clash). So changes to adjacent lines clash, as do two additions
at one place. Where equal lines leave open which of them is the old one (a blank line before or after a new
paragraph), two readings must agree, else the line is not stable: a merge never depends on a guess.

It gives what `git merge-file` gives, with these differences. It clashes in a few more places: where two readings
disagree, and where two additions have only an equal line (mostly a blank one) between them. It ends a line at a lone CR
too. And where a text's lines are mostly alike another choice of old and new lines can be as good as git's, so that one
merges and the other does not, or (only with very few different lines) both do to different texts; nothing that one
added and nothing that both kept is missing from either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from blocks.diff import opcodes

MAX_LINES = 50_000  # of one text: more are one clash, where they clash at all
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


class Clash(Enum):
    CLASH = "clash"


CLASH: Final = Clash.CLASH


@dataclass(frozen=True)
class Stable:
    """Lines that both kept."""

    lines: list[str]

    @property
    def merged(self) -> list[str]:
        return self.lines


@dataclass(frozen=True)
class Changed:
    """Lines of the base and what stands there now."""

    base: list[str]
    ours: list[str]
    theirs: list[str]

    @property
    def merged(self) -> list[str] | None:
        """The lines both can live with; None where both changed them differently."""
        if self.ours == self.theirs or self.theirs == self.base:
            return self.ours
        return self.theirs if self.ours == self.base else None


def merge_text(base: str, ours: str, theirs: str) -> str | Clash:
    """Both texts' changes to the base in one text, every line with its own ending; CLASH where they meet."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    lines = _merged(regions(base, ours, theirs))
    return CLASH if lines is None else "".join(lines)


def split(text: str) -> list[str]:
    """The lines of a text, each with its ending: CRLF, CR, LF, or none at the end."""
    return LINE.findall(text)


def regions(base: str, ours: str, theirs: str) -> list[Stable | Changed]:
    """The three texts side by side: stable and changed lines in turn. Joined by column, they are the texts again."""
    a, b, c = split(base), split(ours), split(theirs)
    if max(len(a), len(b), len(c)) > MAX_LINES:
        return [Changed(a, b, c)]
    forward = kept(a, b), kept(a, c)
    result = list(_regions(a, b, c, *forward))
    if _merged(result) is None:
        return result
    backward = _kept_mirrored(a, b), _kept_mirrored(a, c)
    mirrored = list(_regions(a, b, c, *backward))
    other = _merged(mirrored)
    if other is None and any(region.merged is None and not region.base for region in _changed(mirrored)):
        return mirrored  # two additions that have only an equal line (a blank one) between them in the other reading
    if other in (None, _merged(result)):
        return result
    # Read from the end it merges as well, but to another text: only what both ways have in common is sure.
    sure = [dict(there.items() & back.items()) for there, back in zip(forward, backward, strict=True)]
    result = list(_regions(a, b, c, *sure))
    return result if _merged(result) is None else [Changed(a, b, c)]


def _changed(found: list[Stable | Changed]) -> Iterator[Changed]:
    return (region for region in found if isinstance(region, Changed))


def _merged(found: list[Stable | Changed]) -> list[str] | None:
    result: list[str] = []
    for region in found:
        lines = region.merged
        if lines is None:
            return None
        result += lines
    return result


def _regions(
    base: list[str], ours: list[str], theirs: list[str], in_ours: dict[int, int], in_theirs: dict[int, int]
) -> Iterator[Stable | Changed]:
    stable: list[str] = []
    i = j = k = 0
    for line in [*sorted(in_ours.keys() & in_theirs.keys()), len(base)]:
        to_j, to_k = in_ours.get(line, len(ours)), in_theirs.get(line, len(theirs))
        if line > i or to_j > j or to_k > k:
            if stable:
                yield Stable(stable)
                stable = []
            yield Changed(base[i:line], ours[j:to_j], theirs[k:to_k])
        stable += base[line : line + 1]
        i, j, k = line + 1, to_j + 1, to_k + 1
    if stable:
        yield Stable(stable)


def kept(base: list[str], other: list[str]) -> dict[int, int]:
    """Which lines of the base are still in the other text, and where: those on which two readings agree."""
    equal = (code for code in opcodes(base, other) if code[0] == "equal")
    pairs = [(i1 + n, j1 + n) for _, i1, i2, j1, _ in equal for n in range(i2 - i1)]
    old, new = _slid(base, {i for i, _ in pairs}), _slid(other, {j for _, j in pairs})
    return dict(set(pairs) & set(zip(old, new, strict=True)))


def _kept_mirrored(base: list[str], other: list[str]) -> dict[int, int]:
    """The same, read from the end."""
    last_i, last_j = len(base) - 1, len(other) - 1
    return {last_i - i: last_j - j for i, j in kept(base[::-1], other[::-1]).items()}


def _slid(lines: list[str], same: set[int]) -> list[int]:
    """The unchanged lines when each run of changed ones is moved down as far as equal lines allow.

    That is the reading `git` takes: of "a, new, a" the last two lines are the new ones.
    """
    changed = [number not in same for number in range(len(lines))]
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and changed[end]:
            end += 1
        while start < end < len(lines) and lines[start] == lines[end]:
            changed[start], changed[end] = False, True
            start += 1
            while end < len(lines) and changed[end]:
                end += 1
        start = end + 1
    return [number for number, flag in enumerate(changed) if not flag]
