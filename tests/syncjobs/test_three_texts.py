"""Somebody edits a memory in Letta, in the local store and in the hub at once, pulls the plug, and starts again.

The whole hub with its processes, a real Letta server and a real Chroma server. All are killed where they stand.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from letta_client import Letta

from tests import original_store
from tests.browser.hub import Hub, wait
from tests.servers.chroma import ChromaServer
from tests.syncjobs.test_end_to_end import Process

pytestmark = pytest.mark.contract

BEFORE = "The queue drops jobs when a worker restarts."
IN_LETTA = "The queue drops jobs when a worker restarts: ack late."
IN_CHROMA = "The queue drops jobs when a worker is killed."
IN_THE_HUB = "The queue DROPS jobs, see the runbook."
ALL = {BEFORE, IN_LETTA, IN_CHROMA, IN_THE_HUB}

EDIT = """
from blocks import actions
from blocks.models import Memory
memory = Memory.objects.get()
actions.edit(memory, {"text": %r}, user=None, based_on=memory.number)
"""


class Plug:
    """The hub's processes and the Chroma server, which can be killed all at once and started again."""

    def __init__(self, folder: Path, letta_url: str) -> None:
        self.chroma = ChromaServer(folder / "store").start()
        self.hub = Hub(folder / "hub", self.chroma.url)
        self.hub.folder.mkdir()
        self.letta = Letta(base_url=letta_url, api_key="none", max_retries=0, timeout=60)
        self.slug = f"texts-{self.hub.port}-{os.getpid()}"
        self.process = Process(self.hub.folder)
        self.process.environment |= self.hub.environment()

    def pull(self, *others: subprocess.Popen[str]) -> None:
        """Everything ends at once, without being asked."""
        assert self.hub.process is not None
        assert self.chroma.process is not None
        hub = psutil.Process(self.hub.process.pid)
        for process in [hub, *hub.children(recursive=True)]:
            process.kill()
        for other in others:
            other.kill()
        self.chroma.process.kill()
        for ended in (self.hub.process, self.chroma.process):
            ended.wait(60)
        for other in others:
            other.communicate(timeout=60)
        self.hub.process = self.chroma.process = None

    def plug_in(self) -> None:
        self.chroma.start()
        self.hub.start()

    def stop(self) -> None:
        self.hub.stop()
        self.chroma.stop()
        self.letta.close()

    def ask(self, question: str) -> list[Any]:
        with closing(sqlite3.connect(self.hub.database, timeout=60)) as connection:
            return [row[0] for row in connection.execute(question)]

    def block(self) -> Any:
        (block,) = self.letta.blocks.list(tags=[f"memhub:project:{self.slug}"])
        return block

    def rows(self) -> Any:
        return original_store.open_server(self.chroma.url).get_or_create_collection("texts", embedding_function=None)

    def record(self) -> str:
        (text,) = self.rows().get()["documents"]
        return str(text)

    def texts(self) -> set[str]:
        """Every text that a person can find: in the memory, in its history, in an open conflict."""
        program = (
            "from blocks.models import Revision; from syncjobs.models import Conflict; import json;"
            "texts = [r.text.text for r in Revision.objects.all()];"
            "texts += [c.side['text'] for c in Conflict.objects.filter(closed_at=None)];"
            "print('FOUND' + json.dumps(texts))"
        )
        out = self.process.manage("shell", "-c", program)
        return set(json.loads(out.partition("FOUND")[2]))


@pytest.fixture
def plug(letta_server: str, tmp_path: Path) -> Iterator[Plug]:
    plug = Plug(tmp_path, letta_server)
    plug.process.manage("migrate", "--verbosity", "0")
    yield plug
    plug.stop()


@pytest.mark.parametrize("pulled", ["before anything was synced", "in the middle of the sync"])
def test_all_three_are_found_again(plug: Plug, pulled: str) -> None:
    plug.hub.start()
    plug.process.manage(
        *("setup_project", plug.slug, "--letta-url", str(plug.letta.base_url).rstrip("/")),
        *("--chroma-url", plug.chroma.url, "--collection", "texts"),
    )
    meta = {"document_id": "one", "title": "Queue", "project_name": plug.slug}
    vectors = original_store.cheap_vectors([BEFORE])
    plug.rows().add(ids=["one"], documents=[BEFORE], metadatas=[meta], embeddings=vectors)
    plug.process.manage("sync_memory")
    assert plug.block().value == plug.record() == BEFORE

    edit_everywhere(plug)
    if pulled == "in the middle of the sync":
        begun = len(plug.ask("select id from syncjobs_syncrun"))
        syncing = plug.process.start("sync_memory")
        wait(lambda: len(plug.ask("select id from syncjobs_syncrun")) > begun)
        plug.pull(syncing)
    else:
        plug.pull()
    plug.plug_in()
    plug.process.manage("sync_memory")

    assert plug.texts() == ALL
    assert len(plug.ask("select id from blocks_memory")) == 1
    assert len(plug.ask("select id from syncjobs_conflict where closed_at is null")) >= 1
    # Nobody decided yet: what the sides show is theirs, or the hub's where there was no doubt.
    assert {plug.block().value, plug.record()} <= ALL - {BEFORE}


def edit_everywhere(plug: Plug) -> None:
    """In both servers first: the hub pushes an edit of its own at once, and must not be faster."""
    plug.letta.blocks.update(plug.block().id, value=IN_LETTA)
    ids = plug.rows().get()["ids"]
    plug.rows().update(ids=ids, documents=[IN_CHROMA], embeddings=original_store.cheap_vectors([IN_CHROMA]))
    plug.process.manage("shell", "-c", EDIT % IN_THE_HUB)
