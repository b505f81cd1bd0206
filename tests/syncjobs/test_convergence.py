"""Whatever happens, in whatever order: both sides and the hub come to agree, and no text is lost.

Hypothesis makes up the story: people edit in the hub, other programs and agents on the sides, answers get lost,
requests come late, the process dies between any two steps. At each moment nothing may be overwritten on a side whose
text the hub does not hold. At the end everything works again, and a few runs must bring all to agree.

MEMORYHUB_STORIES=2000 makes it longer, and different every time (MEMORYHUB_SEED=... the same again). MEMORYHUB_SHRINK=1
finds the shortest story that fails. MEMORYHUB_TOLD=file gets what happened, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from tests.syncjobs.story import Story, tell_stories

SHORT = 60
STORIES = int(os.environ.get("MEMORYHUB_STORIES", SHORT))
SEED = os.environ.get("MEMORYHUB_SEED", "")
TOLD = os.environ.get("MEMORYHUB_TOLD", "")

pytestmark = pytest.mark.django_db


def test_both_sides_and_the_hub_come_to_agree_and_nothing_is_lost() -> None:
    seeded = int(SEED) if SEED else None if STORIES == SHORT else random.randrange(2**32)
    began = time.monotonic()
    try:
        tell_stories(STORIES, seeded=seeded, shrink="MEMORYHUB_SHRINK" in os.environ)
    except BaseException:
        if seeded is not None:
            print(f"The same again: MEMORYHUB_SEED={seeded} MEMORYHUB_STORIES={STORIES}")
        raise
    finally:
        if TOLD:
            told = {"seed": seeded, "seconds": round(time.monotonic() - began, 1), "what": dict(Story.told_of)}
            Path(TOLD).write_text(json.dumps(told))
