"""Signing in and out, passwords, and what a stranger may see."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.urls import reverse

pytestmark = pytest.mark.django_db
OLD, NEW = "old-correct-horse", "new-battery-staple"


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", "ann@example.com", OLD)


def test_sign_in_leads_where_one_wanted_to_go(client: Client, ann: User) -> None:
    page = client.get(reverse("login"), {"next": "/healthz"})
    assert 'value="/healthz"' in page.text
    reply = client.post(reverse("login"), {"username": "ann", "password": OLD, "next": "/healthz"})
    assert (reply.status_code, reply["Location"]) == (302, "/healthz")
    assert client.session["_auth_user_id"] == str(ann.pk)


def test_sign_in_leads_to_no_other_site(client: Client, ann: User, settings: Any) -> None:
    settings.LOGIN_REDIRECT_URL = "/somewhere/"
    reply = client.post(reverse("login"), {"username": "ann", "password": OLD, "next": "https://evil.example/"})
    assert reply["Location"] == "/somewhere/"


def test_a_wrong_password_is_said_at_the_form(client: Client, ann: User) -> None:
    reply = client.post(reverse("login"), {"username": "ann", "password": "wrong"})
    assert reply.status_code == 200
    assert "Please enter a correct username and password" in reply.text
    assert "_auth_user_id" not in client.session


def test_sign_out_is_a_post(client: Client, ann: User) -> None:
    client.force_login(ann)
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout")).status_code == 302
    assert "_auth_user_id" not in client.session


def test_changing_the_password(client: Client, ann: User) -> None:
    client.force_login(ann)
    fields = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    reply = client.post(reverse("password_change"), fields, follow=True)
    assert "Your password was changed" in reply.text
    ann.refresh_from_db()
    assert ann.check_password(NEW)


def test_changing_the_password_needs_an_account(client: Client) -> None:
    reply = client.get(reverse("password_change"))
    assert (reply.status_code, reply["Location"].partition("?")[0]) == (302, reverse("login"))


def test_a_lost_password_is_reset_by_mail(client: Client, ann: User) -> None:
    client.post(reverse("password_reset"), {"email": "ann@example.com"})
    [message] = mail.outbox
    assert message.to == ["ann@example.com"]
    link = re.search(r"http://testserver(/\S+)", str(message.body))
    assert link
    form = client.get(link[1], follow=True)
    address = form.redirect_chain[-1][0]
    reply = client.post(address, {"new_password1": NEW, "new_password2": NEW}, follow=True)
    assert "Your password was saved" in reply.text
    ann.refresh_from_db()
    assert ann.check_password(NEW)
    assert "used already" in client.get(link[1], follow=True).text


def test_reset_does_not_tell_who_has_an_account(client: Client, ann: User) -> None:
    known = client.post(reverse("password_reset"), {"email": "ann@example.com"}, follow=True)
    unknown = client.post(reverse("password_reset"), {"email": "bob@example.com"}, follow=True)
    assert known.redirect_chain == unknown.redirect_chain
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("name", ["login", "password_reset", "password_reset_done", "password_reset_complete"])
def test_strangers_get_these_pages_with_a_strict_policy(client: Client, name: str) -> None:
    reply = client.get(reverse(name))
    assert reply.status_code == 200
    policy = reply["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", reply.text)


def test_healthz_needs_no_account(client: Client) -> None:
    reply = client.get("/healthz")
    assert (reply.status_code, reply.text) == (200, "ok")
    assert client.post("/healthz").status_code == 405


def test_healthz_says_when_the_database_is_gone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError, connection

    def fail() -> None:
        raise OperationalError

    monkeypatch.setattr(connection, "cursor", fail)
    assert client.get("/healthz").status_code == 503
