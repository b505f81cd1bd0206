"""One step of the benchmark `scale`, in a process of its own: `python -m benchmarks._step NAME SLUG`; prints JSON.

The database is the one of the environment, as `_data.start_django` left it there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

STEPS: dict[str, Callable[[Any], dict[str, float]]] = {}


def step(call: Callable[[Any], dict[str, float]]) -> Callable[[Any], dict[str, float]]:
    STEPS[call.__name__] = call
    return call


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def least(call: Callable[[], Any]) -> float:
    """The fastest of three: what the step needs, whatever else the machine does."""
    return min(seconds(call) for _ in range(3))


def sync(project: Any, trigger: str = "command") -> None:
    from syncjobs.models import RunStatus, SyncRun
    from syncjobs.run import start

    run = SyncRun(project=project, trigger=trigger)
    start(run)
    if run.status != RunStatus.DONE:
        raise SystemExit(f"the run {run.status}: {run.errors}")


def direct(project: Any, letta: str) -> None:
    project.letta_direction = letta
    project.save()


@step
def pull(project: Any) -> dict[str, float]:
    """The first run with a full local store and an empty hub."""
    direct(project, "off")
    return {"first pull": seconds(lambda: sync(project))}


@step
def push(project: Any) -> dict[str, float]:
    """The first run with an empty Letta server and a full hub."""
    direct(project, "two_way")
    return {"first push": seconds(lambda: sync(project))}


@step
def idle(project: Any) -> dict[str, float]:
    return {"idle run": least(lambda: sync(project))}


@step
def watch(project: Any) -> dict[str, float]:
    """Looks of continuous sync: the first one compares, the others find all as it was."""
    sync(project, "watch")
    return {"idle look, continuous": least(lambda: sync(project, "watch"))}


@step
def bare(project: Any) -> dict[str, float]:
    from benchmarks.sync import list_chroma, list_letta

    both = (project.letta_server.url, project.local_store.url)
    return {"bare listings": least(lambda: (list_letta(both[0]), list_chroma(both[1])))}


@step
def parts(project: Any) -> dict[str, float]:
    """What a run is made of: look, match, plan (of every memory, though all are in step)."""
    from blocks.models import Memory
    from syncjobs.match import Matcher, Row
    from syncjobs.observe import _links, observe
    from syncjobs.planning import Planner
    from syncjobs.sides import open_sides

    sides = open_sides(project)
    look = least(lambda: [side.store.look() for side in sides])
    shown = {side.side: side.store.look().snapshots for side in sides}
    columns = ("pk", "uuid", "hash", "shared")
    known = list(Memory.objects.filter(project=project).values_list(*columns))
    links = {side.side: _links(side.connection.replicas.all()) for side in sides}

    def match() -> None:
        matcher = Matcher([Row(pk, uuid, hash, True, shared) for pk, uuid, hash, shared in known], links)
        for side, snapshots in shown.items():
            matcher.put(side, snapshots, set(), set())

    observation = observe(project, open_sides(project))

    def plan() -> None:
        planner = Planner(project, observation)
        for start in range(0, len(observation.items), 500):
            planner.load(observation.items[start : start + 500])

    return {"look": look, "match": least(match), "plan": least(plan)}


def peak_megabytes() -> float:
    """The most memory this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    django.setup()
    from memoryhub.models import Project

    name, slug = sys.argv[1:]
    project = Project.objects.select_related("letta_server", "local_store").get(slug=slug)
    print(json.dumps(STEPS[name](project) | {"peak": peak_megabytes()}))


if __name__ == "__main__":
    main()
