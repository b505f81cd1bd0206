"""What a person begins with where two texts clash."""

import pytest

from syncjobs.propose import only_additions, propose


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "text", "clashes"),
    [
        ("a\nb\nc\n", "a1\nb\nc\n", "a\nb\nc1\n", "a1\nb\nc1\n", 0),
        ("a\nb\nc\n", "a\nb1\nc\n", "a\nb2\nc\n", "a\nb1\nb2\nc\n", 1),
        ("a\nb\n", "a1\nb\n", "a2\nb2\n", "a1\na2\nb2\n", 1),
        ("a\n", "a\nours\n", "a\ntheirs\n", "a\nours\ntheirs\n", 1),
        ("a\nb\n", "a\n", "a\nb\nc\n", "a\nc\n", 0),
        ("a\nb", "a\nb1", "a\nb2", "a\nb1\nb2", 1),
        ("", "x", "y", "x\ny", 1),
        ("a\r\nb\r\n", "a\r\nb1\r\n", "a2\r\nb\r\n", "a2\r\nb1\r\n", 0),
        ("a\nb", "a\nb\nours", "a\nb\ntheirs", "a\nb\nours\ntheirs", 1),
        ("a\r\nb", "a\r\nb\r\nours", "a\r\nb\r\ntheirs", "a\r\nb\r\nours\r\ntheirs", 1),
        ("b", "b\r\nours", "b\r\ntheirs", "b\r\nours\r\ntheirs", 1),
        ("a\nb", "a\nb\nours\n", "a\nb\ntheirs", "a\nb\nours\ntheirs\n", 1),
        ("a\nb\n", "a\nb\nours\n", "a\nb\ntheirs", "a\nb\nours\ntheirs", 1),
        ("a\nb", "a\nb\nours", "a\nB", "a\nB\nours", 0),
        ("a\nb", "a\nB1\nours", "a\nB2", "a\nB1\nours\nB2", 1),
        ("a\nb\n", "", "a\nb\nc\n", "c\n", 0),
        (None, "a\nb", "a\nb\nc", "a\nb\nc", 0),
        (None, "a\nb\nc", "a\nb2\nc", "a\nb\nb2\nc", 1),
        (None, "a\nc", "a\nb\nc", "a\nb\nc", 0),
        ("same", "same", "same", "same", 0),
        ("", "", "", "", 0),
    ],
)
def test_both_changes_in_one_text(base: str | None, ours: str, theirs: str, text: str, clashes: int) -> None:
    assert propose(base, ours, theirs) == (text, clashes)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "both"),
    [
        ("a\nb\n", "a\nb\nours\n", "a\nb\ntheirs\n", True),
        ("a\nb", "a\nb\nours", "a\nb\ntheirs", True),
        ("a\r\nb", "a\r\nb\r\nours", "a\r\nb\r\ntheirs", True),
        ("a\nb", "a\nb\nours", "a\nb2", False),
        ("a\nb", "a\nb1", "a\nb2", False),
    ],
)
def test_whether_only_additions_meet(base: str, ours: str, theirs: str, both: bool) -> None:
    assert only_additions(base, ours, theirs) is both
