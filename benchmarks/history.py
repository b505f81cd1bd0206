"""What a day of an agent that rewrites a block of 5,000 characters every 10 seconds costs in the database (SQLite).

8,640 versions are recorded one by one through `blocks.actions.record`, each a small change to the one before: lines of
prose, or of a log with random numbers in it, which compress badly. Then ten days pass with a setting of one day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from benchmarks._data import Writer, start_django

VERSIONS, LENGTH = 8_640, 5_000


def run(quick: bool) -> Iterator[tuple]:
    start_django()
    yield "text", "versions", "raw MB", "database MB", "bytes each", "of the raw", "ms each", "MB after thinning"
    count = VERSIONS // 20 if quick else VERSIONS
    writer = Writer()
    yield _measured("prose", count, lambda number: writer.words(12))
    yield _measured("log", count, lambda number: _log_line(writer, number))


def _log_line(writer: Writer, number: int) -> str:
    return f"{number:06d} {writer.random.getrandbits(96):024x} {writer.words(3)} {writer.random.random():.6f} s"


def _measured(name: str, count: int, line: Callable[[int], str]) -> tuple:
    from django.db import connection, transaction

    from blocks.actions import Change, new_memory, record
    from blocks.models import Origin
    from blocks.state import complete
    from memoryhub.models import Project

    project = Project.objects.create(slug=name, name=name)
    memory, before = new_memory(project), _megabytes(connection)
    begun, raw = time.perf_counter(), 0
    for text in _versions(count, line):
        state = complete({"label": "scratchpad", "title": "Scratchpad", "text": text, "tags": ["agent", "notes"]})
        raw += len(text.encode())
        with transaction.atomic():
            record([Change(memory, state, Origin.LETTA, author="letta")])
    spent = time.perf_counter() - begun
    size = _megabytes(connection) - before
    after = _thinned(memory, connection) - before
    bytes_each = size * 1e6 / count
    return (
        name,
        f"{count:,}",
        f"{raw / 1e6:.1f}",
        f"{size:.1f}",
        f"{bytes_each:,.0f}",
        f"{size * 1e6 / raw:.0%}",
        f"{spent / count * 1000:.1f}",
        f"{after:.1f}",
    )


def _versions(count: int, line: Callable[[int], str]) -> Iterator[str]:
    """Texts of about LENGTH characters; each has one line changed, or one added and the first one gone."""
    from random import Random

    random, lines = Random(7), [line(0)]
    while sum(map(len, lines)) + len(lines) < LENGTH:
        lines.append(line(0))
    for number in range(count):
        if random.random() < 0.5:
            lines[random.randrange(len(lines))] = line(number)
        else:
            lines = [*lines[1:], line(number)]
        yield "\n".join(lines)


def _megabytes(connection: Any) -> float:
    """Of the file, without pages that are free."""
    with connection.cursor() as cursor:
        values = []
        for name in ("page_count", "freelist_count", "page_size"):
            cursor.execute(f"PRAGMA {name}")
            values.append(cursor.fetchone()[0])
    return float((values[0] - values[1]) * values[2] / 1e6)


def _thinned(memory: Any, connection: Any) -> float:
    from django.conf import settings
    from django.utils import timezone

    from blocks.models import Text
    from blocks.retention import sweep, thin

    settings.HISTORY_FULL_DAYS = 1
    later = timezone.now() + timedelta(days=10)
    for _ in thin(later, lambda memories: set()):
        pass
    Text.objects.update(kept_at=timezone.now() - timedelta(hours=2))
    for _ in sweep(timezone.now()):
        pass
    memory.refresh_from_db()
    return _megabytes(connection)
