"""Reads settings from the environment, and says in one sentence what is wrong with a value."""

from __future__ import annotations

import base64
import binascii
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
SQLITE, POSTGRESQL = "memoryhub.sqlite", "django.db.backends.postgresql"
DATABASES = {"django.db.backends.sqlite3": SQLITE, POSTGRESQL: POSTGRESQL}
WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Environment:
    """The variables of this process, and under them those of one `.env` file.

    An empty variable counts as not set. Every method raises ImproperlyConfigured with a sentence that
    names the variable and says what to do.
    """

    def __init__(self, base: Path) -> None:
        self.base = base

    def read_file(self, path: Path) -> None:
        """Take up what `path` says; variables of the process win over it."""
        if path.exists() and not os.access(path, os.R_OK):
            raise ImproperlyConfigured(f"{path} cannot be read by this account: change its owner or mode.")
        environ.Env.read_env(path)

    def convert(self, name: str, default: T, make: Callable[[str], T], expected: str) -> T:
        value = os.environ.get(name, "").strip()
        if not value:
            return default
        try:
            return make(value)
        except (ValueError, KeyError) as error:
            raise ImproperlyConfigured(f"{name} must be {expected}, not {value!r}: change it in .env.") from error

    def text(self, name: str, default: str = "") -> str:
        return self.convert(name, default, str, "text")

    def secret(self, name: str, default: str = "") -> str:
        """Text that must be there, and is never repeated in a message."""
        value = os.environ.get(name, "").strip() or default
        if not value:
            raise ImproperlyConfigured(f"{name} is not set: run `make setup`, which writes one into .env.")
        return value

    def flag(self, name: str, default: bool) -> bool:
        return self.convert(name, default, lambda value: WORDS[value.lower()], "true or false")

    def number(self, name: str, default: int, lowest: int = 1, highest: int = 65535) -> int:
        def make(value: str) -> int:
            number = int(value)
            if not lowest <= number <= highest:
                raise ValueError
            return number

        return self.convert(name, default, make, f"a whole number from {lowest} to {highest}")

    def seconds(self, name: str, default: float) -> float:
        def make(value: str) -> float:
            number = float(value)
            if not 0 < number <= 3600:
                raise ValueError
            return number

        return self.convert(name, default, make, "a number of seconds above 0 and at most 3600")

    def names(self, name: str, default: list[str]) -> list[str]:
        def make(value: str) -> list[str]:
            return [part.strip() for part in value.split(",") if part.strip()]

        return self.convert(name, default, make, "a comma-separated list")

    def path(self, name: str, default: Path) -> Path:
        """A relative path means one in the checkout, wherever the process was started."""
        return self.convert(name, default, lambda value: self.base / Path(value).expanduser(), "a path")

    def folder(self, name: str, default: Path) -> Path:
        """A folder, made where it is missing."""
        path = self.path(name, default)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ImproperlyConfigured(
                f"The folder {path} cannot be made ({error.strerror}): set {name} to one this account may write to."
            ) from error
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise ImproperlyConfigured(
                f"The folder {path} is not writable by this account: change its owner or set {name} to another one."
            )
        return path

    def url(self, name: str, default: str) -> str:
        def make(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError
            return value.rstrip("/")

        return self.convert(name, default, make, "an address like http://127.0.0.1:8001")

    def origins(self, name: str) -> list[str]:
        origins = self.names(name, [])
        for origin in origins:
            if not origin.startswith(("http://", "https://")):
                raise ImproperlyConfigured(
                    f"{name} must list addresses with their scheme (https://...), not {origin!r}."
                )
        return origins

    def time_zone(self, name: str, default: str) -> str:
        def make(value: str) -> str:
            try:
                return ZoneInfo(value).key
            except OSError as error:  # a folder of the time zone data, such as "Europe"
                raise ValueError from error

        return self.convert(name, default, make, "a time zone like Europe/Berlin")

    def log_level(self, name: str, default: str) -> str:
        def make(value: str) -> str:
            return LOG_LEVELS[LOG_LEVELS.index(value.upper())]

        return self.convert(name, default, make, f"one of {', '.join(LOG_LEVELS)}")

    def fernet_keys(self, name: str) -> list[str]:
        keys = [key.strip() for key in self.secret(name).split(",") if key.strip()]
        for number, key in enumerate(keys, 1):
            try:
                right = len(base64.b64decode(key, altchars=b"-_", validate=True)) == 32
            except (binascii.Error, ValueError):
                right = False
            if not right:
                raise ImproperlyConfigured(
                    f"{name} is malformed (key {number} is not 32 bytes in URL-safe base64): "
                    "put back the value it had; without it the stored API keys cannot be read."
                )
        return keys

    def database(self, name: str, default: Path) -> dict[str, Any]:
        """Django's description of the database; `default` is the SQLite file used where nothing is set."""
        value = os.environ.get(name, "").strip()
        if not value:
            return {"ENGINE": SQLITE, "NAME": str(default)}
        wrong = ImproperlyConfigured(
            f"{name} is not understood: write postgres://user:password@host:5432/name or sqlite:///file.sqlite3."
        )
        try:
            with warnings.catch_warnings(action="ignore"):
                database: dict[str, Any] = environ.Env.db_url_config(value)
        except (ValueError, KeyError, ImproperlyConfigured) as error:
            raise wrong from error
        if database.get("ENGINE") not in DATABASES or not database["NAME"]:
            raise wrong
        database["ENGINE"] = DATABASES[database["ENGINE"]]
        if database["ENGINE"] == SQLITE:
            database["NAME"] = self.sqlite_name(name, database["NAME"])
        return database

    def sqlite_name(self, name: str, path: str) -> str:
        if path == ":memory:":
            raise ImproperlyConfigured(f"{name} must name a file: several processes share the database.")
        file = self.base / path
        if not os.access(file.parent, os.W_OK):
            raise ImproperlyConfigured(f"{name} names a file in {file.parent}, which is missing or not writable.")
        return str(file)

    def email(self, name: str, default: str) -> dict[str, Any]:
        """Django's EMAIL_... settings."""
        value = os.environ.get(name, "").strip() or default
        try:
            settings: dict[str, Any] = environ.Env.email_url_config(value)
        except (ValueError, KeyError, ImproperlyConfigured) as error:
            settings = {"EMAIL_HOST": None, "EMAIL_BACKEND": str(error)}
        backend = settings["EMAIL_BACKEND"].rsplit(".", 2)[-2:]
        if "EmailBackend" not in backend or ("smtp" in backend and not settings["EMAIL_HOST"]):
            raise ImproperlyConfigured(
                f"{name} is not understood: write smtp+tls://user:password@host:587, or consolemail:// to log mails."
            )
        return {key: setting for key, setting in settings.items() if setting not in (None, "")}
