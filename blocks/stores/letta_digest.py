"""The digest: the one block `shared_memory_<slug>` that agents attach, with a project's memories in short."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from blocks.state import DEFAULT_LIMIT, LABEL, MARK
from blocks.stores.base import StoreError
from blocks.stores.letta_blocks import (
    COMPUTED,
    DIGEST,
    DIGEST_DESCRIPTION,
    MEMORY,
    PROJECT,
    WRITTEN,
    difference,
    digest_label,
    mark_of,
    tags_of,
    unsendable,
)
from blocks.stores.letta_calls import CallError, Calls, block_path


class SeenDigest(NamedTuple):
    """A digest as a server shows it: its text (None: there is none yet), how many characters it may have, and whether
    its metadata says that a hub wrote this very text."""

    text: str | None
    limit: int
    ours: bool


def read_digest(calls: Calls, slug: str) -> SeenDigest:
    """See `LettaStore.read_digest`."""
    block = find_digest(calls, slug)
    text = block["value"] if block and not is_computed(block) else None
    return SeenDigest(text, limit_of(block), text is not None and metadata_of(block).get(WRITTEN) == hash_of(text))


def find_digest(calls: Calls, slug: str) -> dict[str, Any] | None:
    """The digest of a project by its tag, else a block that only has its label."""
    blocks = usable(calls.blocks({"tags": [DIGEST + slug], "limit": 10, "order": "asc"}))
    if not blocks and LABEL.fullmatch(digest_label(slug)):  # the server refuses to look for another label
        blocks = [
            block
            for block in usable(calls.blocks({"label": digest_label(slug), "limit": 50, "order": "asc"}))
            if unclaimed(block, slug)
        ]
    return blocks[0] if blocks else None


def usable(blocks: list[Any]) -> list[dict[str, Any]]:
    return [
        block
        for block in blocks
        if isinstance(block, dict) and isinstance(block.get("id"), str) and isinstance(block.get("value"), str)
    ]


def unclaimed(block: Mapping[str, Any], slug: str) -> bool:
    """Neither a memory, nor another project's."""
    tags = tags_of(block)
    return not (
        mark_of(tags, MEMORY) or mark_of(tags, DIGEST) not in ("", slug) or mark_of(tags, PROJECT) not in ("", slug)
    )


def is_computed(block: Mapping[str, Any] | None) -> bool:
    """Whether the server is a hub that keeps this digest itself: it is neither ours to write, nor anybody's text."""
    return bool(block) and (block or {}).get("metadata") == COMPUTED


def metadata_of(block: Mapping[str, Any] | None) -> dict[str, Any]:
    metadata = block.get("metadata") if block else None
    return metadata if isinstance(metadata, dict) else {}


def hash_of(text: str) -> str:
    """By which a text of ours is known again. No earlier one is kept: together with the text of today it would let
    somebody guess what was purged in between."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def limit_of(block: Mapping[str, Any] | None) -> int:
    limit = block.get("limit") if block else None
    return limit if type(limit) is int else DEFAULT_LIMIT


def write_digest(calls: Calls, slug: str, value: str, expected: str | None) -> Literal["written", "changed"]:
    """See `LettaStore.write_digest`."""
    block = find_digest(calls, slug)
    if is_computed(block) or (block["value"] if block else None) != expected:
        return "changed"
    if len(value) > limit_of(block):
        raise StoreError(f"The digest is longer than its block allows ({limit_of(block)}).", permanent=True)
    if reason := unsendable(value):
        raise StoreError(f"The digest {reason}.", permanent=True)
    if block is None:
        calls.call("post", "/v1/blocks/", body=body_of(slug, value, None) | {"description": DIGEST_DESCRIPTION})
        return "written"
    return patch_digest(calls, block, body_of(slug, value, block))


def body_of(slug: str, value: str, block: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the block is to say; tags and metadata are replaced whole, so those of others are said again."""
    foreign = [tag for tag in tags_of(block or {}) if not tag.startswith(MARK)]
    metadata = {**metadata_of(block), WRITTEN: hash_of(value)}
    return {"label": digest_label(slug), "value": value, "tags": [DIGEST + slug, *foreign], "metadata": metadata}


def patch_digest(calls: Calls, block: Mapping[str, Any], body: dict[str, Any]) -> Literal["written", "changed"]:
    change = difference(body, block)
    try:
        if change:
            calls.call("patch", block_path(block["id"]), body=change)
    except CallError as error:
        if error.gone or error.status == 409:
            return "changed"
        raise
    return "written"
