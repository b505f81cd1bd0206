"""A memory as a Letta block and back: the field table, the marks and the scope (pure, no calls)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blocks.state import MARK, PRIVATE_LABELS, State, clean_tags, unstorable
from blocks.stores.base import Snapshot

MEMORY, PROJECT, DIGEST, MARKER = "memhub:memory:", "memhub:project:", "memhub:digest:", "memhub:marker:"
DIGEST_DESCRIPTION = "The memories this project shares, in short. Written by Memory Hub."
COMPUTED = {"computed_by": "memoryhub"}  # the metadata of a digest that a hub computes, as the Letta server that it is
IN_METADATA = ("title", "kind", "source", "file_path", "client", "priority", "status", "created_at")
OWN_DESCRIPTION = "memhub_description"  # set where the description is the hub's own although it equals the title
WRITTEN = "memhub_digest"  # of a digest: the hash of the text that a hub wrote there
INT32 = 2**31
WHOLE_NUMBERS = range(-(2**63), 2**64)  # which Letta can show again: signed and unsigned ones of 64 bits
PUT_RIGHT = "The block stays in Letta as it is, and so does the hub's text. Put it right in Letta, then sync again."


@dataclass(frozen=True)
class Scope:
    """Which blocks belong to a project: its own tag always, besides '' | tag:NAME | label:PREFIX | all."""

    slug: str
    rule: str = ""

    def __post_init__(self) -> None:
        kind, _, name = self.rule.partition(":")
        if self.rule not in ("", "all") and not (kind in ("tag", "label") and name):
            raise ValueError(f"Unknown scope rule {self.rule!r}: '', 'tag:NAME', 'label:PREFIX' or 'all'.")

    @property
    def tag(self) -> str:
        return PROJECT + self.slug

    def server_tags(self) -> list[str] | None:
        """The tags that find everything in scope; None where all blocks must be looked at."""
        kind, _, name = self.rule.partition(":")
        if kind == "tag":
            return [self.tag, name]
        return None if self.rule else [self.tag]

    def holds(self, block: Mapping[str, Any]) -> bool:
        tags = tags_of(block)
        if is_private(block, tags):
            return False
        project = mark_of(tags, PROJECT)
        return project == self.slug if project else self._ruled(block, tags)

    def _ruled(self, block: Mapping[str, Any], tags: Sequence[str]) -> bool:
        kind, _, name = self.rule.partition(":")
        if kind == "tag":
            return name in tags
        if kind == "label":
            label = block.get("label")
            return isinstance(label, str) and label.startswith(name)
        return self.rule == "all"


def is_private(block: Mapping[str, Any], tags: Sequence[str]) -> bool:
    """Blocks that are no memory: an agent's own, templates, hidden ones, the hub's digests and markers."""
    return (
        block.get("label") in PRIVATE_LABELS
        or bool(block.get("hidden"))
        or bool(block.get("is_template"))
        or any(tag.startswith((DIGEST, MARKER)) for tag in tags)
    )


def digest_label(slug: str) -> str:
    """The label that the original bridge gave a project's digest block."""
    return f"shared_memory_{slug}"


def tags_of(block: Mapping[str, Any]) -> list[str]:
    tags = block.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def mark_of(tags: Iterable[str], prefix: str) -> str:
    """What our tag with this prefix says, '' without one (the first in order, where somebody made several)."""
    return min((tag[len(prefix) :] for tag in tags if tag.startswith(prefix)), default="")


def uuid_of(block: Mapping[str, Any], tags: Sequence[str]) -> UUID | None:
    metadata = block.get("metadata")
    for said in (mark_of(tags, MEMORY), metadata.get("memhub_id") if isinstance(metadata, dict) else ""):
        try:
            return UUID(str(said)) if said else None
        except ValueError:
            continue
    return None


def read_block(block: Any, scope: Scope, *, raw: bool = False) -> Snapshot:
    """A block as a snapshot (raw: with the block as it came); one that cannot be understood says so in `problem`."""
    if not isinstance(block, dict) or not isinstance(block.get("id"), str):
        return Snapshot(id="", state={}, problem="The server lists something that is no block.")
    tags = tags_of(block)
    problem = misshapen(block)
    state = {} if problem else read_state(block, tags)
    problem = problem or unreadable(state)
    return Snapshot(
        id=block["id"],
        state={} if problem else state,
        uuid=uuid_of(block, tags),
        project=mark_of(tags, PROJECT),
        in_scope=scope.holds(block),
        keep={} if problem else read_keep(block, tags),
        problem=problem,
        raw=block if raw else None,
    )


def misshapen(block: Mapping[str, Any]) -> str:
    """Which part has not the type it must have."""
    checks = {
        "label": isinstance(block.get("label"), str),
        "value": isinstance(block.get("value"), str),
        "description": isinstance(block.get("description"), str | None),
        "limit": type(block.get("limit")) is int,
        "read_only": isinstance(block.get("read_only"), bool | None),
        "metadata": isinstance(block.get("metadata"), dict | None),
        "tags": len(tags_of(block)) == len(block.get("tags") or ()) and isinstance(block.get("tags"), list | None),
    }
    wrong = [name for name, right in checks.items() if not right]
    return f"The block's {' and '.join(wrong)} cannot be understood. {PUT_RIGHT}" if wrong else ""


def unreadable(state: State) -> str:
    for name, value in state.items():
        for text in value if name == "tags" else (value,):
            reason = unstorable(text)
            if reason:
                return f"The {name} {reason}."
    return ""


