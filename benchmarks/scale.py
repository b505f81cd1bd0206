"""Every step of a sync at 1,000, 5,000 and 20,000 memories: milliseconds a memory, and the memory of the process.

Nothing may grow faster than the number of memories: the last column is what a memory costs at 20,000 against 1,000, and
stays around 1 or below. Each step runs in a process of its own, whose largest size is given (it has to stay under 300
MB). Chroma is a real server; Letta is the stand-in of the tests, because 20,000 creations take the real one 8 minutes.
The records are another program's. `bare` are the clients alone, listing one side and then the other; the targets of
`nothing to do` are 1.3 times that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import _data

SIZES, QUICK = (1_000, 5_000, 20_000), (100, 200, 400)
STEPS = ("pull", "push", "idle", "watch", "bare", "parts")
PEAKS = {"first pull": "pull", "first push": "push", "idle run": "idle", "idle look, continuous": "watch"}
COLLECTION = "project_memory"


def run(quick: bool) -> Iterator[tuple]:
    sizes = QUICK if quick else SIZES
    named = [f"{size:,}" for size in sizes]
    yield "ms a memory", *named, "last : first", *(f"MB at {name}" for name in named)
    _data.start_django()
    results = [measured(size) for size in sizes]
    for name in results[0]:
        if name not in STEPS:
            cost = [result[name] / size * 1000 for result, size in zip(results, sizes, strict=True)]
            peaks = [f"{result[PEAKS[name]]:.0f}" if name in PEAKS else "" for result in results]
            yield name, *(f"{value:.3f}" for value in cost), f"{cost[-1] / cost[0]:.2f}", *peaks
    for name in ("idle run", "idle look, continuous"):
        ratios = [f"{result[name] / result['bare listings']:.2f}" for result in results]
        yield f"{name} : bare listings", *ratios, "", *([""] * len(sizes))


def measured(size: int) -> dict[str, float]:
    """Seconds by what was done, and megabytes by step."""
    found: dict[str, float] = {}
    with servers(size) as (letta, chroma):
        slug = connect(letta, chroma, size)
        for step in STEPS:
            command = [sys.executable, "-m", "benchmarks._step", step, slug]
            answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            found |= {step: answer.pop("peak")} | answer
            print(f"  {size:,}: {answer}", file=sys.stderr)
    return found


def connect(letta: str, chroma: str, size: int) -> str:
    """A project between the two servers; its slug."""
    from memoryhub.models import LettaServer, LocalStore, Project

    slug = f"of-{size}"
    Project.objects.create(
        slug=slug,
        name=slug,
        letta_server=LettaServer.objects.create(name=slug, url=letta),
        local_store=LocalStore.objects.create(name=slug, url=chroma, collection=COLLECTION),
    )
    return slug


@contextmanager
def servers(size: int) -> Iterator[tuple[str, str]]:
    """A stand-in for Letta, empty, and a real Chroma server with `size` records of another program."""
    from tests.original_store import fill, memories, open_server
    from tests.servers.chroma import ChromaServer

    folder = Path(tempfile.mkdtemp(prefix="memoryhub-benchmark-chroma-"))
    chroma = ChromaServer(folder / "data").start()
    with letta_stand_in() as url:
        try:
            fill(open_server(chroma.url), memories(size, [f"of-{size}"]), COLLECTION)
            yield url, chroma.url
        finally:
            chroma.stop()
            shutil.rmtree(folder, ignore_errors=True)


STAND_IN = """
import sys
from tests.servers.letta_faithful import faithful_letta
with faithful_letta() as (url, _):
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def letta_stand_in() -> Iterator[str]:
    """The URL of a server in a process of its own, which ends with the block."""
    command = [sys.executable, "-c", STAND_IN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            yield stdout.readline().strip()
        finally:
            stdin.close()
