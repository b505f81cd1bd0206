"""What the agents of a Letta server are doing with its blocks.

Each step of an agent's turn begins with a copy of all its blocks. When the agent then uses a memory tool, the texts
that differ from that copy are written back, also of blocks it never touched: whatever was written to them since the
step began is undone (tags, metadata and the other fields are left alone). A turn is a run, which the server lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from blocks.stores.letta_calls import THREADS, CallError, Calls

T = TypeVar("T")
REMEMBERED = 2.0  # seconds for which an answer is taken again: a run asks about many blocks, which share agents
CLOCKS = timedelta(seconds=2)  # by which the server's clock may differ from ours
LONGEST = timedelta(hours=1)  # of a turn; a run that "runs" for longer was left behind by a server that died
MOST_AGENTS = 1_000  # listed at a look: the server sends each with all its blocks, 300 in about half a second
PAGE, PAGES = 500, 10  # runs of an agent that are looked through, newest first


class Agents:
    """The agents of one server; for one thread."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, tuple[float, Any]] = {}

    def at_work(self, ids: Sequence[str]) -> dict[str, str]:
        """Of some blocks those that an agent at work sees, each with the agent's name.

        One call while no agent works; else one more for each of them, or each block, whichever are fewer.
        """
        working = self._remember("working", self._working) if ids else []
        if not working:
            return {}
        if len(ids) < len(working):
            return self._by_block(ids, set(working))
        shown = self._each(working, lambda id: self._remember(id, partial(self._agent, id)))
        names = {block: name for name, blocks in shown for block in blocks}
        return {id: names[id] for id in ids if id in names}

    def had_turn(self, id: str, begun_by: datetime, going_on_at: datetime) -> str:
        """The name of an agent with this block that began a turn by one time and had not ended it at another."""
        for agent in self._calls.agents(id):
            runs = self._remember(f"{agent['id']} {going_on_at}", partial(self._runs, agent["id"], going_on_at))
            if any(begun <= begun_by + CLOCKS and ended >= going_on_at - CLOCKS for begun, ended in runs):
                return name_of(agent)
        return ""

    def _remember(self, key: str, ask: Callable[[], T]) -> T:
        if key not in self._known or time.monotonic() - self._known[key][0] > REMEMBERED:
            self._known[key] = time.monotonic(), ask()
        answer: T = self._known[key][1]
        return answer

    def _list(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs; none where the server knows of no such thing."""
        try:
            runs = self._calls.call("get", "/v1/runs/", query=query)
        except CallError as error:
            if error.status not in (404, 405):
                raise
            return []
        return [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []

    def _working(self) -> list[str]:
        oldest = datetime.now(UTC) - LONGEST
        runs = self._list({"active": "true", "limit": 2 * PAGE, "order": "desc"})
        begun = [(str(run.get("agent_id")), when(run.get("created_at"))) for run in runs]
        return list(dict.fromkeys(agent for agent, moment in begun if moment and moment > oldest))

    def _by_block(self, ids: Sequence[str], working: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for id, agents in zip(ids, self._each(ids, self._calls.agents), strict=True):
            names = [name_of(agent) for agent in agents if agent["id"] in working]
            found |= {id: names[0]} if names else {}
        return found

    def _agent(self, id: str) -> tuple[str, list[str]]:
        """The name of an agent and the ids of its blocks; none of an agent that was deleted."""
        try:
            agent = self._calls.call("get", f"/v1/agents/{id}", query={"include": "agent.blocks"})
        except CallError as error:
            if not error.gone:
                raise
            return "", []
        if not isinstance(agent, dict):
            raise self._calls.strange()
        return name_of(agent), list(blocks_of(agent))

    @staticmethod
    def _each(ids: Sequence[str], ask: Callable[[str], T]) -> list[T]:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="letta") as pool:
            return list(pool.map(ask, ids))

    def _runs(self, agent: str, since: datetime) -> list[tuple[datetime, datetime]]:
        """When the turns of an agent began and ended, newest first, as far back as one of them may concern `since`."""
        return list(self._runs_back_to(agent, since - LONGEST - CLOCKS))

    def _runs_back_to(self, agent: str, oldest: datetime) -> Iterator[tuple[datetime, datetime]]:
        query: dict[str, Any] = {"agent_id": agent, "limit": PAGE, "order": "desc"}
        for _ in range(PAGES):
            page = self._list(query)
            for run in page:
                begun = when(run.get("created_at"))
                if begun and begun < oldest:
                    return
                if begun:
                    yield begun, when(run.get("completed_at")) or begun + LONGEST
            if len(page) < PAGE:
                return
            query["after"] = page[-1].get("id")


def when(said: Any) -> datetime | None:
    """A time as the server says it; None where it says none."""
    try:
        moment = datetime.fromisoformat(said)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def name_of(agent: dict[str, Any]) -> str:
    return str(agent.get("name") or agent.get("id") or "")


def attached(calls: Calls) -> dict[str, list[dict[str, str]]]:
    """By block id the agents that have it attached, each with `id` and `name`; of the first 1,000 agents.

    Raises `StoreError`.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for agent in calls.listed("/v1/agents/", {"include": ["agent.blocks"]}, MOST_AGENTS):
        for id in blocks_of(agent):
            found.setdefault(id, []).append({"id": agent["id"], "name": name_of(agent)})
    return found


def blocks_of(agent: dict[str, Any]) -> Iterator[str]:
    """The ids of an agent's blocks, where the server was asked for them."""
    blocks = agent.get("blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and isinstance(block.get("id"), str):
            yield block["id"]
