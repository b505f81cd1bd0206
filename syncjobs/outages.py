"""A side that cannot be reached: what people are told of it, and how often continuous sync tries it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncjobs.models import Connection

if TYPE_CHECKING:
    from syncjobs.sides import OpenSide

SHORTEST, LONGEST = 4.0, 300.0  # seconds between two looks of a project that is synced continuously
LEFT_ALONE = (
    "Nothing there was changed, and nothing counts as deleted; what waits for it is written when it answers again."
)


@dataclass(frozen=True)
class Try:
    """One that failed. at: by the monotonic clock."""

    at: float
    error: str
    kind: str


_tried: dict[int, Try] = {}  # by connection, the last one of this process


def in_words(side: OpenSide) -> str:
    """Why nothing was done on a side, what that means, and what to do."""
    if not (side.error and side.kind):  # a doubt about what answers says all of that itself
        return side.error or side.partial
    return f"{sentence(side.error)} {LEFT_ALONE} {side.store.help_for(side.kind)}".strip()


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def note(side: OpenSide) -> None:
    """Remember that a side was tried and is down."""
    _tried[side.connection.pk] = Try(time.monotonic(), side.error, side.kind)


def spare(side: OpenSide) -> bool:
    """Whether a side that is down is left out of a look, so that the others need not wait for it; sets its error."""
    last = _tried.get(side.connection.pk)
    if not (last and side.connection.failures) or time.monotonic() - last.at >= pause(side.connection):
        return False
    side.error, side.kind, side.spared = last.error, last.kind, True
    return True


def pause(connection: Connection) -> float:
    """Seconds until a side is tried again: twice as long after every failure."""
    return float(min(SHORTEST * 2 ** min(connection.failures, 10), LONGEST))
