"""Who changed what, when, across a project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.views.decorators.http import require_safe

from blocks.models import Origin, Purge, Revision
from memoryhub.access import get_project
from memoryhub.http import Request, respond
from memoryhub.models import Project

ON_PAGE = 50


READ = 2_000  # revisions that are looked at for one page
NEAR = timedelta(seconds=30)  # a run writes a hundred memories at a time
FEW = 4  # as many changes of one run are listed singly
SHOWN = 50  # memories of a group that are named


@dataclass
class Group:
    """Changes of many memories that sync made one after the other, newest first. count: of all, `revisions` of some."""

    revisions: list[Revision]
    count: int

    @property
    def first(self) -> Revision:
        return self.revisions[0]

    @property
    def created_at(self) -> datetime:
        return self.first.created_at

    @property
    def more(self) -> int:
        return self.count - len(self.revisions)


Event = Revision | Purge | Group


@require_safe
def activity(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    given = request.GET.get("before", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    runs, last = _runs(project, before)
    shown = [revision for run in runs for revision in run]
    newer = Revision.objects.filter(memory__project=project, pk__gte=before).order_by("pk").first() if before else None
    purges = _between(project, shown[-1].created_at if last and shown else None, newer.created_at if newer else None)
    grouped: list[Event] = [event for run in runs for event in _grouped(run)]
    context = {
        "project": project,
        "revisions": shown,
        "events": sorted([*grouped, *purges], key=lambda event: event.created_at, reverse=True),
        "next": last,
        "first": not before,
    }
    return respond(request, "blocks/activity.html", context, fragment="list")


def _runs(project: Project, before: int) -> tuple[list[list[Revision]], int | None]:
    """Revisions, newest first, those of one sync run together, for one page; and the last, if there are older ones."""
    rows = Revision.objects.filter(memory__project=project).select_related("memory").order_by("-pk")
    rows = rows.filter(pk__lt=before) if before else rows
    runs: list[list[Revision]] = []
    lines = 0
    for read, revision in enumerate(rows.defer("fields", "memory__text").iterator(200)):
        goes_on = bool(runs) and _together(runs[-1][-1], revision)
        full = lines >= ON_PAGE and not (goes_on and len(runs[-1]) > FEW)
        if full or read == READ:
            return runs, runs[-1][-1].pk
        if not goes_on:
            runs.append([])
        runs[-1].append(revision)
        lines += len(runs[-1]) <= FEW
    return runs, None


def _together(one: Revision, other: Revision) -> bool:
    """Whether sync made both in one go: the same thing, by the same, right after each other, of two memories."""
    return (
        one.origin != Origin.HUB
        and (one.origin, one.author, one.note) == (other.origin, other.author, other.note)
        and (one.number == 1) == (other.number == 1)
        and one.memory_id != other.memory_id
        and one.created_at - other.created_at < NEAR
    )


def _grouped(run: list[Revision]) -> list[Event]:
    return list[Event](run) if len(run) <= FEW else [Group(run[:SHOWN], len(run))]


def _between(project: Project, since: datetime | None, until: datetime | None) -> QuerySet[Purge]:
    """The purges that belong on a page with revisions from `since` on, up to the next newer page."""
    wanted = Q(created_at__gte=since) if since else Q()
    if until:
        wanted &= Q(created_at__lt=until)
    return Purge.objects.filter(wanted, project=project).select_related("memory")
