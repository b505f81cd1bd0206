"""What follows from connecting a project otherwise: all its memories wait, and a sync brings them in step; where two
sides meet that may hold the same already, people look at the plan first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Coalesce, Now

from blocks.models import Memory, SyncState
from blocks.standing import places_of
from memoryhub.models import Project
from syncjobs.conflicts import close_elsewhere
from syncjobs.models import Conflict, SyncRun
from syncjobs.tasks import enqueue_run, has_sides, is_first_contact

FOLLOWED = frozenset(
    ("letta_server", "letta_rule", "letta_direction", "local_store", "local_project", "local_direction")
)
Follows = Literal["plan", "run", ""]  # a plan to be looked at, a run that was queued, nothing


@transaction.atomic
def change_connections(project: Project, changes: Mapping[str, Any], *, user: User) -> Follows:
    """Save how a project is connected; what follows from it."""
    for name, value in changes.items():
        setattr(project, name, value)
    project.save(update_fields=list(changes))
    if not FOLLOWED & set(changes):
        return ""
    close_elsewhere(project)
    return follow(project, user=user)


def follow(project: Project, *, user: User) -> Follows:
    """Queue a run, but not the first one between sides that both may hold something: its plan is shown before."""
    if _meets_something(project) and is_first_contact(project):
        return "plan"
    return "run" if bring_in_step(project, user=user) else ""


def _meets_something(project: Project) -> bool:
    servers = [place for place in places_of(project).values() if place.kind == "server"]
    return len(servers) == 2 or Memory.objects.live().filter(project=project).exists()


@transaction.atomic
def bring_in_step(project: Project, *, user: User) -> SyncRun | None:
    """Show every live memory as waiting and queue a run; without sides there is nothing to wait for."""
    show_waiting(project)
    return enqueue_run(project, trigger="button", user=user) if has_sides(project) else None


def show_waiting(project: Project) -> None:
    """Show every live memory as waiting for the next run; as in step where there is no side to wait for."""
    close_elsewhere(project)
    live = Memory.objects.live().filter(project=project)
    if has_sides(project):
        live.update(sync_state=SyncState.WAITING, waiting_since=Coalesce("waiting_since", Now()))
    else:
        disputed = Conflict.objects.filter(memory__project=project, closed_at=None).values("memory")
        live.exclude(pk__in=disputed).update(sync_state=SyncState.SYNCED, waiting_since=None)
