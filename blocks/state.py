"""The fields of a memory that are kept in step, as plain values (pure: standard library only).

A *state* is a dict from field name to value with only the fields that are said: a side that does not
carry a field (a local record has no ``limit``), or does not say it (a block that nobody marked yet has
no ``kind``), leaves the key out. All values are str, except ``tags`` (sorted list of distinct str),
``limit`` (int, characters) and ``read_only`` (bool).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

State = dict[str, Any]

FIELDS = (
    "label",
    "title",
    "description",
    "text",
    "kind",
    "tags",
    "source",
    "file_path",
    "client",
    "priority",
    "status",
    "created_at",
    "limit",
    "read_only",
)
DEFAULT_LIMIT = 100_000  # characters: what Letta gives a new block
LABEL = re.compile(r"[A-Za-z0-9_/-]{1,50}")
PRIVATE_LABELS = frozenset({"human", "persona"})  # an agent's own blocks: never a memory's label
MARK = "memhub:"  # every tag of the hub's own begins so
MAX_TAGS, MAX_TAG_LENGTH = 200, 100
MAX_TEXT = 1_000_000  # characters of a text that the hub takes in: as a record it takes half a minute to embed

# The original engine's vocabulary: a record's doc_type, and the artifact_type of a runtime_artifact.
DOC_TYPES = (
    "client_profile",
    "project_details",
    "meeting_notes",
    "task_update",
    "decision_log",
    "code_snippet",
    "template",
    "conversation",
    "runtime_artifact",
)
ARTIFACT_TYPES = (
    "error",
    "runlog",
    "fix",
    "decision",
    "ci_output",
    "test_failure",
    "pr_notes",
    "performance_log",
    "slow_query",
    "memory_spike",
    "dependency_issue",
    "version_conflict",
    "breaking_change",
    "deployment_note",
    "rollback",
    "config_change",
    "gotcha",
    "workaround",
    "anti_pattern",
    "best_practice",
)
CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True)
KINDS = tuple(kind for kind in DOC_TYPES if kind != "runtime_artifact") + ARTIFACT_TYPES
DEFAULT_KIND = "project_details"

DEFAULTS: State = {
    "label": "",
    "title": "",
    "description": "",
    "text": "",
    "kind": DEFAULT_KIND,
    "tags": [],
    "source": "",
    "file_path": "",
    "client": "",
    "priority": "",
    "status": "",
    "created_at": "",
    "limit": DEFAULT_LIMIT,
    "read_only": False,
}


def kind_of(doc_type: str, artifact_type: str) -> str:
    """The kind of a record: its artifact type, else its document type; ``a/b`` where that is ambiguous."""
    if doc_type == "runtime_artifact" and artifact_type in ARTIFACT_TYPES:
        return artifact_type
    return f"{doc_type}/{artifact_type}" if artifact_type else doc_type


def types_of(kind: str) -> tuple[str, str]:
    """``(doc_type, artifact_type)`` of a kind; the inverse of `kind_of`."""
    if kind in ARTIFACT_TYPES:
        return "runtime_artifact", kind
    doc_type, _, artifact_type = kind.partition("/")
    return (doc_type, artifact_type) if kind_of(doc_type, artifact_type) == kind else (kind, "")


def clean_tags(tags: Iterable[str]) -> list[str]:
    """Tags as the hub keeps them: stripped, distinct, sorted, none empty."""
    return sorted({tag.strip() for tag in tags} - {""})


def state_hash(state: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the fields a state says. Line endings and characters count exactly."""
    said = {name: state[name] for name in FIELDS if name in state}
    return hashlib.sha256(CANONICAL.encode(said).encode()).hexdigest()


def complete(state: Mapping[str, Any]) -> State:
    """The state with the defaults for whatever it does not say."""
    return DEFAULTS | {"tags": []} | dict(state)


def slugify_label(title: str) -> str:
    """A label of at most 41 characters made from a title (room is left for ``-`` and 8 characters)."""
    words = re.sub(r"[^a-z0-9_/-]+", "-", title.lower()).strip("-/")
    return re.sub(r"-{2,}", "-", words)[:41].strip("-/") or "memory"


def unstorable(value: Any) -> str:
    """Why a text cannot be stored everywhere ('' when it can): NUL and lone surrogates."""
    if not isinstance(value, str):
        return ""
    if "\0" in value:
        return f"contains a NUL character (position {value.index(chr(0)) + 1})"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"contains a lone surrogate, half of a character (position {error.start + 1})"
    return ""
