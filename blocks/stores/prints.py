"""Fingerprints of what a side shows: the same print means that nothing is different from an earlier look."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Generic, TypeVar

import orjson

T = TypeVar("T")
KEPT = 5_000  # blocks or rows that are kept until it is known whether they have to be understood


class Print:
    """A digest over everything that is added, in order. The order of keys says nothing: Chroma changes it each time."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._sound = True

    def add(self, value: Any) -> None:
        """Take in something that came as JSON."""
        try:
            self._digest.update(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
        except TypeError:  # a lone surrogate, a number of more than 64 bits: such a look is never the same as another
            self._sound = False

    def __str__(self) -> str:
        return self._digest.hexdigest() if self._sound else ""


class Kept(Generic[T]):
    """What was read, until it is known whether it has to be understood. dropped: it was too much to keep."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.dropped = False

    def add(self, items: Sequence[T]) -> None:
        self.dropped = self.dropped or len(self.items) + len(items) > KEPT
        self.items = [] if self.dropped else [*self.items, *items]
