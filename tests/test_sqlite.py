"""Connections to a SQLite file stay open, but not to a file that somebody has put another one in the place of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connections

from memoryhub.environment import SQLITE
from memoryhub.sqlite.base import DatabaseWrapper

pytestmark = pytest.mark.django_db  # which lets them connect


def made(path: Path, word: str) -> None:
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE said AS SELECT ? AS word", [word])
    file.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[DatabaseWrapper]:
    """A connection to `hub.sqlite3` that stays open as the settings have it."""
    made(tmp_path / "hub.sqlite3", "before")
    said = {"ENGINE": SQLITE, "NAME": str(tmp_path / "hub.sqlite3"), "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    connection = DatabaseWrapper(connections.configure_settings({"default": said})["default"], "default")
    yield connection
    connection.close()


def ask(connection: DatabaseWrapper, sql: str = "SELECT word FROM said") -> str:
    """What a request finds. Django looks at the connection before each."""
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def test_the_next_request_has_the_same_connection(kept: DatabaseWrapper) -> None:
    ask(kept)
    before = kept.connection
    ask(kept)
    assert kept.connection is before


def test_a_backup_put_in_its_place_is_what_the_next_request_sees(kept: DatabaseWrapper, tmp_path: Path) -> None:
    assert ask(kept) == "before"
    made(tmp_path / "backup.sqlite3", "after")
    (tmp_path / "backup.sqlite3").replace(tmp_path / "hub.sqlite3")
    assert ask(kept) == "after"


def test_a_file_that_was_moved_away_is_not_written_to(kept: DatabaseWrapper, tmp_path: Path) -> None:
    ask(kept)
    (tmp_path / "hub.sqlite3").rename(tmp_path / "moved.sqlite3")
    with pytest.raises(OperationalError, match="no such table"):
        ask(kept, "INSERT INTO said VALUES ('lost') RETURNING word")
