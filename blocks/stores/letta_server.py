"""Which server this is: the connection test, and the marker by which a server is known again."""

from __future__ import annotations

from typing import Any

from blocks.stores.base import Probe, StoreError
from blocks.stores.letta_blocks import MARKER, tags_of
from blocks.stores.letta_calls import CallError, Calls, block_path

MARKER_LABEL = "memory_hub_marker"
MARKER_TEXT = "Memory Hub recognises this server by this block. Without it, every synchronization stops and asks."


def probe(calls: Calls) -> Probe:
    """The health route ignores the key, so that a real answer comes only from the blocks."""
    try:
        blocks = calls.blocks({"limit": 1})
        version = version_of(calls)
    except CallError as error:
        return failed(calls, error)
    if not version and not (blocks and all(is_block(block) for block in blocks)):
        return not_letta(calls)
    return Probe("ok", f"Connected to Letta {version}".strip() + ".", version=version)


def is_block(block: Any) -> bool:
    return isinstance(block, dict) and str(block.get("id")).startswith("block-") and "value" in block


def version_of(calls: Calls) -> str:
    """The version a Letta server says in its health, '' if this does not look like one."""
    try:
        health = calls.call("get", "/v1/health/")
    except CallError:
        return ""
    said = health.get("version") if isinstance(health, dict) and "status" in health else ""
    return said if isinstance(said, str) else ""


def failed(calls: Calls, error: CallError) -> Probe:
    if error.kind in ("unauthorized", "refused"):
        return Probe(error.kind, str(error), help_for(calls, error.kind))  # type: ignore[arg-type]
    version = version_of(calls)
    if not version:
        return not_letta(calls)
    message = f"Letta {version} answers, but its list of blocks fails ({error.status})."
    return Probe("other", message, help_for(calls, "other"), version)


def help_for(calls: Calls, kind: str) -> str:
    """See `Store.help_for`."""
    return HELP.get(kind, HELP["other"]).format(asked=calls.shown_url)


HELP = {
    "unauthorized": "Enter the server's password (or a Letta Cloud key) as the API key.",
    "refused": "Is `letta server` running there, and are host and port right? A server on this machine answers at"
    " http://localhost:8283; one in a container must publish its port. Asked: {asked}",
    "not_a_server": "Enter the server's base address without a path, such as http://localhost:8283 (not its web page,"
    " not /v1).",
    "other": "Look at the log of the Letta server; syncing goes on with what can be read.",
}


def not_letta(calls: Calls) -> Probe:
    return Probe(
        "not_a_server",
        f"Something answers at {calls.shown_url}, but it is not a Letta server.",
        help_for(calls, "not_a_server"),
    )


def find_marker(calls: Calls, hub_id: str, known: str) -> str:
    """The id of this hub's marker block on the server, '' without one; the known one first."""
    if known and has_mark(calls.block(known), hub_id):
        return known
    # The parameter is not in the server's published interface; where it should vanish, only `known` finds the block.
    query = {"tags": [MARKER + hub_id], "show_hidden_blocks": "true", "limit": 10}
    return next((block["id"] for block in calls.blocks(query) if has_mark(block, hub_id)), "")


def has_mark(block: Any, hub_id: str) -> bool:
    return isinstance(block, dict) and isinstance(block.get("id"), str) and MARKER + hub_id in tags_of(block)


def plant_marker(calls: Calls, hub_id: str) -> str:
    """The id of the marker block, made unless there is one."""
    there = find_marker(calls, hub_id, "")
    if there:
        return there
    body = {"label": MARKER_LABEL, "value": MARKER_TEXT, "tags": [MARKER + hub_id], "hidden": True, "read_only": True}
    block = calls.call("post", "/v1/blocks/", body=body)
    if not has_mark(block, hub_id):
        raise StoreError("The Letta server did not keep the hub's marker block.")
    return str(block["id"])


STAMPS = "stamps"  # in the marker's metadata


def read_stamps(calls: Calls, marker: str) -> dict[str, int]:
    """See `Store.read_stamp`: what the marker block has stored, by key."""
    return stamps_of(marker_block(calls, marker))


def write_stamp(calls: Calls, marker: str, key: str, number: int) -> None:
    """See `Store.write_stamp`. Metadata is replaced whole: two of these at once on one server would lose one."""
    block = marker_block(calls, marker)
    metadata = {**(block.get("metadata") or {}), STAMPS: {**stamps_of(block), key: number}}
    kept = calls.call("patch", block_path(marker), body={"metadata": metadata})
    if not isinstance(kept, dict) or stamps_of(kept).get(key) != number:  # what is not there would show an older copy
        raise StoreError("The Letta server did not keep the number in the hub's marker block.")


def marker_block(calls: Calls, marker: str) -> dict[str, Any]:
    block = calls.block(marker) if marker else None
    if block is None:
        raise StoreError("The hub's marker block is not on the Letta server any more.")
    return block


def stamps_of(block: dict[str, Any]) -> dict[str, int]:
    metadata = block.get("metadata")
    stamps = metadata.get(STAMPS) if isinstance(metadata, dict) else None
    return {key: n for key, n in stamps.items() if type(n) is int} if isinstance(stamps, dict) else {}
