"""Continuous sync of 2,000 memories with the real processes and real servers: seconds until a change is everywhere.

The hub's processes are started as `make run` does, on ports and a folder of their own, without web pages being asked
for. In turns one memory is changed on Letta, in Chroma and in the hub; measured is the time until the hub, and until
the other side, has the text. The target is 10 s. Then nothing changes: processor time of all the hub's own processes
(web, push, sync, watch and what keeps them running; not Letta and Chroma) of one core. The target is 5 %.
"""

from __future__ import annotations

import atexit
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import _data
from benchmarks.sync import client, connect, start_servers, sync

PATIENCE = 120.0  # seconds until a change counts as lost
TICK = 0.1


def run(quick: bool) -> Iterator[tuple]:
    yield "what", "tries", "median", "worst"
    count, tries, idle = (50, 1, 15.0) if quick else (2_000, 5, 90.0)
    _data.start_django()
    letta, chroma = start_servers()
    project = connect(letta, chroma, "bench")
    first_sync(project, count)
    hub = start_hub(chroma)
    settle(project)
    memories = list(project.memories.order_by("?")[: 3 * tries])
    for number, (side, change) in enumerate(CHANGES.items()):
        times = [change(project, memory, letta) for memory in memories[number * tries : (number + 1) * tries]]
        for place in times[0]:
            seconds = [each[place] for each in times]
            yield (
                f"changed in {side}: s until in {place}",
                tries,
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
            )
    settle(project)
    shares = [busy(hub, idle / 3) for _ in range(3)]
    yield "nothing changes: % of one core", 3, f"{statistics.median(shares):.1f}", f"{max(shares):.1f}"
    looks = {c.side: c for c in project.connections.all()}
    for side, look in looks.items():
        yield f"a look at {side}: s", 1, f"{look.look_seconds:.2f}", ""


def first_sync(project: Any, count: int) -> None:
    """Both sides and the hub hold the memories. Vectors are cheap: nobody searches."""
    from blocks import actions
    from blocks.stores import chroma
    from memoryhub.models import SyncMode
    from tests.original_store import cheap_vectors

    writer = _data.Writer()
    for _ in range(count):
        actions.create(project, writer.state(), user=None)
    real, chroma.embed = chroma.embed, cheap_vectors
    sync(project)
    chroma.embed = real
    project.sync_mode = SyncMode.CONTINUOUS
    project.save()


def start_hub(chroma: str) -> int:
    """The process id of `manage.py start`, with its own Chroma left out; it ends with this process."""
    from django.db import connections
    from django_tasks_db.models import DBTaskResult

    from tests.servers.letta_server import free_port

    DBTaskResult.objects.all().delete()  # pushes of what is in step
    connections.close_all()
    port = free_port()
    mine = {
        "PORT": str(port),
        "CHROMA_URL": chroma,
        "CHROMA_PORT": str(free_port()),
        "MEMORYHUB_ADMIN_PASSWORD": "none",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "start"],
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | mine,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(stop, process)
    return process.pid


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def settle(project: Any) -> None:
    """Wait until continuous sync has looked at both sides three times."""
    from django.utils import timezone

    for _ in range(3):
        wait(partial(looked_since, project, timezone.now()))


def looked_since(project: Any, moment: datetime) -> bool:
    return bool(project.connections.filter(looked_at__gt=moment).count() == 2)


def wait(until: Callable[[], bool]) -> float:
    """Seconds until something is so."""
    began = time.monotonic()
    while not until():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"a change did not come within {PATIENCE:.0f} seconds")
        time.sleep(TICK)
    return time.monotonic() - began


# --- changes, and the seconds until they are in each other place


def in_letta(project: Any, memory: Any, letta: str) -> dict[str, float]:
    time.sleep(memory.pk % 7)  # at any moment between two looks
    text = f"{memory.text}\nwritten in Letta"
    known_client(letta).blocks.update(replica(memory, "letta").external_id, value=text)
    hub = wait(lambda: hub_has(memory, text))
    return {"the hub": hub, "Chroma": hub + wait(lambda: chroma_has(project, memory, text))}


def in_chroma(project: Any, memory: Any, letta: str) -> dict[str, float]:
    """The text becomes one chunk, as another program would write it."""
    time.sleep(memory.pk % 7)
    rows = collection(project)
    there = rows.get(where={"document_id": replica(memory, "local").external_id}, include=["metadatas"])
    first = min(zip(there["ids"], there["metadatas"], strict=True), key=lambda row: row[1]["chunk_index"])
    chunk = "written in Chroma"
    rows.update(ids=[first[0]], documents=[chunk], embeddings=[[0.1] * 384])
    hub = wait(lambda: hub_has(memory, chunk, whole=False))
    return {"the hub": hub, "Letta": hub + wait(lambda: letta_has(memory, letta, chunk))}


def in_hub(project: Any, memory: Any, letta: str) -> dict[str, float]:
    from blocks import actions

    text = f"{memory.text}\nwritten in the hub"
    actions.edit(memory, {"text": text}, user=None, based_on=memory.number)
    first = wait(lambda: letta_has(memory, letta, text))
    return {"Letta": first, "Chroma": first + wait(lambda: chroma_has(project, memory, text))}


CHANGES: dict[str, Callable[[Any, Any, str], dict[str, float]]] = {
    "Letta": in_letta,
    "Chroma": in_chroma,
    "the hub": in_hub,
}


def replica(memory: Any, side: str) -> Any:
    return memory.replicas.get(connection__side=side)


def hub_has(memory: Any, text: str, *, whole: bool = True) -> bool:
    memory.refresh_from_db()
    return bool(memory.text == text if whole else text in memory.text)


def letta_has(memory: Any, letta: str, text: str) -> bool:
    return text in known_client(letta).blocks.retrieve(replica(memory, "letta").external_id).value


def chroma_has(project: Any, memory: Any, text: str) -> bool:
    where = {"document_id": replica(memory, "local").external_id}
    documents = collection(project).get(where=where, include=["documents"])["documents"]
    return any(text[-15:] in document for document in documents)


@cache
def known_client(letta: str) -> Any:
    return client(letta)


def collection(project: Any) -> Any:
    return open_collection(project.local_store.url, project.local_store.collection)


@cache
def open_collection(url: str, name: str) -> Any:
    from tests.original_store import open_server

    return open_server(url).get_collection(name, embedding_function=None)


# --- processor time


def busy(pid: int, seconds: float) -> float:
    """Per cent of one core that a process and all below it take in a time."""
    before, began = ticks(pid), time.monotonic()
    time.sleep(seconds)
    after = ticks(pid)
    used = sum(value - before.get(each, 0) for each, value in after.items())
    return 100 * used / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


def ticks(pid: int) -> dict[int, int]:
    """Clock ticks of processor time that a process and all below it have taken, by process."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        number = int(path.parent.name)
        parents[number], used[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family, size = {pid}, 0
    while len(family) > size:
        size = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return {number: used[number] for number in family if number in used}
