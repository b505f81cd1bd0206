"""Where the hub has texts of memories beside their current states, and which of them it keeps for a time only.

The history's own retention is `blocks.retention`, which knows nothing of sides and of the journal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from django.db import models

from blocks.models import Memory
from blocks.retention import references
from syncjobs.models import Conflict, Intent, Replica


def tables() -> list[type[models.Model]]:
    """The tables that hold texts of memories."""
    referring = dict.fromkeys(field.model for field in references())
    return [model for model in referring if any(field.name == "memory" for field in model._meta.concrete_fields)]


def text_columns(model: type[models.Model]) -> list[str]:
    return [field.name for field in references() if field.model is model]


def word_columns(model: type[models.Model]) -> list[models.Field]:
    """Columns in which people's words may stand (keys and hashes are of our own making)."""
    return [field for field in model._meta.concrete_fields if isinstance(field, (models.TextField, models.JSONField))]


def texts_of(memory: Memory, but: type[models.Model] | None = None) -> set[str]:
    """Every text the hub has of a memory, in all tables `but` one."""
    found: set[str] = set()
    for model in tables():
        if model is but:
            continue
        for name in text_columns(model):
            rows = model._base_manager.filter(memory=memory).exclude(**{name: None}).order_by()
            found.update(rows.values_list(name, flat=True).distinct())
    return found


def clear_journal(memory: Memory, before: datetime) -> set[str]:
    """Forget what intents that ended before a moment sent and replaced: the digests of that.

    The hashes stay, by which a late copy is known as ours.
    """
    closed = Intent.objects.filter(memory=memory, closed_at__lte=before).exclude(outcome="")
    names = text_columns(Intent)
    texts = {digest for name in names for digest in closed.values_list(name, flat=True)} - {None}
    closed.update(new_fields=None, **dict.fromkeys(names))
    return texts


def shown_elsewhere(memories: Collection[int]) -> set[tuple[int, str]]:
    """The texts that replicas and open conflicts of some memories refer to: thinning leaves them in the history."""
    found = set()
    conflicts = Conflict.objects.filter(closed_at=None)
    for rows, names in ((Replica.objects.all(), text_columns(Replica)), (conflicts, text_columns(Conflict))):
        for memory, *texts in rows.filter(memory__in=memories).order_by().values_list("memory_id", *names):
            found |= {(memory, digest) for digest in texts if digest}
    return found


def prune_intents(before: datetime) -> Iterator[int]:
    """Remove closed intents that ended before a moment, a part at a time."""
    while True:
        part = list(Intent.objects.filter(closed_at__lt=before).exclude(outcome="").values_list("pk", flat=True)[:500])
        if not part:
            return
        yield Intent.objects.filter(pk__in=part).delete()[0]
