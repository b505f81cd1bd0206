"""Reads a Chroma folder that nobody serves, without touching it: a copy is opened, the folder stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blocks.stores.base import StoreError
from blocks.stores.chroma_records import Document, documents
from blocks.stores.chroma_rows import Row, batched

DATABASE = "chroma.sqlite3"
COLLECTION = "project_memory"  # the original engine's
MANY = 1000  # rows with their vectors read in one call


@contextmanager
def read_folder(folder: Path) -> Iterator[dict[str, Document]]:
    """The documents of a folder in the original layout, by document_id, their rows with vectors.

    Raises `StoreError` where there is none, where somebody is writing to it, and where it cannot be copied.
    """
    if not (folder / DATABASE).is_file():
        raise StoreError(f"{folder} is not a Chroma folder: there is no {DATABASE} in it", permanent=True)
    with TemporaryDirectory(prefix="memoryhub-import-") as copy:
        _copy(folder, Path(copy) / "store")
        yield documents(_rows(Path(copy) / "store"))


def _copy(folder: Path, copy: Path) -> None:
    before = _fingerprint(folder)
    try:
        shutil.copytree(folder, copy)
    except (OSError, shutil.Error) as error:
        raise StoreError(f"{folder} could not be copied for reading ({error}); it stays as it was") from error
    if _fingerprint(folder) != before:
        raise StoreError(f"{folder} was written to while it was read: stop the program that uses it and try again")


def _fingerprint(folder: Path) -> list[tuple[str, int, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _rows(folder: Path) -> list[Row]:
    import chromadb
    from chromadb.config import Settings
    from chromadb.errors import ChromaError

    try:
        client: Any = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        try:
            return _read(client)
        finally:
            client.close()
    except (ChromaError, ValueError, OSError) as error:
        raise StoreError(f"the folder cannot be read as a Chroma store: {error}", permanent=True) from error


def _read(client: Any) -> list[Row]:
    names = [collection.name for collection in client.list_collections()]
    if COLLECTION not in names:
        shown = ", ".join(names) or "none"
        raise StoreError(f"there is no collection {COLLECTION} in the folder (there: {shown})", permanent=True)
    collection = client.get_collection(COLLECTION, embedding_function=None)
    rows = []
    for ids in batched(collection.get(include=[])["ids"], MANY):
        got = collection.get(ids=ids, include=["documents", "metadatas", "embeddings"])
        columns = zip(got["ids"], got["documents"], got["metadatas"], got["embeddings"], strict=True)
        rows += [Row(id, text, meta or {}, [float(x) for x in vector]) for id, text, meta, vector in columns]
    return rows
