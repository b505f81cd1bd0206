"""Which words must still be found, by what those who removed them had seen. Pure.

Every edit in a story brings words that nobody wrote before. Whoever edits a text has seen it, so what he takes out of
it is gone by his will. A word that nobody took out must be in a current text, or in an open conflict, in the end: to
let the newer text win, or an agent's older copy, loses words.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z]+\d+")


def words(text: str) -> set[str]:
    return set(WORD.findall(text))


class Ledger:
    """due: the words that nobody took out."""

    def __init__(self) -> None:
        self.due: set[str] = set()

    def edited(self, seen: str, text: str) -> None:
        """Somebody who saw one text made another from it."""
        self.due -= words(seen) - words(text)
        self.due |= words(text) - words(seen)

    def removed(self, *texts: str, but: str = "") -> None:
        """Somebody decided against texts, or they were lost where the hub cannot help it. but: what stays."""
        for text in texts:
            self.due -= words(text) - words(but)

    def undone(self, there: str, copy: str, text: str, pushed: list[tuple[str, str]]) -> None:
        """An agent with an older copy wrote a text over what was there.

        What the hub had written since the copy was read has to come back; what others had written there is lost.
        pushed: what was replaced, and by what, since then.
        """
        ours: set[str] = set()
        for before, after in pushed:
            ours |= words(after) - words(before)
        self.due -= words(there) - words(copy) - ours
        self.edited(copy, text)
