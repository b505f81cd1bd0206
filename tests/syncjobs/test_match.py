"""Which item is which memory (no database)."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.stores.base import Snapshot
from syncjobs.match import Item, Link, Matcher, Row

ONE, TWO = uuid4(), uuid4()


def row(uuid: UUID = ONE, id: int = 1) -> Row:
    return Row(id, uuid, "h", True, True)


def link(external_id: str, memory_id: int = 1) -> Link:
    return Link(memory_id, external_id, 1, "b", "h", "ok", True)


def snap(id: str, uuid: UUID | None = None, **state: Any) -> Snapshot:
    return Snapshot(id=id, state={"text": "text", **state}, uuid=uuid)


def seen(matcher: Matcher, uuid: UUID, side: str = "letta") -> str | None:
    found = matcher.items[uuid].seen.get(side)
    return found.id if found else None


def fresh(matcher: Matcher) -> list[Item]:
    return [item for item in matcher.items.values() if item.row is None]


def test_the_link_comes_before_the_mark() -> None:
    matcher = Matcher([row(ONE, 1), row(TWO, 2)], {"letta": [link("b1", 1)]})
    matcher.put("letta", [snap("b1", TWO)], set(), set())
    assert (seen(matcher, ONE), seen(matcher, TWO)) == ("b1", None)


def test_the_mark_finds_a_memory_without_a_link() -> None:
    matcher = Matcher([row()], {})
    matcher.put("letta", [snap("b1", ONE)], set(), set())
    assert seen(matcher, ONE) == "b1"


def test_the_document_id_finds_a_memory_whose_mark_is_lost() -> None:
    matcher = Matcher([row()], {})
    matcher.put("local", [snap(str(ONE))], set(), set())
    assert seen(matcher, ONE, "local") == str(ONE)


def test_an_unknown_mark_makes_a_memory_with_that_uuid() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", ONE)], set(), set())
    matcher.put("local", [snap("d1", ONE)], set(), set())
    (item,) = fresh(matcher)
    assert (item.uuid, set(item.seen)) == (ONE, {"letta", "local"})


def test_the_mark_of_another_projects_memory_is_not_taken_over() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", ONE)], set(), {ONE})
    (item,) = fresh(matcher)
    assert item.uuid != ONE


def test_of_two_with_one_mark_the_linked_one_keeps_it() -> None:
    for order in (["b1", "b2"], ["b2", "b1"]):
        matcher = Matcher([row()], {"letta": [link("b1")]})
        matcher.put("letta", [snap(id, ONE) for id in order], set(), set())
        assert seen(matcher, ONE) == "b1"
        assert [(side, twin.id) for side, twin in matcher.twins] == [("letta", "b2")]


def test_a_linked_item_that_is_not_seen_keeps_the_mark_unless_it_is_proven_gone() -> None:
    matcher = Matcher([row()], {"letta": [link("b1")]})
    matcher.put("letta", [snap("b2", ONE)], set(), set())
    assert seen(matcher, ONE) is None
    assert [twin.id for _, twin in matcher.twins] == ["b2"]
    matcher = Matcher([row()], {"letta": [link("b1")]})
    matcher.put("letta", [snap("b2", ONE)], {"b1"}, set())
    assert seen(matcher, ONE) == "b2"
    assert not matcher.items[ONE].gone
    assert not matcher.twins


def test_what_is_proven_gone_is_known_as_gone() -> None:
    matcher = Matcher([row()], {"letta": [link("b1")]})
    matcher.put("letta", [], {"b1", "never heard of"}, set())
    assert matcher.items[ONE].gone == {"letta"}


def test_equal_items_of_two_sides_are_one_memory() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", label="fix-the-cache")], set(), set())
    matcher.put("local", [snap("d1", title="Fix the cache")], set(), set())
    (item,) = fresh(matcher)
    assert set(item.seen) == {"letta", "local"}


@pytest.mark.parametrize(("blocks", "records", "sides"), [(1, 2, [1, 2]), (2, 1, [1, 2]), (2, 2, [2, 2])])
def test_of_several_equal_items_each_pairs_once(blocks: int, records: int, sides: list[int]) -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap(f"b{n}", title="T") for n in range(blocks)], set(), set())
    matcher.put("local", [snap(f"d{n}", title="T") for n in range(records)], set(), set())
    assert sorted(len(item.seen) for item in fresh(matcher)) == sides


def test_of_several_with_one_text_and_name_the_equal_ones_pair() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap(f"b{n}", title="T", source=f"s{n}") for n in range(3)], set(), set())
    matcher.put("local", [snap(f"d{n}", title="T", source=f"s{n}") for n in (2, 0, 1)], set(), set())
    assert sorted(tuple(s.id for s in item.seen.values()) for item in fresh(matcher)) == [
        (f"b{n}", f"d{n}") for n in range(3)
    ]


LONG = "Several filters need an $and: one condition alone stands by itself."


@pytest.mark.parametrize("text", [f"{LONG}\n", LONG.replace(" ", "\r\n"), f"  {LONG}"])
def test_space_makes_no_other_memory(text: str) -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", label="filters", text=text)], set(), set())
    matcher.put("local", [snap("d1", title="Filters", text=LONG)], set(), set())
    assert [set(item.seen) for item in fresh(matcher)] == [{"letta", "local"}]


def test_a_long_text_that_is_there_once_is_known_under_another_name() -> None:
    def found(text: str, *records: str) -> list[int]:
        matcher = Matcher([], {})
        matcher.put("letta", [snap("b1", label="one name", text=text)], set(), set())
        matcher.put("local", [snap(id, title=f"other {id}", text=text) for id in records], set(), set())
        return sorted(len(item.seen) for item in fresh(matcher))

    assert found(LONG, "d1") == [2]
    assert found(LONG, "d1", "d2") == [1, 1, 1]
    assert found("ok", "d1") == [1, 1]


def test_names_without_latin_letters_are_told_apart() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", title="发布"), snap("b2", title="回滚")], set(), set())
    matcher.put("local", [snap("d2", title="回滚"), snap("d3", title="测试")], set(), set())
    found = sorted(tuple(s.id for s in item.seen.values()) for item in fresh(matcher))
    assert found == [("b1",), ("b2", "d2"), ("d3",)]


def test_a_memory_that_is_on_no_side_yet_is_known_by_its_text() -> None:
    def states(ids: list[int], texts: set[str]) -> dict[int, dict[str, Any]]:
        assert (ids, texts) == ([1], {"text"})
        return {1: {"text": "text", "title": "T"}}

    matcher = Matcher([row()], {}, states)
    matcher.put("letta", [snap("b1", title="T")], set(), set())
    assert (seen(matcher, ONE), fresh(matcher)) == ("b1", [])


@pytest.mark.parametrize("known", [Row(1, ONE, "h", True, False), Row(1, ONE, "h", False, True)])
def test_what_is_kept_local_or_archived_takes_no_block_of_others(known: Row) -> None:
    """It would be deleted there."""
    matcher = Matcher([known], {"local": [link("d1")]}, lambda ids, texts: {1: {"text": "text", "title": "T"}})
    matcher.put("local", [snap("d1", title="T")], set(), set())
    matcher.put("letta", [snap("b1", title="T")], set(), set())
    assert seen(matcher, ONE) is None
    assert len(fresh(matcher)) == 1


def test_an_empty_text_equals_nothing() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", title="T", text="")], set(), set())
    matcher.put("local", [snap("d1", title="T", text="")], set(), set())
    assert len(fresh(matcher)) == 2
