"""Which item is which memory (no database)."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

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


def test_equal_items_pair_once_and_never_on_a_guess() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", title="T")], set(), set())
    matcher.put("local", [snap("d1", title="T"), snap("d2", title="T")], set(), set())
    assert sorted(len(item.seen) for item in fresh(matcher)) == [1, 2]
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", title="T"), snap("b2", title="T")], set(), set())
    matcher.put("local", [snap("d1", title="T")], set(), set())
    assert [len(item.seen) for item in fresh(matcher)] == [1, 1, 1]


def test_an_empty_text_equals_nothing() -> None:
    matcher = Matcher([], {})
    matcher.put("letta", [snap("b1", title="T", text="")], set(), set())
    matcher.put("local", [snap("d1", title="T", text="")], set(), set())
    assert len(fresh(matcher)) == 2
