"""The table of docs/sync.md, row by row: pure, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from syncjobs.merge import CLASH, merge_field, merge_tags
from syncjobs.plan import Hub, Plan, Seen, View, plan

FIELDS = frozenset({"text", "title", "tags"})
BASE: Mapping[str, Any] = {"text": "base", "title": "T", "tags": []}
LETTA = View("letta", Seen.THERE, BASE, BASE, FIELDS, sharing=True)
LOCAL = View("local", Seen.THERE, BASE, BASE, FIELDS)
LINES = replace(LETTA, base={**BASE, "text": "a\n-\nb"})
HUB = Hub(BASE)


def said(text: str = "base", **fields: Any) -> dict[str, Any]:
    return {**BASE, "text": text, **fields}


def hub(text: str = "base", *, live: bool = True, shared: bool = True, **fields: Any) -> Hub:
    return Hub(said(text, **fields), live, shared)


def shows(view: View, text: str = "base", **fields: Any) -> View:
    return replace(view, state=said(text, **fields))


def gone(view: View) -> View:
    return replace(view, seen=Seen.GONE, state={})


def never(view: View) -> View:
    return replace(view, seen=Seen.NOTHING, state={}, base=None, marked=False)


def unknown(view: View) -> View:
    return replace(view, seen=Seen.UNKNOWN, state={})


def ops(result: Plan) -> dict[str, str]:
    return {step.side: step.op for step in result.steps}


ROWS = [
    # hub, side, op on the side, how it was taken, text in the hub, live
    ("nothing changed", hub(), shows(LETTA), None, None, "base", True),
    ("push", hub("H"), shows(LETTA), "update", None, "H", True),
    ("pull", hub(), shows(LETTA, "S"), None, "pull", "S", True),
    ("other lines", hub("H\n-\nb"), shows(LINES, "a\n-\nS"), "update", "merge", "H\n-\nS", True),
    ("adopt", hub("X"), shows(LETTA, "X"), None, "adopt", "X", True),
    ("merge", hub("H"), shows(LETTA, title="S"), "update", "merge", "H", True),
    ("archived", hub(live=False), shows(LETTA), "delete", None, "base", False),
    ("archived, changed there", hub(live=False), shows(LETTA, "S"), None, "pull", "S", True),
    ("archived, gone", hub(live=False), gone(LETTA), None, None, "base", False),
    ("gone", hub(), gone(LETTA), None, None, "base", False),
    ("changed, gone", hub("H"), gone(LETTA), "create", None, "H", True),
    ("not shared", hub(shared=False), shows(LETTA), "delete", None, "base", True),
    ("not shared, changed there", hub(shared=False), shows(LETTA, "S"), "delete", None, "base", True),
    ("not shared, gone", hub(shared=False), gone(LETTA), None, None, "base", True),
    ("not shared, never there", hub(shared=False), never(LETTA), None, None, "base", True),
    ("new", hub(), never(LETTA), "create", None, "base", True),
    ("archived, never there", hub(live=False), never(LETTA), None, None, "base", False),
    ("linked, same", hub(), replace(LETTA, base=None), None, "link", "base", True),
    ("archived, of a restored backup", hub(live=False), replace(LETTA, base=None), None, "link", "base", True),
    ("not marked", hub(), replace(LETTA, marked=False), "mark", None, "base", True),
    ("unknown", hub("H"), unknown(LETTA), None, None, "H", True),
    ("archived, unknown", hub(live=False), unknown(LETTA), None, None, "base", False),
]


@pytest.mark.parametrize(
    ("ours", "view", "op", "how", "text", "live"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
@pytest.mark.parametrize("second", ["as agreed", "unknown", "not there"])
def test_a_row_of_the_table(
    ours: Hub, view: View, op: str | None, how: str | None, text: str, live: bool, second: str
) -> None:
    """Whatever is known of the local side, Letta gets what the table says."""
    views = {"as agreed": [view, LOCAL], "unknown": [view, unknown(LOCAL)], "not there": [view]}[second]
    result = plan(ours, views)
    assert (ops(result).get("letta"), result.taken.get("letta")) == (op, how)
    assert (result.state["text"], result.live) == (text, live)
    assert not result.clashes


@pytest.mark.parametrize("first", ["letta", "local"])
def test_two_different_changes_are_a_conflict_and_that_side_stays_as_it_is(first: str) -> None:
    view, other = (LETTA, LOCAL) if first == "letta" else (LOCAL, LETTA)
    result = plan(hub("H"), [shows(view, "S"), other])
    assert (result.clashes, result.state["text"]) == ({view.side: ["text"]}, "H")
    assert (ops(result), result.rebase) == ({other.side: "update"}, [])


def test_first_contact_with_another_text_is_a_conflict() -> None:
    result = plan(hub("H"), [replace(shows(LETTA, "S"), base=None)])
    assert (result.clashes, ops(result)) == ({"letta": ["text"]}, {})


STRANGER = replace(LETTA, base=None, marked=False, fields=FIELDS | {"created_at"})


@pytest.mark.parametrize(("ours", "theirs"), [("a\nb", "a\nb\n"), ("a\nb", "a\r\nb"), (" a\nb ", "a\nb")])
def test_first_contact_of_texts_that_differ_in_space_keeps_the_longer_one_and_both(ours: str, theirs: str) -> None:
    result = plan(hub(ours), [shows(STRANGER, theirs)])
    assert (result.state["text"], result.clashes) == (max(ours, theirs, key=len), {})
    assert "letta" in result.parts or result.state["text"] == theirs
    assert ops(result) == ({"letta": "update"} if result.state["text"] != theirs else {"letta": "mark"})


def test_first_contact_of_texts_that_differ_in_more_is_a_conflict() -> None:
    assert plan(hub("a\n  b"), [shows(STRANGER, "a\nb")]).clashes == {"letta": ["text"]}


def test_first_contact_joins_what_only_one_says_and_keeps_the_earlier_time() -> None:
    ours = hub(title="", created_at="2025-03-01")
    result = plan(ours, [shows(STRANGER, title="Said", created_at="2025-02-01")])
    assert (result.state["title"], result.state["created_at"], result.clashes) == ("Said", "2025-02-01", {})
    result = plan(ours, [shows(STRANGER, title="Said", created_at="2025-04-01")])
    assert (result.state["created_at"], set(result.parts)) == ("2025-03-01", {"letta"})


def test_first_contact_takes_what_nobody_has_said_yet() -> None:
    ours = Hub(said("same"), unsaid=frozenset({"title"}))
    result = plan(ours, [replace(shows(LOCAL, "same", title="Said", tags=["x"]), base=None)])
    assert (result.state, result.taken) == (said("same", title="Said", tags=["x"]), {"local": "link"})


def test_a_text_that_is_merged_is_kept_as_a_whole() -> None:
    theirs = shows(LINES, "a\n-\nS", title="S")
    result = plan(hub("H\n-\nb"), [theirs])
    assert (result.parts, result.state) == ({"letta": theirs.state}, said("H\n-\nS", title="S"))


def test_what_is_merged_in_other_fields_is_kept_too() -> None:
    theirs = shows(LINES, "a\n-\nb", title="S")
    assert plan(hub("H\n-\nb"), [theirs]).parts == {"letta": theirs.state}


def test_of_a_text_that_is_known_as_a_whole_no_part_is_kept() -> None:
    for ours, view in [
        (hub("a\n-\nb"), shows(LINES, "a\n-\nS")),  # pulled as it is
        (hub("H"), shows(LINES, "H")),
    ]:
        assert plan(ours, [view]).parts == {}


def test_a_part_of_what_the_hub_has_is_kept_too() -> None:
    """The hub's text holds the side's change already: nothing to take, but the side's text is about to go."""
    result = plan(hub("H\n-\nS"), [shows(LINES, "a\n-\nS")])
    assert (result.state["text"], result.taken, ops(result)) == ("H\n-\nS", {"letta": "merge"}, {"letta": "update"})
    assert result.parts["letta"]["text"] == "a\n-\nS"


