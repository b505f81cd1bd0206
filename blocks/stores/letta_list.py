"""Listing the blocks of a Letta server in full, also where one block breaks every list it is in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from blocks.stores.letta_calls import PAGE, CallError, Calls

Order = Literal["asc", "desc"]
BROKEN = (
    "The server's list fails at a block that it cannot show itself (such as one with a number of more than 64 bits"
    " in its metadata), after {} and before {}; what lies between two such blocks cannot be seen. Whoever knows its id"
    " can repair it by giving it other metadata."
)
CHANGED = "A block was deleted while the list was read, so that its end could not be seen."


@dataclass
class Listing:
    """Pages of raw blocks. After the last: `complete`, or else `problem` says what is missing."""

    calls: Calls
    query: dict[str, Any]
    problem: str = ""
    seen: set[str] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        return not self.problem

    def pages(self) -> Iterator[list[Any]]:
        """Every block once, oldest first. The next page is on its way while the caller works on this one.

        Raises StoreError when nothing could be read.
        """
        cursor = ""
        with ThreadPoolExecutor(1, thread_name_prefix="letta-list") as ahead:
            coming: Future[list[Any]] | None = ahead.submit(self._page, "", PAGE, "asc")
            while coming is not None:
                try:
                    page = coming.result()
                except CallError as error:
                    if error.status != 500:
                        raise
                    yield from self._around(cursor, error)
                    return
                cursor = last_id(page)
                if cursor in self.seen:  # its cursor was deleted meanwhile, and the server began again at page 1
                    self.problem = CHANGED
                goes_on = len(page) >= PAGE and bool(cursor) and not self.problem
                coming = ahead.submit(self._page, cursor, PAGE, "asc") if goes_on else None
                yield self._new(page)

    def all(self) -> list[Any]:
        return [block for page in self.pages() for block in page]

    def _page(self, after: str, limit: int, order: Order) -> list[Any]:
        query = self.query | {"limit": limit, "order": order}
        return self.calls.blocks(query | {"after": after} if after else query)

    def _new(self, page: list[Any]) -> list[Any]:
        """The blocks of a page that did not come yet; what has no id is let through, to be reported."""
        new = []
        for block in page:
            id = block.get("id") if isinstance(block, dict) else None
            if not isinstance(id, str):
                new.append(block)
            elif id not in self.seen:
                self.seen.add(id)
                new.append(block)
        return new

    def _around(self, cursor: str, error: CallError) -> Iterator[list[Any]]:
        """What can be read up to the block that breaks the list, then from the other end down to it."""
        found, edges = bool(self.seen), [cursor, ""]
        ways: tuple[tuple[str, Order], ...] = ((cursor, "asc"), ("", "desc"))
        for way, (start, order) in enumerate(ways):
            for page in self._up_to_failure(start, order):
                found = found or bool(page)
                edges[way] = last_id(page) or edges[way]
                yield self._new(page)
        self.problem = BROKEN.format(edges[0] or "the first", edges[1] or "the last")
        if not found:
            raise error

    def _up_to_failure(self, cursor: str, order: Order) -> Iterator[list[Any]]:
        """Pages half as long after each failure, until a single block fails."""
        limit = PAGE // 2
        while limit:
            try:
                page = self._page(cursor, limit, order)
            except CallError as error:
                if error.status != 500:
                    raise
                limit //= 2
                continue
            cursor = last_id(page)
            goes_on = len(page) >= limit and bool(cursor) and cursor not in self.seen
            yield page
            if not goes_on:
                return


def last_id(page: list[Any]) -> str:
    """The id to go on after, '' if there is none."""
    for block in reversed(page):
        if isinstance(block, dict) and isinstance(block.get("id"), str):
            return str(block["id"])
    return ""
