"""The first account, and the hub's own store."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError

from memoryhub.models import LocalStore

pytestmark = pytest.mark.django_db


def bootstrap() -> str:
    said = StringIO()
    call_command("bootstrap", stdout=said)
    return said.getvalue()


def test_the_first_account_gets_a_random_password(settings: Any) -> None:
    settings.ADMIN_PASSWORD = ""
    password = bootstrap().partition("account admin, password: ")[2].split()[0]
    assert len(password) >= 16
    admin = User.objects.get(username="admin")
    assert admin.is_superuser
    assert admin.check_password(password)
    assert "password" not in bootstrap()


def test_a_chosen_password_is_not_repeated(settings: Any) -> None:
    settings.ADMIN_PASSWORD = "chosen-by-me"
    assert "chosen-by-me" not in bootstrap()
    assert User.objects.get(username="admin").check_password("chosen-by-me")


def test_a_later_start_does_not_bring_admin_back(settings: Any) -> None:
    User.objects.create_superuser("ann", password="x")
    bootstrap()
    assert not User.objects.filter(username="admin").exists()


def test_the_builtin_store_is_there_once() -> None:
    bootstrap()
    bootstrap()
    assert LocalStore.objects.filter(url="").count() == 1


def test_a_database_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise OperationalError("connection refused\n\tIs the server running?")

    monkeypatch.setattr("memoryhub.management.commands.bootstrap.Command.migrate", fail)
    with pytest.raises(CommandError, match=r"^The database \(.*\) cannot be used: connection refused$"):
        bootstrap()
