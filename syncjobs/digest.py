"""The digest block on a project's Letta server. What it says: `blocks.digest`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from blocks import actions
from blocks.digest import NOTE, rescued, text_now
from blocks.models import Memory, Origin, Revision, SyncState, digest_of
from blocks.state import complete
from blocks.stores.base import StoreError
from memoryhub.models import Project
from syncjobs import leases
from syncjobs.models import Digest
from syncjobs.sides import OpenSide
from syncjobs.tally import Tally

if TYPE_CHECKING:
    from blocks.stores.letta import LettaStore

TRIES = 50  # a tenth of a second apart, while another process writes the digest


def update_digest(project: Project, sides: list[OpenSide], tally: Tally) -> set[int]:
    """Bring the project's digest block up to date, where there is a Letta server that may be written.

    Returns the memories that were made of what somebody else wrote into it: they have to be synced still.
    """
    made = set()
    for side in sides:
        if side.side == "letta" and side.writes and not side.error:
            try:
                memory = _write_alone(project, side)
                made |= {memory.pk} if memory else set()
            except StoreError as error:
                tally.fail(None, side.side, f"the digest block: {error}")
    return made


def _write_alone(project: Project, side: OpenSide) -> Memory | None:
    """A run and a push, or two pushes, may come to it at once, and each would make one."""
    holder = leases.new_holder()
    for _ in range(TRIES):
        with leases.held([leases.of_digest(project.pk)], holder) as got:
            if got:
                return _write(project, side)
        time.sleep(0.1)
    return None


def _write(project: Project, side: OpenSide) -> Memory | None:
    """Bring the digest block up to date; a memory that was made of what somebody else wrote into it, to be synced.

    side: the project's Letta side. Raises `StoreError`.
    """
    store, address = cast("LettaStore", side.store), side.connection.address
    current, limit, ours = store.read_digest(project.slug)
    if current == text_now(project, limit):
        return None
    theirs = current and not ours and not _is_kept(project, address, current)
    memory = _rescue(project, current) if current and theirs else None
    text = text_now(project, limit)  # with what was rescued
    Digest.objects.get_or_create(project=project, address=address, hash=digest_of(text))
    store.write_digest(project.slug, text, current)
    return memory


def _is_kept(project: Project, address: str, text: str) -> bool:
    """Whether a digest that does not say so itself is ours all the same (an earlier one, which an agent wrote back), or
    says nothing, or was rescued already by a run that died before it replaced it."""
    if not text.strip() or Digest.objects.filter(project=project, address=address, hash=digest_of(text)).exists():
        return True
    return Revision.objects.filter(memory__project=project, text_id=digest_of(text)).exists()


@transaction.atomic
def _rescue(project: Project, text: str) -> Memory:
    """Keep a text that the hub never wrote as a memory of its own."""
    memory = actions.new_memory(project, uuid4())
    state = complete(rescued(project, text, memory.uuid) | {"created_at": timezone.now().isoformat(timespec="seconds")})
    extra = {"sync_state": SyncState.WAITING, "waiting_since": timezone.now()}
    actions.record([actions.Change(memory, state, Origin.LETTA, author="letta", note=NOTE, extra=extra)])
    return memory
