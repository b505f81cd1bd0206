"""What to do about one memory: pure, standard library only, no I/O.

`plan(hub, views)` folds what the sides say, in the given order, field by field into one new state of the hub; then
every side that differs from it gets a step. Time never decides, a modification beats a deletion, and what could not
be read says nothing. `docs/sync.md` shows the table this carries out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from syncjobs.merge import CLASH, first_contact, merge_field, merge_tags

State = Mapping[str, Any]
Op = Literal["create", "update", "mark", "delete"]
NAMES = {"letta": "Letta", "local": "the local store"}  # of the sides, in sentences
How = Literal["pull", "merge", "link", "adopt"]


class Seen(Enum):
    """What a look at one side told about one memory."""

    THERE = "there"  # read in full
    GONE = "gone"  # it was there, and its id is proven not to exist
    NOTHING = "nothing"  # it never was there
    UNKNOWN = "unknown"  # not seen, unreadable, out of scope, or the side is off: nothing follows


@dataclass(frozen=True)
class Hub:
    """The memory as the hub has it. live: neither archived nor deleted. shared: it may have a block.

    unsaid: fields that hold a default because nobody has said them yet; whoever says one first is taken.
    """

    state: State
    live: bool = True
    shared: bool = True
    unsaid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class View:
    """The memory as one side shows it.

    base: the state this side and the hub last agreed on (None: never). fields: what this side can carry. two_way,
    reads, writes: the direction. marked: it carries our mark. sharing: only shared memories may be here (Letta).
    disputed: fields that each has overwritten for the other in turn, so that a difference is a conflict.
    """

    side: str
    seen: Seen
    state: State = field(default_factory=dict)
    base: State | None = None
    fields: frozenset[str] = frozenset()
    reads: bool = True  # changes there come to the hub
    writes: bool = True  # changes in the hub go there
    marked: bool = True
    sharing: bool = False
    disputed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Step:
    """One write to one side, and the reason in words."""

    side: str
    op: Op
    why: str


@dataclass
class Plan:
    """What follows. `state`, `live`: the hub's from now on.

    taken: per side how its state came in. parts: what sides showed that is only a part of the new state: kept as a
    revision each. saved: states that are kept as a flagged revision because they are about to be overwritten. clashes:
    per side the fields in conflict. rebase: sides whose base is now what was seen there.
    forget: sides where the item is proven gone and that is settled. archived_by: the side whose deletion archives it.
    notices: what people should know.
    """

    state: dict[str, Any]
    live: bool
    taken: dict[str, How] = field(default_factory=dict)
    parts: dict[str, State] = field(default_factory=dict)
    saved: dict[str, State] = field(default_factory=dict)
    clashes: dict[str, list[str]] = field(default_factory=dict)
    rebase: list[str] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    archived_by: str = ""
    revived_by: str = ""

    @property
    def nothing(self) -> bool:
        """Whether there is no step, no change and no conflict (bookkeeping may remain)."""
        return not (self.steps or self.taken or self.saved or self.clashes or self.archived_by or self.revived_by)


def plan(hub: Hub, views: Sequence[View]) -> Plan:
    """Fold all sides into one state, then bring every side to it. See the module's docstring."""
    result = Plan(state=dict(hub.state), live=hub.live)
    for view in views:
        if view.seen is Seen.THERE:
            _fold(hub, view, result)
    _keep_parts(hub, views, result)
    _fold_deletions(hub, views, result)
    for view in views:
        _step(hub, view, result)
    return result


def _fold(hub: Hub, view: View, result: Plan) -> None:
    changed = changes(view, result.state)
    if not view.reads or (view.sharing and not hub.shared):
        _save_before_overwrite(view, changed, result)
    elif hub.live or _revives(view, changed):
        if not hub.live:
            result.live, result.revived_by = True, view.side
            result.notices.append(
                f"brought back: archived here, but what was changed in {NAMES[view.side]} had not been taken in"
            )
        if not _merge_in(hub, view, changed, result):
            return
    if view.state != view.base:
        result.rebase.append(view.side)


def changes(view: View, state: State) -> list[str]:
    """Fields in which the side differs from the base; where there is no base, from the hub."""
    base = view.base
    if base is None:
        return [name for name in view.state if name in view.fields and view.state[name] != state[name]]
    # A field the base does not say (nobody had marked the item) counts as the hub has it.
    return [name for name in view.state if name in view.fields and view.state[name] != base.get(name, state[name])]


def _revives(view: View, changed: list[str]) -> bool:
    """An archived memory comes back when the side changed it, or was never known to hold it (a restored backup)."""
    return bool(changed) or view.base is None


