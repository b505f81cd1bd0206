"""Finding memories by what they are about: Chroma's vectors and the database's full text, put together.

What was written a moment ago is found by its words at once, and by its meaning as soon as it is in the local store.
Where that is down, or the project has none, words alone decide, and the answer says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from blocks import ranking
from blocks.models import Memory, MemoryQuerySet
from blocks.ranking import Worded
from blocks.search import IN_INDEX, IN_WORDS, NEWEST_IN_INDEX, SPACES, TRIGRAM, clean, matching
from blocks.stores.base import StoreError
from blocks.stores.embeddings import embed
from blocks.stores.opening import open_chroma
from memoryhub.models import Direction, LocalStore, Project
from memoryhub.secrets import UnreadableSecret

if TYPE_CHECKING:
    from blocks.stores.chroma import ChromaStore

logger = logging.getLogger(__name__)
Order = Literal["relevance", "recall"]
Mode = Literal["auto", "words", "meaning"]
Lifted = Callable[[int, float], float]  # a memory's similarity with its words counted in, of its id and its cosine
POOL = 50  # memories that each way of searching brings in
CAP = 1000  # the newest memories in which a term occurs: what occurs in more says little
PATIENCE = 2.0  # seconds that a search waits for Chroma
PAUSE = 10.0  # seconds for which a store that did not answer is not asked again
EMBEDDED = 3  # memories not in the store yet whose vectors are made for one answer
MARGIN = 0.05  # of similarity by which Chroma's index, which looks at a part of the rows only, may have missed one
SCORED = ("kind", "created_at", "changed_at")  # what counts besides the text, which is long to read
vectors = ThreadPoolExecutor(4, "vectors")
HEAD = 500  # characters of their texts that count: as much as a record holds


@dataclass(frozen=True)
class Hit:
    """A found memory. score: what it is ordered by. similarity: cosine to the query, in the order 'recall' lifted for
    the words it has of it; None where no vector is known."""

    memory: Memory
    score: float
    similarity: float | None
    excerpt: str


@dataclass(frozen=True)
class Found:
    """hits: best first. how: 'meaning and words', 'words' or 'meaning'. note: why not by meaning, where that failed."""

    hits: list[Hit]
    how: str
    note: str = ""


@dataclass
class _Meaning:
    """What the local store says: similarities by memory, best first; `store`, `vector` to ask for more. farthest: the
    similarity that none of the store's other memories exceeds, as far as that is known."""

    ranked: dict[int, float] = field(default_factory=dict)
    farthest: float = 1.0
    store: ChromaStore | None = None
    vector: list[float] = field(default_factory=list)
    note: str = ""


def search(
    project: Project,
    query: str,
    *,
    limit: int = 10,
    order: Order = "relevance",
    mode: Mode = "auto",
    kinds: Sequence[str] = (),
    tags: Sequence[str] = (),
    client: str = "",
) -> Found:
    """The live memories of a project that answer a query best.

    order: 'relevance' puts the ranks of both ways together, 'recall' ranks as the original RAG engine did, by
    similarity, age and kind. kinds: one of them; tags: all of them. At most 50 hits.
    """
    query = clean(query)
    if not query:
        return Found([], "words")
    narrow = bool(kinds or tags or client)
    among = _among(project, kinds, tags, client)
    terms = ranking.terms_of(query, TRIGRAM if connection.vendor == "sqlite" else 1)
    unasked = _Meaning() if mode == "words" else _without_meaning(project)
    vector = None if unasked else vectors.submit(embed, [query])  # while the database looks for the words
    words = Worded() if mode == "meaning" else _by_words(among, query, terms, None if narrow else project)
    meaning = _by_meaning(project, among, vector, narrow) if vector else unasked or _Meaning()
    pool = list(dict.fromkeys([*list(words.weights)[:POOL], *meaning.ranked]))
    memories = {memory.pk: memory for memory in among.filter(pk__in=pool).only(*SCORED)}
    if order == "recall":
        similar = _similarities(memories, words, meaning, limit)
        scores = _recall_scores(memories, words, similar)
    else:
        similar = meaning.ranked
        fused = ranking.fuse(list(words.weights)[:POOL], similar)
        scores = {pk: score for pk, score in fused.items() if pk in memories}
    best = sorted(scores, key=lambda pk: (-scores[pk], -pk))[: min(limit, POOL)]
    whole = Memory.objects.select_related("project").in_bulk(best)
    hits = [Hit(whole[pk], scores[pk], similar.get(pk), _excerpt(whole[pk], terms)) for pk in best if pk in whole]
    return Found(hits, _how(mode, meaning), meaning.note)


