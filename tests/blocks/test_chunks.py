"""Texts to chunks and back: exact, whatever the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.stores.chunks import (
    OVERLAP,
    SIZE,
    BrokenChunks,
    Part,
    join_foreign,
    join_own,
    original_chunks,
    put_into,
    split,
)

words = st.lists(
    st.sampled_from(["a", "word", " ", "  ", "\n", "\r\n", "\t", "x" * 60, "äß𝄞", "", "\u2028"]), max_size=400
)
texts = st.one_of(st.text(max_size=3000), words.map("".join), words.map(" ".join))


def parts_of(text: str, **changes: str) -> list[Part]:
    """The parts of a text; `c1="..."` replaces the text of chunk 1."""
    edited = {int(name[1:]): new for name, new in changes.items()}
    return [Part(c.start, c.end, edited.get(i, c.text), i in edited) for i, c in enumerate(split(text))]


@given(texts)
def test_own_chunks_join_to_the_exact_text(text):
    assert join_own(parts_of(text)) == text


@given(texts)
def test_own_chunks_are_slices_of_at_most_500_that_overlap_by_50(text):
    chunks = split(text)
    assert all(chunk.text == text[chunk.start : chunk.end] and len(chunk.text) <= SIZE for chunk in chunks)
    assert all(left.end - right.start == OVERLAP for left, right in pairwise(chunks))


@given(texts)
def test_an_unedited_part_marked_as_changed_still_gives_the_exact_text(text):
    parts = parts_of(text)
    for index in range(len(parts)):
        one = [Part(p.start, p.end, p.text, i == index) for i, p in enumerate(parts)]
        assert join_own(one) == text


def test_an_empty_text_is_one_empty_chunk():
    assert [chunk.text for chunk in split("")] == [""]


def test_a_chunk_ends_at_a_space_in_its_last_30_percent():
    text = "x" * 400 + " " + "y" * 300
    assert [(chunk.start, chunk.end) for chunk in split(text)] == [(0, 400), (350, 701)]


def test_a_chunk_without_such_a_space_is_cut_at_500():
    assert split("x" * 300 + " " + "y" * 300)[0].end == 500


LONG = " ".join(f"word{number}" for number in range(300))


def test_a_changed_chunk_replaces_its_slice():
    chunk = split(LONG)[1]
    assert join_own(parts_of(LONG, c1="NEW")) == LONG[: chunk.start] + "NEW" + LONG[chunk.end :]


def test_a_changed_chunk_wins_over_the_unchanged_neighbour_in_the_overlap():
    first, second = split(LONG)[:2]
    edited = "EDITED" + second.text[6:]
    assert second.start < first.end  # the edit lies in what both hold
    assert join_own(parts_of(LONG, c1=edited)) == LONG[: second.start] + edited + LONG[second.end :]


def test_a_word_replaced_in_every_chunk_is_replaced_once_each():
    text = "alpha beta " * 200
    changes = {f"c{i}": chunk.text.replace("alpha", "gamma-delta") for i, chunk in enumerate(split(text))}
    whole = join_own(parts_of(text, **changes))
    assert whole.count("gamma-delta") == pytest.approx(200, abs=len(changes))  # words cut in two stay as they are


def test_two_changed_neighbours_lose_nothing():
    whole = join_own(parts_of(LONG, c0="one", c1="two"))
    assert whole.startswith("onetwo")


def test_texts_are_put_in_the_place_of_chunks():
    text = " ".join(f"word{number}" for number in range(300))
    first, second, *_, last = split(text)
    changed = [(chunk.start, chunk.end, new) for chunk, new in ((first, "FIRST "), (second, "SECOND "), (last, "LAST"))]

    assert put_into(text, changed) == f"FIRST SECOND {text[second.end : last.start]}LAST"
    assert put_into(text, [(0, 7, "none of its chunks")]) is None
    assert put_into(text, [(first.start, first.end, "two"), (first.start, first.end, "texts")]) is None


def test_a_gap_is_broken():
    with pytest.raises(BrokenChunks):
        join_own([Part(0, 10, "x" * 10), Part(11, 20, "y" * 9)])


def test_a_first_part_that_does_not_start_at_0_is_broken():
    with pytest.raises(BrokenChunks):
        join_own([Part(5, 10, "x" * 5)])


@given(st.lists(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), min_size=1, max_size=400).map(" ".join))
def test_the_original_engines_chunks_join_to_the_text_where_spaces_are_single(text):
    unique = " ".join(f"{index}{word}" for index, word in enumerate(text.split(" ")))  # no accidental longer overlap
    assert join_foreign(original_chunks(unique)) == unique


def test_the_original_engine_strips_its_chunks():
    assert original_chunks("  short \n") == ["short"]


def test_the_original_engine_may_add_a_chunk_that_the_last_one_holds():
    assert [len(chunk) for chunk in original_chunks("x" * 970)] == [500, 500, 70]
    assert [len(chunk) for chunk in original_chunks("x" * 940)] == [500, 490, 40]
