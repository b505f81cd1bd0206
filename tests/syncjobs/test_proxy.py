"""A proxy before the real Letta server disturbs a run with mixed work; one healthy run puts everything right.

MEMORYHUB_FAULTS: rounds with faults at random, and a round for each kind; MEMORYHUB_SEED: their seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from itertools import count
from uuid import uuid4

import pytest

from tests.servers.proxy import FAULTS, Proxy, faulty_proxy
from tests.syncjobs.mixed import Mixed, Victim

pytestmark = pytest.mark.contract

ROUNDS = int(os.environ.get("MEMORYHUB_FAULTS", 1))
AT_ONCE = 1 if "MEMORYHUB_FAULTS" in os.environ else 4  # kinds of faults in a round
SEED = int(os.environ.get("MEMORYHUB_SEED", 1))
PATIENCE = 2.0  # seconds a call may take in a disturbed run; the healthy one has a minute


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    victim = Victim(tmp_path_factory.mktemp("hub"), STORE_TIMEOUT="60")
    yield victim
    victim.stop()


@pytest.fixture(scope="module")
def proxy(letta_server: str) -> Iterator[Proxy]:
    with faulty_proxy(letta_server) as proxy:
        proxy.patience = PATIENCE + 1
        yield proxy


@pytest.fixture(scope="module")
def mixed(victim: Victim, proxy: Proxy, letta_server: str, chroma_server: str) -> Mixed:
    """A project whose hub sees Letta through the proxy only."""
    collection = f"memory-{uuid4().hex}"
    return Mixed(victim, proxy.url, chroma_server, collection, straight_url=letta_server, seed=SEED).begin()


def disturbed(mixed: Mixed, proxy: Proxy, choose: Callable[[str, str], str]) -> list[str]:
    """A round of work, a run through faults, and a healthy one. Returns the faults that came about."""
    mixed.work()
    proxy.begin(choose)
    mixed.sync(STORE_TIMEOUT=PATIENCE)
    proxy.settle()
    came = [request.fault for request in proxy.log if request.fault]
    assert proxy.repeated() == []
    proxy.begin()
    mixed.heal()
    return came


def some(dice: random.Random, faults: tuple[str, ...], lists: float, writes: float) -> Callable[[str, str], str]:
    """One of the faults for so many of the lists and of the writes, and for some of the looks at a single block."""

    def choose(method: str, path: str) -> str:
        rate = writes if method != "GET" else 0.15 if "/block-" in path else lists
        return dice.choice(faults) if dice.random() < rate else ""

    return choose


def in_turn(faults: tuple[str, ...]) -> Callable[[str, str], str]:
    """One of the faults, another each time, for every second write."""
    writes = count()

    def choose(method: str, path: str) -> str:
        number = next(writes) if method != "GET" else 1
        return "" if number % 2 else faults[number // 2 % len(faults)]

    return choose


ROUNDS_OF_KINDS = [FAULTS[start :: len(FAULTS) // AT_ONCE] for start in range(len(FAULTS) // AT_ONCE)]


@pytest.mark.parametrize("faults", ROUNDS_OF_KINDS, ids="-".join)
def test_a_run_through_faults(mixed: Mixed, proxy: Proxy, faults: tuple[str, ...]) -> None:
    came = set(disturbed(mixed, proxy, in_turn(faults)))
    assert len(came) >= min(3, len(faults)), came  # a server that does nothing but fail is left alone after some tries


def test_runs_through_faults_of_all_kinds(mixed: Mixed, proxy: Proxy) -> None:
    print(f"MEMORYHUB_SEED={SEED}")
    dice = random.Random(SEED)
    came: list[str] = []
    for _ in range(ROUNDS):
        came += disturbed(mixed, proxy, some(dice, FAULTS, dice.choice((0, 0.05, 0.2)), dice.choice((0.2, 0.5, 1))))
    print(f"{ROUNDS} runs through {len(came)} faults: { {fault: came.count(fault) for fault in FAULTS} }")
    assert came
