"""Markdown to HTML that is safe to show: what memories say comes from people, agents and scripts alike."""

from __future__ import annotations

from collections.abc import Sequence

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_SHOWN = 100_000  # characters; more takes too long while somebody types
TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s"),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}

# Raw HTML stays text. Images are not loaded (they would tell their server who reads a memory): they become links.
_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(["image"])


def render(text: str) -> SafeString:
    """HTML of the first `MAX_SHOWN` characters of a Markdown text. Its headings begin at level 3."""
    tokens = _parser.parse(text[:MAX_SHOWN])
    _lower_headings(tokens)
    html = _parser.renderer.render(tokens, _parser.options, {})
    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)  # noqa: S308 - sanitised just above


def _lower_headings(tokens: Sequence[Token]) -> None:
    """Levels that fit below the page's own headings, none left out on the way down."""
    level = 2
    for token in tokens:
        if token.type == "heading_open":
            level = min(int(token.tag[1]) + 2, level + 1, 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{level}"
