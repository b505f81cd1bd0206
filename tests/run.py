"""`make test`: the whole suite on SQLite, then what depends on the database again on PostgreSQL.

    python -m tests.run                    both
    python -m tests.run tests/test_x.py    arguments go to pytest; both
    python -m tests.run --sqlite ...       SQLite only

Ends with 0 only if both runs passed.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers.postgres import running_postgres

# What is left out the second time: nothing there depends on which database is behind.
LEFT_OUT = ["-m", "not browser and not contract and not start"]
LEFT_OUT += ["--ignore=tests/browser", "--ignore=tests/contract"]
# Faults of the sides, each with a hub on a SQLite file or with sides that need no database to fail.
FAULTS = ("kills", "torn", "proxy", "bad_answers", "sizes", "mutants", "three_texts", "overtaken", "stale_letta")
LEFT_OUT += [f"--ignore=tests/syncjobs/test_{name}.py" for name in FAULTS]
NOTHING_RAN = 5


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--sqlite"]
    first = pytest("SQLite", arguments)
    if "--sqlite" in sys.argv:
        return first
    with running_postgres() as url:
        second = pytest("PostgreSQL", [*LEFT_OUT, *arguments], DATABASE_URL=url)
    if arguments and second == NOTHING_RAN:
        second = 0
    say(f"SQLite: {word(first)}; PostgreSQL: {word(second)}")
    return first or second


def pytest(title: str, arguments: list[str], **environment: str) -> int:
    """The exit code of one run. DATABASE_URL of the caller's shell never counts."""
    say(f"Tests on {title}")
    clean = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], env=clean | environment).returncode


def word(code: int) -> str:
    return "passed" if code == 0 else f"failed (exit code {code})"


def say(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


if __name__ == "__main__":
    sys.exit(main())
