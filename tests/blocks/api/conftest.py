"""A project with tokens, and a client for each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from blocks.models import Memory
from memoryhub import tokens
from memoryhub.models import Project, Role


@dataclass
class Api:
    """Calls with one token. plain: the token itself."""

    plain: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response; `body` is sent as JSON, a str as it is."""
        data = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client().generic(
            method,
            f"/api/{path}",
            data,
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.plain}", **named},
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def patch(self, memory: Memory | str, body: Any, **headers: str) -> Any:
        return self.call("PATCH", path_of(memory), body, **headers)

    def delete(self, memory: Memory | str, **headers: str) -> Any:
        return self.call("DELETE", path_of(memory), **headers)

    def make(self, **fields: Any) -> dict[str, Any]:
        """A memory that was made just now, as the API gives it."""
        reply = self.post("memories", {"title": "A title", **fields})
        assert reply.status_code == 201, reply.content
        made: dict[str, Any] = reply.json()
        return made


def path_of(memory: Memory | str) -> str:
    return f"memories/{memory if isinstance(memory, str) else memory.uuid}"


def api_for(project: Project, name: str = "Claude", role: Role = Role.EDITOR) -> Api:
    return Api(tokens.issue(project, name, role=role)[1])


@pytest.fixture
def api(project: Project) -> Api:
    return api_for(project)


@pytest.fixture
def reader(project: Project) -> Api:
    return api_for(project, "Reader", Role.VIEWER)


@pytest.fixture
def stranger(db: None) -> Api:
    """Has a token of another project."""
    return api_for(Project.objects.create(slug="other", name="Other"), "Stranger")
