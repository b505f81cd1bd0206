"""Stores as the original RAG engine makes them: realistic memories in its layout, the same for the same seed.

For tests and benchmarks; into a server's collection (`fill`) or into a folder (`make_folder`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import chromadb
from chromadb.config import Settings
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction

from blocks.stores.chunks import original_chunks

PROJECTS = ("planner", "website", "monitoring", "agents")
AREAS = ("login page", "nightly import", "search index", "payment worker", "release script", "mobile layout")
THINGS = ("timeout", "retry", "cache", "migration", "locale", "webhook", "queue", "certificate", "fixture", "report")
VERBS = ("broke after", "now waits for", "must not touch", "was replaced by", "depends on", "is slower than")
ARTIFACTS = ("error", "fix", "decision", "gotcha", "deployment_note", "dependency_issue", "test_failure")
NOTES = ("task_update", "meeting_notes", "project_details", "decision_log", "conversation")
MARKS = ("- ", "* ", "  ", "", "> ", "1. ")
START = datetime(2025, 1, 6, 9, tzinfo=UTC)

Vectors = Callable[[list[str]], list[list[float]]]


@dataclass(frozen=True)
class Memory:
    """One memory as its author wrote it. `metadata` is that of every chunk, without chunk_index."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(id, document, metadata) of each chunk, as stored."""
        chunks = enumerate(original_chunks(self.text))
        return [(f"{self.id}_chunk_{i}", text, self.metadata | {"chunk_index": i}) for i, text in chunks]


def memories(count: int, projects: Sequence[str] = PROJECTS, seed: int = 0) -> list[Memory]:
    """`count` memories spread over the projects, texts of 50 to 3,000 characters."""
    dice = random.Random(seed)
    return [memory(dice, projects[number % len(projects)], number) for number in range(count)]


def memory(dice: random.Random, project: str, number: int) -> Memory:
    artifact = dice.choice(ARTIFACTS) if dice.random() < 0.7 else ""
    doc_type = "runtime_artifact" if artifact else dice.choice(NOTES)
    text = body(dice, int(50 * 60 ** dice.random()))
    title = f"[{artifact.upper()}] {text[:60]}" if artifact else text.split("\n")[0][:80]
    capture = {"runtime_capture": True, "source_system": "git", "artifact_category": artifact}
    note = {"quick_entry": True, "note_type": "general"}
    id = str(UUID(int=dice.getrandbits(128), version=4))
    metadata = {
        "document_id": id,
        "title": " ".join(title.split()),
        "doc_type": doc_type,
        "created_at": (START + timedelta(hours=7 * number, minutes=dice.randrange(60))).isoformat(),
        "client_name": dice.choice(("", "", "Acme Ltd", "Søren & Co")),
        "project_name": project,
        "priority": dice.choice(("", "", "high", "low")),
        "status": dice.choice(("", "", "open", "done")),
        "tags": ",".join(sorted(dice.sample(THINGS, dice.randrange(4)))),
        "artifact_type": artifact,
        "source": "git" if artifact else "",
        "file_path": f"src/{dice.choice(THINGS)}/{number}.py" if artifact else "",
    }
    return Memory(id, text, metadata | (capture if artifact else note))


def body(dice: random.Random, length: int) -> str:
    """Lines of prose, lists and code; no blank at either end, so that the engine's chunks give it back exactly."""
    lines = [sentence(dice)]
    while sum(map(len, lines)) + len(lines) < length:
        lines.append("" if lines[-1] and dice.random() < 0.2 else dice.choice(MARKS) + sentence(dice))
    return "\n".join(lines)[: max(length, 50)].strip()


def sentence(dice: random.Random) -> str:
    parts = (dice.choice(AREAS), dice.choice(VERBS), "the", dice.choice(THINGS), f"#{dice.randrange(10_000)}")
    tail = dice.choice(("", " \u2013 see `config.py`", " (\u00e9t\u00e9)", f", {dice.randrange(900)} ms", " \u2713"))
    return f"The {' '.join(parts)}{tail}."


def cheap_vectors(texts: list[str]) -> list[list[float]]:
    """Vectors that mean nothing, but are the same for the same text: for where nobody searches."""
    return [[byte / 255 for byte in hashlib.sha512(text.encode()).digest() * 6] for text in texts]


def open_server(url: str) -> Any:
    return chromadb.HttpClient(host=url, settings=Settings(anonymized_telemetry=False))


def fill(
    client: Any, items: Sequence[Memory], collection: str = "project_memory", vectors: Vectors = cheap_vectors
) -> Any:
    """Write memories as the engine does, into a collection that names the default embedding function."""
    store = client.get_or_create_collection(
        collection,
        metadata={"description": "Project management documents and context"},
        embedding_function=DefaultEmbeddingFunction(),
    )
    rows = [row for item in items for row in item.rows]
    for start in range(0, len(rows), 1000):
        ids, documents, metadatas = map(list, zip(*rows[start : start + 1000], strict=True))
        store.add(ids=ids, documents=documents, metadatas=metadatas, embeddings=vectors(documents))
    return store


def make_folder(path: Path, items: Sequence[Memory], vectors: Vectors = cheap_vectors) -> None:
    """A folder in the original layout. Nothing else may have it open; it is closed afterwards."""
    client: Any = chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False))
    fill(client, items, vectors=vectors)
    client.close()