# --- both sides at once: the order decides who comes first, never who wins


@pytest.mark.parametrize("views", [(LETTA, LOCAL), (LOCAL, LETTA)], ids=["letta first", "local first"])
class TestBothSides:
    def test_changed_to_the_same(self, views: tuple[View, View]) -> None:
        result = plan(HUB, [shows(view, "S") for view in views])
        assert (result.state["text"], ops(result), result.clashes) == ("S", {}, {})

    def test_changed_to_different_texts(self, views: tuple[View, View]) -> None:
        first, second = views
        result = plan(HUB, [shows(first, "1"), shows(second, "2")])
        assert (result.state["text"], result.clashes, ops(result)) == ("1", {second.side: ["text"]}, {})

    def test_changed_in_different_fields(self, views: tuple[View, View]) -> None:
        first, second = views
        result = plan(HUB, [shows(first, "1"), shows(second, title="2", tags=["x"])])
        assert result.state == said("1", title="2", tags=["x"])
        assert ops(result) == {first.side: "update", second.side: "update"}

    def test_all_changed_in_different_lines(self, views: tuple[View, View]) -> None:
        base = said("a\n-\nb\n-\nc")
        first, second = (replace(view, base=base) for view in views)
        result = plan(hub("H\n-\nb\n-\nc"), [shows(first, "a\n-\n1\n-\nc"), shows(second, "a\n-\nb\n-\n2")])
        assert (result.state["text"], result.clashes) == ("H\n-\n1\n-\n2", {})
        assert {side: state["text"] for side, state in result.parts.items()} == {
            first.side: "a\n-\n1\n-\nc",
            second.side: "a\n-\nb\n-\n2",
        }

    def test_changed_in_different_lines_on_the_sides_only(self, views: tuple[View, View]) -> None:
        """The first is pulled as it is, and yet nowhere as a whole once the second is merged."""
        base = said("a\n-\nb")
        first, second = (replace(view, base=base) for view in views)
        result = plan(Hub(base), [shows(first, "1\n-\nb"), shows(second, "a\n-\n2")])
        assert (result.state["text"], result.taken) == ("1\n-\n2", {first.side: "pull", second.side: "merge"})
        assert set(result.parts) == {first.side, second.side}

    def test_all_three_changed(self, views: tuple[View, View]) -> None:
        result = plan(hub("H"), [shows(view, view.side) for view in views])
        assert (result.state["text"], set(result.clashes), ops(result)) == ("H", {"letta", "local"}, {})

    def test_deleted_on_one(self, views: tuple[View, View]) -> None:
        first, second = views
        for order in ([gone(first), second], [second, gone(first)]):
            result = plan(HUB, order)
            assert (result.live, result.archived_by, ops(result)) == (False, first.side, {second.side: "delete"})

    def test_deleted_on_both(self, views: tuple[View, View]) -> None:
        result = plan(HUB, [gone(view) for view in views])
        assert (result.live, ops(result), set(result.forget)) == (False, {}, {"letta", "local"})

    def test_deleted_on_one_and_changed_on_the_other(self, views: tuple[View, View]) -> None:
        first, second = views
        for order in ([gone(first), shows(second, "S")], [shows(second, "S"), gone(first)]):
            result = plan(HUB, order)
            assert (result.live, result.state["text"], ops(result)) == (True, "S", {first.side: "create"})
            assert "made again" in result.notices[0]

    def test_deleted_on_one_and_unknown_on_the_other(self, views: tuple[View, View]) -> None:
        first, second = views
        result = plan(HUB, [gone(first), unknown(second)])
        assert (result.live, ops(result)) == (False, {})

    def test_archived_and_changed_on_one(self, views: tuple[View, View]) -> None:
        first, second = views
        for order in ([shows(first, "S"), second], [second, shows(first, "S")]):
            result = plan(hub(live=False), order)
            assert (result.live, result.revived_by, ops(result)) == (True, first.side, {second.side: "update"})

    def test_a_conflict_on_one_and_a_deletion_on_the_other(self, views: tuple[View, View]) -> None:
        first, second = views
        result = plan(hub("H"), [shows(first, "S"), gone(second)])
        assert (result.live, set(result.clashes), ops(result)) == (True, {first.side}, {second.side: "create"})


