"""Snapshots, folded and whole."""

import random
from dataclasses import fields
from uuid import uuid4

import pytest

from blocks.stores.base import SMALL, Folded, Snapshot

NOISE = "".join(random.Random(7).choices("abcdefgh \n", k=3 * SMALL))


@pytest.mark.parametrize(
    "text", ["", "Stop the queue.\r\n\té", NOISE, "🦊 " * SMALL], ids=["empty", "short", "long", "fox"]
)
def test_nothing_is_lost_in_folding(text):
    whole = Snapshot(
        id="block-1",
        state={"text": text, "tags": ["a,b", "c"], "limit": 5000, "read_only": False},
        uuid=uuid4(),
        project="planner",
        in_scope=False,
        keep={"id": "block-1", "metadata": {"big": 2**70, "none": None, "far": float("inf")}},
        problem="torn",
        chunks=3,
        torn=True,
        strays=((0, 5, "other"),),
        raw={"any": 1},
    )
    folded = whole.folded()
    assert isinstance(folded, Folded)
    for field in fields(Snapshot):
        assert getattr(folded, field.name) == getattr(whole, field.name)
    assert folded.hash == whole.hash
    assert folded.unfolded() == whole == folded
    assert folded != Snapshot("block-1", whole.state)
    assert folded.folded() is folded
    assert whole.unfolded() is whole
