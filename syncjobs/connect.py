"""What follows from connecting a project otherwise: all its memories wait, and a sync brings them in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Coalesce, Now

from blocks.models import Memory, SyncState
from memoryhub.models import Project
from syncjobs.models import SyncRun
from syncjobs.tasks import enqueue_run, has_sides

FOLLOWED = frozenset(
    ("letta_server", "letta_rule", "letta_direction", "local_store", "local_project", "local_direction")
)


@transaction.atomic
def change_connections(project: Project, changes: Mapping[str, Any], *, user: User) -> SyncRun | None:
    """Save how a project is connected; the run that was queued, None where nothing has to be synced for it."""
    for name, value in changes.items():
        setattr(project, name, value)
    project.save(update_fields=list(changes))
    return bring_in_step(project, user=user) if FOLLOWED & set(changes) else None


@transaction.atomic
def bring_in_step(project: Project, *, user: User) -> SyncRun | None:
    """Show every live memory as waiting and queue a run; without sides there is nothing to wait for."""
    show_waiting(project)
    return enqueue_run(project, trigger="button", user=user) if has_sides(project) else None


def show_waiting(project: Project) -> None:
    """Show every live memory as waiting for the next run; as in step where there is no side to wait for."""
    live = Memory.objects.live().filter(project=project)
    if has_sides(project):
        live.update(sync_state=SyncState.WAITING, waiting_since=Coalesce("waiting_since", Now()))
    else:
        live.exclude(sync_state=SyncState.CONFLICT).update(sync_state=SyncState.SYNCED, waiting_since=None)
