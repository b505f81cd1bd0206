"""`kill -9` of the syncing process at every step of its journal, at random times, and again while it recovers.

After each kill one healthy run has to put everything right (see `peace`). Chroma is a real server; Letta is one in
memory that answers like the real one, or the real one. MEMORYHUB_KILLS: how many kills each of these tests makes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.letta_faithful import faithful_letta
from tests.syncjobs.mixed import Mixed, Points, Victim

pytestmark = pytest.mark.contract

KILLS = int(os.environ.get("MEMORYHUB_KILLS", 0))
SEED = int(os.environ.get("MEMORYHUB_SEED", 1))
MATTERS = ("commit in", "write letta", "write chroma", "write in")

Begin = Callable[[str], Mixed]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path)
    yield victim
    victim.stop()


@pytest.fixture
def begin(victim: Victim, chroma_server: str, collection: str) -> Begin:
    print(f"MEMORYHUB_SEED={SEED}")
    return lambda letta_url: Mixed(victim, letta_url, chroma_server, collection, seed=SEED).begin()


@pytest.fixture
def mixed(begin: Begin) -> Iterator[Mixed]:
    with faithful_letta() as (url, _):
        yield begin(url)


@pytest.fixture
def mixed_with_letta(begin: Begin, letta_server: str) -> Mixed:
    return begin(letta_server)


def in_order(points: Points) -> list[int]:
    """The numbers of all points, so that the first cover every kind of step, those that change something first."""
    numbers = range(1, len(points) + 1)
    labels = [label for _, label in points]

    def rank(number: int) -> tuple[int, bool]:
        label = labels[number - 1]
        return labels[: number - 1].count(label), not any(word in label for word in MATTERS)

    return sorted(numbers, key=rank)


def kill_at_every_point(mixed: Mixed, kills: int, *, push: bool = False) -> None:
    mixed.work()
    rehearsal = mixed.sync(push=push)
    mixed.heal()
    order = in_order(rehearsal.points)
    killed = 0
    for number in range(kills):
        at = order[number % len(order)]
        mixed.work()
        ended = mixed.sync({"at": at}, push=push)
        killed += ended.killed
        if number % 3 == 2:  # somebody goes on working before the hub is started again
            mixed.work_meanwhile()
        try:
            mixed.heal()
        except AssertionError as error:
            raise AssertionError(f"killed at point {at}, {ended.points[-1]} (push: {push}): {error}") from error
    print(f"{killed} kills at {len(set(order[:kills]))} of {len(order)} points")
    assert killed >= kills * 0.8


def test_killed_at_every_step_of_a_run(mixed: Mixed) -> None:
    kill_at_every_point(mixed, KILLS or 12)


def test_killed_at_every_step_of_a_push(mixed: Mixed) -> None:
    kill_at_every_point(mixed, KILLS or 3, push=True)


def test_killed_at_steps_of_a_run_with_a_real_letta_server(mixed_with_letta: Mixed) -> None:
    kill_at_every_point(mixed_with_letta, KILLS or 3)


FIRST = ("after write letta", "before commit in apply._write_side", "after write chroma", "before write chroma")


def test_killed_again_while_it_recovers(mixed: Mixed) -> None:
    """The first kill leaves open intents; the second one comes at every point of their recovery."""
    at = killed = 0
    for number in range(KILLS or 4):
        mixed.work()
        first = {"label": FIRST[number % len(FIRST)], "at": 3 if "write c" in FIRST[number % len(FIRST)] else 1}
        assert mixed.sync(first).killed
        at += 1 if KILLS else 3
        second = mixed.sync({"within": "recover", "at": at})
        killed += second.killed
        if not second.killed:
            at = 0  # once through: from the beginning, with what another first kill left
        mixed.heal()
    assert killed


def kill_at_random(mixed: Mixed, kills: int) -> None:
    dice = random.Random(SEED)
    mixed.work()
    seconds = mixed.sync().seconds
    mixed.heal()
    killed = 0
    for _ in range(kills):
        mixed.work()
        for _ in range(dice.choice((1, 1, 2, 3))):
            killed += mixed.sync({"after": dice.random() * 1.2 * seconds}).killed
        mixed.heal()
    print(f"{killed} kills at random times")


def test_killed_at_random_times(mixed: Mixed) -> None:
    kill_at_random(mixed, KILLS or 3)


def test_killed_at_random_times_with_a_real_letta_server(mixed_with_letta: Mixed) -> None:
    kill_at_random(mixed_with_letta, KILLS or 2)
