"""A temporary database with realistic memories, for the benchmarks."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = ["error", "fix", "decision", "gotcha", "best_practice", "project_details", "template", "runlog", "ci_output"]
KINDS += ["code_snippet"]
SOURCES = ("claude", "gpt", "letta", "cli", "local-llama")
SYLLABLES = ["ka", "to", "ri", "ne", "lo", "mi", "sa", "du", "pe", "va", "no", "che", "ter", "gra", "lin", "bo", "fu"]
WORDS = ["error", "timeout", "parser.on", "retry", "database", "connection", "index", "deploy", "cache", "token"]
WORDS += ["queue", "worker", "migrate", "schema"]


def start_django() -> None:
    """Set Django up, with static files, on a new and empty SQLite database that goes away with the process."""
    folder = Path(tempfile.mkdtemp(prefix="memoryhub-benchmark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "memoryhub.settings",
        "DATABASE_URL": f"sqlite:///{folder}/benchmark.sqlite3",
        "MEMORYHUB_DATA": str(folder),
        "MEMORYHUB_ENV_FILE": str(folder / "none.env"),
        "SECRET_KEY": "benchmark-" * 6,
        "FIELD_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "DEBUG": "False",
        "LOG_LEVEL": "ERROR",
        "HTTPS": "False",
        "ALLOWED_HOSTS": "testserver",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


class Writer:
    """Makes up the fields of memories; the same ones each time."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.vocabulary = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(2, 4))) for _ in range(6000)]
        self.tags = [f"{word}-{number}" for number, word in enumerate(self.vocabulary[:200])]

    def words(self, count: int) -> str:
        # Some words are in most texts, most are in few: as in real ones.
        rare = (self.vocabulary[int(self.random.paretovariate(0.7)) % 6000] for _ in range(count))
        return " ".join(word if self.random.random() > 0.06 else self.random.choice(WORDS) for word in rare)

    def state(self) -> dict[str, Any]:
        title = self.words(6)
        return {
            "title": title,
            "label": f"{title[:30].replace(' ', '-').replace('.', '-')}-{self.random.randrange(10**6)}",
            "text": "\n".join(self.words(40) for _ in range(max(1, int(self.random.gauss(5.6, 2))))),
            "kind": self.random.choice(KINDS),
            "tags": sorted(self.random.sample(self.tags, 3)),
            "source": self.random.choice(SOURCES),
        }


def fill(project: Any, count: int, writer: Writer) -> None:
    """Give a project `count` memories in step with both sides, except a few of each other state."""
    from django.db import connection, transaction

    from blocks.actions import Change, new_memory, record
    from blocks.models import Origin, SyncState
    from blocks.state import complete
    from syncjobs.models import Connection, Replica, Side

    places = [
        Connection.objects.create(project=project, side=side, address=address)
        for side, address in (
            (Side.LETTA, project.letta_server and project.letta_server.address),
            (Side.LOCAL, project.local_store and project.local_store.address),
        )
        if address
    ]
    for first in range(0, count, 1000):
        with transaction.atomic():
            changes = []
            for _ in range(min(1000, count - first)):
                state = complete(writer.state())
                changed = writer.random.random() < 0.05
                extra = {"sync_state": writer.random.choice(SyncState.values) if changed else SyncState.SYNCED}
                changes.append(Change(new_memory(project), state, Origin.LOCAL, extra=extra))
            record(changes)
            memories = [change.memory for change in changes]
            Replica.objects.bulk_create(replica for memory in memories for replica in _replicas(memory, places))
    with connection.cursor() as cursor:  # one a minute; all at once is not what a team does
        cursor.execute(
            "UPDATE blocks_memory SET changed_at = strftime('%%Y-%%m-%%d %%H:%%M:%%S', '2026-01-01', id || ' minutes')"
            " WHERE project_id = %s",
            [project.pk],
        )


def _replicas(memory: Any, places: list[Any]) -> Iterator[Any]:
    """What is on the sides: the memory, an older text (waiting), or one that somebody changed."""
    from blocks.models import SyncState, Text, digest_of
    from blocks.state import state_hash
    from syncjobs.models import Replica

    words = memory.text.split(" ")
    words[len(words) // 3] = "somebody else wrote this"
    here, other = memory.state, {**memory.state, "text": " ".join([*words, "and this"])}
    base = other if memory.sync_state == SyncState.WAITING else here
    seen = other if memory.sync_state in (SyncState.WAITING, SyncState.CHANGED, SyncState.CONFLICT) else here
    Text.objects.keep([base["text"], seen["text"]])
    parts: dict[str, Any] = {}
    for name, state in (("base", base), ("seen", seen)):
        fields = {key: value for key, value in state.items() if key != "text"}
        parts |= {f"{name}_fields": fields, f"{name}_text_id": digest_of(state["text"])}
        parts[f"{name}_hash"] = state_hash(state)
    alike = memory.sync_state == SyncState.SYNCED
    parts["hub_hash"] = memory.hash if alike else ""
    for place in places:
        yield Replica(memory=memory, connection=place, external_id=f"{place.side}-{memory.uuid}", **parts)
