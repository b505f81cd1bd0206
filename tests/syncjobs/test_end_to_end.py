"""The whole way with real servers: 40 memories in the original layout, a Letta server, a Chroma server."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from letta_client import Letta

from blocks import actions
from blocks.models import Memory
from memoryhub.models import LettaServer, LocalStore, Project
from memoryhub.settings import BASE_DIR
from tests import original_store
from tests.syncjobs.world import history

pytestmark = pytest.mark.contract

PROJECTS = ("planner", "website")
COUNT = 40
KILLS = int(os.environ.get("MEMORYHUB_KILLS", 5))


class Outside:
    """Both servers as other programs see them. slugs: of this test's projects, by the name in the records."""

    def __init__(self, letta_url: str, chroma_url: str, collection: str) -> None:
        self.letta_url, self.chroma_url, self.collection = letta_url, chroma_url, collection
        self.letta = Letta(base_url=letta_url, api_key="none", max_retries=0, timeout=30)
        self.slugs = {name: f"{name}-{uuid4().hex[:8]}" for name in PROJECTS}
        self.memories = original_store.memories(COUNT, PROJECTS)
        self.rows = original_store.fill(original_store.open_server(chroma_url), self.memories, collection)

    def texts(self, name: str) -> list[str]:
        return sorted(memory.text for memory in self.memories if memory.metadata["project_name"] == name)

    def blocks(self, name: str) -> list[Any]:
        return list(self.letta.blocks.list(tags=[f"memhub:project:{self.slugs[name]}"], limit=500))

    def records(self, name: str) -> list[str]:
        """The document_ids of a project's records."""
        found = self.rows.get(where={"project_name": name}, include=["metadatas"])
        return sorted({str(meta["document_id"]) for meta in found["metadatas"]})

    def block_of(self, memory: Memory) -> Any:
        """Its block; the server may have one of another project with the same mark."""
        tags = [f"memhub:memory:{memory.uuid}", f"memhub:project:{memory.project.slug}"]
        (block,) = self.letta.blocks.list(tags=tags, match_all_tags=True)
        return block


@pytest.fixture
def outside(letta_server: str, chroma_server: str, collection: str) -> Iterator[Outside]:
    outside = Outside(letta_server, chroma_server, collection)
    yield outside
    outside.letta.close()


@pytest.fixture
def hub(db: None, outside: Outside) -> Outside:
    """The projects between them, in the test's database."""
    letta = LettaServer.objects.create(name="Letta", url=outside.letta_url)
    local = LocalStore.objects.create(name="Chroma", url=outside.chroma_url, collection=outside.collection)
    for name, slug in outside.slugs.items():
        Project.objects.create(slug=slug, name=name, letta_server=letta, local_store=local, local_project=name)
    return outside


def sync(*arguments: str) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("sync_memory", "--json", *arguments, stdout=out)
    results: list[dict[str, Any]] = json.loads(out.getvalue())
    assert [(result["status"], result["errors"]) for result in results] == [("done", [])] * len(results)
    return results


COUNTED = ("created", "pushed", "pulled", "merged", "linked", "deleted", "archived", "conflicts", "failed")


def did(results: list[dict[str, Any]]) -> dict[str, int]:
    totals = {name: sum(result[name] for result in results) for name in COUNTED}
    return {name: count for name, count in totals.items() if count}


