"""Filters, pages and counts of the main page."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from itertools import chain

import pytest
from django.http import QueryDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks import actions, listing
from blocks.listing import AT_REST, ATTENTION, SHOWN, SORTS, Choice, Cursor, Filters, page
from blocks.models import Memory, SyncState
from blocks.state import complete
from memoryhub.models import Project

pytestmark = pytest.mark.django_db
lenient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS, TAGS, SOURCES = ("error", "fix", "gotcha"), ("a", "b", "c", "ä"), ("claude", "gpt", "")


@pytest.fixture
def memories(project: Project) -> list[Memory]:
    """Seventy, with few values of everything, and another project's that must never show."""
    dice = random.Random(1)
    other = Project.objects.create(slug="other", name="Other")
    made = []
    for number in range(70):
        memory = actions.new_memory(project if number % 7 else other)
        memory.take(
            complete(
                {
                    "title": dice.choice(["Same", "same", "Other title"]),
                    "label": f"m{number}",
                    "text": dice.choice(["lorem ipsum", "dolor sit"]) * 60,
                    "kind": dice.choice(KINDS),
                    "tags": sorted(dice.sample(TAGS, dice.randint(0, 3))),
                    "source": dice.choice(SOURCES),
                }
            )
        )
        memory.sync_state = dice.choice(SyncState.values)
        memory.changed_at = datetime(2026, 1, dice.randint(1, 3), tzinfo=UTC)
        memory.archived_at = dice.choice([None, None, memory.changed_at])
        memory.deleted_at = dice.choice([None, None, None, memory.changed_at])
        made.append(memory)
    Memory.objects.bulk_create(made)
    return [memory for memory in made if memory.project == project]


def show(project: Project, query: str = "", size: int = 50):
    return page(project, Filters.parse(QueryDict(query.removeprefix("?"))), size)


def fits(memory: Memory, filters: Filters, but: str = "") -> bool:
    """The filters once more, the slow and obvious way."""
    shown = "deleted" if memory.deleted_at else "archived" if memory.archived_at else "live"
    states = [s for s in SyncState.values if s not in AT_REST] if filters.state == ATTENTION else [filters.state]
    return (
        shown == filters.shown
        and all(word in memory.text + memory.title.lower() for word in filters.q.split())
        and set(filters.tag) <= set(memory.tags)
        and (but == "kind" or not filters.kind or memory.kind in filters.kind)
        and (but == "source" or not filters.source or memory.source in filters.source)
        and (but == "state" or not filters.state or memory.sync_state in states)
    )


some_filters = st.builds(
    Filters,
    q=st.sampled_from(["", "", "lorem", "dolor same", "nowhere"]),
    kind=st.sets(st.sampled_from(KINDS), max_size=2).map(tuple),
    tag=st.sets(st.sampled_from(TAGS), max_size=2).map(tuple),
    state=st.sampled_from(["", ATTENTION, *SyncState.values]),
    source=st.sets(st.sampled_from(SOURCES[:2]), max_size=2).map(tuple),
    shown=st.sampled_from(SHOWN),
    sort=st.sampled_from(list(SORTS)),
)


@given(filters=some_filters)
@lenient
def test_pages_and_counts_equal_brute_force(project: Project, memories: list[Memory], filters: Filters) -> None:
    got = page(project, filters)
    wanted = [memory for memory in memories if fits(memory, filters)]
    assert {item.pk for item in got.items} == {memory.pk for memory in wanted}
    assert got.total == len(wanted)

    def counts(name: str, attribute: str) -> dict[str, int]:
        return Counter(getattr(m, attribute) for m in memories if fits(m, filters, but=name) and getattr(m, attribute))

    assert nonzero(got.kinds) == counts("kind", "kind")
    assert nonzero(got.sources) == counts("source", "source")
    assert nonzero(got.tags) == Counter(tag for memory in wanted for tag in memory.tags)
    states = counts("state", "sync_state")
    attention = sum(count for state, count in states.items() if state not in AT_REST)
    assert nonzero(got.states) == {**states, **({ATTENTION: attention} if attention else {})}


def nonzero(choices: list[Choice]) -> dict[str, int]:
    return {choice.value: choice.count for choice in choices if choice.count}


@pytest.mark.usefixtures("memories")
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_pages_neither_skip_nor_repeat_where_keys_are_equal(project: Project, sort: str, size: int) -> None:
    whole = [item.pk for item in show(project, f"sort={sort}").items]
    assert 20 < len(whole) < 50
    forth, current = [], show(project, f"sort={sort}", size)
    assert current.previous_query == ""
    while True:
        forth.append([item.pk for item in current.items])
        if not current.next_query:
            break
        current = show(project, current.next_query, size)
    assert list(chain(*forth)) == whole
    back = [forth.pop()]
    while current.previous_query:
        current = show(project, current.previous_query, size)
        back.insert(0, [item.pk for item in current.items])
    assert list(chain(*back)) == whole
    assert back[:-1] == forth


