"""How much room the history takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Count, Sum

from blocks.models import Revision, Text
from memoryhub.models import Project

MINUTES = 5  # a sum is shown again for so long: pages that show it are drawn every few seconds


@dataclass(frozen=True)
class Size:
    """revisions; texts: different ones; size: bytes of these, compressed."""

    revisions: int
    texts: int
    size: int


def of_projects(projects: Iterable[Project]) -> dict[int, Size]:
    """The history of each project. A text that two projects have counts in both."""
    projects = list(projects)
    keys = {project.pk: f"history-size:{project.pk}" for project in projects}
    known = cache.get_many(keys.values())
    sizes = {pk: known.get(key) or _of_project(pk) for pk, key in keys.items()}
    cache.set_many({keys[pk]: size for pk, size in sizes.items() if keys[pk] not in known}, MINUTES * 60)
    return sizes


def of_all() -> Size:
    """Of all projects, with every text that is stored."""
    size: Size | None = cache.get("history-size")
    if size is None:
        texts = Text.objects.aggregate(count=Count("digest"), size=Sum("size"))
        size = Size(Revision.objects.count(), texts["count"], texts["size"] or 0)
        cache.set("history-size", size, MINUTES * 60)
    return size


def _of_project(pk: int) -> Size:
    revisions = Revision.objects.filter(memory__project=pk).order_by()
    texts = Text.objects.filter(digest__in=revisions.values("text")).aggregate(count=Count("digest"), size=Sum("size"))
    return Size(revisions.count(), texts["count"], texts["size"] or 0)
