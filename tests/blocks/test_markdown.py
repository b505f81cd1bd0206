import pytest

from blocks.markdown import render


def test_markdown_is_rendered():
    assert render("**bold** and `code`") == "<p><strong>bold</strong> and <code>code</code></p>\n"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<a href='javascript:alert(1)'>x</a>",
        "![x](http://tracker.example/pixel.png)",
        "<javascript:alert(1)>",
        "<style>body{display:none}</style>",
        "[x](https://a.example 'onmouseover=alert(1)')",
    ],
)
def test_nothing_in_it_can_run_or_load(text):
    html = render(text)
    assert not any(bad in html for bad in ("<script", "<img", "<style", 'href="javascript', 'href="data', "<a onmouse"))


def test_links_tell_nobody_where_they_came_from():
    assert 'rel="noopener noreferrer nofollow"' in render("[x](https://a.example)")


def test_headings_fit_below_the_pages_own():
    html = render("# One\n\n#### Deep\n\n# Two")
    assert [html.count(f"<h{n}>") for n in (1, 2, 3, 4, 5)] == [0, 0, 2, 1, 0]


def test_a_huge_text_is_cut():
    assert len(render("word " * 100_000)) < 110_000
