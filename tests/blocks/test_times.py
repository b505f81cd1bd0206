"""Moments as the pages say them: the server, and the script that keeps them fresh."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import timedelta

import pytest
from django.utils import timezone

from blocks.times import ago
from memoryhub.settings import BASE_DIR

MINUTE, HOUR, DAY = 60, 3600, 86_400
SAID = {
    -400 * DAY - 1: "",
    -365 * DAY: "in 365 d",
    -30 * DAY + 3: "in 30 d",
    -2 * HOUR + 3: "in 2 h",
    -5 * MINUTE: "in 5 min",
    -30: "just now",  # the clocks of two machines
    3: "just now",
    12: "12 s ago",
    5 * MINUTE + 10: "5 min ago",
    47 * HOUR: "1 d ago",
    8 * DAY: "",
}


@pytest.mark.parametrize(("seconds", "said"), SAID.items())
def test_how_long_ago_and_in_what_time(seconds: int, said: str) -> None:
    when = timezone.now() - timedelta(seconds=seconds + 0.5)
    assert ago(when) == (said or timezone.localtime(when).strftime("%-d %b %Y"))


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_the_script_says_the_same() -> None:
    """Where it says nothing, what the server wrote stays."""
    source = (BASE_DIR / "static" / "app.js").read_text()
    since = re.search(r"const since = .*?\n  };", source, re.DOTALL)
    assert since
    ask = f"[{', '.join(map(str, SAID))}].map((ago) => since(new Date(Date.now() - ago * 1000 - 500).toISOString()))"
    script = f"{since[0]} console.log(JSON.stringify({ask}))"
    done = subprocess.run(["node", "-e", script], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == list(SAID.values())
