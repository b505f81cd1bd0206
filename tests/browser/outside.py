"""The servers as agents and other programs see them."""

from __future__ import annotations

from typing import Any

from letta_client import Letta

from blocks.models import Memory
from memoryhub.models import LettaServer, LocalStore, Project
from tests import original_store

COUNT = 8  # memories of the project


class Outside:
    """letta, store: as staff defined them. The store holds COUNT memories of the project `name`, and as many others."""

    def __init__(self, letta: LettaServer, store: LocalStore, name: str) -> None:
        self.letta, self.store, self.name = letta, store, name
        self.memories = original_store.memories(2 * COUNT, (name, "website"))
        self.rows = original_store.fill(original_store.open_server(store.url), self.memories, store.collection)
        self.client = Letta(base_url=letta.url, api_key="none", max_retries=2, timeout=60)

    @property
    def texts(self) -> list[str]:
        """What was remembered of the project at first."""
        return sorted(memory.text for memory in self.memories if memory.metadata["project_name"] == self.name)

    def blocks(self, project: Project) -> list[Any]:
        return list(self.client.blocks.list(tags=[f"memhub:project:{project.slug}"], limit=500))

    def block(self, memory: Memory) -> Any:
        (block,) = self.client.blocks.list(tags=[f"memhub:memory:{memory.uuid}"])
        return block

    def edit_block(self, memory: Memory, text: str) -> None:
        self.client.blocks.update(self.block(memory).id, value=text)

    def texts_of(self, memory: Memory) -> tuple[str, str]:
        """The text on the Letta server, and the one in the store, put together from the hub's chunks."""
        found = self.rows.get(where={"memhub_id": str(memory.uuid)}, include=["documents", "metadatas"])
        rows = zip(found["metadatas"], found["documents"], strict=True)
        text = ""
        for meta, document in sorted(rows, key=lambda row: int(row[0]["start"])):
            text = text[: meta["start"]] + document
        return self.block(memory).value, text
