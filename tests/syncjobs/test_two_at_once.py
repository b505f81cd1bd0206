"""Two processes, or two machines' workers, at work on one database; and one that wakes up when it is too late."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.letta_faithful import faithful_letta
from tests.syncjobs.troupe import Troupe, troupe_of, until

pytestmark = pytest.mark.contract
ROUNDS = int(os.environ.get("MEMORYHUB_FAULTS", 1))
LEASE = 1.0  # seconds: a process that is stopped for longer has lost it


@pytest.fixture
def troupe(tmp_path: Path, chroma_server: str, collection: str) -> Iterator[Troupe]:
    with faithful_letta() as (url, _), troupe_of(tmp_path, url, chroma_server, collection) as troupe:
        yield troupe


def test_two_runs_at_once(troupe: Troupe) -> None:
    for _ in range(2 * ROUNDS):
        uuids = troupe.create(10)
        foreign(troupe, 5)
        runs = [troupe.start("sync_memory") for _ in range(2)]
        assert [troupe.end(pid)[0] for pid in runs] == [0, 0]
        troupe.edit(*uuids[:3])
        troupe.archive(*uuids[3:5])
    troupe.at_peace()


def foreign(troupe: Troupe, count: int) -> None:
    """Blocks that somebody else made, for this project."""
    for _ in range(count):
        body = {"label": "theirs", "value": troupe.text(), "tags": ["memhub:project:planner"]}
        troupe.letta.client.post("/v1/blocks/", json=body).raise_for_status()


def test_workers_of_two_machines_one_of_them_killed(troupe: Troupe) -> None:
    def work(queue: str) -> int:
        return troupe.start(
            "db_worker", "--queue-name", queue, "--interval", "0.1", "--no-startup-delay", "--no-reload"
        )

    uuids = troupe.create(10)
    workers = [(queue, work(queue)) for queue in ("push", "sync", "push", "sync")]
    watch = troupe.start("watch", "--interval", "0.2")
    for _ in range(4 * ROUNDS):
        troupe.edit(*uuids[:5])
        runs = troupe.start("sync_memory")
        troupe.create(3)
        time.sleep(0.3)
        queue, pid = workers.pop(0)
        troupe.kill(pid)
        workers.append((queue, work(queue)))  # as whoever looks after them starts another one
        troupe.edit(*uuids[2:8])
        troupe.end(runs)
    until(lambda: troupe.order(do="waiting") == [0, 0, 0])
    for pid in [*(pid for _, pid in workers), watch]:
        troupe.kill(pid)
    troupe.at_peace()


# What the first process has asked when it is stopped: before it writes, right after it wrote, while it looks.
MOMENTS = {
    "a block made": ("letta", "POST", "/v1/blocks/"),
    "a block changed": ("letta", "PATCH", "/v1/blocks/"),
    "a block removed": ("letta", "DELETE", "/v1/blocks/"),
    "records stored": ("chroma", "POST", "/upsert"),
    "records removed": ("chroma", "POST", "/delete"),
    "the look": ("letta", "GET", "/v1/blocks/?"),
    "the local look": ("chroma", "POST", "/get"),
}


def test_one_that_was_held_up_leaves_what_another_has_taken_over(troupe: Troupe) -> None:
    troupe.create(12)
    troupe.sync()
    for moment in [*MOMENTS] * ROUNDS:
        held_up(troupe, *MOMENTS[moment])


def held_up(troupe: Troupe, server: str, method: str, part: str) -> None:
    uuids = sorted(facts(troupe))
    troupe.edit(*uuids[:4])
    troupe.archive(*uuids[4:6])
    troupe.create(2)
    foreign(troupe, 2)
    first = troupe.start("sync_memory", lease=LEASE, late=LEASE)
    troupe.stop_at(first, getattr(troupe, server), method, part)
    time.sleep(LEASE + 0.2)
    troupe.do("sync_memory", lease=LEASE)  # ... once the first one's lease has ended
    troupe.edit(*uuids[:3])
    latest = {uuid: text for uuid, text in facts(troupe).items() if uuid in uuids[:3]}
    troupe.do("sync_memory", lease=LEASE)
    os.kill(first, signal.SIGCONT)
    code, out, error = troupe.end(first)
    assert code in (0, 1)
    assert "Traceback" not in out + error
    assert {uuid: facts(troupe)[uuid] for uuid in latest} == latest
    troupe.at_peace()
    assert {uuid: facts(troupe)[uuid] for uuid in latest} == latest


def facts(troupe: Troupe) -> dict[str, str]:
    live: dict[str, str] = troupe.order(do="facts", slug="planner")["live"]
    return live
