"""What changed since: in order, and nothing left out while others write."""

from __future__ import annotations

from threading import Event, Thread

import pytest
from django.db import connection, transaction

from blocks import actions, changes
from memoryhub.models import Project

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="planner", name="Planner")


def numbers(found: changes.Changes) -> list[str]:
    return [row["fields"]["title"] for row in found.items]


def test_changes_come_oldest_first_page_by_page(project: Project) -> None:
    other = Project.objects.create(slug="other", name="Other")
    for title in "abcde":
        actions.create(project, {"title": title})
        actions.create(other, {"title": f"not {title}"})
    newest = changes.since(project, None, 2)
    assert (numbers(newest), newest.more) == (["d", "e"], False)
    assert changes.since(project, newest.next, 10).items == []
    first = changes.since(project, 0, 3)
    assert (numbers(first), first.more) == (["a", "b", "c"], True)
    rest = changes.since(project, first.next, 3)
    assert (numbers(rest), rest.more, rest.next) == (["d", "e"], False, newest.next)


def test_an_edit_is_a_change_of_its_own(project: Project) -> None:
    memory = actions.create(project, {"title": "a"})
    here = changes.since(project, None, 1).next
    actions.edit(memory, {"title": "b"}, based_on=1)
    actions.archive([memory])
    found = changes.since(project, here, 10)
    assert [(row["number"], row["note"]) for row in found.items] == [(2, ""), (3, "archived")]


def test_a_position_that_was_never_given_out_is_the_present(project: Project) -> None:
    actions.create(project, {"title": "a"})
    ahead = changes.since(project, 2**60, 10)
    assert ahead.items == []
    actions.create(project, {"title": "b"})
    assert numbers(changes.since(project, ahead.next, 10)) == ["b"]


one_writer = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")


@one_writer
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_write_under_way_is_waited_for(project: Project, ends: str) -> None:
    """The slow writer gets its number first and commits last: what was written meanwhile waits for it."""
    actions.create(project, {"title": "before"})
    written, finish = Event(), Event()

    def slowly() -> None:
        with transaction.atomic():
            actions.create(project, {"title": "slow"})
            written.set()
            assert finish.wait(30)
            transaction.set_rollback(ends == "rollback")
        connection.close()

    thread = Thread(target=slowly)
    thread.start()
    try:
        assert written.wait(30)
        actions.create(project, {"title": "quick"})
        during = changes.since(project, 0, 10)
    finally:
        finish.set()
        thread.join()
    assert numbers(during) == ["before"]
    after = numbers(changes.since(project, during.next, 10))
    assert after == (["slow", "quick"] if ends == "commit" else ["quick"])


@one_writer
def test_four_writers_and_a_reader_see_the_same(project: Project) -> None:
    """A reader that asks all the time has seen everything in the end."""
    done = Event()
    seen: list[str] = []

    def write(name: int) -> None:
        for number in range(10):
            with transaction.atomic():
                actions.create(project, {"title": f"{name}-{number}"})
        connection.close()

    def read() -> None:
        position = 0
        while True:
            last = done.is_set()
            found = changes.since(project, position, 7)
            seen.extend(numbers(found))
            position = found.next
            if last and not found.more:
                break
        connection.close()

    reader, writers = Thread(target=read), [Thread(target=write, args=[name]) for name in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert sorted(seen) == sorted(f"{name}-{number}" for name in range(4) for number in range(10))