# --- directions


def to_side(view: View) -> View:
    return replace(view, reads=False)


def from_side(view: View) -> View:
    return replace(view, writes=False)


def test_where_the_hub_decides_a_change_is_saved_and_overwritten() -> None:
    result = plan(hub("H"), [to_side(shows(LETTA, "S"))])
    assert (result.saved, ops(result), result.state["text"]) == ({"letta": said("S")}, {"letta": "update"}, "H")
    assert not result.clashes
    assert result.notices


def test_where_the_hub_decides_a_deleted_item_is_made_again() -> None:
    result = plan(HUB, [to_side(gone(LETTA)), LOCAL])
    assert (result.live, ops(result)) == (True, {"letta": "create"})


def test_where_the_hub_decides_a_change_does_not_bring_an_archived_memory_back() -> None:
    result = plan(hub(live=False), [to_side(shows(LETTA, "S"))])
    assert (result.live, result.saved, ops(result)) == (False, {"letta": said("S")}, {"letta": "delete"})


@pytest.mark.parametrize(
    "ours", [hub("H"), hub(live=False), hub(shared=False)], ids=["changed", "archived", "not shared"]
)
@pytest.mark.parametrize(
    "view",
    [LETTA, shows(LETTA, "S"), gone(LETTA), never(LETTA), replace(LETTA, marked=False)],
    ids=["as agreed", "changed", "gone", "never there", "not marked"],
)
def test_where_the_side_decides_nothing_is_written_there(ours: Hub, view: View) -> None:
    assert ops(plan(ours, [from_side(view)])) == {}


