"""How a step of a run is drawn: towards the side it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import template

register = template.Library()


@dataclass(frozen=True)
class StepWords:
    """sign: an arrow as the columns stand (Letta left, local right). tone: a CSS class."""

    sign: str
    word: str
    tone: str


SIDES = {"letta": "Letta", "local": "local", "hub": "the hub"}


@register.simple_tag
def step_words(step: dict[str, Any]) -> StepWords:
    """A step as `syncjobs.planning.describe` gives it, in words."""
    op, side = step["op"], step["side"]
    to = "←" if side == "letta" else "→"
    back = "→" if side == "letta" else "←"
    name = SIDES.get(side, side)
    words = {
        "create": StepWords(to, f"push to {name}, new", "go"),
        "update": StepWords(to, f"push to {name}", "go"),
        "mark": StepWords(to, f"mark on {name}", "soft"),
        "delete": StepWords("✕", f"delete on {name}", "bad-text"),
        "pull": StepWords(back, f"pull from {name}", "warn"),
        "merge": StepWords("⇄", f"merge with {name}", "good"),
        "link": StepWords("=", f"link with {name}", "good"),
        "adopt": StepWords("=", f"same on {name}", "good"),
        "archive": StepWords("✕", "archive in the hub", "bad-text"),
        "conflict": StepWords("≠", f"conflict with {name}", "bad-text"),
    }
    return words.get(op, StepWords("…", str(op), "soft"))
