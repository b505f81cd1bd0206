"""`make torture`: tries to break sync for as long as wanted, each time in another way.

    python -m tests.torture                        ten minutes
    python -m tests.torture --minutes 60 --seed 7  an hour; the same stories again
    python -m tests.torture --only stories

Half of the time goes to the tests that kill processes, disturb connections and break stores, with more rounds the
longer it may take, then (from ten minutes on) to the mutants; the rest to the stories of the model-based test, a
round of them after another with a seed each. What has begun is not cut off. Ends with 0 only if nothing failed; what
failed says how it is done again.
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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
STORIES = "tests/syncjobs/test_convergence.py"
ROUND = 100  # stories with one seed
STEPS = 25
MUTANTS_FROM = 10  # minutes
SHARE = 0.5  # of the time: when it is over, no other part is begun
# Tests with real servers and processes, which do more rounds when told to.
PARTS = tuple(
    f"tests/syncjobs/test_{name}.py"
    for name in ("kills", "proxy", "bad_answers", "two_at_once", "torn", "database_gone", "restored", "sizes", "merge")
)
ROUNDS = {"MEMORYHUB_KILLS": 3, "MEMORYHUB_FAULTS": 0.2, "MEMORYHUB_MERGES": 1000}  # a minute


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
        self.left_out: list[str] = []
        self.what: Counter[str] = Counter()

    def parts(self) -> None:
        """In any order, so that each has its turn in some run, and as many as half of the time allows; at least one."""
        rounds = {name: str(max(2, round(rate * self.minutes))) for name, rate in ROUNDS.items()}
        files = [file for file in PARTS if (ROOT / file).exists()]
        self.dice.shuffle(files)
        half = self.ends - 60 * self.minutes * (1 - SHARE)
        for number, file in enumerate(files):
            if number and time.monotonic() > half:
                self.left_out = files[number:]
                return
            self._pytest(Path(file).stem, [file], rounds | self._seed())

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
        if self.left_out:
            print(f"Left out, for time: {', '.join(self.left_out)}")
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
        too_short = name == "mutants" and said.minutes < MUTANTS_FROM
        if said.only == name or (said.only is None and not too_short):
            getattr(torture, name)()
    return 0 if torture.report() else 1


if __name__ == "__main__":
    sys.exit(main())
