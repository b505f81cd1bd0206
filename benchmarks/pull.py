"""The first pull of a local store of 1,000 records into an empty hub, against a bare read and bare inserts of the rows.

`bare` is one chromadb `get` of all records, then `bulk_create` of exactly the rows the hub has afterwards (texts,
memories with their search index, revisions, replicas), made beforehand, in one transaction. Ours looks, puts chunks
together, matches, plans, and writes 300 memories a transaction, with their leases: once where the hub only reads that
side, as the bare one does, and once where it also marks every record there as its own, which the bare one does not. All
in turns in one run, medians. The target is 0.5 of the bare rate.
"""

from __future__ import annotations

import atexit
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks import _data
from benchmarks.sync import COLLECTION, seconds, sync


def run(quick: bool) -> Iterator[tuple]:
    yield "what", "memories", "rows", "bare s", "ours s", "times the bare rate"
    count, rounds = (100, 2) if quick else (1_000, 5)
    _data.start_django()
    from memoryhub.models import Direction
    from tests.original_store import fill, memories, open_server
    from tests.servers.chroma import ChromaServer

    chroma = ChromaServer(Path(mkdtemp(prefix="memoryhub-benchmark-chroma-"))).start()
    atexit.register(chroma.stop)
    client, items = open_server(chroma.url), memories(count, ["bench"])
    project = connect(chroma.url)
    bare: list[float] = []
    ours: dict[str, list[float]] = {Direction.FROM_SIDE: [], Direction.TWO_WAY: []}
    for _ in range(rounds):
        for direction, taken in ours.items():
            collection = fill(client, items, COLLECTION)
            begin_anew(project, direction)
            taken.append(seconds(partial(sync, project)))
            stored = take_out(project)
            bare.append(seconds(partial(pull_bare, collection, stored)))
            take_out(project)
            client.delete_collection(COLLECTION)
    rows, middle = sum(map(len, stored.values())), statistics.median(bare)
    for what, taken in zip(("first pull, only read", "first pull, two-way"), ours.values(), strict=True):
        mine = statistics.median(taken)
        yield what, f"{count:,}", f"{rows:,}", f"{middle:.3f}", f"{mine:.3f}", f"{middle / mine:.2f}"


def connect(chroma: str) -> Any:
    from memoryhub.models import LocalStore, Project

    store = LocalStore.objects.create(name="Chroma", url=chroma, collection=COLLECTION)
    return Project.objects.create(slug="bench", name="Bench", local_store=store)


def begin_anew(project: Any, direction: str) -> None:
    """As if the store had never been looked at."""
    project.connections.all().delete()
    project.local_direction = direction
    project.save()


def take_out(project: Any) -> dict[Any, list[Any]]:
    """All rows that belong to the project's memories, by model; the database is left without them."""
    from blocks.models import Memory, Revision, Text
    from syncjobs.models import Replica

    models = (Text, Memory, Revision, Replica)  # in the order in which they refer to each other
    rows: dict[Any, list[Any]] = {model: list(model._default_manager.all()) for model in models}
    for model in reversed(models):
        model._default_manager.all().delete()
    return rows


def pull_bare(collection: Any, rows: dict[Any, list[Any]]) -> None:
    from django.db import transaction

    collection.get(include=["documents", "metadatas"])
    with transaction.atomic():
        for model, made in rows.items():
            model._default_manager.bulk_create(made, batch_size=500)
