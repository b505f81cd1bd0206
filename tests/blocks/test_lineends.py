import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.lineends import as_submitted, keep_line_endings, to_lf

TEXT = st.text(alphabet=["a", "b", "\n", "\r", " "], max_size=30)


@given(TEXT)
def test_what_nobody_touched_is_unchanged(text):
    assert keep_line_endings(text, as_submitted(text)) == text


@given(TEXT, TEXT)
def test_only_line_endings_are_touched(stored, typed):
    assert to_lf(keep_line_endings(stored, as_submitted(typed))) == to_lf(typed)


@pytest.mark.parametrize(
    ("stored", "submitted", "kept"),
    [
        ("a\nb", "a\r\nb\r\nc", "a\nb\nc"),
        ("", "a\r\nb", "a\nb"),
        ("a\r\nb", "a\r\nb\r\nc", "a\r\nb\r\nc"),
        ("a\r\nb\nc\n", "a\r\nb\r\nnew\r\nc\r\n", "a\r\nb\nnew\nc\n"),
        ("a\rb\r", "a\r\nc\r\n", "a\rc\r"),
    ],
)
def test_an_edit_keeps_the_style(stored, submitted, kept):
    assert keep_line_endings(stored, submitted) == kept
