"""Finding memories by meaning and by words, with a real local store and without one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from blocks import actions, recall
from blocks.models import Memory
from memoryhub.models import Direction, LocalStore, Project
from syncjobs.push import push
from tests.original_store import open_server
from tests.servers.letta_server import free_port

NOTES = {
    "Cats": "A kitten naps on the sofa all day.",
    "Invoices": "The customer has not paid the bill for March.",
    "Deploys": "Releases go out on Tuesdays, never on Fridays.",
    "E4711": "Error E4711: the lock file is stale; delete /var/lock/hub.lock.",
}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    recall._opened.cache_clear()
    monkeypatch.setattr(recall, "_trouble", {})


@pytest.fixture
def stored(project: Project, chroma_server: str, collection: str) -> Project:
    """The notes, in the hub and in its local store."""
    project.local_store = LocalStore.objects.create(name="Chroma", url=chroma_server, collection=collection)
    project.save()
    write(project)
    return project


def write(project: Project) -> None:
    made = [actions.create(project, {"title": title, "text": text}) for title, text in NOTES.items()]
    assert push([memory.pk for memory in made]) == []


def titles(found: recall.Found) -> list[str]:
    return [hit.memory.title for hit in found.hits]


def search(project: Project, query: str, **options: Any) -> recall.Found:
    return recall.search(project, query, **options)


def test_by_meaning(stored: Project) -> None:
    found = search(stored, "unsettled payment", limit=2)
    assert titles(found)[0] == "Invoices"
    assert (found.how, found.note) == ("meaning and words", "")
    assert found.hits[0].similarity is not None


def test_by_words_and_meaning(stored: Project) -> None:
    assert titles(search(stored, "E4711"))[0] == "E4711"
    best = search(stored, "stale lock file").hits[0]
    assert best.memory.title == "E4711"
    assert best.score == pytest.approx(1.0)
    assert "lock file" in best.excerpt


def test_what_was_just_written_is_found_before_it_is_in_the_store(stored: Project) -> None:
    actions.create(stored, {"title": "Zebra", "text": "The zebracorn build needs gcc 14."})
    assert titles(search(stored, "zebracorn"))[0] == "Zebra"
    hits = search(stored, "zebracorn", order="recall").hits
    assert hits[0].memory.title == "Zebra"
    assert hits[0].similarity is not None


def test_recall_prefers_the_important_and_the_new(stored: Project) -> None:
    text = "The nightly backup of the database failed."
    for title, kind, created in (("old", "template", "2020-01-01"), ("error", "error", ""), ("new", "template", "")):
        actions.create(stored, {"title": title, "text": text, "kind": kind, "created_at": created})
    assert push(list(Memory.objects.values_list("pk", flat=True))) == []
    assert titles(search(stored, "backup failed", order="recall", limit=3)) == ["error", "new", "old"]


def test_recall_finds_a_name_among_the_new_and_the_important(stored: Project) -> None:
    """What vectors say little of: no memory is far from a number."""
    text = "Ticket XK-99231 was closed after the disk had been replaced."
    actions.create(stored, {"title": "old", "text": text, "kind": "template", "created_at": "2020-01-01"})
    for number in range(12):
        text = f"The ticket system failed with code {number}5{number}: ticket closed."
        actions.create(stored, {"title": f"error {number}", "text": text, "kind": "error"})
    assert push(list(Memory.objects.values_list("pk", flat=True))) == []
    for query in ("XK-99231", "99231"):
        assert titles(search(stored, query, order="recall", limit=1)) == ["old"]


def test_what_the_index_misses_is_found_by_its_words(stored: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chroma's index looks at a part of the rows only."""
    store = recall._store(stored)
    nearest, missed = store.nearest, Memory.objects.get(title="E4711").replicas.get().external_id

    def nearly(vector: list[float], count: int, *rest: Any) -> dict[str, float]:
        return {id: similarity for id, similarity in nearest(vector, count + 1, *rest).items() if id != missed}

    monkeypatch.setattr(store, "nearest", nearly)
    monkeypatch.setattr(recall, "POOL", 3)
    assert titles(search(stored, "a stale lock", order="recall", limit=1)) == ["E4711"]


