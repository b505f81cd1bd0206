import random
import time

from hypothesis import given
from hypothesis import strategies as st

from blocks import diff

ITEMS = st.lists(st.sampled_from(["a", "b", "c", "", "dd"]), max_size=40)


def rebuilt(a, b):
    return [line for tag, i1, i2, j1, j2 in diff.opcodes(a, b) for line in (a[i1:i2] if tag == "equal" else b[j1:j2])]


@given(ITEMS, ITEMS)
def test_opcodes_turn_one_into_the_other(a, b):
    assert rebuilt(a, b) == b


def test_what_is_too_large_for_difflib_is_still_right(monkeypatch):
    monkeypatch.setattr(diff, "SMALL", 20)
    rng = random.Random(1)
    a = [str(rng.randrange(60)) for _ in range(200)]
    b = [line for line in a if rng.random() > 0.2] + ["new"]
    assert rebuilt(a, b) == b
    assert sum(i2 - i1 for tag, i1, i2, _, _ in diff.opcodes(a, b) if tag == "equal") > 20


def test_words_that_changed_are_marked():
    shown = diff.lines("one\nUpdate version\nthree", "one\nUpdate version and changelog\nthree")
    added = next(row for row in shown.rows if row.kind == "add")
    assert [s.text for s in added.segments if s.kind == "add"] == [" and changelog"]
    assert (shown.added, shown.cut, added.new) == (1, 1, 2)


def test_far_unchanged_lines_are_left_out():
    old = "\n".join(map(str, range(100)))
    kinds = [row.kind for row in diff.lines(old, old.replace("50", "fifty")).rows]
    assert kinds == ["skip", *["same"] * 3, "cut", "add", *["same"] * 3, "skip"]


def test_the_same_text_has_no_rows_to_draw():
    assert not diff.lines("a\nb", "a\nb")


def test_a_difference_of_line_endings_is_said():
    shown = diff.lines("a\nb", "a\r\nb")
    assert shown
    assert "line endings" in shown.rows[0].segments[0].text


def test_huge_texts_do_not_hang():
    rng = random.Random(2)
    old, new = ("".join(rng.choices("abc \n", k=200_000)) for _ in range(2))
    began = time.perf_counter()
    shown = diff.lines(old, new)
    diff.lines(old.replace("\n", " "), new.replace("\n", " "))
    diff.excerpt(old, new)
    assert time.perf_counter() - began < 15
    assert len(shown.rows) <= diff.MAX_ROWS
    assert shown.more


def test_an_excerpt_begins_near_the_difference():
    shown = diff.excerpt("x " * 400 + "old end", "x " * 400 + "new end")
    assert ("cut", "old") in [(s.kind, s.text) for s in shown]
    assert ("add", "new") in [(s.kind, s.text) for s in shown]


def marked(old, new):
    """What is marked in the lines of the second text."""
    return [s.text for row in diff.lines(old, new).rows for s in row.segments if row.kind == "add" and s.kind == "add"]


def test_what_is_no_word_between_two_changes_is_marked_with_them():
    assert marked("always keep one, two, three of these", "always keep four, five, six of these") == ["four, five, six"]


def test_a_line_of_which_most_changed_is_shown_whole():
    old = "the queue loses a job when a worker is stopped in the middle of it by the system"
    new = "a job of the queue is lost in case that the worker of it was stopped by a restart of the host"
    assert marked(old, new) == []


def test_a_few_changes_in_a_long_line_are_marked():
    old = "the nightly import of the website waits for the queue before the search index is built"
    assert marked(old, old.replace("nightly", "hourly").replace("search", "new")) == ["hourly", "new"]


def test_what_is_marked_in_one_line_is_marked_in_the_one_that_faces_it():
    assert marked("- Freeze at noon on Thursday", "- Freeze at 10:00 on Wednesday") == ["10:00", "Wednesday"]
