"""The rows of the main page in words. Templates are slow at deciding: here everything is decided beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from django.urls import reverse
from django.utils.text import Truncator

from blocks.diff import Segment
from blocks.models import Memory
from blocks.standing import Row, Standing
from blocks.times import Moment
from memoryhub.models import Project

NOWHERE = UUID(int=0)
TAGS = 6  # that a row shows
WHERE = {"letta": "on Letta", "local": "in the local store"}
# What a side says that does not show the memory itself: the CSS class, and the words.
SAID = {
    "same": ("soft", "same text"),
    "builtin": ("soft", "same text"),
    "waiting": ("none", "an older text, waiting to push"),
    "unshared": ("none", "kept local"),
    "leaving": ("none", "leaves at the next sync"),
    "removed": ("none", "not there"),
    "off": ("none", "sync with this side is off"),
    "none": ("none", "no local store connected"),
}


@dataclass(slots=True)
class Cell:
    """One side of a row.

    side: letta or local. minor: the title is shown on narrow screens only. lines: CSS classes and words. change: where
    the text differs; others: names of the fields that do where the text does not. label, size, seen_by: of the block,
    where it is said. facts: of the record, where they are.
    """

    side: str
    minor: bool
    change: list[Segment] = field(default_factory=list)
    others: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    label: str = ""
    size: str = ""
    seen_by: str = ""
    facts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Drawn:
    """A row as the template draws it."""

    row: Row
    url: str
    title: str
    cells: tuple[Cell, Cell]
    changed: Moment
    author: str


def draw(project: Project, rows: Iterable[Row]) -> list[Drawn]:
    before, after = reverse("memory", args=[project.slug, NOWHERE]).rsplit(str(NOWHERE), 1)
    return [_drawn(row, f"{before}{row.memory.uuid}{after}") for row in rows]


def _drawn(row: Row, url: str) -> Drawn:
    memory, main, lone = row.memory, row.main, row.lone
    if _same_change(row.letta, row.local):
        row.local.shown_change = row.letta.shown_change
    letta, local = (_cell(row, side, main=side is main, lone=lone) for side in row.sides)
    author = f", {clip(memory.author, 40)}" if memory.author else ""
    return Drawn(row, url, clip(str(memory), 140), (letta, local), Moment.of(memory.changed_at), author)


def _same_change(one: Standing, other: Standing) -> bool:
    """Whether both sides show the same change: mostly an edit that waits to be pushed to both."""
    return (
        one.status == other.status
        and one.differs
        and other.differs
        and one.replica.seen_text_id == other.replica.seen_text_id
    )


def _cell(row: Row, side: Standing, *, main: bool, lone: bool) -> Cell:
    differs = side.differs
    cell = Cell(side.place.side, minor=not (main or differs))
    if differs:
        cell.change = side.shown_change
        cell.others = "" if cell.change else ", ".join(side.other_fields)
    elif not main:
        cell.lines = [_said(side)]
    else:
        cell.lines = [_said(side)] if side.status in ("absent", "problem", "leaving") else []
        if excerpt := row.excerpt:
            cell.lines.append(("excerpt", excerpt))
    if held := side.held:
        cell.lines.append(("none", clip(held, 100)))
    if (main and lone) or (side.place.side == "letta" and side.has_meta):
        cell.label = clip(row.memory.label, 60)
        cell.size = f"{row.size:,} / {row.memory.limit:,}"
        cell.seen_by = _seen_by(len(side.agents))
    if (main and lone) or (side.place.side == "local" and side.has_meta):
        cell.facts = _facts(row.memory, side)
    return cell


def _said(side: Standing) -> tuple[str, str]:
    if side.status == "absent":
        return "none", f"not {WHERE[side.place.side]} yet"
    if side.status == "problem":
        return "why", clip(side.reason, 200)
    return SAID.get(side.status) or ("none", side.sentence)


def _seen_by(agents: int) -> str:
    if not agents:
        return ""
    return "1 agent sees it" if agents == 1 else f"{agents} agents see it"


def _facts(memory: Memory, side: Standing) -> list[str]:
    facts = [clip(memory.kind, 60)]
    if memory.source:
        facts.append(clip(memory.source, 60))
    if side.place.side == "local" and side.external_id:
        chunks = side.replica.chunks
        facts.append(f"{chunks} chunk{'' if chunks == 1 else 's'}")
    facts += [f"#{tag}" for tag in memory.tags[:TAGS]]
    if len(memory.tags) > TAGS:
        facts.append(f"and {len(memory.tags) - TAGS} more")
    return facts


def clip(text: str, length: int) -> str:
    """At most so many characters, the last of them '…' where some are left out."""
    return text if len(text) <= length else Truncator(text).chars(length)
