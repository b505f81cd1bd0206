"""What open pages are told, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from blocks import actions, live
from blocks.models import Memory, SyncState
from memoryhub.models import Project


@pytest.mark.django_db
def test_the_pulse_changes_with_whatever_pages_show(project: Project, memory: Memory) -> None:
    other = Project.objects.create(slug="other")
    seen, elsewhere = [live.pulse(project.pk)], live.pulse(other.pk)
    for change in (
        lambda: actions.create(project, {"text": "new"}),
        lambda: actions.edit(memory, {"text": "edited"}, based_on=1),
        lambda: Memory.objects.filter(pk=memory.pk).update(sync_state=SyncState.CONFLICT),
        lambda: actions.archive([memory]),
        lambda: actions.delete([memory]),
        lambda: Memory.objects.filter(pk=memory.pk).delete(),
    ):
        change()
        seen.append(live.pulse(project.pk))
    assert len(set(seen)) == len(seen)
    assert live.pulse(project.pk) == seen[-1]
    assert live.pulse(other.pk) == elsewhere


def test_the_pulse_is_asked_for_only_where_something_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again, where the question failed."""
    asked: list[int] = []
    answers: Any = iter(["one", "two", OperationalError("database is locked"), "three"])

    def pulse(project_id: int) -> str:
        asked.append(project_id)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    versions = iter([7, 7, 8, 8, 9, 9, 9])
    monkeypatch.setattr(live, "pulse", pulse)
    monkeypatch.setattr("memoryhub.written.data_version", lambda: next(versions))
    monkeypatch.setattr(live, "close_old_connections", lambda: None)
    monkeypatch.setattr(live.connection, "close", lambda: None)
    look = live.Look(5)
    assert [look() for _ in range(4)] == ["one", "one", "two", "two"]
    with pytest.raises(OperationalError):
        look()
    assert [look(), look()] == ["three", "three"]
    assert asked == [5] * 4


@pytest.fixture
def pulses(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the database answers, one look after the other; the last one stays."""
    answers: list[Any] = ["one"]

    def look(project_id: int) -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(live, "Look", lambda project_id: lambda: look(project_id))
    monkeypatch.setattr(live, "BEAT", 0.01)
    return answers


def told(count: int, known: str = "") -> list[str]:
    """The first events of a stream."""

    async def listen() -> list[str]:
        parts = live.stream(1, known)
        return [await anext(parts) for _ in range(count)]

    return asyncio.run(asyncio.wait_for(listen(), 30))


def test_a_reader_hears_of_each_change(pulses: list[Any]) -> None:
    pulses += ["one", "two"]
    begin, first, second = told(3)
    assert begin.startswith("retry: ")
    assert first == "event: changed\nid: one\ndata: one\n\n"
    assert "data: two" in second


def test_what_the_reader_knows_is_not_told(pulses: list[Any]) -> None:
    pulses += ["one", "one", "two"]
    assert "data: two" in told(2, known="one")[1]


def test_a_busy_database_ends_no_stream(pulses: list[Any]) -> None:
    pulses += [OperationalError("database is locked"), "two"]
    assert "data: two" in told(2, known="one")[1]


def test_a_silent_stream_says_that_it_lives(pulses: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STILL_THERE", 0.05)
    assert told(3, known="one")[1:] == [": still there\n\n"] * 2


def test_a_stream_ends_and_with_the_last_one_the_looking(pulses: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIFETIME", 0.1)
    monkeypatch.setattr(live, "STILL_THERE", 0.05)

    async def listen() -> int:
        parts = [part async for part in live.stream(1, "")]
        return len(parts)

    assert asyncio.run(listen()) >= 2
    assert live._feeds == {}


def test_several_readers_share_one_look(pulses: list[Any]) -> None:
    async def listen() -> int:
        async with live.feed_of(1) as first, live.feed_of(1) as second, live.feed_of(2) as third:
            assert first is second is not third
            return len(live._feeds)

    assert asyncio.run(listen()) == 2
    assert live._feeds == {}


@pytest.mark.django_db
def test_the_stream_is_not_kept_by_anybody_between(client: Client, project: Project, owner: Any) -> None:
    client.force_login(owner)
    reply = client.get(reverse("live", args=[project.slug]))
    assert reply["Content-Type"] == "text/event-stream"
    assert (reply["Cache-Control"], reply["X-Accel-Buffering"]) == ("no-store", "no")
    reply.close()
