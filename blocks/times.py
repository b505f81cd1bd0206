"""Moments as the pages say them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime

STEPS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (7 * 86_400, 86_400, "d"))
AHEAD = ((3600, 60, "min"), (86_400, 3600, "h"), (400 * 86_400, 86_400, "d"))
SKEW = 60  # seconds by which two clocks may differ: what is no further ahead is now


@dataclass(frozen=True)
class Moment:
    """iso: for machines. exact: in the hub's time zone. ago: how long ago, or in what time."""

    iso: str
    exact: str
    ago: str

    @classmethod
    def of(cls, when: datetime) -> Moment:
        local = timezone.localtime(when)
        return cls(local.isoformat(), local.strftime("%-d %b %Y, %H:%M:%S %Z"), ago(when))


def ago(moment: datetime | str | None) -> str:
    """'12 s ago', '5 min ago', '3 h ago', '2 d ago', then the date; 'in 30 d' of what is to come. As app.js says it."""
    when = parse_datetime(moment) if isinstance(moment, str) else moment
    if when is None:
        return "never"
    seconds = math.floor((timezone.now() - when).total_seconds())
    return (_past(seconds) if seconds >= -SKEW else _ahead(-seconds)) or timezone.localtime(when).strftime("%-d %b %Y")


def _past(seconds: int) -> str:
    for below, unit, name in STEPS:
        if seconds < below:
            return f"{seconds // unit} {name} ago" if seconds >= 5 else "just now"
    return ""


def _ahead(seconds: int) -> str:
    for below, unit, name in AHEAD:
        if seconds < below:
            return f"in {(seconds + unit // 2) // unit} {name}"
    return ""
