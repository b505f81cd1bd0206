"""Differences between two texts, as values a template can draw (pure: standard library only).

Lines are compared first, then the words of lines that face each other. Nothing here takes long: what is too large
for `difflib` (quadratic) is matched by the lines that occur once, and what is left over counts as replaced.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

Opcode = tuple[str, int, int, int, int]

SMALL = 250_000  # pairs of items that difflib may compare
FEW = 400  # the same, where it has to be quick
MAX_ROWS = 3_000
MANY, RUN = 4, 12  # more changes than that in a line are marked if so many characters lie between two, at the mean
MAX_LINE = 20_000  # characters of a line that is shown at once
WORD = re.compile(r"\w+|\s+|[^\w\s]")
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Segment:
    """A piece of a line. kind: same, cut or add."""

    kind: str
    text: str


@dataclass(frozen=True)
class Row:
    """A line of a diff. kind: same, cut, add, or skip (`skipped` lines left out)."""

    kind: str
    old: int | None = None
    new: int | None = None
    segments: list[Segment] = field(default_factory=list)
    skipped: int = 0


@dataclass(frozen=True)
class Diff:
    """rows: what to draw. added, cut: lines. more: lines that were left out at the end, because there are too many."""

    rows: list[Row]
    added: int
    cut: int
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.cut)


def opcodes(a: Sequence[str], b: Sequence[str], small: int = SMALL) -> list[Opcode]:
    """How to turn `a` into `b`, as `SequenceMatcher.get_opcodes` gives it, in near-linear time.

    small: pairs of items that are compared with each other; beyond, only items that occur once are.
    """
    blocks = [*_matches(a, b, (0, len(a)), (0, len(b)), small), (len(a), len(b), 0)]
    result: list[Opcode] = []
    i = j = 0
    for start_a, start_b, size in blocks:
        if i < start_a or j < start_b:
            tag = "replace" if i < start_a and j < start_b else "delete" if i < start_a else "insert"
            result.append((tag, i, start_a, j, start_b))
        if size:
            result.append(("equal", start_a, start_a + size, start_b, start_b + size))
        i, j = start_a + size, start_b + size
    return _joined(result)


def _joined(codes: list[Opcode]) -> list[Opcode]:
    result: list[Opcode] = []
    for code in codes:
        if result and result[-1][0] == code[0] == "equal":
            tag, i1, _, j1, _ = result.pop()
            code = (tag, i1, code[2], j1, code[4])
        result.append(code)
    return result


def _matches(
    a: Sequence[str], b: Sequence[str], in_a: tuple[int, int], in_b: tuple[int, int], small: int, anchored: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Runs of equal items in these ranges of `a` and `b`, in order: (start in a, start in b, length)."""
    (a1, a2), (b1, b2) = in_a, in_b
    head = 0
    while a1 + head < a2 and b1 + head < b2 and a[a1 + head] == b[b1 + head]:
        head += 1
    if head:
        yield a1, b1, head
    a1, b1 = a1 + head, b1 + head
    tail = 0
    while a1 < a2 - tail and b1 < b2 - tail and a[a2 - tail - 1] == b[b2 - tail - 1]:
        tail += 1
    a2, b2 = a2 - tail, b2 - tail
    if (a2 - a1) * (b2 - b1) <= small:
        matcher = SequenceMatcher(None, a[a1:a2], b[b1:b2], autojunk=False)
        for match in matcher.get_matching_blocks()[:-1]:
            yield a1 + match.a, b1 + match.b, match.size
    elif not anchored:
        last_a, last_b = a1, b1
        for i, j in _anchors(a, b, a1, a2, b1, b2):
            yield from _matches(a, b, (last_a, i), (last_b, j), small, True)
            yield i, j, 1
            last_a, last_b = i + 1, j + 1
        yield from _matches(a, b, (last_a, a2), (last_b, b2), small, True)
    if tail:
        yield a2, b2, tail


def _anchors(a: Sequence[str], b: Sequence[str], a1: int, a2: int, b1: int, b2: int) -> list[tuple[int, int]]:
    """Items that occur once on both sides, the longest run of them that is in order on both (patience diff)."""
    once_a = {item for item, count in Counter(a[a1:a2]).items() if count == 1}
    once_b = {item for item, count in Counter(b[b1:b2]).items() if count == 1} & once_a
    where = {b[j]: j for j in range(b1, b2) if b[j] in once_b}
    pairs = [(i, where[a[i]]) for i in range(a1, a2) if a[i] in once_b]
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, j) in enumerate(pairs):
        place = bisect_left(ends, j)
        before.append(last[place - 1] if place else -1)
        ends[place : place + 1] = [j]
        last[place : place + 1] = [index]
    chain: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def words(old: str, new: str) -> tuple[list[Segment], list[Segment]]:
    """The old text with what was cut marked, and the new one with what was added."""
    a, b = WORD.findall(old[:MAX_LINE]), WORD.findall(new[:MAX_LINE])
    left: list[Segment] = []
    right: list[Segment] = []
    for tag, i1, i2, j1, j2 in _without_crumbs(opcodes(a, b), a):
        if i1 < i2:
            left.append(Segment("same" if tag == "equal" else "cut", "".join(a[i1:i2])))
        if j1 < j2:
            right.append(Segment("same" if tag == "equal" else "add", "".join(b[j1:j2])))
    return left, right


