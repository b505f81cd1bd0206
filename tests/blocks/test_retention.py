"""What of the history is kept for how long, and texts that nothing refers to."""

import threading
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from blocks import actions
from blocks.actions import Change, record
from blocks.models import FRESH, Memory, Origin, Revision, Text, digest_of
from blocks.retention import UNUSED, drop, references, sweep, thin
from blocks.state import complete

NOW = datetime.fromisoformat("2026-06-15T12:00:00+00:00")


def nothing_else(memories):
    return set()


@pytest.fixture
def memory(project):
    """One that an agent wrote into every hour for four days, the last time yesterday."""
    memory = actions.new_memory(project)
    for number in range(96):
        record([Change(memory, complete({"text": f"text {number}"}), Origin.LETTA, author="letta")])
    at(memory, NOW - timedelta(hours=96 + 11))
    return memory


def at(memory, first, step=timedelta(hours=1)):
    for number, revision in enumerate(memory.revisions.order_by("number")):
        Revision.objects.filter(pk=revision.pk).update(created_at=first + number * step)


def numbers(memory):
    return list(memory.revisions.order_by("number").values_list("number", flat=True))


def run(settings, days, shown=nothing_else, now=NOW):
    settings.HISTORY_FULL_DAYS = days
    return sum(thin(now, shown))


def test_of_old_days_the_last_version_stays(memory, settings):
    assert run(settings, 2) == 44
    assert numbers(memory) == [1, 23, *range(47, 97)]  # the first, the last of two days, and two days in full
    assert run(settings, 2) == 0


def test_nothing_younger_than_the_setting_goes(memory, settings):
    assert run(settings, 30) == 0


def test_zero_keeps_every_version(memory, settings):
    assert run(settings, 0, now=NOW + timedelta(days=9999)) == 0


def test_the_current_version_stays_however_old(memory, settings):
    run(settings, 1, now=NOW + timedelta(days=400))
    assert numbers(memory)[0] == 1
    assert numbers(memory)[-1] == memory.number


def test_what_a_person_wrote_stays(memory, settings, editor):
    memory.revisions.filter(number=5).update(user=editor)
    run(settings, 1)
    assert 5 in numbers(memory)


def test_what_has_a_note_stays(memory, settings):
    memory.revisions.filter(number=6).update(note="overwritten there")
    run(settings, 1)
    assert 6 in numbers(memory)


def test_what_is_shown_elsewhere_stays(memory, settings):
    run(settings, 1, lambda memories: {(pk, digest_of("text 6")) for pk in memories})
    assert 7 in numbers(memory)


def test_the_current_text_is_untouched(memory, settings):
    run(settings, 1, now=NOW + timedelta(days=400))
    memory.refresh_from_db()
    assert (memory.text, memory.number) == ("text 95", 96)
    assert memory.revisions.first().state == memory.state


def test_it_can_be_stopped_at_any_time(memory, settings):
    settings.HISTORY_FULL_DAYS = 1
    next(thin(NOW, nothing_else))
    assert len(numbers(memory)) == 96


# --- texts


def age(**since):
    Text.objects.update(kept_at=timezone.now() - timedelta(**since))


def test_texts_that_nothing_refers_to_go(memory):
    Text.objects.keep(["of nobody"])
    age(hours=2)
    assert sum(sweep(timezone.now())) == 1
    assert Text.objects.count() == 96


def test_texts_of_the_last_hour_stay(project):
    Text.objects.keep(["about to be used"])
    assert sum(sweep(timezone.now())) == 0


def test_a_text_that_is_kept_again_is_fresh_again(project):
    Text.objects.keep(["about to be used"])
    age(hours=2)
    Text.objects.keep(["about to be used"])
    assert sum(sweep(timezone.now())) == 0
    assert FRESH < UNUSED


def test_every_column_that_refers_to_a_text_is_known():
    named = {f"{field.model.__name__}.{field.name}" for field in references()}
    assert named >= {"Revision.text", "Replica.base_text", "Replica.seen_text", "Intent.new_text", "Conflict.side_text"}


def test_the_database_itself_refuses_to_lose_a_text(memory):
    with pytest.raises(IntegrityError), transaction.atomic():  # noqa: PT012
        Text.objects.filter(pk=digest_of("text 3"))._raw_delete("default")
        connection.check_constraints()


@pytest.mark.django_db(transaction=True)
def test_nobody_loses_a_text_to_a_sweep_at_the_same_time(project):
    """One writes a text that was there, unused, for long; another deletes what is unused, again and again."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing happens at the same time")
    stop, failures = threading.Event(), []

    def clean():
        try:
            while not stop.is_set():
                drop([digest_of("again")], kept_before=timezone.now() - UNUSED)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for _ in range(40):
            memory = actions.create(project, {"text": "again", "title": "A"}, user=None)
            assert memory.revisions.get().text.text == "again"
            Memory.objects.all().delete()
            age(hours=2)
    finally:
        stop.set()
        cleaner.join()
    assert not failures