def read_state(block: Mapping[str, Any], tags: Sequence[str]) -> State:
    metadata = block.get("metadata") or {}
    state: State = {name: metadata[name] for name in IN_METADATA if isinstance(metadata.get(name), str)}
    description = block.get("description") or ""
    if description == state.get("title") and not metadata.get(OWN_DESCRIPTION):
        description = ""
    return state | {
        "label": block["label"],
        "description": description,
        "text": block["value"],
        "tags": clean_tags(tag for tag in tags if not tag.startswith(MARK)),
        "limit": block["limit"],
        "read_only": bool(block.get("read_only")),
    }


def read_keep(block: Mapping[str, Any], tags: Sequence[str]) -> dict[str, Any]:
    """What the state does not say: tags that it says with other characters, metadata of others, flags, the id."""
    kept: dict[str, Any] = {"id": block["id"]}
    odd = [
        tag for tag in tags if tag != tag.strip() or (tag.startswith(MARK) and not tag.startswith((MEMORY, PROJECT)))
    ]
    metadata = foreign_metadata(block.get("metadata") or {})
    kept |= {"tags": odd} if odd else {}
    kept |= {"metadata": metadata} if metadata else {}
    return kept | {flag: True for flag in ("hidden", "is_template") if block.get(flag)}


def foreign_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in metadata.items()
        if key not in ("memhub_id", OWN_DESCRIPTION) and not (key in IN_METADATA and isinstance(value, str))
    }


def write_block(state: State, uuid: UUID, scope: Scope, before: Mapping[str, Any]) -> dict[str, Any]:
    """The body that brings a block to a state; `before` is what the block (or its `keep`) has now.

    Metadata and tags are replaced whole by the server, so both are given whole.
    """
    metadata = dict(before.get("metadata") or {})
    metadata |= {name: state[name] for name in IN_METADATA if name in state} | {"memhub_id": str(uuid)}
    description, title = state.get("description", ""), state.get("title", "")
    metadata.pop(OWN_DESCRIPTION, None)
    if description and description == title:
        metadata[OWN_DESCRIPTION] = True
    body = {
        "label": state.get("label", ""),
        "description": description or title,
        "value": state.get("text", ""),
        "tags": [MEMORY + str(uuid), scope.tag, *merge_tags(tags_of(before), state.get("tags", []))],
        "metadata": metadata,
    }
    return body | {name: state[name] for name in ("limit", "read_only") if name in state}


def merge_tags(before: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Tags without the marks: those of `before` with their own characters, the missing ones added."""
    others = [tag for tag in before if not tag.startswith((MEMORY, PROJECT))]
    kept = [tag for tag in others if tag.startswith(MARK) or not tag.strip() or tag.strip() in wanted]
    there = {tag.strip() for tag in kept}
    return kept + [tag for tag in wanted if tag not in there]


def difference(body: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """What of a body a block does not have yet. The order of tags says nothing."""
    now = dict(block) | {
        "description": block.get("description") or "",
        "metadata": block.get("metadata") or {},
        "tags": sorted(tags_of(block)),
        "read_only": bool(block.get("read_only")),
    }
    return {
        name: value for name, value in body.items() if now.get(name) != (sorted(value) if name == "tags" else value)
    }


def refusal(state: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Why Letta must not be sent this ('' if it may): what it drops silently, answers with 500, or chokes on later."""
    for name in ("label", "value", "description"):
        if not isinstance(body.get(name, ""), str):
            return f"The {name} must be text."
    if body.get("label") in PRIVATE_LABELS:
        return f"The label {body['label']} is kept for an agent's own block; give the memory another one."
    if type(body.get("limit", 0)) is not int or not 0 <= body.get("limit", 0) < INT32:
        return f"The limit must be a whole number from 0 to {INT32 - 1}."
    tags = state.get("tags", [])
    if not all(isinstance(tag, str) for tag in tags):
        return "Every tag must be text."
    reserved = [tag for tag in tags if tag.startswith(MARK)]
    if reserved:
        return f"The tag {reserved[0]} begins with {MARK}, which is kept for the hub's own marks."
    return next((_refused(name, why) for name, value in body.items() if (why := unsendable(value))), "")


def _refused(name: str, why: str) -> str:
    """Metadata is what others put there: nobody can change it in the hub."""
    return f"The {name} {why}." + (f" {PUT_RIGHT}" if name == "metadata" else "")


def unsendable(value: Any, under: str = "") -> str:
    """Why a value cannot be sent as JSON to Letta, at any depth. under: the keys that lead to it."""
    if isinstance(value, Mapping):
        pairs = (
            (unsendable(key, under) or unsendable(part, f"{under}.{key}" if under else key))
            for key, part in value.items()
        )
        return next(filter(None, pairs), "")
    if isinstance(value, list | tuple):
        return next((why for part in value if (why := unsendable(part, under))), "")
    why = _unsendable(value)
    return f"{why}, under “{under[:100]}”" if why and under else why


def _unsendable(value: Any) -> str:
    if isinstance(value, str):
        return unstorable(value)
    if isinstance(value, bool | None):
        return ""
    if isinstance(value, int):
        return "" if value in WHOLE_NUMBERS else "contains a number of more than 64 bits"
    if isinstance(value, float):
        return "" if value - value == 0 else "contains a number that is not finite"
    return f"contains a {type(value).__name__}, which is neither text nor number"
