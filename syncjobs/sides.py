"""Which sides a project has now, each with its connection and its store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from blocks.stores.base import Probe, Store, StoreError
from blocks.stores.opening import open_chroma, open_local
from memoryhub.models import Direction, Installation, LettaServer, LocalStore, Project
from syncjobs.models import Connection, Side
from syncjobs.outages import spare

if TYPE_CHECKING:  # it takes a second to import: at first use, not at every start of a command
    from blocks.stores.letta import LettaStore


@dataclass
class OpenSide:
    """A side of a project, ready to be looked at. reads, writes: its direction. sharing: only shared memories."""

    side: str
    connection: Connection
    store: Store
    reads: bool = True
    writes: bool = True
    sharing: bool = False
    error: str = ""  # why nothing may be concluded from this side, or done on it
    kind: str = ""  # of the error, where the side could not be asked: see `StoreError`
    spared: bool = False  # it is down, and was not tried once more
    partial: str = ""  # why nothing follows from an item that was not seen
    waited: bool = False  # for the last requests of a process that died: see `recover`

    def fail(self, error: StoreError) -> None:
        self.error, self.kind = str(error), error.kind


def open_sides(project: Project) -> list[OpenSide]:
    """The sides of a project that are not off, Letta first. Opens nothing over the network."""
    wanted: list[tuple[Side, str, LettaServer | LocalStore | None, Callable[[Project], Store]]] = [
        (Side.LETTA, project.letta_direction, project.letta_server, open_letta),
        (Side.LOCAL, project.local_direction, project.local_store, open_local),
    ]
    sides = []
    for side, direction, server, opener in wanted:
        if server and direction != Direction.OFF:
            connection, _ = Connection.objects.get_or_create(project=project, side=side, address=server.address)
            sides.append(
                OpenSide(
                    side=side.value,
                    connection=connection,
                    store=opener(project),
                    reads=direction != Direction.TO_SIDE,
                    writes=direction != Direction.FROM_SIDE,
                    sharing=side == Side.LETTA,
                )
            )
    return sides


NO_PROJECT = "connection-test"  # the slug a server is asked under when it is for no project in particular


def open_letta(project: Project, timeout: float | None = None) -> LettaStore:
    """The project's Letta server. Raises `UnreadableSecret` when its key cannot be decrypted.

    timeout: seconds for one call, None as the settings say.
    """
    assert project.letta_server is not None  # noqa: S101 - for the type checker: callers ask first
    return _letta(project.letta_server, project.slug, project.letta_rule, timeout)


def probe_letta(server: LettaServer) -> Probe:
    """**Test connection** of a Letta server, for no project in particular. Raises `UnreadableSecret`."""
    return _letta(server, NO_PROJECT).probe()


def probe_local(store: LocalStore) -> Probe:
    """**Test connection** of a local store, for no project in particular. Raises `UnreadableSecret`."""
    return open_chroma(store, NO_PROJECT).probe()


def _letta(server: LettaServer, slug: str, rule: str = "", timeout: float | None = None) -> LettaStore:
    from blocks.stores.letta import LettaStore

    return LettaStore(
        url=server.url,
        api_key=server.api_key,
        slug=slug,
        rule=rule,
        timeout=settings.STORE_TIMEOUT if timeout is None else timeout,
        hub_id=Installation.current_id(),
    )


def look_up_sides(project: Project, *, plant: bool = True, sparing: bool = False) -> list[OpenSide]:
    """The sides of a project with the servers' identities checked; without `plant` none gets one.

    sparing: a side that is down is not tried every time.
    """
    sides = open_sides(project)
    for side in sides:
        if not (sparing and spare(side)):
            check_identity(side, plant=plant)
    return sides


def check_identity(side: OpenSide, *, plant: bool = True) -> bool:
    """Make sure that the server behind the address is the one that was there; sets `side.error` otherwise.

    At first contact it gets an identity, unless nothing may be written there or `plant` is false.
    """
    connection = side.connection
    if connection.suspect:
        side.error = connection.suspect
        return False
    try:
        found = side.store.identify(connection.identity)
        if plant and not connection.identity and not found and side.writes:
            found = side.store.plant()
    except StoreError as error:
        side.fail(error)
        return False
    if found != connection.identity:
        _note_identity(side, found)
    return not side.error


def _note_identity(side: OpenSide, found: str) -> None:
    connection = side.connection
    if connection.identity:
        side.error = connection.suspect = (
            f"What answers at {connection.address} is not what was there before: wiped, restored or another server. "
            "Nothing is deleted or changed until somebody confirms in the project's settings."
        )
    else:
        connection.identity = found
    connection.save(update_fields=["identity", "suspect"])


def confirm(connection: Connection) -> None:
    """Accept what answers at the address now: what was known of the old one is forgotten, the memories stay.

    The next run links what carries our marks and makes the rest again.
    """
    connection.replicas.all().delete()
    connection.intents.filter(outcome="").update(outcome="dropped", closed_at=timezone.now())
    connection.identity, connection.suspect, connection.stamped = "", "", 0
    connection.look_error, connection.failures = "", 0
    connection.save(update_fields=["identity", "suspect", "stamped", "look_error", "failures"])
