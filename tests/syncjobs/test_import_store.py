import json
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from blocks import actions
from blocks.models import Memory
from tests.original_store import make_folder, memories, open_server

pytestmark = pytest.mark.django_db
ITEMS = memories(12, ["website", "agents"], seed=7)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "store", ITEMS)
    return tmp_path / "store"


@pytest.fixture
def target(chroma_server, collection):
    """Two projects on one empty collection of a real server; returns a way to look into it."""
    for slug in ("website", "agents"):
        address = ("--chroma-url", chroma_server, "--collection", collection)
        call_command("setup_project", slug, *address, stdout=StringIO())
    return lambda: open_server(chroma_server).get_collection(collection, embedding_function=None)


def imported(folder: Path, *arguments: str) -> list[dict]:
    out = StringIO()
    call_command("import_store", str(folder), "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def fingerprint(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_memory_arrives_as_it_was_and_the_folder_stays(folder, target):
    before = fingerprint(folder)
    result = imported(folder)
    assert [(row["project"], row["imported"], row["present"]) for row in result] == [
        ("agents", 6, 0),
        ("website", 6, 0),
    ]
    got = target().get(include=["documents", "metadatas", "embeddings"])
    expected = {id: (text, meta) for item in ITEMS for id, text, meta in item.rows}
    assert dict(zip(got["ids"], zip(got["documents"], got["metadatas"], strict=True), strict=True)) == expected
    assert len(got["embeddings"][0]) == 384
    assert fingerprint(folder) == before


def test_vectors_are_kept(folder, target):
    imported(folder)
    from tests.original_store import cheap_vectors

    got = target().get(include=["documents", "embeddings"])
    wanted = cheap_vectors(list(got["documents"]))
    assert abs(got["embeddings"] - wanted).max() < 1e-6


def test_a_second_import_does_nothing_and_a_cut_off_one_is_completed(folder, target):
    imported(folder)
    target().delete(ids=[id for id, _, _ in ITEMS[0].rows][-1:])
    again = {row["project"]: (row["imported"], row["present"]) for row in imported(folder)}
    assert again == {"agents": (0, 6), "website": (1, 5)}
    assert {row["imported"] for row in imported(folder)} == {0}


def test_what_somebody_changed_since_is_not_overwritten(folder, target):
    imported(folder)
    id = ITEMS[0].rows[0][0]
    target().update(ids=[id], documents=["changed"], embeddings=[[0.0] * 384])
    imported(folder)
    assert target().get(ids=[id])["documents"] == ["changed"]


def test_what_was_deleted_in_the_hub_does_not_come_back(folder, target):
    imported(folder)
    call_command("sync_memory", stdout=StringIO())
    memory = Memory.objects.get(uuid=ITEMS[0].id)
    actions.delete([memory], user=None)
    call_command("sync_memory", stdout=StringIO())
    assert imported(folder, "--project", "website")[0]["imported"] == 0


def test_one_project_only_and_a_dry_run(folder, target):
    assert [row["imported"] for row in imported(folder, "--project", "agents", "--dry-run")] == [6]
    assert target().count() == 0 if _exists(target) else True
    assert [row["project"] for row in imported(folder, "--project", "agents")] == ["agents"]
    names = {meta["project_name"] for meta in target().get()["metadatas"]}
    assert names == {"agents"}


def _exists(target) -> bool:
    from chromadb.errors import NotFoundError

    try:
        target()
    except NotFoundError:
        return False
    return True


def test_memories_of_no_project_are_named_and_fail_the_command(tmp_path, target, capsys):
    make_folder(tmp_path / "store", memories(4, ["website", "unknown"]))
    with pytest.raises(SystemExit) as stop:
        call_command("import_store", str(tmp_path / "store"))
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "website: 2 imported" in printed.out
    assert "no project named “unknown”" in printed.err


@pytest.mark.parametrize("content", [None, b"not a database"])
def test_something_else_than_a_store_is_said(tmp_path, target, content):
    if content:
        (tmp_path / "chroma.sqlite3").write_bytes(content)
    with pytest.raises(CommandError, match=r"not a Chroma folder|cannot be read"):
        call_command("import_store", str(tmp_path))


def test_the_folder_of_the_hubs_own_server_is_refused():
    with pytest.raises(CommandError, match="own Chroma server"):
        call_command("import_store", str(settings.CHROMA_PATH))
