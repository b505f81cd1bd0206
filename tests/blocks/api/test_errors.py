"""What goes wrong is told in one form, and is never a page for people."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client

from blocks import actions
from tests.blocks.api.conftest import Api

pytestmark = pytest.mark.django_db


def raw(api: Api, data: bytes, kind: str = "application/json", **more: Any) -> Any:
    return Client().generic(
        "POST", "/api/memories", data, content_type=kind, headers={"Authorization": f"Bearer {api.plain}"}, **more
    )


@pytest.mark.parametrize(
    "body",
    [b"{", b"title=x", b"\xff\xfe\xfd", b"[" * 100_000, b'{"limit": ' + b"9" * 5000 + b"}", b"{'title': 'x'}"],
)
def test_what_is_no_json_is_refused(api: Api, body: bytes) -> None:
    reply = raw(api, body)
    assert (reply.status_code, "parse" in reply.json()["detail"]) == (400, True)


@pytest.mark.parametrize("body", [b"", b"[]", b'"title"', b"5", b"null", b'{"limit": NaN, "title": "x"}', b"true"])
def test_json_that_is_no_memory_is_refused(api: Api, body: bytes) -> None:
    reply = raw(api, body)
    assert (reply.status_code, isinstance(reply.json()["detail"], str)) == (422, True)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_another_content_type_is_refused(api: Api, kind: str) -> None:
    reply = raw(api, b'{"title": "x"}', kind)
    assert (reply.status_code, "application/json" in reply.json()["detail"]) == (415, True)


def test_a_charset_may_be_said(api: Api) -> None:
    assert raw(api, b'{"title": "x"}', "application/json; charset=utf-8").status_code == 201


def test_too_large_a_request_is_refused(api: Api) -> None:
    reply = raw(api, b" " * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1))
    assert (reply.status_code, reply.json()["detail"]) == (413, "A request has at most 24 MB.")


def fails(monkeypatch: pytest.MonkeyPatch, cause: Exception) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        try:
            raise cause
        except type(cause) as error:
            raise OperationalError(str(error)) from error

    monkeypatch.setattr(actions, "create", fail)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("said so")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "cause",
    [
        sqlite_error(sqlite3.SQLITE_BUSY),
        sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT),
        psycopg.errors.DeadlockDetected("x"),
        psycopg.errors.TooManyConnections("x"),
        psycopg.OperationalError("connection refused"),
    ],
)
def test_a_busy_database_asks_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch, cause: Exception) -> None:
    fails(monkeypatch, cause)
    reply = api.post("memories", {"title": "x"})
    assert (reply.status_code, reply["Retry-After"]) == (503, "2")
    assert "try again" in reply.json()["detail"]


def test_what_nobody_foresaw_is_logged_and_told_in_json(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails(monkeypatch, sqlite_error(sqlite3.SQLITE_ERROR))
    reply = api.post("memories", {"title": "a secret"})
    assert (reply.status_code, reply.json()) == (500, {"detail": "Something went wrong in the hub. Its log says what."})
    assert "POST /api/memories failed" in caplog.text


def test_the_document_is_for_tokens_and_people(api: Api, reader: Api, client: Client, editor: User) -> None:
    assert client.get("/api/openapi.json").status_code == 401
    assert "paths" not in client.get("/api/openapi.json").json()
    for token in (api, reader):
        assert token.get("openapi.json").json()["openapi"].startswith("3.")
    client.force_login(editor)
    assert client.get("/api/openapi.json").status_code == 200
    assert client.post("/api/openapi.json").status_code == 405
