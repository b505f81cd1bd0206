"""The merge of texts: what it promises, and the same results as `git merge-file`.

MEMORYHUB_MERGES=20000 compares more, different ones every time.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.merge import MAX_LINES, Changed, Stable, regions, split
from syncjobs.merge import CLASH, merge_text

Case = tuple[str, str, str]
USUAL = 2_400
CASES = int(os.environ.get("MEMORYHUB_MERGES", USUAL))

texts = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "a\r\n", "\r\n", "c\r", "d"]), max_size=9).map("".join)


# --- what it promises


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ("a\nb\nc\nd\n", "A\nb\nc\nd\n", "a\nb\nc\nD\nnew", "A\nb\nc\nD\nnew"),
        ("a\nb\nc\n", "b\nc\n", "a\nb\n", "b\n"),
        ("a\nb\n", "X\na\nb\n", "X\na\nb\nY\n", "X\na\nb\nY\n"),
        ("a\r\nb\r\nc", "A\r\nb\r\nc", "a\r\nb\r\nC", "A\r\nb\r\nC"),
        ("a\rb\rc\r", "A\rb\rc\r", "a\rb\rC\r", "A\rb\rC\r"),
        ("a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
        ("a\u2028b\x0bc\n-\nd\n", "a\u2028b\x0bc\n-\nD\n", "a\u2028B\x0bc\n-\nd\n", "a\u2028B\x0bc\n-\nD\n"),
    ],
)
def test_changes_to_different_lines_are_put_together(base: str, ours: str, theirs: str, merged: str) -> None:
    assert merge_text(base, ours, theirs) == merge_text(base, theirs, ours) == merged


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("a\nb\nc\n", "A\nb\nc\n", "x\nb\nc\n"),
        ("a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n"),  # adjacent
        ("a\nb\nc\n", "a\nc\n", "a\nB\nc\n"),
        ("a\n", "a\nours\n", "a\ntheirs\n"),
        ("", "ours", "theirs"),
        ("a\nb\n", "a\nours\nb\n", "a\ntheirs\nb\n"),
        ("a\n\nb\n\n", "a\n\nb\n\nours\n\n", "a\n\nb\n\ntheirs\n\n"),  # before or after the last blank line
        ("one\n\ntwo\n\n", "one\n\ntwo\n\nours\n\n", "two\n\ntheirs\n\n"),
        ("a", "a\nours", "a\ntheirs"),
        ("a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nb\nC\n"),
    ],
)
def test_changes_at_one_place_clash(base: str, ours: str, theirs: str) -> None:
    assert merge_text(base, ours, theirs) is merge_text(base, theirs, ours) is CLASH
    assert any(region.merged is None for region in regions(base, ours, theirs))


def test_two_additions_at_one_place_are_there_to_choose_from() -> None:
    assert regions("a\nb\n", "a\nours\nb\n", "a\ntheirs\nb\n") == [
        Stable(["a\n"]),
        Changed([], ["ours\n"], ["theirs\n"]),
        Stable(["b\n"]),
    ]


def test_an_addition_after_a_paragraph_that_was_changed() -> None:
    base = "# Notes\n\nfirst\n\nlast\n"
    ours, theirs = base.replace("first", "First"), base.replace("last", "new\n\nlast")
    assert merge_text(base, ours, theirs) == "# Notes\n\nFirst\n\nnew\n\nlast\n"


def test_what_can_be_merged_in_two_ways_is_not() -> None:
    """The blank line is between the first two of four lines, or between the last two."""
    base, ours, theirs = "a\na\n", "a\n\na\n", "a\na\na\na\n"
    assert merge_text(base, ours, theirs) is merge_text(base, theirs, ours) is CLASH


def test_a_text_of_too_many_lines_is_one_clash() -> None:
    many = "".join(f"{number}\n" for number in range(MAX_LINES + 1))
    assert merge_text(many, "first\n" + many, many) == "first\n" + many
    assert merge_text(many, "first\n" + many, many + "last\n") is CLASH


def test_two_additions_around_one_blank_line_clash() -> None:
    """Read from the end, both stand in front of it."""
    base, ours, theirs = "one\n\ntwo\n", "one\nours\n\ntwo\n", "one\n\ntheirs\n\ntwo\n"
    assert merge_text(base, ours, theirs) is merge_text(base, theirs, ours) is CLASH


@given(texts, texts)
def test_where_one_side_or_both_alike_changed_it_there_is_nothing_to_decide(base: str, text: str) -> None:
    assert merge_text(base, text, base) == merge_text(base, base, text) == merge_text(base, text, text) == text


@given(texts, texts, texts)
@settings(max_examples=500)
def test_every_merge_is_made_of_lines_of_the_three(base: str, ours: str, theirs: str) -> None:
    found = regions(base, ours, theirs)
    assert columns(found) == (base, ours, theirs)
    merged = merge_text(base, ours, theirs)
    assert merge_text(base, theirs, ours) == merged
    if merged is CLASH:
        assert any(region.merged is None for region in found)
        return
    b, o, t, m = (split(text) for text in (base, ours, theirs, merged))
    assert set(m) <= {*b, *o, *t}
    assert set(pairs(m)) <= {*pairs(b), *pairs(o), *pairs(t)}, "lines stand together that did in none"
    assert kept_by_both(b, o, t) <= set(m)
    assert split("".join(m)) == m


def columns(found: list[Stable | Changed]) -> Case:
    rows = [(r.lines, r.lines, r.lines) if isinstance(r, Stable) else (r.base, r.ours, r.theirs) for r in found]
    base, ours, theirs = ("".join(line for row in rows for line in row[n]) for n in range(3))
    return base, ours, theirs


def pairs(lines: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *lines], [*lines, ""], strict=True))


def kept_by_both(base: list[str], ours: list[str], theirs: list[str]) -> set[str]:
    """Lines that occur once in the base, and that each still has."""
    return {line for line, count in Counter(base).items() if count == 1} & set(ours) & set(theirs)


# --- git


def letters(rng: random.Random) -> Case:
    """Few different lines: as ambiguous as can be."""
    return edited(rng, [rng.choice("ab-") for _ in range(rng.randint(0, 9))], "ab-")


def words(rng: random.Random) -> Case:
    return edited(rng, [rng.choice("abcdefg-") for _ in range(rng.randint(5, 20))], "abcdefg-")


def paragraphs(rng: random.Random) -> Case:
    """As people write: most lines once, blank ones between."""
    base = [line for _ in range(rng.randint(2, 8)) for line in (f"p{rng.randrange(500)}", "-")]
    return edited(rng, base, [f"n{n}" for n in range(300)], blank=True)


def edited(rng: random.Random, base: list[str], alphabet: str | list[str], *, blank: bool = False) -> Case:
    end = rng.choice(["\n", "\n", "\r\n"])
    return (
        written(rng, base, end),
        written(rng, changed(rng, base, alphabet, blank), end),
        written(rng, changed(rng, base, alphabet, blank), end),
    )


def changed(rng: random.Random, base: list[str], alphabet: str | list[str], blank: bool) -> list[str]:
    lines = list(base)
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        place, count, kind = rng.randrange(len(lines) + 1), rng.choice([1, 1, 1, 2, 3]), rng.random()
        new = [rng.choice(alphabet) for _ in range(count)] + ["-"] * blank
        lines[place : place + (count if kind > 0.4 else 0)] = new if kind < 0.4 or kind > 0.7 else []
    return lines


def written(rng: random.Random, lines: list[str], end: str) -> str:
    text = "".join(line.replace("-", "") + end for line in lines)
    return text.removesuffix(end) if rng.random() < 0.2 else text


def by_git(cases: list[Case], folder: Path) -> list[str | None]:
    """What `git merge-file` makes of them; None where it finds a conflict."""
    for number, case in enumerate(cases):
        for name, text in zip("bot", case, strict=True):
            (folder / f"{number}{name}").write_bytes(text.encode())
    script = "for n; do git merge-file -p -q ${n}o ${n}b ${n}t >${n}r 2>/dev/null || echo no >${n}no; done"
    numbers = "\n".join(map(str, range(len(cases))))
    command = ["xargs", "-P", "4", "-n", "100", "sh", "-c", script, "sh"]
    subprocess.run(command, input=numbers, text=True, cwd=folder, check=True)
    return [
        None if (folder / f"{number}no").exists() else (folder / f"{number}r").read_bytes().decode()
        for number in range(len(cases))
    ]


@pytest.mark.parametrize(
    ("make", "other", "bolder", "stricter"),
    [(letters, 0.005, 0.015, 0.08), (words, 0.003, 0.01, 0.05), (paragraphs, 0, 0.01, 0.06)],
)
def test_it_merges_as_git_does(
    make: Callable[[random.Random], Case], other: float, bolder: float, stricter: float, tmp_path: Path
) -> None:
    """Which share may have another text than git's, a text where git finds a conflict, a clash where git merges.

    Another text: only where few different lines leave open which of them are old, and both readings are as good.
    """
    rng = random.Random(11 if CASES == USUAL else None)
    cases = [make(rng) for _ in range(CASES // 3)]
    theirs = by_git(cases, tmp_path)
    wrong: list[Case] = []
    bold: list[Case] = []
    clashes: list[Case] = []
    both = 0
    for case, git in zip(cases, theirs, strict=True):
        ours = merge_text(*case)
        if ours is CLASH:
            clashes += [case] if git is not None else []
            continue
        assert nothing_is_missing(case, ours)
        if git is None:
            bold.append(case)
        elif ours == git:
            both += 1
        else:
            wrong.append(case)
    print(f"{make.__name__}: same {both}, another {len(wrong)}, bolder {len(bold)}, stricter {len(clashes)}")
    assert both > len(cases) / 4
    assert len(wrong) <= other * len(cases), wrong
    assert len(bold) <= bolder * len(cases), bold
    assert len(clashes) <= stricter * len(cases), clashes


def nothing_is_missing(case: Case, merged: str) -> bool:
    """Whether all is in it that one of them added, and all that both kept."""
    base, ours, theirs = map(split, case)
    added = {*ours, *theirs} - {*base}
    return added | kept_by_both(base, ours, theirs) <= set(split(merged))


# --- cost


def lines_of(rng: random.Random, kind: str) -> list[str]:
    if kind == "prose":
        return [f"line {number} {rng.random()}\n" for number in range(6_500)]
    if kind == "few different lines":
        return [f"{rng.randrange(200)}\n" for _ in range(45_000)]
    if kind == "blank lines":
        return ["\n"] * MAX_LINES
    return ["x" * 200_000]


@pytest.mark.parametrize("kind", ["prose", "few different lines", "blank lines", "one line"])
def test_200_000_characters_take_no_time(kind: str) -> None:
    rng = random.Random(3)
    base = lines_of(rng, kind)
    ours, theirs = list(base), list(base)
    for number in range(min(20, len(base))):
        ours[rng.randrange(len(base) // 2 + 1) % len(base)] = f"ours {number}\n"
        theirs[rng.randrange(len(base) // 2, len(base))] = f"theirs {number}\n"
    began = time.perf_counter()
    merged = merge_text("".join(base), "".join(ours), "".join(theirs))
    assert time.perf_counter() - began < 10
    if kind == "prose":
        assert merged is not CLASH
        assert merged.count("ours") + merged.count("theirs") > 30


def test_what_has_nothing_in_common_is_a_clash_at_once() -> None:
    rng = random.Random(4)
    began = time.perf_counter()
    assert merge_text(*("".join(rng.choices("abc \n", k=200_000)) for _ in range(3))) is CLASH
    assert time.perf_counter() - began < 10
