"""What tests share: servers (tests/servers) and one cast of people."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from blocks import actions
from blocks.models import Memory
from memoryhub.models import Membership, Project, Role

pytest_plugins = ["tests.servers.fixtures", "tests.servers.chroma"]


def person(name: str, project: Project, role: Role | None) -> User:
    user = User.objects.create_user(name, password="secret")
    if role:
        Membership.objects.create(project=project, user=user, role=role)
    return user


@pytest.fixture
def project(db: None) -> Project:
    """One with the built-in Letta server and no local store."""
    return Project.objects.create(slug="planner", name="Planner")


@pytest.fixture
def owner(project: Project) -> User:
    return person("olga", project, Role.OWNER)


@pytest.fixture
def editor(project: Project) -> User:
    return person("maria", project, Role.EDITOR)


@pytest.fixture
def viewer(project: Project) -> User:
    return person("victor", project, Role.VIEWER)


@pytest.fixture
def outsider(project: Project) -> User:
    return person("otto", project, None)


@pytest.fixture
def memory(project: Project, editor: User) -> Memory:
    state = {"title": "Deployment checklist", "text": "1. Run tests\n2. Tag\n", "tags": ["deploy"], "kind": "fix"}
    return actions.create(project, state, user=editor)
