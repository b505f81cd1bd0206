"""Line endings of a text that went through a browser's form (pure: standard library only).

A form shows every line ending as one line feed and submits every one as CRLF (HTML Standard, "normalize newlines"),
so the submitted text says nothing about them; the stored one does.
"""

from __future__ import annotations

import re
from collections import Counter

from blocks.diff import opcodes

ENDING = re.compile(r"\r\n|\r|\n")


def to_lf(text: str) -> str:
    """The text with every line ending as a line feed."""
    return ENDING.sub("\n", text)


def as_submitted(text: str) -> str:
    """What a browser submits for a text nobody touched."""
    return ENDING.sub("\r\n", text)


def keep_line_endings(stored: str, submitted: str) -> str:
    """The submitted text with the line endings of the stored one.

    A text of one style keeps that style (line feeds where it has none); in a mixed one every unchanged line keeps
    its own ending, and new lines get the most frequent one.
    """
    new = to_lf(submitted)
    if new == to_lf(stored):
        return stored
    styles = Counter(ENDING.findall(stored))
    usual = styles.most_common(1)[0][0] if styles else "\n"
    if len(styles) < 2:
        return new.replace("\n", usual)
    return _merge_mixed(_lines(stored), _lines(new), usual)


def _lines(text: str) -> list[tuple[str, str]]:
    """Pairs of line and ending; the last ending is '' where the text does not end with one."""
    parts = re.split(r"(\r\n|\r|\n)", text)
    pairs = list(zip(parts[::2], [*parts[1::2], ""], strict=True))
    return pairs if pairs[-1][0] else pairs[:-1]


def _merge_mixed(old: list[tuple[str, str]], new: list[tuple[str, str]], usual: str) -> str:
    lines = [(line, usual if ending else "") for line, ending in new]
    for tag, i1, i2, j1, _ in opcodes([line for line, _ in old], [line for line, _ in new]):
        if tag != "equal":
            continue
        for offset in range(i2 - i1):
            line, ending = lines[j1 + offset]
            if ending and old[i1 + offset][1]:
                lines[j1 + offset] = line, old[i1 + offset][1]
    return _joined(lines)


def _joined(lines: list[tuple[str, str]]) -> str:
    """One text; a CR must not melt with the LF of an empty line after it."""
    parts: list[str] = []
    before = ""
    for line, ending in lines:
        ending = "\r\n" if before == "\r" and line == "" and ending == "\n" else ending
        parts += line, ending
        before = ending
    return "".join(parts)
