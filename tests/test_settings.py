"""Every setting is documented, and a wrong one stops the start with a sentence."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from memoryhub.install import ensure_env
from memoryhub.settings import BASE_DIR

SETTINGS = (BASE_DIR / "memoryhub" / "settings.py").read_text()
EXAMPLE = (BASE_DIR / ".env.example").read_text()
KEY = "0123456789012345678901234567890123456789012="


def check(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `manage.py check` says with these variables, started from another folder."""
    base = {"PATH": os.environ["PATH"], "MEMORYHUB_ENV_FILE": os.devnull, "MEMORYHUB_DATA": str(folder / "data")}
    base |= {"SECRET_KEY": "only-for-tests", "FIELD_KEYS": KEY}
    command = [sys.executable, str(BASE_DIR / "manage.py"), "check"]
    return subprocess.run(command, env=base | environment, cwd=folder, capture_output=True, text=True, timeout=60)


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    read = set(re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', SETTINGS))
    documented = set(re.findall(r"^# ([A-Z_]+)=", EXAMPLE, re.M))
    assert len(read) > 20
    assert read == documented


def test_the_environment_is_read_in_settings_only() -> None:
    readers = re.compile(r"os\.(environ\.get|getenv)\(['\"]|os\.environ\[['\"]\w+['\"]\](?! = )")
    # A variable that an option of a command names (a key kept out of the command line) is no setting.
    allowed = {"memoryhub/environment.py"}
    for folder in ("memoryhub", "blocks", "syncjobs"):
        for path in (BASE_DIR / folder).rglob("*.py"):
            name = str(path.relative_to(BASE_DIR))
            if name not in allowed and (match := readers.search(path.read_text())):
                # The start hands its own PATH on to what it starts; that is no setting.
                assert name.endswith("commands/start.py"), f"{name} reads the environment: {match[0]}"


def test_nothing_but_the_secrets_is_needed(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set: run `make setup`, which writes one into .env."),
        ("FIELD_KEYS", "", "FIELD_KEYS is not set: run `make setup`"),
        ("FIELD_KEYS", f"{KEY},tooshort", "FIELD_KEYS is malformed (key 2 "),
        ("PORT", "abc", "PORT must be a whole number from 1 to 65535, not 'abc': change it in .env."),
        ("PORT", "70000", "PORT must be a whole number"),
        ("DEBUG", "maybe", "DEBUG must be true or false, not 'maybe'"),
        ("STORE_TIMEOUT", "nan", "STORE_TIMEOUT must be a number of seconds"),
        ("TIME_ZONE", "Mars/Olympus", "TIME_ZONE must be a time zone like Europe/Berlin"),
        ("TIME_ZONE", "Europe", "TIME_ZONE must be a time zone like Europe/Berlin"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG"),
        ("DATABASE_URL", "nonsense", "DATABASE_URL is not understood: write postgres://"),
        ("DATABASE_URL", "mysql://a@b/c", "DATABASE_URL is not understood"),
        ("DATABASE_URL", "postgres://a@b:port/c", "DATABASE_URL is not understood"),
        ("DATABASE_URL", "sqlite:///no/such/folder/x", "DATABASE_URL names a file in "),
        ("EMAIL_URL", "mail.example.com", "EMAIL_URL is not understood: write smtp+tls://"),
        ("EMAIL_URL", "smtp://", "EMAIL_URL is not understood"),
        ("CHROMA_URL", "127.0.0.1:8001", "CHROMA_URL must be an address like http://127.0.0.1:8001"),
        ("CSRF_TRUSTED_ORIGINS", "memory.example.com", "CSRF_TRUSTED_ORIGINS must list addresses"),
        ("MEMORYHUB_DATA", "/proc/memoryhub", "The folder /proc/memoryhub cannot be made"),
        ("MEMORYHUB_DATA", "/dev/null", "The folder /dev/null cannot be made"),
    ],
)
def test_a_wrong_value_stops_with_one_sentence(tmp_path: Path, name: str, value: str, said: str) -> None:
    done = check(tmp_path, **{name: value})
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_malformed_key_is_not_repeated(tmp_path: Path) -> None:
    assert "tooshort" not in check(tmp_path, FIELD_KEYS="tooshort").stderr


def test_a_wrong_port_in_the_file_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("PORT=abc\n")
    assert "PORT must be" in check(tmp_path, MEMORYHUB_ENV_FILE=str(tmp_path / "env")).stderr


def values(folder: Path, names: str, **environment: str) -> str:
    script = f"from memoryhub.settings import *; print({names})"
    base = {"PATH": os.environ["PATH"], "MEMORYHUB_ENV_FILE": os.devnull, "MEMORYHUB_DATA": str(folder / "data")}
    base |= {"SECRET_KEY": "only-for-tests", "FIELD_KEYS": KEY, "PYTHONPATH": str(BASE_DIR)}
    command = [sys.executable, "-c", script]
    return subprocess.check_output(command, env=base | environment, cwd=folder, text=True).strip()


def test_relative_paths_mean_the_checkout(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": "sqlite:///mine.sqlite3", "CHROMA_PATH": "some/chroma"}
    said = values(tmp_path, "DATABASES['default']['NAME'], CHROMA_PATH, sep='|'", **environment)
    assert said == f"{BASE_DIR / 'mine.sqlite3'}|{BASE_DIR / 'some/chroma'}"


def test_without_https_cookies_work_on_loopback(tmp_path: Path) -> None:
    said = values(tmp_path, "DEBUG, SECURE_SSL_REDIRECT, SESSION_COOKIE_SECURE, SECURE_HSTS_SECONDS, HOST")
    assert said == "False False False 0 127.0.0.1"


def test_https_makes_everything_strict(tmp_path: Path) -> None:
    names = "SECURE_SSL_REDIRECT, SESSION_COOKIE_SECURE, CSRF_COOKIE_SECURE, SECURE_HSTS_SECONDS > 0"
    assert values(tmp_path, names, HTTPS="true") == "True True True True"


def test_another_chroma_server_is_not_started(tmp_path: Path) -> None:
    assert values(tmp_path, "CHROMA_OWN, CHROMA_URL", CHROMA_PORT="9001") == "True http://127.0.0.1:9001"
    assert values(tmp_path, "CHROMA_OWN", CHROMA_URL="https://chroma.example.com") == "False"


# --- The .env that setup writes -----------------------------------------------------------------------------


def test_setup_writes_secrets_that_only_the_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    ensure_env(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = check(tmp_path, MEMORYHUB_ENV_FILE=str(path), SECRET_KEY="x")
    assert done.returncode == 0, done.stderr


def test_setup_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=9000\nSECRET_KEY=\nexport FIELD_KEYS=mine")
    ensure_env(path)
    lines = path.read_text().splitlines()
    assert lines[:2] == ["PORT=9000", "export FIELD_KEYS=mine"]
    assert [line.partition("=")[0] for line in lines[2:]] == ["SECRET_KEY"]
    before = path.read_text()
    ensure_env(path)
    assert path.read_text() == before