def _how(mode: Mode, meaning: _Meaning) -> str:
    if mode == "meaning":
        return "meaning"
    return "words" if meaning.store is None else "meaning and words"


def _excerpt(memory: Memory, terms: Sequence[str]) -> str:
    return ranking.excerpt(memory.text, terms)


def _among(project: Project, kinds: Sequence[str], tags: Sequence[str], client: str) -> MemoryQuerySet:
    among = Memory.objects.live().filter(project=project)
    if kinds:
        among = among.filter(kind__in=kinds)
    if client:
        among = among.filter(client=client)
    for tag in tags:
        among = among.filter(pk__in=_tagged(project, tag))
    return among


def _tagged(project: Project, tag: str) -> Any:
    if connection.vendor == "sqlite":
        sql = "SELECT memory_id FROM blocks_tag WHERE project_id = %s AND shown = 'live' AND tag = %s"
        return RawSQL(sql, [project.pk, tag])  # noqa: S611
    return Memory.objects.filter(project=project, tags__contains=[tag]).values("pk")


# --- words


def _by_words(among: MemoryQuerySet, query: str, terms: list[str], whole: Project | None) -> Worded:
    """Memories with words of a query. One without a word that could be looked for is searched for as a whole.

    whole: the project, where `among` is all that lives in it.
    """
    if not terms:
        found = matching(among, query).order_by("-changed_at", "-pk").values_list("pk", flat=True)[:POOL]
        return Worded(dict.fromkeys(found, 0.5), telling=1.0)
    if whole and connection.vendor == "sqlite":
        return ranking.by_words([_newest_with(whole, term) for term in terms], CAP)
    return ranking.by_words([list(_with(among, term)) for term in terms], CAP)


def _newest_with(project: Project, term: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_IN_INDEX, [_phrase(term), project.pk, CAP])
        return [pk for (pk,) in cursor.fetchall()]


