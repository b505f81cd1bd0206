"""`make torture`: tries to break sync for as long as wanted, each time in another way.

    python -m tests.torture                        ten minutes
    python -m tests.torture --minutes 60 --seed 7  an hour; the same stories again
    python -m tests.torture --only stories

First the tests that kill processes, disturb connections and break stores, with more rounds the longer it may take;
then the mutants; the rest of the time goes to the stories of the model-based test, a round of them after another
with a seed each. Ends with 0 only if nothing failed; what failed says how it is done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
STORIES = "tests/syncjobs/test_convergence.py"
ROUND = 250  # stories with one seed
STEPS = 25


@dataclass(frozen=True)
class Part:
    """Tests that do more rounds when told to. files: run where they are there. rounds: variable, so many a minute."""

    name: str
    files: tuple[str, ...]
    rounds: Mapping[str, float] = field(default_factory=dict)


PARTS = (
    Part("processes that are killed", ("tests/syncjobs/test_kills.py",), {"MEMORYHUB_KILLS": 10}),
    Part("connections that fail", ("tests/syncjobs/test_proxy.py",), {"MEMORYHUB_FAULTS": 1}),
    Part(
        "stores that are down, slow, full, swapped or answer garbage",
        (
            "tests/syncjobs/test_bad_answers.py",
            "tests/syncjobs/test_bad_stores.py",
            "tests/syncjobs/test_two_runs.py",
            "tests/syncjobs/test_database.py",
            "tests/syncjobs/test_identity.py",
            "tests/syncjobs/test_torn.py",
        ),
        {"MEMORYHUB_FAULTS": 1},
    ),
)


@dataclass
class Done:
    """What a part did. told: what it says of itself, for the table at the end."""

    name: str
    code: int
    seconds: float
    told: str = ""
    again: str = ""


class Torture:
    def __init__(self, minutes: float, seed: int) -> None:
        self.minutes, self.dice = minutes, random.Random(seed)
        self.ends = time.monotonic() + 60 * minutes
        self.done: list[Done] = []
        self.what: Counter[str] = Counter()

    def parts(self) -> None:
        for part in PARTS:
            files = [file for file in part.files if (ROOT / file).exists()]
            if files:
                rounds = {name: str(max(1, round(rate * self.minutes))) for name, rate in part.rounds.items()}
                self._pytest(part.name, files, rounds | self._seed())

    def mutants(self) -> None:
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "tests.mutants"], cwd=ROOT).returncode
        self.done.append(Done("mutants", code, time.monotonic() - began, again="python -m tests.mutants"))

    def stories(self) -> None:
        """Rounds until the time is over, at least one. Each ends by itself: the last one may take longer."""
        while True:
            began = time.monotonic()
            self._round()
            if time.monotonic() + (time.monotonic() - began) / 2 > self.ends:
                return

    def _round(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "told.json"
            changed = {"MEMORYHUB_STORIES": str(ROUND), **self._seed()}
            done = self._pytest("stories", [STORIES], changed, MEMORYHUB_TOLD=str(told))
            what = json.loads(told.read_text())["what"] if told.exists() else {}
            self.what.update(what)
            done.told = f"{what.get('stories', 0)} stories, {what.get('steps', 0)} steps"

    def _seed(self) -> dict[str, str]:
        return {"MEMORYHUB_SEED": str(self.dice.randrange(2**32))}

    def _pytest(self, name: str, files: Sequence[str], changed: Mapping[str, str], **unsaid: str) -> Done:
        settings = " ".join(f"{key}={value}" for key, value in changed.items())
        again = f"{settings} python -m pytest {' '.join(files)}"
        print(f"\n=== {name}: {again}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *files]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, **changed, **unsaid}).returncode
        self.done.append(Done(name, code, time.monotonic() - began, settings, again))
        return self.done[-1]

    def report(self) -> bool:
        """Print what was done; whether all of it held."""
        print("\n=== What was done")
        for done in self.done:
            word = "held" if done.code == 0 else f"FAILED (code {done.code})"
            print(f"{done.name:<62} {done.seconds:6.0f} s  {word:<8} {done.told}")
        self._report_stories()
        failed = [done for done in self.done if done.code]
        for done in failed:
            print(f"FAILED, the same again: {done.again}")
        missing = [file for part in PARTS for file in part.files if not (ROOT / file).exists()]
        if missing:
            print(f"Not there: {', '.join(missing)}")
        return not failed

    def _report_stories(self) -> None:
        stories = self.what.pop("stories", 0)
        steps = self.what.pop("steps", 0)
        if stories:
            seconds = sum(done.seconds for done in self.done if done.name == "stories")
            print(f"\n{stories} stories of up to {STEPS} steps, {steps} steps, {seconds:.0f} s. In how many there was:")
            for what, number in self.what.most_common():
                print(f"  {100 * number / stories:5.1f} %  {what}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", choices=["stories", "parts", "mutants"])
    said = parser.parse_args()
    print(f"Seed {said.seed}; the same again: python -m tests.torture --minutes {said.minutes:g} --seed {said.seed}")
    torture = Torture(said.minutes, said.seed)
    for name in ("parts", "mutants", "stories"):
        if said.only in (None, name):
            getattr(torture, name)()
    return 0 if torture.report() else 1


if __name__ == "__main__":
    sys.exit(main())
