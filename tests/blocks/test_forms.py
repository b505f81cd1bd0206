from hypothesis import given
from hypothesis import strategies as st

from blocks.forms import join_tags, split_tags
from blocks.state import clean_tags

TAGS = st.lists(st.text(alphabet='ab ,"\n', min_size=1, max_size=6)).map(clean_tags)


@given(TAGS)
def test_tags_survive_the_field(tags):
    assert split_tags(join_tags(tags)) == tags


def test_tags_are_separated_by_commas_and_lines():
    assert split_tags('deploy, release,\r\n"a, b"\n,, say "hi"') == ["deploy", "release", "a, b", 'say "hi"']
