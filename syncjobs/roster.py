"""The agents of a project: which there are, those of all homes together, and what is said where a server fails.

Members are shown an agent only if it sees a block of the project, or was made for it here (`Entry.of_project`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User

from blocks.models import Memory
from blocks.search import matching
from blocks.stores.base import StoreError
from memoryhub.models import Direction, Project
from memoryhub.secrets import UnreadableSecret
from syncjobs import sides
from syncjobs.agent_homes import LIGHT, Entry, Home, OnLetta, Registered, memories_of
from syncjobs.models import Connection, Side

PATIENCE = 5.0  # seconds for one call of a page that only shows something
OFFERED = 20  # memories that a search offers


@dataclass(frozen=True)
class Trouble:
    """Why the Letta server's agents are not shown as they are now. message: what happened. help: what to do."""

    message: str
    help: str


@dataclass(frozen=True)
class Roster:
    """The agents by name. trouble: what is shown of the Letta server was last seen there. complete: these are all."""

    entries: list[Entry]
    trouble: Trouble | None = None
    complete: bool = True


# --- Which there are --------------------------------------------------------------------------------------


def look(project: Project) -> Roster:
    """All agents, those of no concern to the project too; of a server that does not answer those last seen."""
    registered = Registered(project, "").agents()
    found: list[Entry] = []
    trouble, complete = trouble_with(project), True
    try:
        if uses_letta(project) and not trouble:
            found, complete = open_home(project, PATIENCE).agents()
    except (StoreError, UnreadableSecret) as error:
        trouble = told(error)
    if trouble:
        found = last_seen(connection_of(project))
    return Roster(sorted(registered + found, key=Entry.sort_key), trouble, complete)


def look_at_block(project: Project, memory: Memory) -> bool:
    """Ask the Letta server who sees a memory's block, and keep it for the pages: whether it is not what was known.

    Of a server that does not answer stays what was last seen.
    """
    connection = connection_of(project)
    if connection is None or not uses_letta(project) or trouble_with(project):
        return False
    try:
        return open_home(project, PATIENCE).look_at_block(memory)
    except (StoreError, UnreadableSecret):
        return False


def find(project: Project, id: str, author: User, patience: float | None = None) -> tuple[Home, Entry] | None:
    """An agent with its home. patience: seconds for one call. Raises `StoreError`, `UnreadableSecret`."""
    here = Registered(project, author.get_username())
    entry = here.find(id)
    if entry:
        return here, entry
    if not uses_letta(project):
        return None
    if trouble := trouble_with(project):
        raise StoreError(trouble.message)
    there = open_home(project, patience)
    entry = there.find(id)
    return (there, entry) if entry else None


def home(project: Project, author: User) -> Home:
    """Where a new agent is made. Raises `UnreadableSecret`."""
    return open_home(project) if uses_letta(project) else Registered(project, author.get_username())


def open_home(project: Project, patience: float | None = None) -> OnLetta:
    seconds = min(patience, settings.STORE_TIMEOUT) if patience else None
    return OnLetta(project, sides.open_letta(project, seconds), connection_of(project))


def uses_letta(project: Project) -> bool:
    return project.letta_server is not None and project.letta_direction != Direction.OFF


def connection_of(project: Project) -> Connection | None:
    server = project.letta_server
    return project.connections.filter(side=Side.LETTA, address=server.address).first() if server else None


def last_seen(connection: Connection | None) -> list[Entry]:
    """The agents with a block of the project, as the last look found them."""
    if connection is None:
        return []
    entries: dict[str, Entry] = {}
    known = memories_of(connection, connection.agents)
    for block, memory in known.items():
        for agent in connection.agents[block]:
            entry = entries.setdefault(agent["id"], Entry(agent["id"], agent["name"], others=None))
            entry.memories.append(memory)
    return list(entries.values())


def search(project: Project, query: str, besides: Collection[UUID] = ()) -> list[Memory]:
    """Memories that agents may see and that have all words of a query, the newest first; at most 20, without texts."""
    live = Memory.objects.filter(project=project, shared=True).live()
    found = matching(live.exclude(uuid__in=besides), query, (project.pk, "live"))
    return list(found.only(*LIGHT).order_by("-changed_at", "-pk")[:OFFERED])


# --- In words ---------------------------------------------------------------------------------------------


def trouble_with(project: Project) -> Trouble | None:
    """Why a server must not be asked."""
    connection = connection_of(project)
    if connection and connection.suspect and uses_letta(project):
        return Trouble(connection.suspect, "An owner confirms, or corrects the address, under Settings > Connections.")
    return None


def told(error: StoreError | UnreadableSecret) -> Trouble:
    kind = "unauthorized" if isinstance(error, UnreadableSecret) else error.kind
    helps = {
        "unauthorized": "Staff enter the server's key again in the administration.",
        "refused": "Is the server running, and does it answer quickly?",
        "not_a_server": "Is the address right, and is it the server's own, not that of a web page?",
    }
    return Trouble(f"{str(error).rstrip('.')}.", helps.get(kind, "The log of the Letta server says more."))
