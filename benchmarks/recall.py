"""rag_tools.py: `recall` among 10,000 memories, `remember`, and the import; milliseconds.

The hub's web server (granian, SQLite) and Chroma run as in production, in processes of their own, and every memory is
in both with the vector of its text. Queries are parts of memories' texts, each another one, so that no vector is known
from before. Turn and turn about with `bare`: the query's vector and Chroma's `query` for 50 records with chromadb's own
client, in one process: what a semantic search costs without anything around it. The targets are 60 ms at the median
for `recall` through the hub, and 150 ms for the import.
"""

from __future__ import annotations

import atexit
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import _data

CODE = Path(__file__).resolve().parent.parent


def run(quick: bool) -> Iterator[tuple]:
    count, rounds = (200, 10) if quick else (10_000, 100)
    _data.start_django()
    os.environ["MEMORYHUB_SPOOL"] = os.path.join(tempfile.mkdtemp(prefix="memoryhub-spool-"), "spool.jsonl")
    chroma = start_chroma()
    project, token = make_project(chroma)
    fill(project, chroma, count)
    queries = made_up(project, 4 * rounds + 20)
    hub = start_hub()
    yield "what", "median", "p95", "best"
    calls = recalls(hub, token, chroma)
    for query in queries[:10]:  # the models are loaded, the caches warm
        for call in calls.values():
            call(query)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            taken[name].append(milliseconds(partial(call, queries[10 + number])))
    yield from (row(name, times) for name, times in taken.items())
    through_hub(hub, token)
    yield row("remember, hub", [milliseconds(lambda: remember(queries)) for _ in range(rounds)])
    yield from imports(5 if quick else 25)


def row(name: str, times: list[float]) -> tuple[str, str, str, str]:
    p95 = statistics.quantiles(times, n=20)[-1]
    return name, f"{statistics.median(times):.1f}", f"{p95:.1f}", f"{min(times):.1f}"


def milliseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


# --- what is measured


def recalls(hub: str, token: str, chroma: str) -> dict[str, Callable[[str], Any]]:
    import rag_tools
    from blocks.stores.embeddings import embed
    from tests.original_store import open_server

    rows = open_server(chroma).get_collection("project_memory", embedding_function=None)

    def bare(query: str) -> None:
        rows.query(query_embeddings=embed([query]), n_results=50, include=["metadatas", "distances"])

    def by_hub(query: str) -> None:
        through_hub(hub, token)
        found = rag_tools.recall(query)
        if not found or found.note:
            raise RuntimeError(f"recall found {found}")

    def direct(query: str) -> None:
        os.environ.pop("MEMORYHUB_TOKEN", None)
        os.environ["CHROMA_URL"] = chroma
        if not rag_tools.recall(query):
            raise RuntimeError("nothing was found")

    return {
        "query's vector alone": lambda query: embed([query]),
        "bare: vector and Chroma's query": bare,
        "recall, hub": by_hub,
        "recall, straight on Chroma": direct,
    }


def through_hub(hub: str, token: str) -> None:
    os.environ |= {"MEMORYHUB_URL": hub, "MEMORYHUB_TOKEN": token}


def remember(queries: list[str]) -> None:
    import rag_tools

    rag_tools.log_error(random.choice(queries), "benchmark")


def imports(rounds: int) -> Iterator[tuple]:
    """In a fresh interpreter: with and without the compiled file that Python keeps beside the source."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as cache:
        warm, cold = kept | {"PYTHONPYCACHEPREFIX": cache}, kept | {"PYTHONDONTWRITEBYTECODE": "1"}
        cold["PYTHONPYCACHEPREFIX"] = os.path.join(cache, "none")
        cases = {
            "python -c pass": ("pass", warm),
            "import rag_tools": ("import rag_tools", warm),
            "import rag_tools, not compiled yet": ("import rag_tools", cold),
        }
        for code, env in cases.values():
            python(code, env)
        taken: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (code, env) in cases.items():
                taken[name].append(milliseconds(partial(python, code, env)))
    yield from (row(name, times) for name, times in taken.items())


def python(code: str, env: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=CODE, env=env, check=True)


# --- what it is measured on


def start_chroma() -> str:
    from tests.servers.chroma import ChromaServer

    server = ChromaServer(Path(tempfile.mkdtemp(prefix="memoryhub-chroma-")) / "data").start()
    atexit.register(server.stop)
    return server.url


def make_project(chroma: str) -> tuple[Any, str]:
    from memoryhub import tokens
    from memoryhub.models import LocalStore, Project

    store = LocalStore.objects.create(name="Chroma", url=chroma)
    project = Project.objects.create(slug="bench", name="Bench", local_store=store)
    return project, tokens.issue(project, "Agent")[1]


def fill(project: Any, chroma: str, count: int) -> None:
    """Memories in the hub and, by its own sync, as records with real vectors in Chroma."""
    from benchmarks.sync import sync
    from blocks import actions

    writer = _data.Writer()
    for _ in range(count):
        actions.create(project, writer.state() | {"text": writer.words(60)}, user=None)
    sync(project)


def made_up(project: Any, count: int) -> list[str]:
    """Queries: some words in a row of memories' texts."""
    dice = random.Random(5)
    found = []
    for text in project.memories.order_by("?").values_list("text", flat=True)[:count]:
        words = text.split()
        start = dice.randrange(max(1, len(words) - 8))
        found.append(" ".join(words[start : start + 8]))
    return found


def start_hub() -> str:
    """The web server as `make run` starts it, on the same database; it ends with this process."""
    from django.db import connections

    from tests.servers.letta_server import free_port

    connections.close_all()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=CODE,
        env=os.environ | {"PORT": str(port), "ALLOWED_HOSTS": "127.0.0.1", "TOKEN_RATE": "1000000"},
        stdout=subprocess.DEVNULL,
    )
    atexit.register(process.wait, 30)
    atexit.register(process.terminate)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the hub did not start")
        time.sleep(0.2)
    return url


def answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