def _without_crumbs(codes: list[Opcode], a: list[str]) -> list[Opcode]:
    """What is the same between two changes and is no word (a space, a comma) is read as a part of them."""
    result: list[Opcode] = []
    for place, code in enumerate(codes):
        tag, i1, i2, j1, j2 = code
        inside = 0 < place < len(codes) - 1
        crumb = tag == "equal" and inside and not re.search(r"\w", "".join(a[i1:i2]))
        changed = crumb or tag != "equal"
        if changed and result and result[-1][0] != "equal":
            _, first_i, _, first_j, _ = result.pop()
            code = ("replace", first_i, i2, first_j, j2)
        elif crumb:
            code = ("replace", i1, i2, j1, j2)
        result.append(code)
    return result


def lines(old: str, new: str, context: int = 3) -> Diff:
    """Line by line, with the words that differ; `context` unchanged lines around each change."""
    a, b = LINE_END.split(old), LINE_END.split(new)
    rows: list[Row] = []
    added = cut = 0
    codes = opcodes(a, b)
    for tag, i1, i2, j1, j2 in codes:
        if tag == "equal":
            rows.extend(_context(a, (i1, i2, j1), context, first=i1 == 0 and j1 == 0, last=i2 == len(a)))
            continue
        added, cut = added + j2 - j1, cut + i2 - i1
        if len(rows) <= MAX_ROWS:
            rows.extend(_changed(a, b, i1, i2, j1, j2))
    if old != new and not (added or cut):
        rows, added, cut = _endings_only()
    return Diff(rows[:MAX_ROWS], added, cut, max(0, len(rows) - MAX_ROWS))


def _endings_only() -> tuple[list[Row], int, int]:
    """For texts whose lines are the same: only line endings differ."""
    note = [Segment("same", "Only line endings differ.")]
    return [Row("add", segments=note)], 1, 0


def _context(a: list[str], where: tuple[int, int, int], context: int, *, first: bool, last: bool) -> Iterator[Row]:
    i1, i2, j1 = where
    before, after = (0 if first else context), (0 if last else context)
    hidden = i2 - i1 - before - after
    for offset in range(i2 - i1):
        if hidden > 1 and before <= offset < before + hidden:
            if offset == before:
                yield Row("skip", skipped=hidden)
            continue
        text = a[i1 + offset][:MAX_LINE]
        yield Row("same", i1 + offset + 1, j1 + offset + 1, [Segment("same", text)])


def _changed(a: list[str], b: list[str], i1: int, i2: int, j1: int, j2: int) -> Iterator[Row]:
    both = min(i2 - i1, j2 - j1, 200)
    pairs = [_pair(a[i1 + n], b[j1 + n]) for n in range(both)]
    for i in range(i1, i2):
        n = i - i1
        yield Row("cut", old=i + 1, segments=pairs[n][0] if n < both else [Segment("same", a[i][:MAX_LINE])])
    for j in range(j1, j2):
        n = j - j1
        yield Row("add", new=j + 1, segments=pairs[n][1] if n < both else [Segment("same", b[j][:MAX_LINE])])


def _pair(old: str, new: str) -> tuple[list[Segment], list[Segment]]:
    """Two lines that face each other with the words that differ; whole, where marks would only be noise."""
    left, right = words(old, new)
    if _is_other(left, "cut") and _is_other(right, "add"):
        return [Segment("same", old[:MAX_LINE])], [Segment("same", new[:MAX_LINE])]
    return left, right


def _is_other(segments: list[Segment], kind: str) -> bool:
    """Whether most of a line is another text."""
    same = sum(len(s.text.strip()) for s in segments if s.kind == "same")
    changes = sum(s.kind == kind for s in segments)
    whole = sum(len(s.text.strip()) for s in segments)
    return same * 3 < whole or (changes > 1 and same * 2 < whole) or (changes > MANY and same < changes * RUN)


def excerpt(old: str, new: str, length: int = 240) -> list[Segment]:
    """The part of `new` where it first differs from `old`, on one line; what was cut stays in place, marked.

    It is quick, also for texts that have nothing in common: lists show many. Only what is near the difference is read.
    """
    first = max(0, _common(old, new) - 2 * length)
    near = [" ".join(text[first : first + 8 * length].split()) for text in (old, new)]
    if near[0] == near[1]:  # but for spaces; what differs is further on
        first, near = 0, [" ".join(text.split()) for text in (old, new)]
    start = max(0, _common(*near) - length // 3)
    a, b = (WORD.findall(text[start : start + 2 * length]) for text in near)
    return ([Segment("same", "…")] if first or start else []) + list(_both(a, b))


def _common(a: str, b: str) -> int:
    """How many characters are the same at the beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _both(a: list[str], b: list[str]) -> Iterator[Segment]:
    for tag, i1, i2, j1, j2 in opcodes(a, b, small=FEW):
        if tag in ("replace", "delete"):
            yield Segment("cut", "".join(a[i1:i2]))
        if j1 < j2:
            yield Segment("same" if tag == "equal" else "add", "".join(b[j1:j2]))
