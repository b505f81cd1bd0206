"""Two real servers that another tool, or somebody by hand, has filled with the same: linked, and nothing is doubled."""

from __future__ import annotations

from collections import Counter

import pytest

from blocks.models import Memory
from blocks.state import slugify_label
from syncjobs.conflicts import count_open
from syncjobs.foresee import preview
from syncjobs.models import SyncRun
from tests import original_store
from tests.syncjobs.test_sizes import Between, nothing_to_do

pytestmark = [pytest.mark.contract, pytest.mark.django_db]

COUNT = 30
SPACES = ("{}", "{}\n", "\n{}", "{}  \n")


@pytest.fixture
def between(letta_server: str, chroma_server: str) -> Between:
    return Between(letta_server, chroma_server)


def as_somebody_wrote_it(number: int, text: str) -> str:
    """Some with CRLF, some with space around them; the records of the original engine have none."""
    return SPACES[number % 4].format(text.replace("\n", "\r\n") if number % 5 == 0 else text)


def test_what_is_the_same_is_linked_as_the_preview_says(between: Between) -> None:
    items = original_store.memories(COUNT, [between.slug])
    assert sum(len(item.rows) > 1 for item in items) > COUNT / 4
    texts = [as_somebody_wrote_it(number, item.text) for number, item in enumerate(items)]
    for number, (item, text) in enumerate(zip(items, texts, strict=True)):
        title = item.metadata["title"]
        between.block(value=text, label=f"lesson {number}" if number % 3 == 0 else slugify_label(title))
    for _ in range(2):
        between.block(value="the same", label="twice")
    original_store.fill(original_store.open_server(between.project.local_store.url), items, between.slug)  # type: ignore[union-attr]
    for number in range(2):
        between.record(f"twice {number}", "the same", title="Twice")
    plan = preview(between.project)
    assert (plan.counters["linked"], plan.counters["conflicts"]) == (COUNT + 2, 0)
    assert not any(step["op"] == "create" for step in plan.steps)
    assert not SyncRun.objects.exists()

    run = between.sync()
    assert (run.status, run.errors, run.counters["linked"], run.counters["created"]) == ("done", [], COUNT + 2, 0)
    assert count_open(between.project) == 0
    wanted = Counter([*texts, "the same", "the same"])
    assert Counter(Memory.objects.filter(project=between.project).values_list("text", flat=True)) == wanted
    for side in ("letta", "local"):
        assert Counter(state["text"] for state in between.shown(side).values()) == wanted
    nothing_to_do(between.sync())


def test_a_server_that_is_connected_later(between: Between) -> None:
    """The project was in step with its local store; the blocks on the server were made by hand."""
    letta, between.project.letta_server = between.project.letta_server, None
    between.project.save()
    items = original_store.memories(COUNT, [between.slug], seed=1)
    original_store.fill(original_store.open_server(between.project.local_store.url), items, between.slug)  # type: ignore[union-attr]
    between.sync()
    for item in items:
        between.block(value=item.text, label=slugify_label(item.metadata["title"]).replace("-", "_"), limit=20_000)
    between.project.letta_server = letta
    between.project.save()
    run = between.sync()
    assert (run.status, run.errors, run.counters["linked"], run.counters["created"]) == ("done", [], COUNT, 0)
    assert count_open(between.project) == 0
    assert len(between.shown("letta")) == len(between.shown("local")) == Memory.objects.count() == COUNT
    nothing_to_do(between.sync())
