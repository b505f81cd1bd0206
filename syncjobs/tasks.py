"""What the queue calls, and what fills it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.dispatch import receiver
from django.utils import timezone
from django_tasks import task

from blocks.models import Memory, SyncState
from blocks.signals import memories_changed
from blocks.standing import places_of
from memoryhub.models import Direction, Project
from syncjobs import push as pushes
from syncjobs import run as runs
from syncjobs.models import Connection, RunStatus, SyncRun


@task(queue_name="push")
def push(memory_ids: list[int]) -> None:
    """Bring edited memories to every side; what is being written by somebody else comes back to the queue.

    Where a side was never looked at as a whole, it may hold the same already, which only a run sees.
    """
    wanted = Memory.objects.filter(pk__in=memory_ids)
    projects = Project.objects.filter(pk__in=wanted.values("project")).select_related("letta_server", "local_store")
    first = [project for project in projects if is_first_contact(project)]
    for project in first:
        enqueue_run(project, trigger="edit")
    busy = pushes.push(wanted.exclude(project__in=first).values_list("pk", flat=True))
    if busy:
        push.using(run_after=timezone.now() + timedelta(seconds=1)).enqueue(busy)


@task(queue_name="sync")
def sync(run_id: int) -> None:
    """Carry out a queued run."""
    queued = SyncRun.objects.select_related("project__letta_server", "project__local_store", "approves")
    run = queued.filter(pk=run_id, status=RunStatus.QUEUED).first()
    if run is None:  # carried out already, or its project is gone
        return
    try:
        runs.start(run)
    except runs.Busy:
        sync.using(run_after=timezone.now() + timedelta(seconds=1)).enqueue(run_id)


def enqueue_run(
    project: Project,
    *,
    trigger: str,
    user: User | None = None,
    allow_deletions: bool = False,
    approves: SyncRun | None = None,
) -> SyncRun:
    """Queue a run, or return the one that is queued and not begun. approves: the braked run whose list it may do."""
    queued = SyncRun.objects.filter(project=project, status=RunStatus.QUEUED)
    waiting = queued.filter(allow_deletions=allow_deletions, approves=approves).first()
    if waiting:
        return waiting
    run = SyncRun.objects.create(
        project=project, trigger=trigger, user=user, allow_deletions=allow_deletions, approves=approves
    )
    sync.enqueue(run.pk)
    return run


def has_sides(project: Project) -> bool:
    """Whether anything has to be kept in step: a project without sides is in step with itself."""
    letta = project.letta_server_id and project.letta_direction != Direction.OFF
    local = project.local_store_id and project.local_direction != Direction.OFF
    return bool(letta or local)


def is_first_contact(project: Project) -> bool:
    """Whether there is a side to write to of which is not known what it holds, because no run has ended there yet."""
    return any(
        place.kind == "server"
        and direction != Direction.FROM_SIDE
        and (place.connection is None or _is_unknown(place.connection))
        for place, direction in zip(
            places_of(project).values(), (project.letta_direction, project.local_direction), strict=True
        )
    )


def _is_unknown(connection: Connection) -> bool:
    if not connection.replicas.exclude(external_id="").exists():
        return connection.items != 0
    first = not connection.stamped  # its first run is under way, or what it made was not counted
    return first and connection.project.runs.filter(status=RunStatus.RUNNING).exists()


@receiver(memories_changed)
def queue_push(memories: Iterable[Memory], **kwargs: Any) -> None:
    """In the transaction of the edit itself: an edit that is saved is an edit that is queued."""
    by_project: dict[Project, list[Memory]] = {}
    for memory in memories:
        by_project.setdefault(memory.project, []).append(memory)
    for project, changed in by_project.items():
        ids = [memory.pk for memory in changed]
        if has_sides(project):
            push.enqueue(ids)
        else:
            Memory.objects.filter(pk__in=ids).update(sync_state=SyncState.SYNCED, waiting_since=None)