def test_page_after_something_was_deleted(project: Project, memories: list[Memory]) -> None:
    first = show(project, size=3)
    Memory.objects.filter(project=project).exclude(pk__in=[item.pk for item in first.items]).delete()
    assert show(project, first.next_query, 3).items == first.items  # page one, where there is nothing any more
    assert show(project, first.next_query, 3).filters.cursor == ""


def test_counts_follow_life(project: Project) -> None:
    memory = actions.create(project, {"title": "x", "tags": ["t"]}, user=None)
    assert nonzero(show(project).tags) == {"t": 1}
    actions.archive([memory], user=None)
    assert (nonzero(show(project).tags), nonzero(show(project, "shown=archived").tags)) == ({}, {"t": 1})
    actions.delete([memory], user=None)
    assert (nonzero(show(project, "shown=archived").tags), nonzero(show(project, "shown=deleted").tags)) == (
        {},
        {"t": 1},
    )
    actions.unarchive([memory], user=None)
    assert nonzero(show(project).tags) == {"t": 1}


def test_rows_are_light(project: Project, django_assert_num_queries) -> None:
    actions.create(project, {"title": "short", "text": "é" * 1000}, user=None)
    actions.create(project, {"title": "long", "text": "é" * 30_000}, user=None)
    with django_assert_num_queries(3):
        long, short = show(project).items
        assert (short.excerpt, short.text_length, short.text) == ("é" * 300, 1000, "é" * 1000)
        assert (long.excerpt, long.text_length) == ("é" * 300, 30_000)
    assert "text" in long.get_deferred_fields()
    with django_assert_num_queries(1):
        assert len(long.text) == 30_000


@pytest.mark.usefixtures("memories")
def test_search_takes_one_more_query(project: Project, django_assert_num_queries) -> None:
    with django_assert_num_queries(4):
        show(project, "q=lorem&tag=a")


def test_values_that_a_search_leaves_nothing_of_are_not_offered(project: Project, monkeypatch) -> None:
    actions.create(project, {"title": "found", "tags": ["a"], "kind": "fix"}, user=None)
    actions.create(project, {"title": "other", "tags": ["b"], "kind": "error"}, user=None)
    for few in (listing.FEW, 0):  # tags are counted in one way or the other
        monkeypatch.setattr(listing, "FEW", few)
        shown = show(project, "q=found")
        assert [(each.value, each.count) for each in (*shown.kinds, *shown.tags)] == [("fix", 1), ("a", 1)]
    assert shown.in_use == {"synced": 2}


def test_choices_turn_filters_on_and_off(project: Project) -> None:
    actions.create(project, {"title": "x", "tags": ["t&u"], "kind": "fix"}, user=None)
    (tag,) = show(project, "q=x&sort=title").tags
    assert (tag.on, tag.query) == (False, "?q=x&tag=t%26u&sort=title")
    (tag,) = show(project, tag.query).tags
    assert (tag.on, tag.query) == (True, "?q=x&sort=title")
    gone = show(project, "kind=error&kind=fix&state=conflict")
    assert [(choice.value, choice.count, choice.on) for choice in gone.kinds] == [("error", 0, True), ("fix", 0, True)]
    assert [(choice.value, choice.on) for choice in gone.states][-1] == ("conflict", True)


def test_bad_values_are_ignored() -> None:
    bad = "q=%00+%20x&kind=%00&kind=&tag=" + "t" * 101 + "&state=nope&shown=all&sort=pk&cursor=AAAA&direction=up"
    assert Filters.parse(QueryDict(bad)) == Filters(q="x")
    assert Filters.parse({}) == Filters()
    assert Filters().as_query() == "?"


def test_cursor_is_of_its_sort() -> None:
    cursor = Cursor("some title", 5).encode()
    assert Filters.parse({"sort": "title", "cursor": cursor}).here == Cursor("some title", 5)
    assert Filters.parse({"sort": "changed", "cursor": cursor}).here is None


@given(filters=some_filters)
@lenient
def test_filters_survive_the_address(filters: Filters) -> None:
    assert Filters.parse(QueryDict(filters.as_query()[1:])) == filters


keys = st.none() | st.integers() | st.text() | st.datetimes().map(datetime.isoformat) | st.lists(st.integers())


@given(key=keys, pk=keys, sort=st.sampled_from(list(SORTS)), direction=st.sampled_from(["next", "previous"]))
@lenient
def test_no_cursor_raises(project: Project, memories: list[Memory], key, pk, sort: str, direction: str) -> None:
    show(
        project,
        QueryDict(mutable=True).urlencode()
        + Filters(sort=sort).as_query(cursor=Cursor(key, pk).encode(), direction=direction),
    )


@given(query=st.dictionaries(st.sampled_from(list(vars(Filters()))), st.text(max_size=20)))
@lenient
def test_no_address_raises(project: Project, memories: list[Memory], query: dict[str, str]) -> None:
    page(project, Filters.parse(query))
