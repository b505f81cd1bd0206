"""A conflict as a person looks at it: every text there is, and how it came from the base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils.text import Truncator

from blocks import diff
from blocks.standing import places_of
from blocks.state import FIELDS, State
from blocks.templatetags.hub import plain
from syncjobs.conflicts import fold, other_conflicts, shown
from syncjobs.models import Conflict, Connection, Replica, Side
from syncjobs.propose import only_additions, propose

SHOWN = 60  # characters of a value that are shown in a sentence


@dataclass
class Version:
    """One of the texts. how: the resolution that keeps it, '' where it is only shown."""

    title: str
    state: State
    before: str
    how: str = ""
    of: str = ""  # the side whose colour it has

    @property
    def text(self) -> str:
        return str(self.state.get("text", ""))

    @property
    def what(self) -> str:
        """What the diff is, for screen readers."""
        return f"{self.title}: what differs"

    @cached_property
    def diff(self) -> diff.Diff:
        return diff.lines(self.before, self.text)


class Comparison:
    """conflict: with `memory` and `connection` loaded."""

    def __init__(self, conflict: Conflict) -> None:
        self.conflict, self.memory = conflict, conflict.memory
        self.base, self.side = conflict.base, conflict.side
        self.name = conflict.connection.get_side_display()

    @property
    def known_base(self) -> bool:
        return self.base is not None

    @property
    def about_text(self) -> bool:
        return "text" in self.clashes

    @cached_property
    def _folded(self) -> tuple[State, list[str]]:
        return fold(self.conflict, self.memory)

    @property
    def clashes(self) -> list[str]:
        return self._folded[1]

    @cached_property
    def also(self) -> list[tuple[str, str]]:
        """What is taken over whatever is kept, in words, with where it comes from: ('kind gotcha', 'Letta')."""
        if self.conflict.closed_at:
            return []
        new = {**self.hub, **self._folded[0]}
        names = [name for name in FIELDS if name in self.side and name not in self.clashes]
        # What comes from one is what changes in the other by it.
        ways = ((self.name, self.side, self.hub), ("the hub", self.hub, self.side))
        news = [
            (whose, [taken(name, there[name], new[name], own[name]) for name in names if there[name] != new[name]])
            for whose, own, there in ways
        ]
        return [(", ".join(words), whose) for whose, words in news if words]

    @cached_property
    def hub(self) -> State:
        """What stands in the hub; where the conflict is closed, what stood there before it was."""
        closed_at, revisions = self.conflict.closed_at, self.memory.revisions.select_related("text")
        if closed_at is None:
            return self.memory.state
        decision = revisions.filter(created_at__gte=closed_at).exclude(parents=[]).last()
        if decision and self.conflict.resolution != "moot":
            then = revisions.filter(number__lte=decision.parents[0]).first()
        else:
            then = revisions.filter(created_at__lte=closed_at).first()
        return then.state if then else self.memory.state

    @property
    def shown(self) -> str:
        return shown(self.conflict)

    @cached_property
    def versions(self) -> list[Version]:
        """The hub's and the side's, each against the base; without one, the side's against the hub's."""
        ours, theirs = str(self.hub["text"]), str(self.side.get("text", ""))
        before = str(self.base.get("text", "")) if self.base else None
        return [
            Version("The hub", self.hub, ours if before is None else before, "hub"),
            Version(self.name.capitalize(), self.side, ours if before is None else before, "side", self._of),
            *self._third(before or ours, {ours, theirs, before}),
        ]

    @property
    def same_text(self) -> bool:
        return bool(self.hub["text"] == self.side.get("text"))

    @cached_property
    def elsewhere(self) -> list[str]:
        """Where the other side's text is none of its own, in words: 'local still has the text both had before'."""
        if self.conflict.closed_at or not self.about_text:
            return []
        whose = {
            (self.base or {}).get("text"): "still has the text both had before",
            self.side.get("text"): f"has the same text as {self.name}",
            self.hub["text"]: "has the same text as the hub",
        }
        return [f"{place.get_side_display()} {whose[text]}" for place, text in self._others() if text in whose]

    def _others(self) -> list[tuple[Connection, str]]:
        """The text that the project's other side shows."""
        return [(place, state["text"]) for place, state in self._shown_elsewhere if "text" in state]

    @cached_property
    def _shown_elsewhere(self) -> list[tuple[Connection, State]]:
        here = [place.connection for place in places_of(self.memory.project).values() if place.kind == "server"]
        replicas = Replica.objects.filter(memory=self.memory, connection__in=[place for place in here if place])
        current = replicas.exclude(connection=self.conflict.connection).exclude(external_id="")
        return [(r.connection, r.seen or {}) for r in current.select_related("connection", "seen_text")]

    @property
    def _of(self) -> str:
        return str(self.conflict.connection.side)

    def _third(self, before: str, known: set[str | None]) -> list[Version]:
        """What the other side shows, where that is a text of its own."""
        return [
            Version(
                connection.get_side_display().capitalize(),
                state,
                before,
                how="third" if connection.pk in self._also_in_conflict else "",
                of=connection.side,
            )
            for connection, state in self._shown_elsewhere
            if "text" in state and state["text"] not in known
        ]

    @cached_property
    def _also_in_conflict(self) -> dict[int, str]:
        """The other sides this memory is in conflict with."""
        return {other.connection_id: other.connection.get_side_display() for other in other_conflicts(self.conflict)}

    @property
    def names(self) -> list[str]:
        """The sides whose texts become memories of their own if all are kept."""
        return [self.name, *self._also_in_conflict.values()]

    @cached_property
    def base_text(self) -> str:
        return str((self.base or {}).get("text", ""))

    @cached_property
    def proposal(self) -> tuple[str, int]:
        base = self.base_text if self.known_base else None
        return propose(base, str(self.hub["text"]), str(self.side.get("text", "")))

    @property
    def left_out(self) -> str:
        """The other side, if it has a text of its own: nothing of that is in the proposal."""
        return next((str(Side(version.of).label) for version in self.versions[2:]), "")

    @cached_property
    def only_additions(self) -> bool:
        """Whether the proposal has the additions of both, and nothing else meets."""
        return self.known_base and only_additions(self.base_text, str(self.hub["text"]), str(self.side.get("text", "")))

    @property
    def fields(self) -> list[dict[str, Any]]:
        """The other fields that clash."""
        names = [name for name in self.clashes if name != "text"]
        base = self.base or {}
        return [{"name": n, "base": base.get(n), "hub": self.hub.get(n), "side": self.side.get(n)} for n in names]

    def since(self, number: int) -> diff.Diff | None:
        """How the hub's text changed since a revision somebody saw."""
        seen = self.memory.revisions.select_related("text").filter(number=number).first()
        return diff.lines(seen.text.text, self.memory.text) if seen else None


def taken(name: str, old: Any, new: Any, own: Any) -> str:
    """In words what becomes of a field. own: the value of where the change comes from, which may have only a part."""
    if name == "text":
        return "the text" if new == own else "other lines of the text"
    label = name.replace("_", " ")
    if name == "tags":
        signs = [f"+{tag}" for tag in new if tag not in old] + [f"-{tag}" for tag in old if tag not in new]
        return f"{label} {' '.join(signs)}"
    if isinstance(new, bool):
        return label if new else f"not {label}"
    return f"{label} {Truncator(plain(new)).chars(SHOWN)}" if new != "" else f"no {label}"
