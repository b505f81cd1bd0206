"""How much longer a bash takes to end that asks the hub for a sync, as docs/agents.md says: milliseconds.

`behind`: the lines for ~/.bashrc, which leave the call behind. `in front`: the line that waits for it, for 1.8
seconds at most. The hub is a real one, as in production; one that is down; and one that takes the call and never
answers.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median


def run(quick: bool) -> Iterator[tuple]:
    os.environ |= {"SECRET_KEY": "benchmark-" * 6, "MEMORYHUB_ENV_FILE": os.devnull}
    os.environ |= {
        "MEMORYHUB_DATA": tempfile.gettempdir(),
        "FIELD_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }
    from tests.scripts.shell import HOOK, IN_FRONT, Silent, filled, home_with_bridge
    from tests.servers.letta_server import free_port
    from tests.servers.web import WebServer

    yield "the hub", "bash alone", "behind", "slowest", "in front", "slowest"
    hub, silent = WebServer().start(), Silent()
    try:
        places = {"up": hub.url, "down": f"http://127.0.0.1:{free_port()}", "silent": silent.url}
        with tempfile.TemporaryDirectory() as folder:
            home = home_with_bridge(Path(folder))
            ways = ("true", HOOK, f"{HOOK.splitlines()[0]}\n{IN_FRONT}")
            for name, url in places.items():
                lines = [filled(way, url, hub.tokens["editor"]) for way in ways]
                yield (name, *_compared(home, lines, 3 if quick else 15))
    finally:
        silent.stop()
        hub.stop()


def _compared(home: Path, ways: list[str], rounds: int) -> Iterator[str]:
    """Turn and turn about, so that what else the machine does hits all ways."""
    alone, *others = zip(*([_milliseconds(home, way) for way in ways] for _ in range(rounds)), strict=True)
    yield f"{median(alone):.0f}"
    for times in others:
        yield from (f"{median(times):.0f}", f"{max(times):.0f}")


def _milliseconds(home: Path, lines: str) -> float:
    from tests.scripts.shell import shell_environment

    began = time.perf_counter()
    subprocess.run(["bash", "-c", f"{lines}\nexit 0"], env=shell_environment(home), check=True)
    return (time.perf_counter() - began) * 1000
