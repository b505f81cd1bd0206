"""Letta answers 409 to a write while another is under way: it is read again, never repeated blindly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from blocks.stores.letta import LettaStore
from tests.contract.letta import Server, create, state, write
from tests.servers.letta_faithful import Memory, Refused, faithful_letta


class Busy:
    """A server on which another program's write is under way when ours comes: ours is answered 409, once."""

    def __init__(self, url: str, memory: Memory) -> None:
        self.url, self.memory = url, memory
        self.asked: list[str] = []
        self.edit, self.delete = memory.edit, memory.delete
        memory.edit, memory.delete = self._edit, self._delete  # type: ignore[method-assign]

    def _overtake(self, id: str, method: str) -> None:
        self.asked.append(method)
        if self.asked.count(method) == 1:
            self.edit(id, {"value": "theirs"})
            raise Refused(409)

    def _edit(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        self._overtake(id, "PATCH")
        return self.edit(id, body)

    def _delete(self, id: str) -> dict[str, Any]:
        self._overtake(id, "DELETE")
        return self.delete(id)


@pytest.fixture
def busy() -> Iterator[Busy]:
    with faithful_letta() as (url, memory):
        yield Busy(url, memory)


@pytest.fixture
def store(busy: Busy) -> LettaStore:
    return Server(busy.url).store("planner")


def test_an_update_that_was_overtaken_is_not_repeated(busy: Busy, store: LettaStore) -> None:
    made = create(store)
    outcome = write(
        store, "update", uuid=made.write.uuid, id=made.snapshot.id, state=state("ours"), expected=made.snapshot.hash
    )
    assert (outcome.status, outcome.snapshot.state["text"]) == ("changed", "theirs")
    assert busy.memory.blocks[made.snapshot.id]["value"] == "theirs"
    assert busy.asked == ["PATCH"]


def test_a_deletion_that_was_overtaken_is_not_repeated(busy: Busy, store: LettaStore) -> None:
    made = create(store)
    outcome = write(store, "delete", uuid=made.write.uuid, id=made.snapshot.id, expected=made.snapshot.hash)
    assert (outcome.status, outcome.snapshot.state["text"]) == ("changed", "theirs")
    assert made.snapshot.id in busy.memory.blocks
    assert busy.asked == ["DELETE"]
