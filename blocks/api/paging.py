"""Pages of a list of memories, by keyset: a page begins after the last memory of the one before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q

from blocks.models import Memory, MemoryQuerySet

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORDERS = {"changed": "-changed_at", "created": "-created_at", "title": "sort_title"}
# Every string of this form is a place in one of the orders, so a list can begin there, wherever it came from.
CURSOR = r"^(changed-[0-9]{1,16}|(created|title)-([0-9a-f]{2}){0,800})-[0-9]{1,18}$"


@dataclass(frozen=True)
class Place:
    """Behind the memory with this value in the order's column, and this id."""

    order: str
    value: Any
    pk: int

    @classmethod
    def of(cls, order: str, memory: Memory) -> Place:
        return cls(order, getattr(memory, ORDERS[order].lstrip("-")), memory.pk)

    def encode(self) -> str:
        if self.order == "changed":
            key = str((self.value - EPOCH) // timedelta(microseconds=1))
        else:
            key = self.value.encode()[:800].hex()
        return f"{self.order}-{key}-{self.pk}"

    @classmethod
    def decode(cls, cursor: str) -> Place:
        """Raises ValueError where it has not the form of a cursor."""
        if not re.fullmatch(CURSOR.strip("^$"), cursor, re.ASCII):
            raise ValueError("This is no `next` that a list gave.")
        order, key, pk = cursor.split("-")
        if order == "changed":
            return cls(order, EPOCH + timedelta(microseconds=int(key)), int(pk))
        return cls(order, bytes.fromhex(key).decode(errors="ignore").replace("\0", ""), int(pk))


def page(queryset: MemoryQuerySet, order: str, after: Place | None, size: int) -> tuple[list[Memory], str | None]:
    """The memories of a page, and the cursor of the next one. after: it decides the order, where there is one."""
    order = after.order if after else order
    falling = ORDERS[order].startswith("-")
    column, sign, beyond = ORDERS[order].lstrip("-"), "-" if falling else "", "lt" if falling else "gt"
    if after:
        past = Q(**{f"{column}__{beyond}": after.value}) | Q(**{f"pk__{beyond}": after.pk})
        queryset = queryset.filter(past, **{f"{column}__{beyond}e": after.value})
    rows = list(queryset.order_by(f"{sign}{column}", f"{sign}pk")[: size + 1])
    more, rows = len(rows) > size, rows[:size]
    return rows, Place.of(order, rows[-1]).encode() if more else None
