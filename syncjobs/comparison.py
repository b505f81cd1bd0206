"""A conflict as a person looks at it: every text there is, and how it came from the base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from blocks import diff
from blocks.state import State
from syncjobs.conflicts import other_conflicts
from syncjobs.models import Conflict, Replica
from syncjobs.propose import propose


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
        return "text" in self.conflict.fields

    @cached_property
    def hub(self) -> State:
        """What stands in the hub. Where the conflict is closed, that may be what was decided."""
        return self.memory.state

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
    def _of(self) -> str:
        return str(self.conflict.connection.side)

    def _third(self, before: str, known: set[str | None]) -> list[Version]:
        """What the other side shows, where that is a text of its own."""
        replicas = Replica.objects.filter(memory=self.memory).exclude(connection=self.conflict.connection)
        current = replicas.exclude(external_id="").select_related("connection", "seen_text")
        shown = [(replica.connection, replica.seen or {}) for replica in current]
        return [
            Version(
                connection.get_side_display().capitalize(),
                state,
                before,
                how="third" if connection.pk in self._also_in_conflict else "",
                of=connection.side,
            )
            for connection, state in shown
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
    def fields(self) -> list[dict[str, Any]]:
        """The other fields that clash."""
        names = [name for name in self.conflict.fields if name != "text"]
        base = self.base or {}
        return [{"name": n, "base": base.get(n), "hub": self.hub.get(n), "side": self.side.get(n)} for n in names]

    def since(self, number: int) -> diff.Diff | None:
        """How the hub's text changed since a revision somebody saw."""
        seen = self.memory.revisions.select_related("text").filter(number=number).first()
        return diff.lines(seen.text.text, self.memory.text) if seen else None
