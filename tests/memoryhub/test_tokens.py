"""Tokens: what whoever carries one may do, and who is not let in."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from memoryhub import api, tokens
from memoryhub.models import ApiToken, Membership, Project, Role
from memoryhub.rates import Buckets
from memoryhub.settings import BASE_DIR

pytestmark = pytest.mark.django_db


def ask(client: Client, plain: str | None) -> tuple[int, str]:
    headers = {} if plain is None else {"Authorization": f"Bearer {plain}"}
    reply = client.get("/api/project", headers=headers)
    return reply.status_code, reply.json().get("slug") or reply.json()["detail"]


def test_a_token_opens_its_project(client: Client, project: Project) -> None:
    _, plain = tokens.issue(project, "Claude")
    assert plain.startswith("mhub_")
    assert ask(client, plain) == (200, "planner")
    assert client.get("/api/project", headers={"Authorization": f"Bearer {plain}"}).json()["agent"] == "Claude"


def test_only_prefix_and_hash_are_stored(project: Project) -> None:
    token, plain = tokens.issue(project, "Claude")
    row = ApiToken.objects.values().get(pk=token.pk)
    assert plain not in str(row)
    assert plain[13:] not in str(row)
    assert plain.startswith(token.prefix)


@pytest.mark.parametrize("sent", [None, "", "mhub_", "mhub_aaaaaaaabbbbbbbb", "sk-other", "mhub_ü\ud800"])
def test_without_a_good_token_nothing_is_readable(client: Client, project: Project, sent: str | None) -> None:
    tokens.issue(project, "Claude")
    headers = {} if sent is None else {"HTTP_AUTHORIZATION": f"Bearer {sent}"}
    reply = client.get("/api/project", **headers)  # type: ignore[arg-type]
    assert reply.status_code == 401
    assert reply["WWW-Authenticate"].startswith("Bearer")
    assert "slug" not in reply.json()


def test_a_wrong_end_is_refused(client: Client, project: Project) -> None:
    _, plain = tokens.issue(project, "Claude")
    wrong = plain[:-1] + ("a" if plain[-1] != "a" else "b")
    assert ask(client, wrong)[0] == 401


def test_a_revoked_token_is_refused(client: Client, project: Project) -> None:
    token, plain = tokens.issue(project, "Claude")
    tokens.revoke(token)
    status, detail = ask(client, plain)
    assert (status, "was revoked" in detail) == (401, True)


def test_an_expired_token_is_refused(client: Client, project: Project) -> None:
    token, plain = tokens.issue(project, "Claude", days=3)
    assert ask(client, plain)[0] == 200
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    status, detail = ask(client, plain)
    assert (status, "has expired" in detail) == (401, True)


def test_a_token_can_do_no_more_than_its_maker(client: Client, project: Project, editor: User) -> None:
    _, plain = tokens.issue(project, "Claude", user=editor)
    assert tokens.caller_of(plain).may_write
    Membership.objects.filter(user=editor).update(role=Role.VIEWER)
    assert not tokens.caller_of(plain).may_write
    Membership.objects.filter(user=editor).delete()
    status, detail = ask(client, plain)
    assert (status, "no longer a member" in detail) == (401, True)


def test_a_token_of_somebody_who_may_not_sign_in_is_refused(client: Client, project: Project, editor: User) -> None:
    _, plain = tokens.issue(project, "Claude", user=editor)
    User.objects.filter(pk=editor.pk).update(is_active=False)
    assert ask(client, plain)[0] == 401


def test_an_archived_project_can_be_read_only(project: Project) -> None:
    _, plain = tokens.issue(project, "Claude")
    project.archived_at = timezone.now()
    project.save(update_fields=["archived_at"])
    caller = tokens.caller_of(plain)
    assert not caller.may_write
    assert "archived" in caller.why_not


def test_the_last_use_is_noted(client: Client, project: Project) -> None:
    token, plain = tokens.issue(project, "Claude")
    ask(client, plain)
    token.refresh_from_db()
    assert token.last_used_at is not None
    assert timezone.now() - token.last_used_at < timedelta(minutes=1)


def test_who_calls_too_often_is_told_when_to_come_back(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(api, "buckets", Buckets(2, tmp_path / "rates"))
    _, first = tokens.issue(project, "Claude")
    _, second = tokens.issue(project, "GPT")
    assert [ask(client, first)[0] for _ in range(3)] == [200, 200, 429]
    reply = client.get("/api/project", headers={"Authorization": f"Bearer {first}"})
    assert 0 < int(reply["Retry-After"]) <= 30
    assert ask(client, second)[0] == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [100.0]
    monkeypatch.setattr("memoryhub.rates.time.monotonic", lambda: now[0])
    bucket = Buckets(60, tmp_path / "rates")
    assert [bucket.take(1) for _ in range(61)] == [0] * 60 + [1]
    now[0] += 1
    assert [bucket.take(1), bucket.take(1)] == [0, 1]
    assert bucket.take(2) == 0
    now[0] = 1.0  # the machine was started anew
    assert bucket.take(1) == 1
    now[0] += 1
    assert bucket.take(1) == 0


TAKE = """
import sys
from pathlib import Path
from memoryhub.rates import Buckets
bucket = Buckets(100, Path(sys.argv[1]))
print(sum(bucket.take(7) == 0 for _ in range(90)))
"""


def test_processes_count_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "rates")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=BASE_DIR) for _ in range(3)]
    began = time.monotonic()
    allowed = sum(int(process.communicate()[0]) for process in running)
    assert 100 <= allowed <= 101 + (time.monotonic() - began + 5) * 100 / 60


def test_what_cannot_be_counted_is_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bucket = Buckets(1, tmp_path / "nowhere" / "rates")
    assert [bucket.take(1), bucket.take(1)] == [0, 0]
    assert caplog.text.count("not counted") == 1