def test_the_whole_way(hub: Outside) -> None:
    assert did(sync()) == {"pulled": COUNT, "created": COUNT}
    every_memory_is_one_block_with_its_exact_text(hub)
    results = sync()
    assert did(results) == {}
    assert [result["unchanged"] for result in results] == [COUNT // 2] * 2
    first, second, third = Memory.objects.filter(project__slug=hub.slugs["planner"]).order_by("pk")[:3]
    a_block_edited_with_letta_client_arrives(hub, first)
    a_record_edited_by_another_client_arrives(hub, second)
    a_deleted_block_leaves_a_memory_that_comes_back(hub, third)
    assert did(sync()) == {}


def every_memory_is_one_block_with_its_exact_text(hub: Outside) -> None:
    for name, slug in hub.slugs.items():
        blocks = hub.blocks(name)
        assert sorted(block.value for block in blocks) == hub.texts(name)
        uuids = set(Memory.objects.filter(project__slug=slug).values_list("uuid", flat=True))
        wanted = [[f"memhub:memory:{uuid}", f"memhub:project:{slug}"] for uuid in uuids]
        marks = [sorted(tag for tag in block.tags if tag.startswith("memhub:")) for block in blocks]
        assert sorted(marks) == sorted(wanted)
        assert len(hub.records(name)) == len(blocks) == COUNT // 2


def a_block_edited_with_letta_client_arrives(hub: Outside, memory: Memory) -> None:
    before, text = memory.text, f"edited by an agent\r\n{memory.text}\n"
    hub.letta.blocks.update(hub.block_of(memory).id, value=text)
    assert did(sync()) == {"pulled": 1, "pushed": 1}
    memory.refresh_from_db()
    assert history(memory) == [before, text]
    assert record_text(hub, memory) == text


def record_text(hub: Outside, memory: Memory) -> str:
    """The text as another program puts it together from the hub's chunks."""
    found = hub.rows.get(where={"memhub_id": str(memory.uuid)}, include=["documents", "metadatas"])
    rows = sorted(zip(found["metadatas"], found["documents"], strict=True), key=lambda row: row[0]["start"])
    text = ""
    for meta, document in rows:
        text = text[: meta["start"]] + document
    return text


def a_record_edited_by_another_client_arrives(hub: Outside, memory: Memory) -> None:
    found = hub.rows.get(where={"memhub_id": str(memory.uuid)}, include=["documents"])
    text = "rewritten by another client"
    if found["ids"][1:]:
        hub.rows.delete(ids=found["ids"][1:])
    hub.rows.update(ids=found["ids"][:1], documents=[text], embeddings=original_store.cheap_vectors([text]))
    assert did(sync()) == {"pulled": 1, "pushed": 1}
    assert hub.block_of(memory).value == text


def a_deleted_block_leaves_a_memory_that_comes_back(hub: Outside, memory: Memory) -> None:
    hub.letta.blocks.delete(hub.block_of(memory).id)
    documents = hub.records("planner")
    assert did(sync()) == {"archived": 1, "deleted": 1}
    memory.refresh_from_db()
    assert memory.archived_at
    assert len(hub.records("planner")) == len(documents) - 1
    actions.unarchive([memory], user=None)
    assert did(sync()) == {"created": 2}
    assert hub.block_of(memory).value == memory.text == record_text(hub, memory)
    assert hub.records("planner") == documents


# --- killed at any moment


class Process:
    """`manage.py` with a database of its own, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "hub.sqlite3"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "MEMORYHUB_ENV_FILE": os.devnull,
            "MEMORYHUB_DATA": str(folder),
            "SECRET_KEY": "only-for-tests",
            "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
            "DATABASE_URL": f"sqlite:///{self.database}",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def manage(self, *arguments: str) -> str:
        process = self.start(*arguments)
        out, error = process.communicate(timeout=180)
        assert process.returncode == 0, out + error
        return out

    def kill_while_it_works(self, seconds: float) -> None:
        """Start a sync, wait until it has begun to write, then `kill -9` after some time."""
        process = self.start("sync_memory")
        deadline = time.monotonic() + 60
        before = self.count("syncjobs_intent")
        while process.poll() is None and self.count("syncjobs_intent") == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)

    def count(self, table: str, where: str = "1 = 1") -> int:
        connection = sqlite3.connect(self.database, timeout=30)
        try:
            return int(connection.execute(f"select count(*) from {table} where {where}").fetchone()[0])
        finally:
            connection.close()

    def texts(self) -> list[str]:
        connection = sqlite3.connect(self.database, timeout=30)
        try:
            return sorted(text for (text,) in connection.execute("select text from blocks_memory"))
        finally:
            connection.close()


def test_killed_at_any_moment_nothing_is_lost_or_there_twice(outside: Outside, tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.manage("migrate", "--verbosity", "0")
    for name, slug in outside.slugs.items():
        process.manage(
            *("setup_project", slug, "--local-project", name, "--letta-url", outside.letta_url),
            *("--chroma-url", outside.chroma_url, "--collection", outside.collection),
        )
    dice = random.Random(7)
    for _ in range(KILLS):
        process.kill_while_it_works(dice.random() * 0.8)
    process.manage("sync_memory", "--json")
    results = json.loads(process.manage("sync_memory", "--json"))
    assert did(results) == {}
    assert process.count("syncjobs_intent", "outcome = ''") == 0
    for name in PROJECTS:
        assert sorted(block.value for block in outside.blocks(name)) == outside.texts(name)
        assert len(outside.records(name)) == COUNT // 2
    assert process.texts() == sorted(text for name in PROJECTS for text in outside.texts(name))
