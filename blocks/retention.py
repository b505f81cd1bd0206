"""What becomes of old versions: of each day one a memory stays, and texts that nothing refers to are deleted.

These are generators that do a little at a time, each part in a transaction of its own, and yield how many rows it
removed: stop whenever you like, the rest is for the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, ForeignKey, OuterRef, QuerySet
from django.utils import timezone

from blocks.models import Memory, Revision, Text

T = TypeVar("T")
UNUSED = timedelta(hours=1)  # since a text was last kept; whoever is about to refer to one has done so by then
PART = 500

# The texts that must stay in the history of some memories: pairs of memory and digest.
Shown = Callable[[Collection[int]], set[tuple[int, str]]]


def thin(now: datetime, shown: Shown) -> Iterator[int]:
    """Remove revisions of days longer ago than HISTORY_FULL_DAYS.

    Of each memory and day (in the hub's time zone) the last one stays; so do the first and the current, what a person
    wrote, what has a note, what is `shown` elsewhere, and what one that stays was merged from.
    """
    if not settings.HISTORY_FULL_DAYS:
        return
    today = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    before = today - timedelta(days=settings.HISTORY_FULL_DAYS)
    old = Revision.objects.filter(created_at__lt=before).order_by()
    several = old.values("memory").annotate(count=Count("pk")).filter(count__gt=1).values_list("memory", flat=True)
    for memories in _parts(list(several), 100):
        surplus = _surplus(old, memories, shown(memories))
        yield 0
        for part in _parts(surplus, PART):
            yield Revision.objects.filter(pk__in=part).delete()[0]


def _surplus(old: QuerySet[Revision], memories: list[int], shown: set[tuple[int, str]]) -> list[int]:
    """The revisions, of those that are old enough, that need not stay."""
    current = dict(Memory.objects.filter(pk__in=memories).values_list("pk", "number"))
    columns = ("pk", "memory_id", "number", "created_at", "text_id", "user_id", "note")
    surplus, first, last = [], set(), None
    for pk, memory, number, moment, text, user, note in (
        old.filter(memory__in=memories).order_by("memory", "number").values_list(*columns).iterator()
    ):
        day = (memory, timezone.localtime(moment).date())
        if last and last[0] == day and last[1]:
            surplus.append(last[1])  # another one of that day came after it
        stays = memory not in first or number == current.get(memory) or user or note or (memory, text) in shown
        first.add(memory)
        last = day, None if stays else pk
    return _without_parents(surplus, memories)


def _without_parents(surplus: list[int], memories: list[int]) -> list[int]:
    """Without what a revision that stays was made from: a merge shows the texts it came from."""
    children = Revision.objects.filter(memory__in=memories).exclude(parents=[]).order_by("-number")
    going, kept = set(surplus), set()
    for pk, memory, number, parents in children.values_list("pk", "memory_id", "number", "parents"):
        if pk not in going or (memory, number) in kept:  # parents come before their children: one pass is enough
            kept |= {(memory, parent) for parent in parents}
    if not kept:
        return surplus
    rows = Revision.objects.filter(pk__in=surplus).values_list("pk", "memory_id", "number")
    return [pk for pk, memory, number in rows if (memory, number) not in kept]


def sweep(now: datetime) -> Iterator[int]:
    """Delete texts that nothing refers to any more."""
    last = ""
    while True:
        digests = Text.objects.filter(digest__gt=last).order_by("digest").values_list("digest", flat=True)[:PART]
        part = list(digests)
        if not part:
            return
        lost = unused(Text.objects.filter(digest__gt=last, digest__lte=part[-1])).values_list("digest", flat=True)
        last = part[-1]
        yield drop(list(lost), kept_before=now - UNUSED)


def references() -> list[ForeignKey[Any, Any]]:
    """Every column of every table that refers to a text."""
    models = apps.get_models(include_auto_created=True)
    fields = [field for model in models for field in model._meta.concrete_fields]
    return [field for field in fields if isinstance(field, ForeignKey) and field.related_model is Text]


def unused(texts: QuerySet[Text]) -> QuerySet[Text]:
    """Those texts that nothing refers to."""
    for field in references():
        rows = field.model._base_manager.filter(**{field.name: OuterRef("pk")})
        texts = texts.filter(~Exists(rows))
    return texts


def drop(digests: Collection[str], kept_before: datetime | None = None) -> int:
    """Delete those of some texts that nothing refers to; how many that were.

    Who is about to refer to a text says so with `Text.objects.keep` and thereby makes it fresh: those kept since
    `kept_before` are left alone. Without it, whoever takes up one of them right now fails, and has to begin again.
    """
    return sum(_drop(part, kept_before) for part in _parts(list(digests), PART))


def _drop(digests: list[str], kept_before: datetime | None) -> int:
    texts = unused(Text.objects.filter(digest__in=digests))
    if kept_before:
        texts = texts.filter(kept_at__lt=kept_before)
    try:
        with transaction.atomic():
            return texts._raw_delete(texts.db)  # one statement: nothing is looked up beforehand that could change
    except IntegrityError:
        return 0  # PostgreSQL: somebody began to refer to one of them; the next sweep has the rest


def _parts(rows: list[T], size: int) -> Iterator[list[T]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))
