"""The page and the command that make tokens."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from memoryhub import tokens
from memoryhub.models import ApiToken, Project, Role

pytestmark = pytest.mark.django_db


def make(client: Client, project: Project, **data: Any) -> Any:
    return client.post(
        reverse("token_create", args=[project.slug]), {"name": "Claude", "role": "editor", "days": ""} | data
    )


def shown_token(text: str) -> str:
    (plain,) = set(re.findall(r"mhub_[A-Za-z0-9]{40}", text))
    return plain


def test_a_token_is_shown_once(client: Client, project: Project, editor: User) -> None:
    client.force_login(editor)
    reply = make(client, project, days="30")
    assert reply.status_code == 201
    plain = shown_token(reply.text)
    caller = tokens.caller_of(plain)
    assert (caller.name, caller.role, caller.token.created_by) == ("Claude", Role.EDITOR, editor)
    assert caller.token.expires_at is not None
    later = client.get(reverse("tokens", args=[project.slug])).text
    assert plain not in later
    assert caller.token.prefix in later
    assert "in 30 d</time>" in later


def test_a_viewer_makes_tokens_that_read(client: Client, project: Project, viewer: User) -> None:
    client.force_login(viewer)
    assert make(client, project, role="editor").status_code == 422
    reply = make(client, project, role="viewer")
    assert not tokens.caller_of(shown_token(reply.text)).may_write


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "Olga"}, "is a person&#x27;s account here"),
        ({"days": "0"}, "greater than or equal to 1"),
        ({"role": "owner"}, "not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(
    client: Client, project: Project, owner: User, data: dict[str, str], said: str
) -> None:
    client.force_login(owner)
    reply = make(client, project, **data)
    assert reply.status_code == 422
    assert said in reply.text
    assert not ApiToken.objects.exists()


def test_owners_and_whoever_made_it_revoke_a_token(
    client: Client, project: Project, owner: User, editor: User, viewer: User
) -> None:
    token, plain = tokens.issue(project, "Claude", user=editor)
    url = reverse("token_revoke", args=[project.slug, token.pk])
    client.force_login(viewer)
    assert client.post(url).status_code == 403
    for person in (editor, owner):
        ApiToken.objects.update(revoked_at=None)
        client.force_login(person)
        assert "is revoked" in client.post(url, follow=True).text
        with pytest.raises(tokens.TokenRefused):
            tokens.caller_of(plain)


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("create_token", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_the_command_prints_the_token_alone(project: Project) -> None:
    caller = tokens.caller_of(command("planner", "ci", "--role", "viewer"))
    assert (caller.name, caller.role, caller.token.expires_at) == ("ci", Role.VIEWER, None)


def test_the_command_prints_json(project: Project) -> None:
    said = json.loads(command("planner", "ci", "--days", "7", "--json"))
    assert tokens.caller_of(said["token"]).may_write
    assert (said["project"], said["name"], said["role"]) == ("planner", "ci", "editor")
    assert said["expires_at"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "ci"), "There are: planner; manage.py setup_project makes one."),
        (("planner", " "), "1 to 100 characters"),
        (("planner", "olga"), "a person's account"),
        (("planner", "ci", "--days", "0"), "from 1 to"),
    ],
)
def test_the_command_says_what_is_wrong(project: Project, owner: User, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)) as error:
        command(*arguments)
    assert error.value.returncode == 2
