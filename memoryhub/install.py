"""The first half of the set-up, for a Python that has nothing installed: `python -m memoryhub.install`.

Makes the virtual environment, installs the pinned packages into it, and writes `.env`. What is there
and still right is left alone. Uses the standard library only, and imports nothing of the project.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE = BASE_DIR / ".env"
HEADER = "# Settings of this Memory Hub; all of them are described in .env.example. Keep a copy in a safe place:\n"
HEADER += "# without FIELD_KEYS the stored API keys cannot be read.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", default=".venv")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    options = parser.parse_args()
    check_folder()
    venv = BASE_DIR / options.venv
    ensure_venv(venv)
    for name in ["requirements.txt", "requirements-dev.txt"][: 2 if options.dev else 1]:
        ensure_packages(venv, BASE_DIR / name)
    ensure_env(ENV_FILE)


def check_folder() -> None:
    if not os.access(BASE_DIR, os.W_OK):
        sys.exit(f"The folder {BASE_DIR} is not writable by this account: change its owner, or use a copy elsewhere.")


def ensure_venv(venv: Path) -> None:
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(
            "This Python cannot make virtual environments: install its venv module (on Debian and Ubuntu: "
            "apt install python3-venv), then run this again."
        )
    say(f"Making the virtual environment {venv.name} with Python {sys.version.split()[0]} ...")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True)
    if made.returncode:
        reason = (made.stderr or made.stdout).strip().rpartition("\n")[2]
        sys.exit(f"The virtual environment {venv} could not be made: {reason}")


def ensure_packages(venv: Path, requirements: Path) -> None:
    """Install what `requirements` pins, unless the copy kept in the environment says that was done."""
    stamp = venv / f"installed-{requirements.name}"
    wanted = requirements.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"Installing the packages of {requirements.name} (the first time this takes a minute or two) ...")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "-r", requirements]).returncode:
        sys.exit(
            f"The packages of {requirements.name} could not be installed (pip says why above): check the network "
            "and the space left, then run this again."
        )
    stamp.write_text(wanted)


def ensure_env(path: Path) -> None:
    """Write the secrets that are missing from `path`, and keep everything else it says."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else [HEADER]
    made = {"SECRET_KEY": secrets.token_urlsafe(50), "FIELD_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode()}
    missing = [name for name in made if not any(is_set(name, line) for line in lines)]
    if not missing:
        return
    lines = [line for line in lines if line.strip() not in [f"{name}=" for name in missing]]
    if not lines[-1:] or not lines[-1].endswith("\n"):
        lines.append("\n")
    write_private(path, "".join(lines) + "".join(f"{name}={made[name]}\n" for name in missing))
    say(f"Wrote {' and '.join(missing)} to {path.name}.")


def is_set(name: str, line: str) -> bool:
    key, _, value = line.partition("=")
    return key.split()[-1:] == [name] and not line.lstrip().startswith("#") and bool(value.strip(" \n'\""))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read; never half of it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
