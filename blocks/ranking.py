"""In which order found memories come (pure: standard library only)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from blocks.search import MAX_WORDS

# Words that say nothing about what is looked for; left out unless there are no others.
ENGLISH = """
    a about all an and any are as at be been but by can did do does for from get had has have how i if in into is it its
    me my no not of on or our should so some than that the their them then there these they this to too use was we were
    what when where which who why will with would you your"""
COMMON = frozenset(ENGLISH.split())
WORD = re.compile(r"[^\W_]+(?:[._/:-][^\W_]+)*|[^\W_]+")
FUSION = 60  # of reciprocal rank fusion, as its authors chose it (Cormack, Clarke, Buettcher 2009)
LIFT = 0.8  # of what a memory lacks in similarity, made up for if it has the words of a query that occur nowhere else
IMPORTANT = frozenset({"error", "fix", "decision", "test_failure"})
WEEK = 7 * 24 * 3600.0


def terms_of(query: str, shortest: int) -> list[str]:
    """What to look for, each for itself: words of at least `shortest` characters, lower case, at most 12.

    A word with points or dashes in it (`parser.on`, `lock-file`) is looked for as it is and by its parts.
    """
    found: list[str] = []
    for word in WORD.findall(query.casefold()):
        parts = re.split(r"[._/:-]", word)
        found += [word, *parts] if len(parts) > 1 else [word]
    long = [word for word in dict.fromkeys(found) if len(word) >= shortest]
    telling = [word for word in long if word not in COMMON]
    return (telling or long)[:MAX_WORDS]


@dataclass(frozen=True)
class Worded:
    """What words found. weights: by memory, best first, from 0 to 1; 1: all terms occur. telling: from 0 to 1, how much
    it says of a memory that it has all of them; 1: each of them occurs in one memory only."""

    weights: dict[int, float] = field(default_factory=dict)
    telling: float = 0.0


def by_words(found: Sequence[Sequence[int]], cap: int) -> Worded:
    """Memories by what was found for each term: a rare term counts more than a common one.

    found: for each term the memories in which it occurs, at most `cap`.
    """
    weights = [math.log(1 + cap / len(ids)) if ids else math.log(1 + cap) for ids in found]
    total: dict[int, float] = {}
    for ids, weight in zip(found, weights, strict=True):
        for id in ids:
            total[id] = total.get(id, 0.0) + weight
    whole = sum(weights) or 1.0
    order = sorted(total, key=lambda id: (-total[id], -id))
    most = len(weights) * math.log(1 + cap) or 1.0
    return Worded({id: min(1.0, total[id] / whole) for id in order}, sum(weights) / most)


def lifted(similarity: float, weight: float) -> float:
    """A similarity to a query, and more if its words occur: a name or a number says what vectors do not.

    weight: of the words, from 0 to 1, times how much they tell.
    """
    return similarity + LIFT * weight * (1.0 - similarity)


def fuse(*rankings: Iterable[int]) -> dict[int, float]:
    """One ranking of several by the ranks alone, best first. 1.0: first in all of them."""
    rankings = tuple(list(ranking) for ranking in rankings)
    best = len([ranking for ranking in rankings if ranking]) / (FUSION + 1)
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, id in enumerate(ranking, 1):
            scores[id] = scores.get(id, 0.0) + 1 / (FUSION + place)
    return {id: scores[id] / best for id in sorted(scores, key=lambda id: (-scores[id], -id))}


def recall_score(similarity: float, kind: str, created: datetime, now: datetime) -> float:
    """As the original RAG engine ranks: 0.70 similarity + 0.25 recency + 0.10 for what teams must not forget."""
    weeks = max(0.0, (now - created).total_seconds() / WEEK)
    return 0.70 * similarity + 0.25 * math.exp(-0.1 * weeks) + (0.10 if kind in IMPORTANT else 0.0)


def when(said: str, otherwise: datetime) -> datetime:
    """A time as whoever wrote it gave it; `otherwise` where that is none. Without a zone it counts as UTC."""
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def excerpt(text: str, terms: Sequence[str], size: int = 300) -> str:
    """The part of a text, of about `size` characters, in which the first of some terms occurs; else its beginning."""
    low = text.lower()
    places = [place for place in (low.find(term) for term in terms) if place >= 0]
    start = max(0, min(places, default=0) - size // 3)
    if start:
        start = text.find(" ", start, start + 30) + 1 or start
    end = start + size
    return ("… " if start else "") + text[start:end].strip() + (" …" if end < len(text) else "")
