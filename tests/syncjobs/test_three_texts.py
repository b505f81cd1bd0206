"""Somebody edits a memory in Letta, in the local store and in the hub at once, pulls the plug, and starts again.

The whole hub with its processes, a real Letta server and a real Chroma server. All but Letta are killed where they
stand; the commands that somebody types run in forks of `actor`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest
from letta_client import Letta

from tests import original_store
from tests.browser.hub import Hub
from tests.servers.chroma import ChromaServer
from tests.syncjobs.troupe import Troupe, troupe_of, until

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif("DATABASE_URL" in os.environ, reason="the hub's file, whatever database the tests are on"),
]

COLLECTION = "texts"


class Plug:
    """The hub's processes and the Chroma server, which can be killed all at once and started again."""

    def __init__(self, troupe: Troupe, chroma: ChromaServer, letta: Letta) -> None:
        self.troupe, self.chroma, self.letta = troupe, chroma, letta
        self.hub = Hub(troupe.path.parent, chroma.url)

    def pull(self, *commands: int) -> None:
        """Everything ends at once, without being asked. commands: process ids."""
        assert self.hub.process is not None
        assert self.chroma.process is not None
        hub = psutil.Process(self.hub.process.pid)
        for process in [hub, *hub.children(recursive=True)]:
            process.kill()
        for pid in commands:
            self.troupe.kill(pid)
        self.chroma.process.kill()
        for ended in (self.hub.process, self.chroma.process):
            ended.wait(60)
        self.hub.process = self.chroma.process = None

    def plug_in(self) -> None:
        self.chroma.start()
        self.hub.start()

    def block(self, uuid: str) -> Any:
        (block,) = self.letta.blocks.list(tags=[f"memhub:memory:{uuid}"])
        return block

    def rows(self) -> Any:
        return original_store.open_server(self.chroma.url).get_or_create_collection(COLLECTION, embedding_function=None)

    def record(self, uuid: str) -> str:
        (text,) = self.rows().get(where={"memhub_id": uuid})["documents"]
        return str(text)

    def facts(self) -> Any:
        return self.troupe.order(do="facts", slug=self.troupe.slug)

    def runs_on(self) -> bool:
        """Whether somebody's run is under way."""
        return bool(self.troupe.order(do="waiting")[1])


@pytest.fixture(scope="module")
def plug(letta_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plug]:
    folder, slug = tmp_path_factory.mktemp("hub"), f"texts-{uuid4().hex[:8]}"
    chroma = ChromaServer(folder / "store").start()
    letta = Letta(base_url=letta_server, api_key="none", max_retries=0, timeout=60)
    with letta, troupe_of(folder, letta_server, chroma.url, COLLECTION, slug) as troupe:
        plug = Plug(troupe, chroma, letta)
        plug.hub.start()
        yield plug
        plug.hub.stop()
        chroma.stop()


@pytest.mark.parametrize("pulled", ["before anything was synced", "in the middle of the sync"])
def test_all_three_are_found_again(plug: Plug, pulled: str) -> None:
    before = f"The queue drops jobs when a worker restarts ({pulled})."
    (uuid,) = plug.troupe.call("create", states=[{"title": pulled, "text": before}])
    plug.troupe.sync()
    assert plug.block(uuid).value == plug.record(uuid) == before

    texts = edit_everywhere(plug, uuid, before)
    if pulled == "in the middle of the sync":
        syncing = plug.troupe.start("sync_memory")
        until(plug.runs_on)
        plug.pull(syncing)
    else:
        plug.pull()
    plug.plug_in()
    plug.troupe.do("sync_memory")

    facts = plug.facts()
    assert {text for text in facts["texts"] if pulled in text} == {before, *texts}
    assert uuid in facts["live"]
    assert len([text for text in facts["live"].values() if pulled in text]) == 1
    assert any(uuid in disputed for disputed in facts["disputed"].values())
    # Nobody decided yet: what the sides show is theirs, or the hub's where there was no doubt.
    assert {plug.block(uuid).value, plug.record(uuid)} <= texts


def edit_everywhere(plug: Plug, uuid: str, before: str) -> set[str]:
    """In both servers first: the hub pushes an edit of its own at once, and must not be faster."""
    in_letta, in_chroma, in_the_hub = (before.replace("drops", word) for word in ("forgets", "loses", "DROPS"))
    plug.letta.blocks.update(plug.block(uuid).id, value=in_letta)
    ids = plug.rows().get(where={"memhub_id": uuid})["ids"]
    plug.rows().update(ids=ids, documents=[in_chroma], embeddings=original_store.cheap_vectors([in_chroma]))
    plug.troupe.call("edit", texts={uuid: in_the_hub})
    return {in_letta, in_chroma, in_the_hub}
