"""How a text becomes the chunks of a local record, and chunks a text again (pure: standard library only)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

SIZE, OVERLAP = 500, 50  # characters, as in the original engine
SPACE_FROM = 350  # a chunk is cut at its last space behind this position


@dataclass(frozen=True, slots=True)
class Chunk:
    """text == whole[start:end], to the character."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of the hub's as found in a store: [start:end] as written, the text as it is now."""

    start: int
    end: int
    text: str
    changed: bool = False


class BrokenChunks(ValueError):
    """The parts do not make a text; the message says why."""


def split(text: str) -> list[Chunk]:
    """The chunks of the hub's own records: exact slices that cover the text. An empty text is one empty chunk."""
    return [Chunk(start, end, text[start:end]) for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start, end = 0, _cut(text, 0)
    yield start, end
    while end < len(text):
        start = end - OVERLAP
        end = _cut(text, start)
        yield start, end


def _cut(text: str, start: int) -> int:
    end = start + SIZE
    if end >= len(text):
        return len(text)
    space = text.rfind(" ", start + SPACE_FROM + 1, end)
    return space if space > 0 else end


def original_chunks(text: str) -> list[str]:
    """The chunks the original engine makes: stripped, and at times a last one that the one before it holds."""
    if len(text) <= SIZE:
        return [text.strip()]
    chunks, start = [], 0
    while start < len(text):
        end = _cut(text, start)
        chunks.append(text[start:end].strip())
        start = (start + SIZE if end == len(text) else end) - OVERLAP
    return chunks


def join_foreign(parts: Sequence[str]) -> str:
    """The text of another program's chunks: neighbours share their longest overlap of at most 50 characters."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += part[_overlap(before, part, OVERLAP) :]
    return text


def _overlap(before: str, part: str, longest: int) -> int:
    """How many characters at the start of `part` repeat the end of `before`."""
    sizes = range(min(longest, len(before), len(part)), 0, -1)
    return next((size for size in sizes if before.endswith(part[:size])), 0)


def join_own(parts: Sequence[Part]) -> str:
    """The text of the hub's own chunks, in order; a changed one replaces its [start:end].

    Where two chunks overlap, a changed one wins over an unchanged one; two changed ones share what still
    overlaps (up to twice as much: a word replaced in both may have become longer), nothing else is dropped.
    Raises `BrokenChunks` where the offsets leave a gap.
    """
    _check(parts)
    text = parts[0].text
    for before, part in pairwise(parts):
        shared = before.end - part.start
        if not part.changed:
            text += part.text[shared:]
        elif before.changed:
            text += part.text[_overlap(before.text, part.text, 2 * shared) :]
        else:
            text = text[: len(text) - shared] + part.text
    return text


def put_into(text: str, changed: Sequence[tuple[int, int, str]]) -> str | None:
    """A text with other texts, (start, end, text) each, in the place of its chunks; None where one is none of them."""
    wanted = {(start, end): part for start, end, part in changed}
    chunks = split(text)
    if len(wanted) < len(changed) or not wanted.keys() <= {(chunk.start, chunk.end) for chunk in chunks}:
        return None
    parts = [(chunk, wanted.get((chunk.start, chunk.end))) for chunk in chunks]
    return join_own([Part(c.start, c.end, c.text if new is None else new, new is not None) for c, new in parts])


def _check(parts: Sequence[Part]) -> None:
    covered = previous = 0
    for part in parts:
        if not previous <= part.start <= covered or part.end < max(covered, part.start):
            raise BrokenChunks(f"the chunk at {part.start} to {part.end} does not follow on the one before it")
        previous, covered = covered, part.end