def test_what_cannot_come_first_is_not_asked_for(stored: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what can is, so that the answer is the same."""
    subjects = ("nightly backup", "kitten", "invoice of March", "release on Friday", "stale lock")
    kinds = ("template", "error", "gotcha", "fix")
    for number in range(40):
        text = f"The {subjects[number % 5]} failed, {number} times in a row."
        created = f"{2019 + number % 8}-0{1 + number % 9}-01"
        actions.create(stored, {"title": f"{number}", "text": text, "kind": kinds[number % 4], "created_at": created})
    assert push(list(Memory.objects.values_list("pk", flat=True))) == []
    monkeypatch.setattr(recall, "POOL", 12)
    monkeypatch.setattr(recall, "MARGIN", 0.001)
    asked: list[str] = []
    store = recall._store(stored)
    similarities = store.similarities

    def asking(vector: list[float], ids: list[str]) -> dict[str, float]:
        asked.extend(ids)
        return similarities(vector, ids)

    monkeypatch.setattr(store, "similarities", asking)

    def answers() -> list[list[tuple[str, float | None]]]:
        found = [
            search(stored, f"the {query} failed", order="recall", limit=limit)
            for query in subjects
            for limit in (1, 3, 9)
        ]
        return [[(hit.memory.title, round(hit.similarity or 0, 4)) for hit in one.hits] for one in found]

    quick, few = answers(), len(asked)
    monkeypatch.setattr(recall, "_hopeless", lambda *arguments: [])
    assert answers() == quick
    assert few < (len(asked) - few) / 2


def test_what_is_gone_from_the_store_is_found_by_its_words(stored: Project) -> None:
    """Until sync has looked, or while it waits at the brake: nothing is known then of how similar it is."""
    store = recall._store(stored)
    found = search(stored, "E4711 lock file", order="recall", limit=1)
    assert titles(found) == ["E4711"]
    rows = open_server(store.url).get_collection(store.collection, embedding_function=None)
    document = Memory.objects.get(title="E4711").replicas.get().external_id
    rows.delete(where={"document_id": document})
    assert titles(search(stored, "E4711 lock file", order="recall", limit=1)) == ["E4711"]


def test_only_of_the_project(stored: Project) -> None:
    other = Project.objects.create(slug="other", name="Other", local_store=stored.local_store)
    write(other)
    found = search(stored, "kitten on the sofa")
    assert len(found.hits) == 4
    assert {hit.memory.project for hit in found.hits} == {stored}


def test_not_what_is_archived(stored: Project) -> None:
    actions.archive([Memory.objects.get(title="Cats")])
    assert "Cats" not in titles(search(stored, "kitten"))


def test_filters(stored: Project) -> None:
    actions.create(stored, {"title": "Tagged", "text": "A kitten.", "tags": ["pets"], "kind": "fix", "client": "acme"})
    for options in ({"tags": ["pets"]}, {"kinds": ["fix", "error"]}, {"client": "acme"}):
        assert titles(search(stored, "kitten", **options)) == ["Tagged"]
    assert titles(search(stored, "kitten", tags=["pets", "zoo"])) == []


def test_modes(stored: Project) -> None:
    words = search(stored, "kitten", mode="words")
    assert (titles(words), words.how) == (["Cats"], "words")
    meaning = search(stored, "kitten", mode="meaning")
    assert (titles(meaning)[0], meaning.how, len(meaning.hits)) == ("Cats", "meaning", 4)


@pytest.mark.parametrize("query", ["", " ", "\0", "?!", "a", "'", '"', "AND OR NOT", "title:*", "\ud800x", "x" * 5000])
def test_any_query_is_answered(stored: Project, query: str) -> None:
    search(stored, query)
    search(stored, query, mode="words", order="recall")


def test_without_a_store_words_decide(project: Project) -> None:
    write(project)
    found = search(project, "stale lock")
    assert titles(found) == ["E4711"]
    assert (found.how, "no local store" in found.note) == ("words", True)


def test_a_store_that_is_switched_off_is_not_asked(stored: Project) -> None:
    Project.objects.update(local_direction=Direction.OFF)
    stored.refresh_from_db()
    assert "switched off" in search(stored, "lock").note


def test_a_store_that_is_down_is_said_and_not_asked_again_for_a_while(project: Project) -> None:
    write(project)
    store = LocalStore.objects.create(name="Down", url=f"http://127.0.0.1:{free_port()}")
    project.local_store = store
    project.save()
    found = search(project, "stale lock", order="recall")
    assert titles(found) == ["E4711"]
    assert (found.how, "cannot be asked" in found.note) == ("words", True)
    (then, _) = recall._trouble.popitem()[1]
    assert time.monotonic() - then < 60
