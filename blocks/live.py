"""Telling open pages at once that something changed in their project.

Writers are other processes (workers, commands, other web processes), so the database is the only place where all of
them can be seen. Several times a second it is asked, for each project that somebody looks at and once for all who look,
whether anything was written; only if so (on PostgreSQL, which cannot tell, each time), what the project's pulse is.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from django.db import Error, close_old_connections, connection
from django.db.models import Count, Max, Q

from blocks.models import Memory
from memoryhub.written import Written

logger = logging.getLogger(__name__)
BEAT = 0.15  # seconds between two looks at the database
SLOW_BEAT = 0.4  # where each look counts memories
LONGEST = 10.0  # seconds after which the pulse is asked for though nothing was written
STILL_THERE = 15.0  # seconds after which a silent stream says that it lives: proxies close silent ones
LIFETIME = 300.0  # seconds; then the browser comes back, and whether it may look is asked anew
COMES_BACK = 2000  # milliseconds after which it does


def pulse(project_id: int) -> str:
    """What changes whenever a page of the project would look different: 16 hex digits.

    The newest change, and how many memories stand how; not what only a run in progress shows.
    """
    memories = Memory.objects.filter(project_id=project_id)
    newest = memories.aggregate(newest=Max("changed_at"))["newest"]
    shelves = memories.annotate(deleted=Q(deleted_at__isnull=False), archived=Q(archived_at__isnull=False))
    states = shelves.values_list("deleted", "archived", "sync_state").annotate(Count("pk")).order_by()
    said = f"{newest} {sorted(states)}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


class Look:
    """Asks for a project's pulse, where that may be another one than before."""

    def __init__(self, project_id: int) -> None:
        self.project_id, self.pulse, self.written = project_id, "", Written(LONGEST)

    def __call__(self) -> str:
        close_old_connections()
        try:
            if self.written.since():
                self.pulse = ""  # not known any more, should the question fail
            self.pulse = self.pulse or pulse(self.project_id)
        except Error:
            connection.close()
            raise
        return self.pulse


class Feed:
    """The pulse of one project for all streams of this process. Lives as long as one of them."""

    def __init__(self, look: Callable[[], str]) -> None:
        self.pulse = ""
        self.listeners = 0
        self._look = look
        self._changed = asyncio.Condition()

    async def other_than(self, known: str) -> str:
        """The pulse, as soon as it is known and another one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.pulse not in ("", known))
            return self.pulse

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                pulse = await loop.run_in_executor(_executor, self._look)
            except Error as error:  # the database is busy or gone: pages stay as they are
                logger.warning("live updates: %s", error)
                pulse = self.pulse
            if pulse != self.pulse:
                async with self._changed:
                    self.pulse = pulse
                    self._changed.notify_all()
            beat = BEAT if connection.vendor == "sqlite" else SLOW_BEAT
            await asyncio.sleep(max(beat, 2 * (loop.time() - began)))


_executor = ThreadPoolExecutor(1, thread_name_prefix="live")  # one thread, so one connection to the database
_feeds: dict[int, tuple[Feed, asyncio.Task[None]]] = {}  # by project


@asynccontextmanager
async def feed_of(project_id: int) -> AsyncIterator[Feed]:
    """The feed of a project, begun by the first who listens and ended with the last."""
    if project_id not in _feeds:
        feed = Feed(Look(project_id))
        _feeds[project_id] = feed, asyncio.create_task(feed.run())
    feed, task = _feeds[project_id]
    feed.listeners += 1
    try:
        yield feed
    finally:
        feed.listeners -= 1
        if not feed.listeners:
            _feeds.pop(project_id, None)
            task.cancel()


async def stream(project_id: int, known: str) -> AsyncIterator[str]:
    """Server-sent events: `changed` with the pulse whenever it is another one than the reader knows."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LIFETIME
    yield f"retry: {COMES_BACK}\n\n"
    async with feed_of(project_id) as feed:
        while loop.time() < end:
            try:
                known = await asyncio.wait_for(feed.other_than(known), STILL_THERE)
                yield f"event: changed\nid: {known}\ndata: {known}\n\n"
            except TimeoutError:
                yield ": still there\n\n"
