"""Shorthand for writing to a store under test."""

from __future__ import annotations

from uuid import uuid4

from blocks.state import complete
from blocks.stores.base import Write

LONG = " ".join(f"word{number}" for number in range(250))  # 5 chunks


def create(text="Hello", **fields):
    return Write("create", uuid4(), complete({"title": "T", "label": "t", "text": text} | fields))


def do(store, *writes):
    return list(store.write(writes))


def made(store, text="Hello", **fields):
    """The snapshot of a memory just made."""
    (outcome,) = do(store, create(text, **fields))
    assert outcome.status == "done", outcome.error
    return outcome.snapshot


def update(snapshot, **fields):
    return Write("update", snapshot.uuid, snapshot.state | fields, id=snapshot.id, expected=snapshot.hash)


def seen(store):
    return {snapshot.id: snapshot for snapshot in store.look().snapshots}
