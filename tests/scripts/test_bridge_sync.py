"""`sync` of letta_memory_bridge.py: the digest block from a local store on a plain Letta server, and asking a hub."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import letta_memory_bridge
from blocks import digest
from blocks.state import kind_of
from blocks.stores.chroma_records import documents, state_of
from blocks.stores.chroma_rows import Row
from blocks.stores.chunks import original_chunks, split
from letta_memory_bridge import LettaMemoryBridge, NotSynced, note_of, place_of, text_of
from tests.contract.letta import Server
from tests.original_store import Memory, body, fill, make_folder, memories, open_server
from tests.scripts.bridge import bridge, fake_hub
from tests.servers.chroma import ChromaServer
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.contract
TOKEN = ("--api-key", "mhub_secretsecret")


@pytest.fixture
def server(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def slug() -> str:
    return f"p{uuid4().hex[:10]}"


def memory(project: str, number: int, text: str = "", **metadata: Any) -> Memory:
    id = f"doc-{number}"
    given = {"document_id": id, "title": f"Title {number}", "doc_type": "runtime_artifact", "artifact_type": "error"}
    given |= {"created_at": f"2025-01-{number:02}T00:00:00", "tags": "", "project_name": project}
    return Memory(id, text or f"text {number}", given | metadata)


def digests(server: Server, slug: str) -> list[dict[str, Any]]:
    """The digest blocks of a project, and what was kept aside."""
    found = [server.show(id) for id in server.ids(f"label_search=shared_memory_{slug}")]
    return sorted(found, key=lambda block: str(block["label"]))


def test_the_digest_is_the_one_the_hub_writes(
    letta_server: str, server: Server, chroma_server: str, collection: str, slug: str
) -> None:
    others = memories(90, projects=(slug, "website"))
    pinned = memory(slug, 1, "pinned " * 200, artifact_type="gotcha", tags="a,pinned")
    fill(open_server(chroma_server), [*others, pinned], collection)

    arguments = ("--project", slug, "--chroma-url", chroma_server, "--collection", collection)
    done = bridge("sync", "--url", letta_server, "--json", *arguments)

    result = json.loads(done.stdout)
    assert (done.returncode, result["written"], result["memories"]) == (0, "created", 46)
    assert "attach" in done.stderr  # nobody sees the block yet
    (block,) = digests(server, slug)
    assert block["value"] == digest_of(slug, [*others, pinned])
    assert block["value"].startswith(f"# Shared Memory: {slug}\n\n## [1] Title 1 (gotcha)\npinned ")
    again = json.loads(bridge("sync", "--url", letta_server, "--json", *arguments).stdout)
    assert again == result | {"written": "unchanged"}


def digest_of(slug: str, items: list[Memory]) -> str:
    """What `blocks.digest` renders of these, in the order that it asks the database for."""
    own = [item for item in items if item.metadata["project_name"] == slug]
    own.sort(key=lambda item: item.metadata["created_at"], reverse=True)
    kinds = {item.id: kind_of(item.metadata["doc_type"], item.metadata["artifact_type"]) for item in own}
    rank = {kind: place for place, kind in enumerate(digest.FIRST, 1)}
    own.sort(key=lambda item: 0 if "pinned" in item.metadata["tags"] else rank.get(kinds[item.id], 9))
    shown = [
        SimpleNamespace(title=item.metadata["title"], label="", kind=kinds[item.id], text=item.text)
        for item in own[: digest.MOST]
    ]
    return digest.render(cast("Any", SimpleNamespace(slug=slug)), cast("Any", shown))


def test_what_somebody_wrote_into_the_digest_is_kept(
    letta_server: str, server: Server, chroma_server: str, collection: str, slug: str
) -> None:
    label, client = f"shared_memory_{slug}", open_server(chroma_server)
    arguments = ("--url", letta_server, "--project", slug, "--chroma-url", chroma_server, "--collection", collection)
    foreign = server.block(label=label, value="my own notes", metadata={"theirs": 1})["id"]
    fill(client, [memory(slug, 1)], collection)

    first = bridge("sync", *arguments)
    assert f"{label}-before-1" in first.stderr
    text = server.show(foreign)["value"]
    server.edit(foreign, value=f"{text}\nan agent's line")  # begins as a digest, and is none
    assert bridge("sync", *arguments).returncode == 0
    fill(client, [memory(slug, 2)], collection)  # nobody wrote in between
    assert bridge("sync", *arguments).returncode == 0

    blocks = {block["label"]: block["value"] for block in digests(server, slug)}
    assert set(blocks) == {label, f"{label}-before-1", f"{label}-before-2"}
    assert blocks[f"{label}-before-1"] == "my own notes"
    assert blocks[f"{label}-before-2"] == f"{text}\nan agent's line"
    assert blocks[label].count("## [") == 2
    assert server.show(foreign)["metadata"]["theirs"] == 1


def test_the_same_text_is_kept_aside_once(
    letta_server: str, server: Server, chroma_server: str, collection: str, slug: str
) -> None:
    label = f"shared_memory_{slug}"
    id = server.block(label=label, value="mine")["id"]
    server.block(label=f"{label}-before-1", value="mine")  # a sync that ended between its two writes
    fill(open_server(chroma_server), [memory(slug, 1)], collection)

    with LettaMemoryBridge(letta_server, say=print) as ours:
        result = ours.sync_from_local_rag(slug, chroma_url=chroma_server, collection=collection)
    assert result["kept_aside"] == f"{label}-before-1"
    assert len(digests(server, slug)) == 2
    assert server.show(id)["value"].startswith("# Shared Memory")


def test_a_digest_that_a_hub_keeps_is_left_to_it(
    letta_server: str, server: Server, chroma_server: str, collection: str, slug: str
) -> None:
    id = server.block(label=f"shared_memory_{slug}", value="old", tags=[f"memhub:digest:{slug}"])["id"]
    fill(open_server(chroma_server), [memory(slug, 1)], collection)

    with LettaMemoryBridge(letta_server, say=print) as ours, pytest.raises(NotSynced, match="Memory Hub keeps"):
        ours.sync(slug, chroma_url=chroma_server, collection=collection)
    assert server.show(id)["value"] == "old"


def test_the_limit_of_the_block_is_kept(
    letta_server: str, server: Server, chroma_server: str, collection: str, slug: str
) -> None:
    id = server.block(label=f"shared_memory_{slug}", value="", limit=1500)["id"]
    fill(open_server(chroma_server), [memory(slug, number, "x" * 480) for number in range(1, 9)], collection)

    with LettaMemoryBridge(letta_server, say=print) as ours:
        result = ours.sync(slug, chroma_url=chroma_server, collection=collection)
    assert result["memories"] == 2
    assert 900 < len(server.show(id)["value"]) <= 1500


def test_a_folder_is_read_while_a_server_has_it_open(
    letta_server: str, server: Server, fresh_chroma_server: ChromaServer, slug: str
) -> None:
    items = memories(8, projects=(slug,))
    fill(open_server(fresh_chroma_server.url), items)
    before = {path: path.stat().st_mtime_ns for path in fresh_chroma_server.folder.rglob("*") if path.is_file()}

    done = bridge("sync", "--url", letta_server, "--project", slug, CHROMA_PATH=str(fresh_chroma_server.folder))
    assert (done.returncode, "8 memories" in done.stdout) == (0, True)
    (block,) = digests(server, slug)
    assert block["value"] == digest_of(slug, items)
    assert before == {path: path.stat().st_mtime_ns for path in fresh_chroma_server.folder.rglob("*") if path.is_file()}


# --- blocks not syncing


def test_a_project_of_which_nothing_is_known(letta_server: str, tmp_path: Path, slug: str) -> None:
    make_folder(tmp_path / "store", memories(6, projects=("website", "agents")))

    done = bridge("sync", "--url", letta_server, "--project", slug, "--chroma-path", str(tmp_path / "store"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Blocks not syncing" in done.stderr
    assert slug in done.stderr
    assert "agents, website" in done.stderr
    (tmp_path / "empty").mkdir()
    nothing = bridge("sync", "--url", letta_server, "--chroma-path", str(tmp_path / "empty"))
    assert (nothing.returncode, "not a Chroma folder" in nothing.stderr) == (1, True)


def test_a_store_that_is_not_there(letta_server: str, chroma_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = f"http://127.0.0.1:{free_port()}"

    gone = bridge("sync", "--url", letta_server, CHROMA_URL=named)
    assert (gone.returncode, named in gone.stderr, "Connection refused" in gone.stderr) == (1, True, True)
    other = bridge("sync", "--url", letta_server, "--chroma-url", letta_server)
    assert (other.returncode, "not a Chroma server" in other.stderr) == (1, True)
    unknown = bridge("sync", "--url", letta_server, "--chroma-url", chroma_server, "--collection", "nowhere")
    assert (unknown.returncode, "nowhere" in unknown.stderr) == (1, True)
    monkeypatch.setattr(letta_memory_bridge, "DEFAULT_STORE", named)
    monkeypatch.setattr(letta_memory_bridge, "__file__", "/nowhere/letta_memory_bridge.py")
    nothing = bridge("sync", "--url", letta_server)
    assert (nothing.returncode, "--chroma-path" in nothing.stderr) == (1, True)


# --- a hub


def test_a_hub_is_asked_and_its_result_shown() -> None:
    counters = {"created": 3, "pushed": 2, "pulled": 0, "unchanged": 120}
    going = {"status": "running", "counters": {}, "errors": []}
    with fake_hub(going, going, {"status": "done", "counters": counters, "errors": []}) as (url, asked):
        done = bridge("sync", "--project", "planner", *TOKEN, MEMORYHUB_URL=url)

    assert done.returncode == 0
    assert done.stdout == "Done: 3 created, 2 pushed, 120 unchanged.\n/run/12\n"
    assert url in done.stderr
    assert [line.rpartition(" ")[0] for line in asked] == [
        "GET /api/project Bearer",
        "POST /api/sync Bearer",
        *["GET /api/sync/12 Bearer"] * 3,
    ]
    assert {line.rpartition(" ")[2] for line in asked} == {TOKEN[1]}


def test_a_token_belongs_to_one_project() -> None:
    with fake_hub({"status": "done", "counters": {"unchanged": 1}}, slug="website") as (url, asked):
        for command in (("sync",), ("list",), ("create-agent", "x")):
            done = bridge(*command, "--project", "planner", *TOKEN, "--url", url)
            assert (done.returncode, done.stdout) == (1, "")
            assert "'website', not to 'planner'" in done.stderr
        assert not [line for line in asked if line.startswith("POST")]
        assert bridge("sync", *TOKEN, "--url", url).returncode == 0
        with LettaMemoryBridge(url, TOKEN[1], say=print) as ours:  # as the guide has it, for whatever project
            assert ours.sync_from_local_rag()["status"] == "done"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"status": "failed", "errors": []}, ["failed", "/run/12"]),
        ({"status": "stopped"}, ["stopped", "/run/12"]),
        ({"status": "braked", "counters": {"deleted": 90}}, ["deleted", "approves", "/run/12"]),
        (  # as the hub tells it
            {"status": "braked", "errors": [{"memory": "", "title": "", "side": "", "error": "Stopped at the brake."}]},
            ["Blocks not syncing: Stopped at the brake.\nHint: An owner of the project approves", "/run/12"],
        ),
        (
            {"status": "failed", "errors": [{"title": "Login", "side": "letta", "error": "500"}]},
            ["Blocks not syncing: the sync of planner ended as 'failed': Login (letta): 500.", "/run/12"],
        ),
        (
            {"status": "failed", "errors": [{"memory": "", "title": "", "side": "local", "error": "no answer"}]},
            ["ended as 'failed': local: no answer.", "/run/12"],
        ),
        (
            {"status": "failed", "errors": [{"memory": "", "title": "", "side": "", "error": "It died."}] * 5},
            ["ended as 'failed': It died.; It died.; It died.; and 2 more."],
        ),
    ],
)
def test_a_sync_that_does_not_end_well(run: dict[str, Any], words: list[str]) -> None:
    with fake_hub(run) as (url, _):
        done = bridge("sync", *TOKEN, "--url", url, "--quiet")
        told = bridge("sync", *TOKEN, "--url", url, "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert all(word in done.stderr for word in words)
    assert (told.returncode, json.loads(told.stdout)["status"]) == (1, run["status"])


def test_not_waiting_for_a_hub() -> None:
    with fake_hub({"status": "running"}) as (url, asked):
        done = bridge("sync", "--no-wait", "--quiet", *TOKEN, LETTA_BASE_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        assert not [line for line in asked if "/api/sync/12" in line]


def test_a_token_that_a_hub_refuses() -> None:
    with fake_hub(refuse="The token “cron” has expired.") as (url, _):
        for arguments in (TOKEN, ("--api-key", "other")):
            done = bridge("sync", *arguments, "--url", url)
            assert (done.returncode, done.stdout) == (1, "")
            assert "Unauthorized" in done.stderr
            assert "has expired" in done.stderr
            assert "Settings > Tokens" in done.stderr
            assert TOKEN[1] not in done.stderr


def test_a_token_is_for_a_hub_only(letta_server: str) -> None:
    done = bridge("sync", *TOKEN, "--url", letta_server)
    assert (done.returncode, "not Memory Hub" in done.stderr) == (1, True)


# --- putting texts together

LONG_TEXTS = st.builds(lambda seed, length: body(Random(seed), length), st.integers(), st.integers(0, 3000))


@settings(max_examples=60)
@given(LONG_TEXTS)
def test_texts_are_put_together_as_the_hub_does(text: str) -> None:
    chunks = enumerate(original_chunks(text) or [""])
    rows = [Row(f"d_chunk_{i}", chunk, {"document_id": "d", "chunk_index": i}) for i, chunk in chunks]
    (document,) = documents(rows).values()
    assert text_of([(row.id, row.text or "", row.meta) for row in rows]) == state_of(document)["text"]


@settings(max_examples=60)
@given(LONG_TEXTS)
def test_the_hubs_own_records_give_their_text_back(text: str) -> None:
    rows = [
        (f"d_chunk_{i}", chunk.text, {"chunk_index": i, "start": chunk.start, "end": chunk.end})
        for i, chunk in enumerate(split(text))
    ]
    rows.reverse()
    assert text_of(sorted(rows, key=place_of)) == text


@pytest.mark.parametrize(
    ("metadata", "kind", "pinned"),
    [
        ({}, "project_details", False),
        ({"doc_type": "runtime_artifact", "artifact_type": "error", "tags": "x, pinned"}, "error", True),
        ({"doc_type": "meeting_notes", "artifact_type": "", "tags": "unpinned"}, "meeting_notes", False),
        ({"doc_type": "meeting_notes", "artifact_type": "fix", "tags_list": ["pinned"]}, "meeting_notes/fix", True),
        ({"created_at": "yesterday", "title": 7}, "project_details", False),
    ],
)
def test_a_record_of_any_kind(metadata: dict[str, Any], kind: str, pinned: bool) -> None:
    note = note_of("d", [("d", "text", metadata)])
    assert (note.kind, note.pinned, note.text, note.title) == (kind, pinned, "text", str(metadata.get("title", "d")))
