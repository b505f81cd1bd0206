"""A Letta server as one side of a project: a memory is a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from blocks.state import FIELDS
from blocks.stores import letta_agents, letta_digest, letta_roster, letta_server
from blocks.stores.base import WHOLE, Look, Outcome, Probe, Snapshot, StoreError, Write
from blocks.stores.letta_agents import Agents
from blocks.stores.letta_blocks import MEMORY, PUT_RIGHT, Scope, is_private, read_block, tags_of
from blocks.stores.letta_calls import THREADS, CallError, Calls, block_path
from blocks.stores.letta_digest import SeenDigest
from blocks.stores.letta_list import Listing
from blocks.stores.letta_roster import AgentSeen
from blocks.stores.letta_writes import Writer, in_threads
from blocks.stores.prints import Kept, Print

Attached = dict[str, list[dict[str, str]]] | None
UUIDS_A_CALL = 100  # about 6 kB of address; 8 kB is the usual limit on the way


class LettaStore:
    """`Store` for a Letta server (see there); one connection, one project.

    url: without /v1. api_key: '' where the server wants none. slug: of the project. rule: what is in scope besides
    blocks with the project's tag, '' | tag:NAME | label:PREFIX | all. timeout: seconds a call. hub_id: of this hub.
    """

    side = "letta"
    threaded = True
    fields = frozenset(FIELDS)

    def __init__(
        self, *, url: str, api_key: str, slug: str, hub_id: str, rule: str = "", timeout: float = 30.0
    ) -> None:
        self.slug = slug
        self.scope = Scope(slug, rule)
        self._hub_id, self._marker = hub_id, ""
        self._calls = Calls(url=url, api_key=api_key, timeout=timeout)
        self._agents = Agents(self._calls)

    def __repr__(self) -> str:
        return f"<LettaStore {self.slug} at {self._calls.shown_url}>"

    def probe(self) -> Probe:
        return letta_server.probe(self._calls)

    def help_for(self, kind: str) -> str:
        return letta_server.help_for(self._calls, kind)

    def identify(self, known: str) -> str:
        self._marker = letta_server.find_marker(self._calls, self._hub_id, known)
        return self._marker

    def plant(self) -> str:
        self._marker = letta_server.plant_marker(self._calls, self._hub_id)
        return self._marker

    def read_stamp(self, key: str) -> int:
        return letta_server.read_stamps(self._calls, self._marker).get(key, 0)

    def write_stamp(self, key: str, number: int) -> None:
        letta_server.write_stamp(self._calls, self._marker, key, number)

    def look(self, known: str = "") -> Look:
        tags = self.scope.server_tags()
        listing = Listing(self._calls, {"tags": tags} if tags else {})
        seen, pages, read = Print(), Kept[Any](), list[Snapshot]()
        with ThreadPoolExecutor(1) as pool:  # while the blocks come, since it takes two calls more
            agents, digest = pool.submit(self._attached), pool.submit(self._digest)
            for page in listing.pages():
                seen.add(page)
                if known:
                    pages.add(page)
                else:
                    read += self._read(page, len(read))
        seen.add([agents.result(), digest.result()])
        print = "" if listing.problem else str(seen)
        if not known:
            return self._look(read, listing.problem, agents.result(), print)
        look = partial(self._again, pages, listing.problem, agents.result(), print)
        return Look([], agents=agents.result(), print=print, full=look) if print == known else look()

    def _again(self, pages: Kept[Any], problem: str, agents: Attached, print: str) -> Look:
        """A look at what was kept of one; anew where that was too much to keep."""
        return self.look() if pages.dropped else self._look(self._read(pages.items), problem, agents, print)

    def _read(self, blocks: Iterable[Any], before: int = 0) -> list[Snapshot]:
        read = (read_block(block, self.scope) for block in blocks)
        shown = (snapshot for snapshot in read if snapshot.in_scope or not snapshot.id)
        return [snapshot if before + number < WHOLE else snapshot.folded() for number, snapshot in enumerate(shown)]

    @staticmethod
    def _look(read: list[Snapshot], problem: str, agents: Attached, print: str) -> Look:
        found = [snapshot for snapshot in read if snapshot.in_scope and snapshot.id]
        problems = [snapshot.problem for snapshot in read if not snapshot.id] + ([problem] if problem else [])
        return Look(found, complete=not problems, problems=problems, agents=agents, print=print)

    def _digest(self) -> list[Any]:
        """The project's digest block, as far as it concerns a run; its text and its limit."""
        try:
            return list(self.read_digest(self.slug))
        except StoreError:
            return []

    def _attached(self) -> Attached:
        """Who sees which block; a look does without where that cannot be listed."""
        try:
            return letta_agents.attached(self._calls)
        except StoreError:
            return None

    def get(self, ids: Sequence[str]) -> dict[str, Snapshot | None]:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="letta") as pool:
            return dict(zip(ids, pool.map(self._get, ids), strict=True))

    def _get(self, id: str) -> Snapshot | None:
        """A block the server fails to show (500) is there for all we know, and so is one it will not look for."""
        try:
            block = self._calls.block(id)
        except CallError as error:
            if error.status not in (400, 422, 500):
                raise
            return Snapshot(id=id, state={}, problem=f"The server does not show this block: {error} {PUT_RIGHT}")
        return None if block is None else read_block(block, self.scope)

    def find(self, uuids: Sequence[UUID]) -> dict[UUID, list[Snapshot]]:
        found: dict[UUID, list[Snapshot]] = {uuid: [] for uuid in uuids}
        wanted = list(found)
        for start in range(0, len(wanted), UUIDS_A_CALL):
            for snapshot in self._marked(wanted[start : start + UUIDS_A_CALL]):
                if snapshot.uuid in found:
                    found[snapshot.uuid].append(snapshot)
        return found

    def _marked(self, uuids: Sequence[UUID]) -> list[Snapshot]:
        """Blocks with the tag of any of these; hidden ones and templates are there too, only not in plain lists."""
        query = {"tags": [MEMORY + str(uuid) for uuid in uuids], "show_hidden_blocks": "true"}
        try:
            blocks = Listing(self._calls, query).all() + Listing(self._calls, query | {"templates_only": "true"}).all()
        except CallError as error:
            if error.status != 500:
                raise
            if len(uuids) == 1:
                return [
                    Snapshot(id="", state={}, uuid=uuids[0], problem=f"The server does not show its block: {error}")
                ]
            middle = len(uuids) // 2
            return self._marked(uuids[:middle]) + self._marked(uuids[middle:])
        return [read_block(block, self.scope) for block in blocks]

    def write(self, writes: Iterable[Write]) -> Iterator[Outcome]:
        return in_threads(writes, Writer(self._calls, self.scope).run)

    def others(self) -> list[Snapshot]:
        read = (read_block(block, self.scope, raw=True) for block in Listing(self._calls, {}).all())
        return [
            snapshot
            for snapshot in read
            if snapshot.id
            and not (snapshot.in_scope or snapshot.project or is_private(snapshot.raw, tags_of(snapshot.raw)))
        ]

    def adopt(self, id: str) -> None:
        block = self._calls.block(id) if id else None
        if not isinstance(block, dict):
            raise StoreError("This block does not exist any more.", permanent=True)
        if is_private(block, tags_of(block)):
            message = "This block is an agent's own, a template, hidden, or the hub's: it cannot be in a project."
            raise StoreError(message, permanent=True)
        snapshot = read_block(block, self.scope)
        if snapshot.project not in ("", self.slug):
            raise StoreError(f"This block belongs to the project {snapshot.project} already.", permanent=True)
        if not snapshot.project:
            self._calls.call("patch", block_path(id), body={"tags": [*tags_of(block), self.scope.tag]})

    def agents(self, block_id: str) -> list[dict[str, str]]:
        """The agents a block is attached to, as `id` and `name`."""
        return [{"id": agent["id"], "name": str(agent.get("name", ""))} for agent in self._calls.agents(block_id)]

    def agents_at_work(self, ids: Sequence[str]) -> dict[str, str]:
        return self._agents.at_work(ids)

    def agent_turn(self, id: str, begun_by: datetime, going_on_at: datetime) -> str:
        return self._agents.had_turn(id, begun_by, going_on_at)

    def list_agents(self) -> tuple[list[AgentSeen], bool]:
        """The server's agents with the blocks each sees, and whether these are all."""
        return letta_roster.list_agents(self._calls)

    def find_agent(self, id: str) -> AgentSeen | None:
        return letta_roster.find_agent(self._calls, id)

    def attach(self, agent: str, block: str) -> None:
        letta_roster.attach(self._calls, agent, block)

    def detach(self, agent: str, block: str) -> None:
        letta_roster.detach(self._calls, agent, block)

    def create_agent(self, name: str, model: str, blocks: Sequence[str]) -> AgentSeen:
        return letta_roster.create_agent(self._calls, name, model, blocks, self.slug)

    def digest_id(self) -> str:
        """The id of the project's digest block, '' without one."""
        block = letta_digest.find_digest(self._calls, self.slug)
        return str(block["id"]) if block else ""

    def read_digest(self, slug: str) -> SeenDigest:
        """A project's digest block.

        Also one that has its label but not yet the tag. One that the server computes itself is none of ours.
        """
        return letta_digest.read_digest(self._calls, slug)

    def write_digest(self, slug: str, value: str, expected_value: str | None) -> Literal["written", "changed"]:
        """Write a project's digest if its text is still `expected_value` (None: there is none yet).

        One that the server computes itself is left alone, as one that was changed.
        Raises StoreError, permanent where the text is longer than the block's limit.
        """
        return letta_digest.write_digest(self._calls, slug, value, expected_value)
