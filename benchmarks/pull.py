"""The first pull of a local store of 1,000 records into an empty hub, against a bare read and bare inserts of the rows.

`bare` is one chromadb `get` of all records, then `bulk_create` of exactly the rows the hub has afterwards (texts,
memories with their search index, revisions, replicas), made beforehand, in one transaction. Ours looks, puts chunks
together, matches, plans, and writes 100 memories a transaction, with their leases. The hub only reads that side, as the
bare one does. Both in turns in one run, medians. The target is 0.5 of the bare rate.
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
    from tests.original_store import fill, memories, open_server
    from tests.servers.chroma import ChromaServer

    chroma = ChromaServer(Path(mkdtemp(prefix="memoryhub-benchmark-chroma-"))).start()
    atexit.register(chroma.stop)
    collection = fill(open_server(chroma.url), memories(count, ["bench"]), COLLECTION)
    project = connect(chroma.url)
    bare, ours = [], []
    for _ in range(rounds):
        ours.append(seconds(partial(sync, project)))
        stored = take_out(project)
        bare.append(seconds(partial(pull_bare, collection, stored)))
        take_out(project)
    rows = sum(map(len, stored.values()))
    middle, mine = statistics.median(bare), statistics.median(ours)
    yield "first pull", f"{count:,}", f"{rows:,}", f"{middle:.3f}", f"{mine:.3f}", f"{middle / mine:.2f}"


def connect(chroma: str) -> Any:
    from memoryhub.models import Direction, LocalStore, Project

    store = LocalStore.objects.create(name="Chroma", url=chroma, collection=COLLECTION)
    return Project.objects.create(slug="bench", name="Bench", local_store=store, local_direction=Direction.FROM_SIDE)


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
