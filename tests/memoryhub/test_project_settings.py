"""A project's name and its end."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from memoryhub import projects
from memoryhub.models import Project

pytestmark = pytest.mark.django_db


def test_rename(client: Client, project: Project, owner: User) -> None:
    client.force_login(owner)
    client.post(reverse("project_settings", args=[project.slug]), {"name": "Plans", "description": "Ours"})
    project.refresh_from_db()
    assert (project.name, project.description, project.slug) == ("Plans", "Ours", "planner")


def test_an_empty_name_is_said_at_the_field(client: Client, project: Project, owner: User) -> None:
    client.force_login(owner)
    reply = client.post(reverse("project_settings", args=[project.slug]), {"name": "", "description": "kept"})
    assert reply.status_code == 422
    assert "required" in reply.text
    assert "kept" in reply.text


def test_archive_and_bring_back(client: Client, project: Project, owner: User, editor: User) -> None:
    client.force_login(owner)
    client.post(reverse("project_archive", args=[project.slug]))
    project.refresh_from_db()
    assert project.archived_at is not None
    assert "is archived since" in client.get(reverse("project_settings", args=[project.slug])).text
    client.post(reverse("project_unarchive", args=[project.slug]))
    project.refresh_from_db()
    assert project.archived_at is None


def test_viewers_see_no_form(client: Client, project: Project, viewer: User) -> None:
    client.force_login(viewer)
    page = client.get(reverse("project_settings", args=[project.slug])).text
    assert "planner" in page
    assert reverse("project_archive", args=[project.slug]) not in page


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Web Site", "web-site"),
        ("Планер", "project"),
        ("planner", "planner-2"),
        ("x" * 100, "x" * 44),
        ("-_-", "project"),
    ],
)
def test_the_slug_is_made_from_the_name(project: Project, name: str, slug: str) -> None:
    assert projects.free_slug(name) == slug
