"""In which order found memories come."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from blocks import ranking

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("how do I fix the lock timeout", ["fix", "lock", "timeout"]),
        ("what is it", ["what"]),
        ("parser.on fails", ["parser.on", "parser", "fails"]),
        ("Ärger mit Umlauten!", ["ärger", "mit", "umlauten"]),
        ('say "exactly this"', ["say", "exactly"]),
        ("ab", []),
        ("?!", []),
    ],
)
def test_terms(query: str, terms: list[str]) -> None:
    assert ranking.terms_of(query, 3) == terms


def test_a_rare_term_counts_more_than_a_common_one() -> None:
    common, rare = list(range(100)), [200]
    weights = ranking.by_words([common, rare], 1000).weights
    assert next(iter(weights)) == 200
    assert 0 < weights[0] < weights[200] < 1


def test_all_terms_weigh_one() -> None:
    assert ranking.by_words([[1, 2], [2]], 1000).weights[2] == 1.0


def test_a_term_that_nothing_has_still_counts() -> None:
    assert ranking.by_words([[1], []], 1000).weights[1] < 1


def test_words_that_occur_everywhere_tell_little() -> None:
    everywhere, once = ranking.by_words([range(1000)], 1000), ranking.by_words([[7]], 1000)
    assert (everywhere.weights[7], once.weights[7]) == (1.0, 1.0)
    assert once.telling == pytest.approx(1.0)
    assert everywhere.telling == pytest.approx(0.1, abs=0.01)
    assert ranking.by_words([[7], []], 1000).telling == pytest.approx(1.0)
    assert ranking.by_words([], 1000).telling == 0


def test_words_lift_a_similarity() -> None:
    assert ranking.lifted(0.3, 0) == 0.3
    assert 0.3 < ranking.lifted(0.3, 0.1) < ranking.lifted(0.3, 1) < 1
    assert ranking.lifted(1, 1) == 1


def test_fused_ranks() -> None:
    fused = ranking.fuse([1, 2, 3], [3, 1])
    assert list(fused) == [1, 3, 2]
    assert ranking.fuse([7], [7]) == {7: pytest.approx(1.0)}
    assert ranking.fuse([7], []) == {7: pytest.approx(1.0)}


def test_recall_ranks_as_the_original() -> None:
    fresh = ranking.recall_score(0.5, "template", NOW, NOW)
    assert fresh == pytest.approx(0.70 * 0.5 + 0.25)
    assert ranking.recall_score(0.5, "error", NOW, NOW) == pytest.approx(fresh + 0.10)
    old = ranking.recall_score(0.5, "template", NOW - timedelta(weeks=10), NOW)
    assert old == pytest.approx(0.70 * 0.5 + 0.25 * math.exp(-1))
    assert ranking.recall_score(0.5, "template", NOW + timedelta(weeks=10), NOW) == fresh


def test_times() -> None:
    assert ranking.when("2025-12-31T23:00:00", NOW) == NOW - timedelta(hours=1)
    assert ranking.when("2026-01-01T01:00:00+01:00", NOW - timedelta(1)) == NOW
    assert ranking.when("yesterday", NOW) == NOW


def test_the_excerpt_shows_what_was_found() -> None:
    text = "begin " + "x" * 400 + " the needle is here " + "y" * 400
    part = ranking.excerpt(text, ["needle"], 100)
    assert "needle" in part
    assert part.startswith("… ")
    assert part.endswith(" …")
    assert len(part) < 110
    assert ranking.excerpt("short", ["needle"]) == "short"
