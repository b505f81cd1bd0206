"""A connection that turns out to be another server, an emptied one, another collection, or an older copy."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import original_store
from tests.servers.chroma import ChromaServer
from tests.servers.letta_faithful import Memory, faithful_letta
from tests.syncjobs.troupe import Troupe, administer, troupe_of

pytestmark = pytest.mark.contract
POSTGRES = bool(os.environ.get("DATABASE_URL"))


class Place(Troupe):
    """With what lies behind the servers."""

    memory: Memory
    server: ChromaServer

    def restart_with(self, folder: Path | None) -> None:
        """The Chroma server with another folder in its place, or none."""
        self.server.stop()
        shutil.rmtree(self.server.folder)
        if folder:
            shutil.copytree(folder, self.server.folder)
        self.server.start()

    def backup(self, name: str) -> Path:
        """A copy of the Chroma server's folder as it is now."""
        self.server.stop()
        folder = self.server.folder.with_name(name)
        shutil.copytree(self.server.folder, folder)
        self.server.start()
        return folder

    def stops(self, *words: str) -> None:
        """A run changes nothing, and says why; so does a push."""
        before = self.order(do="facts", slug="planner")
        code, out, error = self.end(self.start("sync_memory"))
        assert code == 1, out + error
        assert "Traceback" not in error
        assert all(word in error for word in words), error
        after = self.order(do="facts", slug="planner")
        assert (after["live"], after["gone"]) == (before["live"], before["gone"])

    def confirm(self) -> None:
        assert len(self.order(do="confirm")) == 1
        self.do("sync_memory", "--allow-deletions")


@pytest.fixture
def place(tmp_path: Path, fresh_chroma_server: ChromaServer, collection: str) -> Iterator[Place]:
    with faithful_letta() as (url, memory), troupe_of(tmp_path, url, fresh_chroma_server.url, collection) as troupe:
        troupe.__class__ = Place
        assert isinstance(troupe, Place)
        troupe.memory, troupe.server = memory, fresh_chroma_server
        yield troupe


def lived(place: Place) -> list[str]:
    """Memories whose life goes on after a backup: returns those that are there throughout."""
    uuids = place.create(8)
    place.sync()
    return uuids


def live_on(place: Place, uuids: list[str]) -> None:
    """Little enough for the brake to let it pass: three made, two changed, one archived since the backup."""
    place.create(3)
    place.edit(*uuids[:2])
    place.archive(uuids[7])
    place.sync()


def test_an_older_copy_of_the_chroma_folder(place: Place) -> None:
    uuids = lived(place)
    older = place.backup("older")
    live_on(place, uuids)
    place.edit(uuids[0], uuids[4])
    place.restart_with(older)
    place.stops("older copy", "confirm")
    place.edit(uuids[5])
    place.stops("older copy")
    place.confirm()
    everything_is_in_the_hub(place)


def test_an_older_state_of_the_letta_server(place: Place) -> None:
    uuids = lived(place)
    older = copy.deepcopy(place.memory.blocks)
    live_on(place, uuids)
    place.memory.blocks = older
    place.stops("older copy", "confirm")
    place.confirm()
    everything_is_in_the_hub(place)


def test_a_push_to_an_older_copy_waits_too(place: Place) -> None:
    uuids = lived(place)
    older = copy.deepcopy(place.memory.blocks)
    live_on(place, uuids)
    place.memory.blocks = older
    place.edit(uuids[0])
    place.do("db_worker", "--queue-name", "push", "--batch", "--no-startup-delay", "--no-reload")
    assert len(place.order(do="suspects")) == 1
    place.confirm()
    everything_is_in_the_hub(place)


def test_a_copy_made_just_now_is_nothing_to_ask_about(place: Place) -> None:
    uuids = lived(place)
    live_on(place, uuids)
    now = place.backup("now")
    place.restart_with(now)
    place.memory.blocks = copy.deepcopy(place.memory.blocks)
    place.edit(uuids[0])
    place.at_peace()


def everything_is_in_the_hub(place: Place) -> None:
    """What differs is in conflict, with both texts; deciding for the hub's brings all in step."""
    place.call("resolve", how="hub")
    place.at_peace()


def test_an_emptied_letta_server(place: Place) -> None:
    lived(place)
    place.memory.blocks.clear()
    place.stops("wiped", "confirm")
    place.confirm()
    place.at_peace()


def test_an_emptied_chroma_server(place: Place) -> None:
    lived(place)
    place.restart_with(None)
    place.stops("wiped", "confirm")
    place.confirm()
    place.at_peace()


def test_a_collection_that_was_deleted_and_made_again(place: Place) -> None:
    lived(place)
    client = original_store.open_server(place.server.url)
    client.delete_collection(place.collection)
    client.create_collection(place.collection, embedding_function=None)
    place.stops("wiped", "confirm")
    place.confirm()
    place.at_peace()


def test_a_collection_that_is_replaced_while_a_run_looks(place: Place) -> None:
    """Between the check of the identity and the look."""
    lived(place)
    seen: list[Any] = []

    def rule(method: str, path: str) -> None:
        if path.endswith(("/count", "/get")) and not seen:
            seen.append(path)
            client = original_store.open_server(place.server.url)
            client.delete_collection(place.collection)
            client.create_collection(place.collection, embedding_function=None)

    place.chroma.rule = rule
    place.end(place.start("sync_memory", "--allow-deletions"))
    place.chroma.rule = lambda method, path: None
    assert place.order(do="facts", slug="planner")["gone"] == []
    place.stops("wiped", "confirm")
    place.confirm()
    place.at_peace()


def test_another_server_behind_the_address(place: Place) -> None:
    lived(place)
    with faithful_letta() as (url, _):
        place.letta.client.base_url = url
        place.stops("another server", "confirm")
        place.letta.client.base_url = place.letta.target
        assert len(place.order(do="suspects")) == 1
        place.confirm()
    place.at_peace()


def test_an_older_copy_of_the_hubs_own_database(place: Place, tmp_path: Path) -> None:
    uuids = lived(place)
    put_back = back_up_hub(place, tmp_path)
    live_on(place, uuids)
    put_back()
    place.said = {text for text in place.said if text in texts_of(place) or on_a_side(place, text)}
    place.sync()
    place.check()
    assert not [text for text in texts_of(place) if text.startswith("# Shared Memory")]  # of our own digest
    place.edit(uuids[1])
    place.at_peace()


def back_up_hub(place: Place, folder: Path) -> Any:
    if POSTGRES:
        name = place.database_url.rpartition("/")[2]
        with administer() as execute:
            execute(f"CREATE DATABASE {name}_old TEMPLATE {name}")

        def restore() -> None:
            with administer() as execute:
                execute(f"DROP DATABASE {name} WITH (FORCE)")
                execute(f"ALTER DATABASE {name}_old RENAME TO {name}")

        return restore
    kept = folder / "kept"
    kept.mkdir()
    for path in folder.glob("hub.sqlite3*"):
        shutil.copy(path, kept)

    def put_back() -> None:
        for path in folder.glob("hub.sqlite3*"):
            path.unlink()
        for path in kept.iterdir():
            shutil.copy(path, folder)

    return put_back


def texts_of(place: Place) -> set[str]:
    return set(place.order(do="facts", slug="planner")["texts"])


def on_a_side(place: Place, text: str) -> bool:
    """An archived or overwritten text that only the lost part of the history had is lost with it."""
    with suppress(KeyError):
        return any(block["value"] == text for block in place.memory.blocks.values())
    return False
