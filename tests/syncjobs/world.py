"""A project between two fake sides, and what happens to it in words."""

from __future__ import annotations

from typing import Any

import pytest

from blocks import actions
from blocks.models import Memory
from blocks.stores.base import StoreError
from memoryhub.models import LettaServer, LocalStore, Project
from syncjobs import run as runs
from syncjobs.models import Conflict, SyncRun
from syncjobs.push import push
from tests.syncjobs.fakes import LETTA, LOCAL, FakeLetta, FakeStore, Server

__all__ = ["StoreError", "World", "quiet"]


class World:
    """letta, local: the servers. project: between them."""

    def __init__(self, slug: str = "planner", share: World | None = None, **columns: Any) -> None:
        self.letta: Server = share.letta if share else Server(LETTA)
        self.local: Server = share.local if share else Server(LOCAL)
        self.servers = {LETTA: self.letta, LOCAL: self.local}
        letta, _ = LettaServer.objects.get_or_create(name="Letta", url="http://letta:8283")
        local, _ = LocalStore.objects.get_or_create(name="Chroma", url="http://chroma:8001")
        self.project = Project.objects.create(
            slug=slug, name=slug.title(), **{"letta_server": letta, "local_store": local, **columns}
        )

    def install(self, patch: pytest.MonkeyPatch) -> World:
        """Let `open_sides` open the fakes."""
        rules = "letta_rule", "local_project"
        everything = {name: getattr(self.project, name) in ("all", "*") for name in rules}
        patch.setattr(
            "syncjobs.sides.open_letta",
            lambda project, timeout=None: FakeLetta(self.letta, project.slug, everything["letta_rule"]),
        )
        patch.setattr(
            "syncjobs.sides.open_local",
            lambda project: FakeStore(self.local, project.slug, everything["local_project"]),
        )
        patch.setattr("syncjobs.run.time.sleep", lambda seconds: None)
        patch.setattr("syncjobs.outages._tried", {})  # connections of other tests have the same ids
        return self

    # --- what people and the queue do

    def run(self, **columns: Any) -> SyncRun:
        """A run; raises what it raises."""
        self.project.refresh_from_db()
        run = SyncRun(project=self.project, trigger="button", **columns)
        runs.start(run)
        return run

    def synced(self) -> World:
        assert self.run().status == "done"
        return self

    def push(self, *memories: Memory) -> list[int]:
        return push([memory.pk for memory in memories])

    def create(self, text: str, **said: Any) -> Memory:
        shared = said.pop("shared", True)
        return actions.create(
            self.project, {"text": text, "title": said.pop("title", text), **said}, user=None, shared=shared
        )

    def edit(self, memory: Memory, **state: Any) -> Memory:
        shared = state.pop("shared", None)
        memory.refresh_from_db()
        return actions.edit(memory, state, user=None, based_on=memory.number, shared=shared)

    # --- what there is

    def memory(self) -> Memory:
        return Memory.objects.get(project=self.project)

    def conflict(self) -> Conflict:
        return Conflict.objects.get(memory__project=self.project, closed_at=None)

    def everywhere(self, *texts: str) -> None:
        """Exactly these texts are live in the hub and on both sides."""
        live = Memory.objects.filter(project=self.project).live()
        assert sorted(live.values_list("text", flat=True)) == sorted(texts)
        assert self.letta.texts() == sorted(texts)
        assert self.local.texts() == sorted(texts)


def history(memory: Memory) -> list[str]:
    """The texts of a memory, oldest first, each once in a row."""
    texts = [revision.text.text for revision in memory.revisions.select_related("text").order_by("number")]
    return [text for number, text in enumerate(texts) if number == 0 or texts[number - 1] != text]


def did(run: SyncRun) -> dict[str, int]:
    """The counters of a run that are not zero, without the unchanged ones."""
    return {name: value for name, value in run.counters.items() if value and name != "unchanged"}


def quiet(run: SyncRun) -> bool:
    return run.status == "done" and not did(run)
