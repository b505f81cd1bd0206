"""The digest: the one block `shared_memory_<slug>` that agents attach, with a project's memories in short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from blocks.state import DEFAULT_LIMIT, LABEL, MARK
from blocks.stores.base import StoreError
from blocks.stores.letta_blocks import (
    COMPUTED,
    DIGEST,
    DIGEST_DESCRIPTION,
    MEMORY,
    PROJECT,
    difference,
    digest_label,
    mark_of,
    tags_of,
    unsendable,
)
from blocks.stores.letta_calls import CallError, Calls, block_path


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
        calls.call("post", "/v1/blocks/", body=body_of(slug, value, []) | {"description": DIGEST_DESCRIPTION})
        return "written"
    return patch_digest(calls, block, body_of(slug, value, tags_of(block)))


def body_of(slug: str, value: str, tags: list[str]) -> dict[str, Any]:
    foreign = [tag for tag in tags if not tag.startswith(MARK)]
    return {"label": digest_label(slug), "value": value, "tags": [DIGEST + slug, *foreign]}


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