def _phrase(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def _with(among: MemoryQuerySet, term: str) -> QuerySet[Memory, int]:
    if connection.vendor == "sqlite":
        found = RawSQL(IN_INDEX, [_phrase(term)])  # noqa: S611
    else:
        parts = term.translate(SPACES).split()
        found = RawSQL(IN_WORDS, [" <-> ".join(f"'{part}'" for part in parts) + ":*"])  # noqa: S611
    return among.filter(pk__in=found).order_by("-pk").values_list("pk", flat=True)[:CAP]


# --- meaning


def _without_meaning(project: Project) -> _Meaning | None:
    """Why a project cannot be searched by meaning, None if it can."""
    if project.local_store is None:
        return _Meaning(note="the project has no local store: found by words only")
    if project.local_direction == Direction.OFF:
        return _Meaning(note="the local store is switched off: found by words only")
    return None


def _by_meaning(project: Project, among: MemoryQuerySet, vector: Future[list[list[float]]], narrow: bool) -> _Meaning:
    try:
        return _nearest(project, among, _store(project), vector.result()[0], 4 * POOL if narrow else POOL)
    except (StoreError, UnreadableSecret) as error:
        return _Meaning(note=f"the local store cannot be asked ({error}): found by words only")


def _nearest(project: Project, among: MemoryQuerySet, store: ChromaStore, vector: list[float], count: int) -> _Meaning:
    known: dict[str, int] = {}

    def ours(documents: Sequence[str]) -> Iterable[str]:
        known.update(_memories_of(project, documents))
        return known

    with _remembering_trouble(store):
        near = store.nearest(vector, count, ours)
    wanted = set(among.filter(pk__in=[known[id] for id in near if id in known]).values_list("pk", flat=True))
    ranked = {known[id]: similarity for id, similarity in near.items() if known.get(id) in wanted}
    return _Meaning(dict(list(ranked.items())[:POOL]), _farthest(ranked, near, count), store, vector)


def _farthest(ranked: dict[int, float], near: dict[str, float], count: int) -> float:
    """The similarity that none of the store's other memories exceeds; 1: it has no others, what is missing is gone."""
    if len(ranked) > POOL:
        return list(ranked.values())[POOL - 1]
    return min(near.values()) if len(near) >= count else 1.0


def _memories_of(project: Project, documents: Sequence[str]) -> dict[str, int]:
    """The memories of a project whose records in its store are these, by document.

    Asked of the replicas alone, and of those that have an id, as the index for it is: else SQLite goes through all
    memories of the project.
    """
    replicas: Any = Memory._meta.get_field("replicas").related_model
    rows = replicas.objects.filter(
        connection__project=project,
        connection__side="local",
        connection__address=project.local_store.address if project.local_store else "",
        external_id__in=documents,
    )
    return dict(rows.exclude(external_id="").values_list("external_id", "memory"))


@lru_cache(maxsize=64)
def _opened(store: LocalStore, key: str, address: str, slug: str, local_project: str, claimed: frozenset[str]) -> Any:
    return open_chroma(store, slug, local_project, claimed, PATIENCE)


def _store(project: Project) -> ChromaStore:
    """The project's local store, opened once in a process for as long as nobody changes where it is."""
    store = project.local_store
    assert store is not None  # noqa: S101 - for the type checker: callers ask first
    others = Project.objects.filter(local_store=store).exclude(pk=project.pk)
    claimed = frozenset(local or slug for local, slug in others.values_list("local_project", "slug")) - {"*"}
    opened: ChromaStore = _opened(
        store, store.api_key_token, store.address, project.slug, project.local_project, claimed
    )
    return opened


_trouble: dict[int, tuple[float, StoreError]] = {}  # by id of a store: when it did not answer, and how


@contextmanager
def _remembering_trouble(store: ChromaStore) -> Iterator[None]:
    """A store that just did not answer fails at once: people who search do not wait for it each time."""
    then, trouble = _trouble.get(id(store), (0.0, None))
    if trouble is not None and time.monotonic() - then < PAUSE:
        raise trouble
    try:
        yield
    except StoreError as error:
        _trouble[id(store)] = (time.monotonic(), error)
        raise
    _trouble.pop(id(store), None)


# --- both


def _recall_scores(memories: dict[int, Memory], words: Worded, similar: dict[int, float]) -> dict[int, float]:
    """similar: as `_similarities` says; of what has none the words alone count."""
    now = timezone.now()
    counted = {pk: similar[pk] if pk in similar else words.weights.get(pk, 0.0) for pk in memories}
    return {pk: _recall_score(memory, counted[pk], now) for pk, memory in memories.items()}


def _recall_score(memory: Memory, similarity: float, now: datetime) -> float:
    created = ranking.when(memory.created_at, memory.changed_at)
    return ranking.recall_score(similarity, memory.kind, created, now)


def _similarities(memories: dict[int, Memory], words: Worded, meaning: _Meaning, limit: int) -> dict[int, float]:
    """Of all found memories, also of those that only their words brought in; some may stay unknown.

    What has words of the query counts as more similar than its vector is: see `ranking.lifted`.
    """

    def lifted(pk: int, similarity: float) -> float:
        return ranking.lifted(similarity, words.telling * words.weights.get(pk, 0.0))

    return {pk: lifted(pk, value) for pk, value in _cosines(memories, meaning, limit, lifted).items()}


def _cosines(memories: dict[int, Memory], meaning: _Meaning, limit: int, lifted: Lifted) -> dict[int, float]:
    """Those that cannot be among the first `limit`, however similar they are, get the most they can have."""
    similar = dict(meaning.ranked)
    missing = [pk for pk in memories if pk not in similar]
    if meaning.store is None or not missing:
        return similar
    rows = Memory.objects.filter(pk__in=missing, replicas__connection__side="local")
    documents = dict(rows.exclude(replicas__external_id="").values_list("replicas__external_id", "pk"))
    hopeless = _hopeless([memories[pk] for pk in documents.values()], memories, meaning, limit, lifted)
    similar |= dict.fromkeys(hopeless, meaning.farthest)
    asked = [id for id, pk in documents.items() if pk not in similar]
    try:
        for id, similarity in meaning.store.similarities(meaning.vector, asked).items():
            similar[documents[id]] = similarity
    except StoreError as error:
        logger.info("similarities: %s", error)
    newest = sorted((pk for pk in missing if pk not in similar), reverse=True)[:EMBEDDED]
    texts = dict(Memory.objects.filter(pk__in=newest).values_list("pk", "text"))
    for pk, vector in zip(texts, embed([text[:HEAD] or " " for text in texts.values()]), strict=True):
        similar[pk] = sum(a * b for a, b in zip(vector, meaning.vector, strict=True))
    return similar


def _hopeless(
    stored: list[Memory], memories: dict[int, Memory], meaning: _Meaning, limit: int, lifted: Lifted
) -> list[int]:
    """Of memories that the store has and did not count among the nearest, those that `limit` others are sure to
    precede. Asking for their similarities would take as long as all the rest."""
    now = timezone.now()
    known = (_recall_score(memories[pk], lifted(pk, cos), now) for pk, cos in meaning.ranked.items() if pk in memories)
    best = sorted(known, reverse=True)[:limit]
    if len(best) < limit:
        return []
    most = meaning.farthest + MARGIN
    return [memory.pk for memory in stored if _recall_score(memory, lifted(memory.pk, most), now) < best[-1]]
