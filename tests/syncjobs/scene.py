"""A project between two real servers, each behind one that can be made to answer badly, in the test's own database."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from blocks import actions
from blocks.models import Memory
from memoryhub.models import LettaServer, LocalStore, Project
from syncjobs import run as runs
from syncjobs.models import SyncRun
from tests import original_store
from tests.servers.faulty import Faulty
from tests.syncjobs import peace


class Scene:
    """letta, chroma: what stands before the real servers. said: every text that was saved or seen so far."""

    def __init__(self, letta: Faulty, chroma: Faulty, collection: str, slug: str = "") -> None:
        self.letta, self.chroma, self.collection = letta, chroma, collection
        self.slug = slug or f"faults-{uuid4().hex[:8]}"
        self.project = Project.objects.create(
            slug=self.slug,
            name="Faults",
            letta_server=LettaServer.objects.create(name=f"Letta {self.slug}", url=letta.url),
            local_store=LocalStore.objects.create(name=f"Chroma {self.slug}", url=chroma.url, collection=collection),
        )
        self.said: set[str] = set()
        self.deleted: set[str] = set()
        self.number = 0

    # --- what people and programs do

    def text(self) -> str:
        self.number += 1
        text = f"Note {self.number} of {self.slug}.\n" + f"It says something about {self.number}.\n" * 40
        self.said.add(text)
        return text

    def create(self) -> Memory:
        text = self.text()
        return actions.create(self.project, {"title": f"Note {self.number}", "text": text}, user=None)

    def edit(self, memory: Memory) -> None:
        memory.refresh_from_db()
        actions.edit(memory, {"text": self.text()}, user=None, based_on=memory.number)

    def retitle(self, memory: Memory) -> None:
        """A change of other fields than the text: a record's chunks stay."""
        memory.refresh_from_db()
        self.number += 1
        actions.edit(memory, {"title": f"Title {self.number}"}, user=None, based_on=memory.number)

    def archive(self, memory: Memory) -> None:
        memory.refresh_from_db()
        actions.archive([memory], user=None)
        self.deleted.add(str(memory.uuid))

    def edit_block(self, memory: Memory) -> None:
        """As an agent does, past everything."""
        block = self.block_of(memory)
        reply = self.letta.client.patch(f"/v1/blocks/{block.id}", json={"value": self.text()})
        reply.raise_for_status()

    def block_of(self, memory: Memory) -> peace.Thing:
        (block,) = [thing for thing in self.blocks() if thing.uuid == str(memory.uuid)]
        return block

    def run(self, **columns: Any) -> SyncRun:
        self.project.refresh_from_db()
        run = SyncRun(project=self.project, trigger="button", **columns)
        runs.start(run)
        return run

    # --- what there is

    def blocks(self) -> list[peace.Thing]:
        return peace.blocks_of(self.letta.target, self.slug)

    def records(self) -> list[peace.Thing]:
        return peace.records_of(self.rows(), self.slug)

    def rows(self) -> Any:
        return original_store.open_server(self.chroma.target).get_collection(self.collection)

    def digests(self) -> int:
        query: dict[str, str | int] = {"tags": f"memhub:digest:{self.slug}", "limit": 50}
        return len(self.letta.client.get("/v1/blocks/", params=query).json())

    def at_peace(self) -> None:
        """One more healthy run, and all is as it must be; a further one does nothing."""
        run = self.run()
        assert (run.status, run.errors) == ("done", [])
        self.check()
        again = self.run()
        assert (again.status, again.errors) == ("done", [])
        peace.check_quiet(again.counters)

    def check(self) -> None:
        sides = {peace.LETTA: self.blocks(), peace.LOCAL: self.records()}
        peace.check(peace.facts_of(self.slug), sides, acknowledged=self.said, deleted=self.deleted)
        assert self.digests() == 1