def test_where_the_side_decides_its_changes_and_deletions_come_in() -> None:
    assert plan(HUB, [from_side(shows(LETTA, "S")), LOCAL]).state["text"] == "S"
    assert ops(plan(HUB, [from_side(gone(LETTA)), LOCAL])) == {"local": "delete"}


def test_what_is_not_shared_is_never_pulled() -> None:
    result = plan(hub(shared=False), [shows(LETTA, "S"), LOCAL])
    assert (result.saved, result.state["text"]) == ({"letta": said("S")}, "base")
    assert ops(result) == {"letta": "delete"}


# --- fields


def test_a_field_that_a_side_does_not_carry_is_left_alone() -> None:
    narrow = replace(LOCAL, fields=frozenset({"text"}), state={"text": "base"}, base={"text": "base"})
    assert plan(hub(title="H"), [narrow]).nothing


def test_a_field_that_the_side_does_not_say_yet_gets_a_mark() -> None:
    silent = replace(LETTA, state={"text": "base", "tags": []}, base={"text": "base", "tags": []})
    assert ops(plan(HUB, [silent])) == {"letta": "mark"}


def test_a_clash_in_one_field_holds_the_whole_side_back() -> None:
    result = plan(hub("H"), [shows(LETTA, "S", title="S")])
    assert (result.state["title"], result.clashes) == ("T", {"letta": ["text"]})


@pytest.mark.parametrize("seen", list(Seen))
def test_a_plan_carried_out_leaves_nothing_to_do(seen: Seen) -> None:
    """After the steps both sides and the bases are the new state: the next plan is empty."""
    view = replace(shows(LETTA, "S"), seen=seen)
    result = plan(hub(title="H"), [view, LOCAL])
    after = Hub(result.state, result.live)
    there = {view.side: view.seen is Seen.THERE for view in (view, LOCAL)} | {
        step.side: step.op != "delete" for step in result.steps
    }
    views = [
        replace(v, seen=Seen.THERE if there[v.side] else Seen.NOTHING, state=result.state, base=result.state)
        for v in (view, LOCAL)
        if v.seen is not Seen.UNKNOWN
    ]
    assert plan(after, views).nothing


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [("b", "b", "b", "b"), ("b", "o", "b", "o"), ("b", "b", "t", "t"), ("b", "x", "x", "x"), ("b", "o", "t", CLASH)],
)
def test_a_field_merges_three_ways(base: str, ours: str, theirs: str, merged: Any) -> None:
    assert merge_field("text", base, ours, theirs) == merged


def test_tags_merge_as_sets() -> None:
    assert merge_tags(["a", "b"], ["a", "c"], ["b", "d"]) == ["c", "d"]
    assert merge_field("tags", None, ["x"], ["y"]) == ["x", "y"]
