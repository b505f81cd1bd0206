"""A sync of 400 memories with real servers: a first push to Letta, and a run with nothing to do, against bare clients.

Both are measured in one run on one Letta and one Chroma server, in turns. `bare` is what the clients alone take:
creating the blocks with letta-client from 8 threads; listing both sides (letta-client's pages of blocks, chromadb's
records), one after the other and at the same time. The targets: a push at 0.8 of the bare rate or better, an idle run
within 1.3 of the bare listing (one side after the other).
"""

from __future__ import annotations

import atexit
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import _data

COLLECTION = "project_memory"


def run(quick: bool) -> Iterator[tuple]:
    yield "what", "memories", "bare s", "ours s", "times the bare rate"
    count, rounds = (40, 2) if quick else (400, 3)
    _data.start_django()
    letta, chroma = start_servers()
    project = connect(letta, chroma, "bench")
    writer = _data.Writer()
    states = [writer.state() for _ in range(count)]

    bare, ours = [], []
    for number in range(rounds):
        bare.append(seconds(lambda: create_bare(letta, states)))
        clear(letta)
        ours.append(first_push(project, states))
        if number < rounds - 1:
            wipe(letta, chroma, project)
    yield row("first push to Letta", count, statistics.median(bare), statistics.median(ours))

    bare, together, ours = [], [], []
    for _ in range(rounds * 5):
        bare.append(seconds(lambda: (list_letta(letta), list_chroma(chroma))))
        together.append(seconds(lambda: at_once(letta, chroma)))
        ours.append(seconds(lambda: sync(project)))
    yield row("nothing to do", count, statistics.median(bare), statistics.median(ours))
    yield row("the same, both listed at once", count, statistics.median(together), statistics.median(ours))


def row(what: str, count: int, bare: float, ours: float) -> tuple:
    return what, count, f"{bare:.3f}", f"{ours:.3f}", f"{bare / ours:.2f}"


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def start_servers() -> tuple[str, str]:
    """Addresses of a real Letta server and a real Chroma server, which end with this process."""
    from tests.servers.chroma import ChromaServer
    from tests.servers.letta_server import LettaServer

    letta = LettaServer().start()
    atexit.register(letta.stop)
    chroma = ChromaServer(Path(tempfile.mkdtemp(prefix="memoryhub-benchmark-chroma-"))).start()
    atexit.register(chroma.stop)
    return letta.url, chroma.url


def connect(letta: str, chroma: str, slug: str) -> Any:
    from memoryhub.models import LettaServer, LocalStore, Project

    return Project.objects.create(
        slug=slug,
        name=slug,
        letta_server=LettaServer.objects.create(name="Letta", url=letta),
        local_store=LocalStore.objects.create(name="Chroma", url=chroma, collection=COLLECTION),
    )


def client(letta: str) -> Any:
    from letta_client import Letta

    return Letta(base_url=letta, api_key="none", max_retries=0, timeout=60)


def create_bare(letta: str, states: list[dict[str, Any]]) -> None:
    """The loop a script would write: one create a memory, 8 threads, the same fields and tags."""
    server = client(letta)

    def create(state: dict[str, Any]) -> None:
        said = {name: state[name] for name in ("title", "kind", "source")}
        tags = [*state["tags"], "memhub:project:bare", f"memhub:memory:{state['label']}"]
        server.blocks.create(
            label=state["label"], value=state["text"], description=state["title"], tags=tags, metadata=said
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, states))


def first_push(project: Any, states: list[dict[str, Any]]) -> float:
    """Seconds of the run that makes the blocks. The local side is in step before, so that only Letta is measured."""
    from blocks import actions
    from memoryhub.models import Direction

    for state in states:
        actions.create(project, state, user=None)
    project.letta_direction = Direction.OFF
    project.save()
    sync(project)
    project.letta_direction = Direction.TWO_WAY
    project.save()
    return seconds(lambda: sync(project))


def sync(project: Any) -> None:
    from syncjobs.models import RunStatus, SyncRun
    from syncjobs.run import start

    run = SyncRun(project=project, trigger="command")
    start(run)
    if run.status != RunStatus.DONE:
        raise SystemExit(f"the run {run.status}: {run.errors}")


def clear(letta: str) -> None:
    """Delete every block."""
    server = client(letta)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda block: server.blocks.delete(block.id), list_letta(letta)))


def wipe(letta: str, chroma: str, project: Any) -> None:
    """As before the first run."""
    import chromadb

    clear(letta)
    chromadb.HttpClient(host=chroma).delete_collection(COLLECTION)
    project.connections.all().delete()
    project.memories.all().delete()


def list_letta(letta: str) -> list[Any]:
    return list(client(letta).blocks.list(limit=500))


def list_chroma(chroma: str) -> list[Any]:
    """In one call where there are at most 30,000 rows: of more, Chroma cannot give the texts at once."""
    import chromadb

    collection = chromadb.HttpClient(host=chroma).get_collection(COLLECTION, embedding_function=None)
    pages = range(0, collection.count(), 30_000)
    return [collection.get(include=["documents", "metadatas"], limit=30_000, offset=start) for start in pages]


def at_once(letta: str, chroma: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        letta_side, local_side = pool.submit(list_letta, letta), pool.submit(list_chroma, chroma)
        letta_side.result(), local_side.result()
