"""Moments as the pages say them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime

STEPS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (7 * 86_400, 86_400, "d"))


@dataclass(frozen=True)
class Moment:
    """iso: for machines. exact: in the hub's time zone. ago: how long ago."""

    iso: str
    exact: str
    ago: str

    @classmethod
    def of(cls, when: datetime) -> Moment:
        local = timezone.localtime(when)
        return cls(local.isoformat(), local.strftime("%-d %b %Y, %H:%M:%S %Z"), ago(when))


def ago(moment: datetime | str | None) -> str:
    """'12 s ago', '5 min ago', '3 h ago', '2 d ago', then the date."""
    when = parse_datetime(moment) if isinstance(moment, str) else moment
    if when is None:
        return "never"
    seconds = max(0, int((timezone.now() - when).total_seconds()))
    for below, unit, name in STEPS:
        if seconds < below:
            return f"{seconds // unit} {name} ago" if seconds >= 5 else "just now"
    return timezone.localtime(when).strftime("%-d %b %Y")