def _save_before_overwrite(view: View, changed: list[str], result: Plan) -> None:
    if changed:
        result.saved[view.side] = view.state
        result.notices.append(f"changed in {NAMES[view.side]}, where the hub decides: that text is in the history")


def _merge_in(hub: Hub, view: View, changed: list[str], result: Plan) -> bool:
    """Take what the side changed into `result.state`; False where it clashes."""
    merged, clashes = put_together(hub, view, changed, result.state)
    if clashes:
        result.clashes[view.side] = clashes
        return False
    how = _how(view.base, view.state, merged, result.state)
    if how:
        result.taken[view.side] = how
    result.state.update(merged)
    return True


def put_together(hub: Hub, view: View, changed: Iterable[str], ours: State) -> tuple[dict[str, Any], list[str]]:
    """Of the fields that a side changed the values all can live with, and the names of those that clash."""
    merged, clashes = {}, []
    for name in changed:
        value = _merged(hub, view, name, ours[name])
        if value is CLASH:
            clashes.append(name)
        else:
            merged[name] = value
    return merged, clashes


def _merged(hub: Hub, view: View, name: str, ours: Any) -> Any:
    theirs = view.state[name]
    if name in view.disputed:
        return ours if ours == theirs else CLASH
    if view.base is not None:
        return merge_field(name, view.base.get(name, ours), ours, theirs)
    if name in hub.unsaid and ours == hub.state[name]:
        return theirs
    if not view.marked:
        return first_contact(name, ours, theirs)
    # It was in step once, and nothing is known of that any more: only tags can be joined without a guess.
    return merge_tags((), ours, theirs) if name == "tags" else CLASH


def _how(base: State | None, theirs: State, merged: State, ours: State) -> How | None:
    """link: first contact. adopt: both came to the same. pull: the hub takes their state. merge: it takes both."""
    if base is None:
        return "link"
    if not merged:
        return None
    if all(ours[name] == value == theirs[name] for name, value in merged.items()):
        return "adopt"
    return "pull" if all({**ours, **merged}[name] == theirs[name] for name in theirs if name in base) else "merge"


def _keep_parts(hub: Hub, views: Sequence[View], result: Plan) -> None:
    """What went into a merge is nowhere as a whole once the side has the merged state."""
    for view in views:
        text, base = view.state.get("text"), view.base or {}
        known = (result.state["text"], hub.state["text"], base.get("text"), None)
        how = result.taken.get(view.side)
        if how == "merge" or (how and text not in known) or (how == "link" and _replaces(view, result.state)):
            result.parts[view.side] = view.state


def _replaces(view: View, state: State) -> bool:
    """Whether a link gives the side another text, or another time."""
    return any(name in view.state and view.state[name] != state[name] for name in ("text", "created_at"))


def _fold_deletions(hub: Hub, views: Sequence[View], result: Plan) -> None:
    """A proven deletion archives the memory, unless anybody changed it since both agreed."""
    for view in views:
        if view.seen is not Seen.GONE:
            continue
        if not result.live or (view.sharing and not hub.shared):
            result.forget.append(view.side)
        elif not view.reads:
            result.notices.append(f"deleted in {NAMES[view.side]}, where the hub decides: made again")
        elif view.base is not None and _same(view.base, result.state) and not result.clashes:
            result.live, result.archived_by = False, view.side
            result.forget.append(view.side)
        elif view.writes:
            result.notices.append(f"deleted in {NAMES[view.side]} while it was changed elsewhere: made again there")


def _same(base: State, state: State) -> bool:
    return all(state.get(name) == value for name, value in base.items())


def _step(hub: Hub, view: View, result: Plan) -> None:
    if not view.writes or view.seen is Seen.UNKNOWN or view.side in result.clashes:
        return
    wanted = result.live and (hub.shared or not view.sharing)
    if view.seen is Seen.THERE:
        step = _bring(view, result) if wanted else Step(view.side, "delete", _why_delete(result))
    elif wanted and view.side not in result.forget:
        step = Step(view.side, "create", "made again" if view.seen is Seen.GONE else "new there")
    else:
        step = None
    if step:
        result.steps.append(step)


def _bring(view: View, result: Plan) -> Step | None:
    differing = [name for name in view.state if name in view.fields and view.state[name] != result.state[name]]
    if differing:
        return Step(view.side, "update", "changed: " + ", ".join(differing))
    if not view.marked or any(name not in view.state for name in view.fields):
        return Step(view.side, "mark", "marked as the hub's")
    return None


def _why_delete(result: Plan) -> str:
    if result.live:
        return "no longer shared"
    return f"deleted in {NAMES[result.archived_by]}" if result.archived_by else "archived in the hub"
