"""How things stand, from the database only: projects, connections, the queue. Asks no server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Max, Min, Q
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from blocks import sizes
from blocks.models import Memory
from blocks.sizes import Size
from blocks.standing import Place, places_of
from memoryhub.models import Membership, Project, Role, SyncMode
from syncjobs.leases import SECONDS
from syncjobs.models import Conflict, Lease, RunStatus, SyncRun
from syncjobs.outages import LONGEST
from syncjobs.tasks import has_sides
from syncjobs.watch import interval

SLOW_START = timedelta(seconds=15)  # a worker takes a queued run within a second
ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING)


@dataclass
class Card:
    """One project as the first page and the status page show it."""

    project: Project
    role: str
    memories: int
    conflicts: int
    places: dict[str, Place]
    latest: SyncRun | None

    @property
    def history(self) -> Size:
        """How much room its history takes."""
        return sizes.of_projects([self.project])[self.project.pk]

    @property
    def sides(self) -> list[Place]:
        return list(self.places.values())

    @property
    def rhythm(self) -> str:
        """How often its sides are looked at by themselves."""
        return rhythm(self.project)

    @property
    def troubled(self) -> bool:
        """Whether a side could not be read, or is not the one that was known."""
        return any(p.connection and (p.connection.look_error or p.connection.suspect) for p in self.sides)


def rhythm(project: Project) -> str:
    """How often the sides of a project are looked at by themselves: 'every 4 s', '' where nobody does."""
    if project.archived_at or project.sync_mode == SyncMode.MANUAL or not has_sides(project):
        return ""
    if project.sync_mode == SyncMode.EVERY:
        return f"every {project.sync_minutes} min"
    seconds = interval(project)
    return f"every {seconds:.0f} s" if seconds < LONGEST else f"every {LONGEST / 60:.0f} min"


def cost_of_looks(project: Project) -> str:
    """What a look takes: '0.41 s at Letta and 0.90 s at the local store'."""
    sides = [place for place in places_of(project).values() if place.kind == "server" and place.connection]
    measured = [side for side in sides if side.connection.look_seconds is not None]
    return " and ".join(f"{side.connection.look_seconds:.2f} s at {side.noun}" for side in measured)


def cards_of(user: User, *, everything: bool = False) -> list[Card]:
    """The projects a user is a member of (superusers, and `everything`: all), those in use first."""
    projects = Project.objects.all() if everything else Project.objects.visible_to(user)
    rows = list(projects.select_related("letta_server", "local_store").prefetch_related("connections"))
    rows.sort(key=lambda project: project.archived_at is not None)
    keys = [project.pk for project in rows]
    roles = dict(Membership.objects.filter(user=user, project__in=keys).values_list("project", "role"))
    memories = _counts(Memory.objects.live().filter(project__in=keys), "project")
    conflicts = _counts(Conflict.objects.filter(memory__project__in=keys, closed_at=None), "memory__project", "memory")
    latest = SyncRun.objects.filter(project__in=keys).values("project").annotate(last=Max("pk")).values_list("last")
    runs = {run.project_id: run for run in SyncRun.objects.filter(pk__in=latest).defer("steps")}
    return [
        Card(
            project,
            roles.get(project.pk, Role.OWNER if user.is_superuser else ""),
            memories.get(project.pk, 0),
            conflicts.get(project.pk, 0),
            places_of(project),
            runs.get(project.pk),
        )
        for project in rows
    ]


def _counts(rows: Any, by: str, of: str = "pk") -> dict[int, int]:
    return dict(rows.order_by().values_list(by).annotate(count=Count(of, distinct=of != "pk")))


class Queue:
    """Whether there is somebody who works, judged by what became of the tasks. names: of the queues."""

    def __init__(self, *names: str) -> None:
        self.tasks = DBTaskResult.objects.filter(queue_name__in=names)
        self.names = ",".join(names)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        due = Q(status="READY") & Q(run_after__lte=timezone.now()) | Q(status="READY", run_after__year=9999)
        return self.tasks.aggregate(
            waiting=Count("pk", filter=due),
            oldest=Min("enqueued_at", filter=due),
            finished=Max("finished_at"),
            running=Count("pk", filter=Q(status="RUNNING", started_at__gt=timezone.now() - timedelta(hours=1))),
        )

    @property
    def waiting(self) -> int:
        return int(self._facts["waiting"])

    @property
    def oldest(self) -> datetime | None:
        """When the oldest waiting task was queued."""
        return self._facts["oldest"]

    @property
    def finished(self) -> datetime | None:
        return self._facts["finished"]

    @property
    def busy(self) -> bool:
        return bool(self._facts["running"])

    @property
    def stuck(self) -> bool:
        """Whether something waits that a working worker would have taken."""
        if self.oldest is None or self.busy:
            return False
        late = timezone.now() - self.oldest > SLOW_START
        return late and (self.finished is None or timezone.now() - self.finished > SLOW_START)

    @property
    def command(self) -> str:
        """What starts a worker for it."""
        return f"python manage.py db_worker --queue-name {self.names}"


def push_queue() -> Queue:
    return Queue("push")


def sync_queue() -> Queue:
    return Queue("sync", "default")


def watch_seen() -> datetime | None:
    """When `watch` last showed that it runs; None if it never did or stopped in order."""
    lease = Lease.objects.filter(name="watch").first()
    return lease.expires_at - timedelta(seconds=SECONDS) if lease else None


def watch_runs() -> bool:
    return Lease.objects.filter(name="watch", expires_at__gt=timezone.now()).exists()


TONES = {RunStatus.DONE: "good", RunStatus.FAILED: "bad-text", RunStatus.BRAKED: "warn"}


@dataclass
class Progress:
    """A run as a page shows it while it goes on."""

    run: SyncRun

    @property
    def active(self) -> bool:
        return self.run.status in ACTIVE

    @property
    def no_worker(self) -> Queue | None:
        """The queue nobody works on, if that is why the run has not begun."""
        if self.run.status != RunStatus.QUEUED or timezone.now() - self.run.created_at < SLOW_START:
            return None
        queue = sync_queue()
        other = SyncRun.objects.filter(project=self.run.project_id, status=RunStatus.RUNNING)
        return None if queue.busy or other.exists() else queue

    @property
    def silent(self) -> bool:
        """Whether the process that carries it out has not been heard of for too long."""
        beat = self.run.beat_at
        return self.run.status == RunStatus.RUNNING and bool(
            beat and timezone.now() - beat > timedelta(seconds=SECONDS)
        )

    @property
    def seconds_left(self) -> int | None:
        run = self.run
        if not (run.started_at and run.done and run.total > run.done):
            return None
        spent = (timezone.now() - run.started_at).total_seconds()
        return max(1, round(spent / run.done * (run.total - run.done)))

    @property
    def took(self) -> str:
        """How long it took, '' while that is not known."""
        return duration(self.run.seconds) if self.run.seconds is not None else ""

    @property
    def sentence(self) -> str:
        return run_sentence(self.run.counters)

    @property
    def to_sides(self) -> int:
        return int(self.run.counters.get("created", 0) + self.run.counters.get("pushed", 0))

    @property
    def to_hub(self) -> int:
        return int(self.run.counters.get("pulled", 0) + self.run.counters.get("merged", 0))

    @property
    def word(self) -> str:
        return "stopped" if self.stopped else str(RunStatus(self.run.status).label)

    @property
    def tone(self) -> str:
        """The CSS class that goes with `word`."""
        return TONES.get(RunStatus(self.run.status), "soft") if not self.stopped else "warn"

    @property
    def stopped(self) -> bool:
        return self.run.status == RunStatus.STOPPED or (
            self.run.stop_asked and not self.active and self.run.done < self.run.total
        )


def duration(seconds: float) -> str:
    """'under 0.1 s', '3.4 s', '2 min 5 s', '1 h 4 min'."""
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


WORDS = (
    ("created", "{} made on a side"),
    ("pushed", "{} pushed"),
    ("pulled", "{} pulled"),
    ("merged", "{} merged"),
    ("linked", "{} linked"),
    ("deleted", "{} deleted on a side"),
    ("archived", "{} archived"),
    ("conflicts", "{} in conflict"),
    ("failed", "{} failed"),
)
PLANNED = (
    (("created", "pushed"), "to push"),
    (("pulled",), "to pull"),
    (("merged",), "to merge"),
    (("linked",), "to link"),
    (("deleted",), "to delete on a side"),
    (("archived",), "to archive"),
)


def plan_sentence(counters: dict[str, int]) -> str:
    """'12 to push, 3 to pull, 1 conflict'; '' where there is nothing to do."""
    parts = []
    for names, words in PLANNED:
        count = sum(counters.get(name, 0) for name in names)
        if count:
            parts.append(f"{count:,} {words}")
    conflicts = counters.get("conflicts", 0)
    if conflicts:
        parts.append(f"{conflicts:,} conflict{'s' * (conflicts != 1)}")
    return ", ".join(parts)


def run_sentence(counters: dict[str, int]) -> str:
    """What a run did: '41 pushed, 2 pulled'; 'nothing to do' where it did nothing."""
    done = [words.format(f"{counters[name]:,}") for name, words in WORDS if counters.get(name)]
    return ", ".join(done) or "nothing to do"


def ask_to_stop(run: SyncRun) -> None:
    """Stop a run: one that waits at once, one that goes on after the memories it is writing now."""
    now = timezone.now()
    same = SyncRun.objects.filter(pk=run.pk)
    same.filter(status=RunStatus.QUEUED).update(status=RunStatus.STOPPED, stop_asked=True, finished_at=now)
    same.filter(status=RunStatus.RUNNING).update(stop_asked=True)
