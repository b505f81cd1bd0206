"""Where a project's agents are: registered with the hub, or on its Letta server. Both answer alike.

Other teams may use the same Letta server: of an agent's blocks that are not the project's only their number is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from blocks import agents as registry
from blocks import digest
from blocks.builtin import LabelTaken, Unfit
from blocks.models import Agent, Memory
from blocks.stores.base import StoreError
from blocks.stores.letta_blocks import digest_label
from memoryhub.models import Project
from syncjobs.models import Connection, Replica

if TYPE_CHECKING:
    from blocks.stores.letta import LettaStore
    from blocks.stores.letta_roster import AgentSeen

NOT_THERE = ("absent", "out")  # of replicas: no block, or one that another project has now
CHUNK = 5_000  # block ids in one query
LIGHT = ("uuid", "label", "title", "project_id", "shared", "archived_at", "deleted_at")


class NotDone(Exception):
    """Nothing was changed; the message says why, and what to do."""


@dataclass
class Entry:
    """An agent. active: when its last run ended. others: how many blocks of no concern to the project it sees, None
    where that is not known. made_here: for this project, by the hub. registered: with the hub itself."""

    id: str
    name: str
    model: str = ""
    active: datetime | None = None
    memories: list[Memory] = field(default_factory=list)
    digest: bool = False
    others: int | None = 0
    made_here: bool = False
    registered: bool = False

    @property
    def sees(self) -> bool:
        """Whether it sees anything of the project."""
        return bool(self.memories) or self.digest

    @property
    def of_project(self) -> bool:
        """Whether every member may know of it."""
        return self.sees or self.made_here or self.registered

    def sort_key(self) -> tuple[str, str]:
        return self.name.casefold(), self.id

    def has_word(self, word: str) -> bool:
        """Whether it is meant by what somebody searches for."""
        said = (self.name, *(name for memory in self.memories for name in (memory.label, memory.title)))
        return any(word.casefold() in text.casefold() for text in said)


@dataclass(frozen=True)
class Offer:
    """A memory that may be attached; reason: why it cannot be yet."""

    memory: Memory
    reason: str = ""


class Home(Protocol):
    """Where agents are. Its methods raise `StoreError`; those that change something also `NotDone`."""

    def find(self, id: str) -> Entry | None:
        """An agent by id, of whatever project on that server."""

    def attach(self, entry: Entry, memory: Memory | None) -> None:
        """Let an agent see a memory (None: the digest block)."""

    def detach(self, entry: Entry, memory: Memory | None) -> None:
        """Take it away from the agent; nothing is deleted."""

    def create(self, name: str, model: str, memories: Sequence[Memory], *, with_digest: bool) -> Entry:
        """Make an agent that sees these; with_digest: also the digest block."""

    def offers(self, memories: Iterable[Memory]) -> list[Offer]:
        """Whether each can be attached."""


class Registered:
    """The agents that are registered with the hub: the built-in Letta server."""

    def __init__(self, project: Project, author: str) -> None:
        self.project, self.author = project, author

    def agents(self) -> list[Entry]:
        return [_registered(agent) for agent in registry.listed(self.project)]

    def find(self, id: str) -> Entry | None:
        agent = self._agent(id, registry.listed(self.project))
        return _registered(agent) if agent else None

    def _agent(self, id: str, among: QuerySet[Agent]) -> Agent | None:
        uuid = uuid_in(id)
        return among.filter(uuid=uuid).first() if uuid else None

    def _there(self, entry: Entry) -> Agent:
        agent = self._agent(entry.id, registry.of_project(self.project))
        if agent is None:
            raise NotDone(f"The agent “{entry.name}” is not there any more.")
        return agent

    def attach(self, entry: Entry, memory: Memory | None) -> None:
        row = memory or digest.block_of(self.project)
        try:
            registry.attach(self._there(entry), row, author=self.author)
        except LabelTaken:
            raise NotDone(label_taken(entry.name, row.label)) from None

    def detach(self, entry: Entry, memory: Memory | None) -> None:
        registry.detach(self._there(entry), memory or digest.block_of(self.project), author=self.author)

    def create(self, name: str, model: str, memories: Sequence[Memory], *, with_digest: bool) -> Entry:
        check_labels(memories)
        rows = [*([digest.block_of(self.project)] if with_digest else ()), *memories]
        fields = {"name": name, "settings": {"model": model}}
        try:
            made = registry.create(self.project, fields, blocks=[row.uuid for row in rows], agent=self.author)
        except (Unfit, LabelTaken, registry.NoSuchBlock) as error:
            raise NotDone(str(error)) from None
        return Entry(made.letta_id, made.name, model, memories=list(memories), digest=with_digest, registered=True)

    def offers(self, memories: Iterable[Memory]) -> list[Offer]:
        return [Offer(memory) for memory in memories]


def _registered(agent: Agent) -> Entry:
    shown: list[Any] = agent.shown  # type: ignore[attr-defined]
    memories = [one.memory for one in shown if one.memory]
    has_digest = any(one.private and one.private.is_digest for one in shown)
    model = agent.settings.get("model")
    return Entry(
        id=agent.letta_id,
        name=agent.name,
        model=model if isinstance(model, str) else "",
        memories=memories,
        digest=has_digest,
        others=len(shown) - len(memories) - has_digest,
        registered=True,
    )


class OnLetta:
    """The agents of the project's Letta server. connection: None where nothing was ever synced with it."""

    def __init__(self, project: Project, store: LettaStore, connection: Connection | None) -> None:
        self.project, self.store, self.connection = project, store, connection

    def agents(self) -> tuple[list[Entry], bool]:
        found, complete = self.store.list_agents()
        return self._entries(found), complete

    def find(self, id: str) -> Entry | None:
        found = self.store.find_agent(id)
        return self._entries([found])[0] if found else None

    def _entries(self, found: Sequence[AgentSeen]) -> list[Entry]:
        digest_id = self.store.digest_id()
        known = memories_of(self.connection, {id for agent in found for id in agent.blocks} - {digest_id})
        return [self._entry(agent, digest_id, known) for agent in found]

    def _entry(self, agent: AgentSeen, digest_id: str, known: Mapping[str, Memory]) -> Entry:
        memories = [known[id] for id in agent.blocks if id in known]
        has_digest = digest_id in agent.blocks
        return Entry(
            id=agent.id,
            name=agent.name,
            model=agent.model,
            active=agent.active,
            memories=sorted(memories, key=lambda memory: memory.label),
            digest=has_digest,
            others=len(agent.blocks) - len(memories) - has_digest,
            made_here=self.project.slug in agent.projects,
        )

    def attach(self, entry: Entry, memory: Memory | None) -> None:
        block = self._block(memory)
        try:
            self.store.attach(entry.id, block)
        except StoreError as error:
            raise self._told(error, entry, memory) from error
        self._note(block, entry, sees=True)

    def detach(self, entry: Entry, memory: Memory | None) -> None:
        block = self._block(memory)
        try:
            self.store.detach(entry.id, block)
        except StoreError as error:
            raise self._told(error, entry, memory) from error
        self._note(block, entry, sees=False)

    def create(self, name: str, model: str, memories: Sequence[Memory], *, with_digest: bool) -> Entry:
        check_labels(memories)
        blocks = [*([self._block(None)] if with_digest else ()), *map(self._block, memories)]
        try:
            made = self.store.create_agent(name, model, blocks)
        except StoreError as error:
            if getattr(error, "gone", False):
                raise NotDone(f"{self.project.letta_server} has no model “{model}”.") from error
            raise
        entry = self._entries([made])[0]
        for block in made.blocks:
            self._note(block, entry, sees=True)
        return entry

    def _block(self, memory: Memory | None) -> str:
        """The id of a memory's block, or of the digest block. Raises `NotDone` where there is none."""
        if memory is None:
            id = self.store.digest_id()
        else:
            id = next((block for block, row in self._linked([memory]).items() if row == memory.pk), "")
        if not id:
            what = f"“{memory}” has no block" if memory else "There is no digest block"
            raise NotDone(f"{what} on {self.project.letta_server} yet: a sync makes it.")
        return id

    def _linked(self, memories: Iterable[Memory]) -> dict[str, int]:
        there = Replica.objects.filter(connection=self.connection, memory__in=[memory.pk for memory in memories])
        return dict(there.exclude(external_id="").exclude(status__in=NOT_THERE).values_list("external_id", "memory_id"))

    def _told(self, error: StoreError, entry: Entry, memory: Memory | None) -> Exception:
        """The error in words of what was to be done, where its status says it."""
        if getattr(error, "status", None) == 409:
            return NotDone(label_taken(entry.name, memory.label if memory else digest_label(self.project.slug)))
        if getattr(error, "gone", False):
            return NotDone(f"“{entry.name}”, or the block, is not on {self.project.letta_server} any more.")
        return error

    def look_at_block(self, memory: Memory) -> bool:
        """Ask who sees a memory's block, and keep it; whether it is not what was known. Raises `StoreError`."""
        block = next(iter(self._linked([memory])), "")
        if self.connection is None or not block:
            return False
        found = self.store.agents(block)
        with transaction.atomic():
            current = Connection.objects.select_for_update().get(pk=self.connection.pk)
            if _by_id(current.agents.get(block, [])) == _by_id(found):
                return False
            current.agents[block] = found
            current.save(update_fields=["agents"])
        return True

    def _note(self, block: str, entry: Entry, *, sees: bool) -> None:
        """Keep what is known of who sees a block, for the pages, until the next look."""
        if self.connection is None:
            return
        with transaction.atomic():
            current = Connection.objects.select_for_update().get(pk=self.connection.pk)
            others = [one for one in current.agents.get(block, ()) if one["id"] != entry.id]
            current.agents[block] = [*others, {"id": entry.id, "name": entry.name}] if sees else others
            current.save(update_fields=["agents"])

    def offers(self, memories: Iterable[Memory]) -> list[Offer]:
        memories = list(memories)
        there = set(self._linked(memories).values())
        return [Offer(memory, "" if memory.pk in there else "no block there yet: sync first") for memory in memories]


