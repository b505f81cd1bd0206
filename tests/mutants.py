"""Shows that the tests of sync have teeth: breaks the code in one place at a time, and says what notices.

    python -m tests.mutants                 all of them; 0 only if each was caught and the unbroken code passes
    python -m tests.mutants --quick         those that CI tries
    python -m tests.mutants journal lease   those whose names have one of these words
    python -m tests.mutants --list

What is broken, and how: tests/mutants_list.py. Works on copies of the project.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants_list import MUTANTS, STORY, Mutant

ROOT = Path(__file__).parent.parent
COPIED = ("blocks", "memoryhub", "syncjobs", "templates", "static", "tests", "manage.py", "pyproject.toml")
STORIES = 400  # at most so many to catch one
UNBROKEN = 100  # stories in which the unbroken code must hold
SEED = 1
FAILED = 1  # pytest's exit code where a test failed: anything else is no catch


@dataclass(frozen=True)
class Result:
    """by: what noticed. stories: how many were told until then (0: another test than the stories)."""

    name: str
    code: int
    seconds: float
    by: str
    stories: int
    log: str

    @property
    def caught(self) -> bool:
        return self.code == FAILED and bool(self.by)


class Moved(Exception):
    """The piece of source that a mutant replaces is not there exactly once."""


def break_it(folder: Path, mutant: Mutant) -> None:
    """Apply a mutant to a copy of the project. Raises `Moved`."""
    for path, old, new in mutant.changes:
        source = (folder / path).read_text()
        if source.count(old) != 1:
            raise Moved(f"{mutant.name}: in {path} there stands {source.count(old)} times:\n{old}")
        (folder / path).write_text(source.replace(old, new))


def check_places(mutants: Sequence[Mutant] = MUTANTS) -> None:
    """Raises `Moved` where the code is no longer what a mutant was made for."""
    for mutant in mutants:
        for path, old, _ in mutant.changes:
            if (found := (ROOT / path).read_text().count(old)) != 1:
                raise Moved(f"{mutant.name}: in {path} there stands {found} times:\n{old}")


def try_it(mutant: Mutant | None, stories: int, project: Path, tests: Sequence[str]) -> Result:
    """Run the tests that have to notice, on a copy in which the mutant is at work; None: nothing is broken."""
    with tempfile.TemporaryDirectory(prefix="memoryhub-mutant-") as name:
        folder = Path(name)
        copy_to(folder, project)
        if mutant:
            break_it(folder, mutant)
        environment = {**os.environ, "MEMORYHUB_STORIES": str(stories), "MEMORYHUB_SEED": str(SEED)}
        environment |= {"MEMORYHUB_TOLD": str(folder / "told.json"), "PYTHONPATH": "", "PYTHONHASHSEED": "0"}
        environment.pop("DATABASE_URL", None)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "-p", "no:cacheprovider", *tests]
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        told = folder / "told.json"
        what: dict[str, Any] = json.loads(told.read_text())["what"] if told.exists() else {}
        log = done.stdout + done.stderr
        return Result(
            mutant.name if mutant else "(nothing broken)",
            done.returncode,
            time.monotonic() - began,
            noticed(log),
            what.get("stories", 0),
            log,
        )


def copy_to(folder: Path, project: Path = ROOT) -> None:
    for name in COPIED:
        source = project / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, folder / name)


def noticed(log: str) -> str:
    """What the first failure says, in a line; '' if nothing failed in a test."""
    failed = re.findall(r"^FAILED \S+::(\S+)", log, re.MULTILINE)
    said = re.findall(r"^E   +(\w*(?:Error|Exception|Crash)\b.*|assert .*)", log, re.MULTILINE)
    if not failed:
        return ""
    test = "" if failed[0].startswith("test_both_sides") else f"{failed[0]}: "
    return test + re.sub(r"\s+", " ", said[0] if said else "failed").removeprefix("AssertionError: ")


def try_all(mutants: Sequence[Mutant], jobs: int, *, unbroken: int = UNBROKEN) -> list[Result]:
    """The unbroken code first, then every mutant, some at once; each result is printed as it comes.

    All are made from the project as it is now, whoever edits it meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="memoryhub-mutants-") as name, ThreadPoolExecutor(jobs) as pool:
        project = Path(name)
        copy_to(project)
        all_tests = list(dict.fromkeys([STORY, *(mutant.test for mutant in mutants)]))
        healthy = pool.submit(try_it, None, unbroken, project, all_tests)
        results = [pool.submit(try_it, mutant, STORIES, project, [mutant.test]) for mutant in mutants]
        return [show(result.result()) for result in [healthy, *results]]


def show(result: Result) -> Result:
    number = f"{result.stories} stories, " if result.stories else ""
    print(f"{result.name:<66} {number}{result.seconds:.0f} s: {result.by[:150] or 'not caught'}", flush=True)
    return result


def verdict(results: Sequence[Result]) -> list[str]:
    """What is wrong with the tests, '' if nothing: a mutant that lives, or unbroken code that fails."""
    healthy, *broken = results
    wrong = [] if healthy.code == 0 else [f"The unbroken code fails:\n{healthy.log}"]
    for result in broken:
        if not result.caught:
            said = "lives" if result.code == 0 else f"ended with code {result.code}:\n{result.log[-3000:]}"
            wrong.append(f"{result.name}: {said}")
    return wrong


def chosen(words: Sequence[str], quick: bool) -> list[Mutant]:
    return [
        mutant
        for mutant in MUTANTS
        if (mutant.quick or not quick) and (not words or any(word in mutant.name for word in words))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--unbroken", type=int, default=UNBROKEN, help="stories in which the unbroken code must hold")
    said = parser.parse_args()
    mutants = chosen(said.words, said.quick)
    check_places(mutants)
    if said.list:
        print("\n".join(mutant.name for mutant in mutants))
        return 0
    began = time.monotonic()
    results = try_all(mutants, said.jobs, unbroken=said.unbroken)
    wrong = verdict(results)
    caught = sum(result.caught for result in results[1:])
    print(f"{caught} of {len(mutants)} mutants caught in {time.monotonic() - began:.0f} s.")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
