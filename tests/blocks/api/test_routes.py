"""Every route of every API, as everybody: without a token, with one of another project, with one that may only read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from ninja import NinjaAPI

from blocks.models import Memory, Revision
from memoryhub.models import Project
from memoryhub.urls import rest
from syncjobs.models import SyncRun
from tests.blocks.api.conftest import Api

pytestmark = pytest.mark.django_db
APIS = {"api": rest}
READS = {"GET"}
EXAMPLE = "123e4567-e89b-42d3-8456-426614174000"
# What an operation that writes is sent, so that nothing but the token stands in its way.
BODIES: dict[str, Any] = {"create_memory": {"title": "New"}, "change_memory": {"title": "Changed"}}


def routes(api: NinjaAPI) -> list[tuple[str, str, str]]:
    """(method, path below the API, operation id) of each."""
    document = api.get_openapi_schema()
    return [
        (method.upper(), path.removeprefix("/api/"), operation["operationId"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def addresses(resolver: URLResolver, namespace: str) -> Iterator[str]:
    """The patterns below a namespace, in words."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, namespace)
        elif isinstance(pattern, URLPattern) and resolver.namespace == namespace:
            yield str(pattern.pattern)


ROUTES = routes(rest)


@pytest.fixture
def about(api: Api, project: Project) -> dict[str, Any]:
    """What the addresses are about."""
    made = api.make()
    run = SyncRun.objects.create(project=project, trigger="button")
    return {"uuid": made["uuid"], "number": 1, "id": run.pk}


def test_every_address_is_in_the_document(project: Project) -> None:
    documented = {path.replace("{", "<").replace("}", ">") for _, path, _ in ROUTES}
    assert set(addresses(get_resolver(), "api")) == documented | {"openapi.json", ""}
    assert len(ROUTES) == len({operation for _, _, operation in ROUTES}) == 13


@pytest.mark.parametrize(("method", "path", "operation"), ROUTES)
def test_without_a_token_nothing_is_readable(method: str, path: str, operation: str, about: dict[str, Any]) -> None:
    before = everything()
    for header in ({}, {"Authorization": "Bearer mhub_" + "a" * 40}, {"Authorization": "Basic YTpi"}):
        reply = Client().generic(method, f"/api/{path.format(**about)}", "{}", "application/json", headers=header)
        assert reply.status_code == 401
        assert reply["WWW-Authenticate"].startswith("Bearer")
        assert set(reply.json()) == {"detail"}
    assert everything() == before


@pytest.mark.parametrize(("method", "path", "operation"), ROUTES)
def test_a_cookie_is_no_token(
    method: str, path: str, operation: str, about: dict[str, Any], client: Client, owner: Any
) -> None:
    client.force_login(owner)
    assert client.generic(method, f"/api/{path.format(**about)}", "{}", "application/json").status_code == 401


@pytest.mark.parametrize(("method", "path", "operation"), [route for route in ROUTES if "{" in route[1]])
def test_what_is_in_another_project_is_not_there(
    method: str, path: str, operation: str, about: dict[str, Any], stranger: Api
) -> None:
    before = everything()
    reply = stranger.call(method, path.format(**about), BODIES.get(operation))
    nowhere = stranger.call(method, path.format(uuid=EXAMPLE, number=1, id=10**6), BODIES.get(operation))
    assert (reply.status_code, reply.content) == (404, nowhere.content)
    assert everything() == before


@pytest.mark.parametrize(("method", "path", "operation"), [route for route in ROUTES if "{" not in route[1]])
def test_lists_show_nothing_of_another_project(
    method: str, path: str, operation: str, about: dict[str, Any], stranger: Api
) -> None:
    if method == "GET":
        reply = stranger.get(f"{path}?q=title" if path == "search" else path)
        assert reply.status_code == 200
        assert about["uuid"] not in reply.content.decode()
        assert reply.json().get("items", []) == []


@pytest.mark.parametrize(("method", "path", "operation"), ROUTES)
def test_a_token_that_may_read_reads_and_writes_nothing(
    method: str, path: str, operation: str, about: dict[str, Any], reader: Api
) -> None:
    before = everything()
    reply = reader.call(method, path.format(**about) + ("?q=x" if path == "search" else ""), BODIES.get(operation))
    assert reply.status_code == (200 if method in READS else 403)
    if method not in READS:
        assert "may only read" in reply.json()["detail"]
    assert everything() == before


@pytest.mark.parametrize("path", sorted({path for _, path, _ in ROUTES} | {"openapi.json"}))
def test_a_wrong_method_is_told_in_json(path: str, about: dict[str, Any], api: Api) -> None:
    right = {method for method, each, _ in ROUTES if each == path} or {"GET"}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - right:
        reply = api.call(method, path.format(**about))
        assert (reply.status_code, reply.json()) == (405, {"detail": f"{method} is not possible here."})
        assert set(reply["Allow"].split(", ")) >= right


def test_head_is_answered_as_get_is(about: dict[str, Any], api: Api) -> None:
    reply = api.call("HEAD", f"memories/{about['uuid']}")
    assert (reply.status_code, reply.content, reply["ETag"]) == (200, b"", '"1"')
    assert api.call("HEAD", "sync/1x").status_code == 422


@pytest.mark.parametrize("path", ["", "nothing", "memories/", f"memories/{EXAMPLE}/x", "openapi.json/", "%00", "a//b"])
def test_an_unknown_address_is_told_in_json(path: str, api: Api) -> None:
    for reply in (api.get(path), api.post(path, {}), Client().get(f"/api/{path}")):
        assert (reply.status_code, reply["Content-Type"]) == (404, "application/json")
        assert "nothing at this address" in reply.json()["detail"]


@pytest.mark.parametrize("uuid", ["x", "123", EXAMPLE[:-1], f"{EXAMPLE}0", "%00", "..", EXAMPLE.replace("-", ":")])
def test_an_id_that_is_none_is_not_there(uuid: str, api: Api) -> None:
    assert api.get(f"memories/{uuid}").status_code == 404
    assert api.patch(uuid, {"title": "x"}).status_code == 404


def test_an_id_may_be_in_capitals(api: Api, about: dict[str, Any]) -> None:
    assert api.get(f"memories/{about['uuid'].upper()}").status_code == 200


def everything() -> list[Any]:
    return [list(kind.objects.order_by("pk").values()) for kind in (Memory, Revision, SyncRun)]