def memories_of(connection: Connection | None, blocks: Collection[str]) -> dict[str, Memory]:
    """Of some block ids those that are memories of the project, with the memory, which has no text."""
    ids, found = list(blocks), dict[str, Memory]()
    for start in range(0, len(ids) if connection else 0, CHUNK):
        rows = Replica.objects.filter(connection=connection, external_id__in=ids[start : start + CHUNK])
        rows = rows.exclude(status__in=NOT_THERE)
        light = rows.select_related("memory").only("external_id", *(f"memory__{name}" for name in LIGHT))
        found |= {row.external_id: row.memory for row in light}
    return found


def _by_id(agents: Iterable[dict[str, str]]) -> dict[str, str]:
    return {agent["id"]: agent["name"] for agent in agents}


def label_taken(agent: str, label: str) -> str:
    return (
        f"“{agent}” already sees another block labelled “{label}”, and an agent sees each label once. Detach that "
        "block first, or give the memory another label."
    )


def check_labels(memories: Iterable[Memory]) -> None:
    """Raises `NotDone` where two have the same label."""
    seen: set[str] = set()
    for memory in memories:
        if memory.label in seen:
            raise NotDone(f"Two of them are labelled “{memory.label}”, and an agent sees each label once: choose one.")
        seen.add(memory.label)


def uuid_in(id: str) -> UUID | None:
    """The uuid in the id of a registered agent."""
    try:
        return UUID(id.removeprefix("agent-"))
    except ValueError:
        return None
