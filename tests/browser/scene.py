"""Two projects that show every page in every state: one full of things that happened, one empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from blocks import actions
from blocks.models import Memory, Purge, PurgeKind, SyncState, Text, digest_of
from blocks.signals import memories_changed
from blocks.state import state_hash
from memoryhub.models import Project
from syncjobs import conflicts, roster
from syncjobs.models import Conflict, Connection, Replica, SyncRun
from syncjobs.tasks import queue_push
from tests.browser.hub import account


@dataclass
class Scene:
    """full: in step with both servers, then changed in every way. empty: made just now. agent: the id of one on the
    Letta server that sees `seen` and another memory."""

    full: Project
    empty: Project
    memory: Memory
    deleted: Memory
    open: Conflict
    decided: Conflict
    done: SyncRun
    running: SyncRun
    braked: SyncRun
    agent: str
    seen: Memory


@contextmanager
def nobody_pushes() -> Iterator[None]:
    """Inside, an edit is not queued: it goes on waiting."""
    memories_changed.disconnect(queue_push)
    try:
        yield
    finally:
        memories_changed.connect(queue_push)


def make_scene(full: Project, empty: Project) -> Scene:
    seen = list(Memory.objects.filter(project=full).order_by("pk")[10:12])
    home = roster.home(full, account("olga"))
    agents = [home.create(name, "letta/letta-free", seen, with_digest=True) for name in ("Planner", "Reviewer")]
    edited, changed, torn, agreed, broken, shelved, gone = Memory.objects.filter(project=full).order_by("pk")[:7]
    maria = account("maria")
    with nobody_pushes():
        for text in (f"{edited.text}\nAnd one line more.", f"Before everything else:\n{edited.text}"):
            change = {"text": text, "tags": ["deploy", "queue"]}
            edited = actions.edit(edited, change, user=maria, based_on=edited.number)
        # Not late: watch would push it again.
        Memory.objects.filter(pk=edited.pk).update(waiting_since=timezone.now() + timedelta(hours=1))
        seen_there(changed, changed.text.replace("The ", "Some "), SyncState.CHANGED)
        decided = conflict(agreed, maria)
        conflicts.resolve(decided, "hub", user=maria)
        opened = conflict(torn, maria)
        actions.archive([shelved], user=maria)
        actions.delete([gone], user=maria)
        Memory.objects.filter(project=full, waiting_since__lt=timezone.now()).update(waiting_since=None)
    cannot_be_read(broken)
    purged(edited)
    decided.refresh_from_db()
    runs = [make_run(full, status) for status in ("done", "braked", "running")]
    done, braked, running = runs
    gone.refresh_from_db()
    return Scene(full, empty, edited, gone, opened, decided, done, running, braked, agents[0].id, seen[0])


def seen_there(memory: Memory, text: str, state: SyncState) -> Replica:
    """What a look found on the Letta server."""
    Text.objects.keep([text])
    replica = Replica.objects.get(memory=memory, connection__side="letta")
    replica.seen_text_id = digest_of(text)
    replica.seen_hash = state_hash({**(replica.seen_fields or {}), "text": text})
    replica.save()
    Memory.objects.filter(pk=memory.pk).update(sync_state=state)
    return replica


def conflict(memory: Memory, user: Any) -> Conflict:
    text = memory.text.replace("The ", "An agent says the ", 1)
    ours = {"text": memory.text.replace("The ", "A person says the ", 1)}
    edited = actions.edit(memory, ours, user=user, based_on=memory.number)
    replica = seen_there(memory, text, SyncState.CONFLICT)
    conflicts.open_conflict(None, edited, replica, ["text"])
    return Conflict.objects.get(memory=memory, closed_at=None)


def purged(memory: Memory) -> None:
    """Earlier revisions, and a text that still stands on both sides."""
    said: Any = {"project": memory.project, "memory": memory, "author": "olga", "versions": 3}
    Purge.objects.create(kind=PurgeKind.REVISIONS, done_at=timezone.now(), **said)
    states = list(memory.replicas.values_list("base_hash", flat=True))
    Purge.objects.create(kind=PurgeKind.TEXT, waits={"states": states, "for": ["Letta", "local"]}, **said)


def cannot_be_read(memory: Memory) -> None:
    why = "the block is longer than the hub takes (limit 1,000,000 characters)"
    Replica.objects.filter(memory=memory, connection__side="letta").update(status="problem", reason=why)
    Memory.objects.filter(pk=memory.pk).update(sync_state=SyncState.PROBLEM)
    Connection.objects.filter(project=memory.project, side="letta").update(problems=[["block-1", why]])


def make_run(project: Project, status: str) -> SyncRun:
    now, memory = timezone.now(), Memory.objects.filter(project=project).order_by("pk")[8 - len(status)]
    step = {"op": "update", "side": "letta", "memory": str(memory.uuid), "title": str(memory), "why": "", "size": 300}
    error = {"memory": str(memory.uuid), "title": str(memory), "side": "letta", "error": "timed out after 15 s"}
    ended = {"started_at": now - timedelta(minutes=2), "finished_at": now}
    active = {"started_at": now, "beat_at": now + timedelta(hours=1), "total": 40, "done": 17, "phase": "writing"}
    return SyncRun.objects.create(
        project=project,
        trigger="button",
        user=account("olga"),
        status=status,
        steps=[step] * 3,
        errors=[error] if status != "running" else [],
        **(active if status == "running" else ended),
    )
