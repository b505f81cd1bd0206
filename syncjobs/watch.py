"""What has to be started by itself: due syncs, and work that a dead process left behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from django.conf import settings
from django.core.management import call_command
from django.db.models import Max
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from blocks.actions import purge_deleted
from blocks.models import Memory
from blocks.retention import sweep, thin
from blocks.standing import places_of
from memoryhub.models import Project, SyncMode
from syncjobs import leases
from syncjobs.models import Connection, Replica, RunStatus, SyncRun
from syncjobs.outages import LONGEST, SHORTEST
from syncjobs.purge import clean_again, finish
from syncjobs.retention import prune_intents, shown_elsewhere
from syncjobs.tasks import enqueue_run, has_sides, push, sync

logger = logging.getLogger(__name__)
SERVERS_COST, OWN_COST = 3, 10  # so many times as long as the sides take for a look, and as our processor does
PATIENCE = timedelta(seconds=15)  # how long an edit may wait before it is queued again
HELD = 3.0  # seconds between two tries of what waits for an agent
KEEP_RUNS = timedelta(days=30)
HOUR = 3600.0
PURGES = 5.0  # seconds between two looks whether a purge can be finished
AT_ONCE = 1.0  # seconds of tidying between two rounds


class Watch:
    """One round of looking after everything, as often as `round` is called (every second or so)."""

    def __init__(self) -> None:
        self.holder = leases.new_holder()
        self.pushed: dict[int, tuple[float, float]] = {}  # project -> (when to queue again, after how long then)
        self.held: dict[int, float] = {}  # project -> when what waits for agents was queued
        self.tidied = self.purged = 0.0
        self.tidying: Iterator[object] | None = None
        self.leads = False

    def round(self) -> bool:
        """Do what is due; False while another watch has the lease."""
        if not self._lead():
            return False
        self._revive_runs()
        for project in Project.objects.active().select_related("letta_server", "local_store"):
            if has_sides(project):
                self._start_if_due(project)
                self._push_held(project)
                self._push_again(project)
        self._finish_purges()
        self._tidy()
        return True

    def _lead(self) -> bool:
        """Whether this is the one watch that does it all; asks the database only now and then."""
        self.leads = self.leads and leases.still_held(self.holder, ["watch"])
        self.leads = self.leads or bool(leases.acquire(["watch"], self.holder))
        leases.renew_at_times(self.holder)
        return self.leads

    def stop(self) -> None:
        leases.release(self.holder)

    def _revive_runs(self) -> None:
        """Runs whose worker died: recorded as failed, and queued again; queued ones that no task knows: queued."""
        begun = SyncRun.objects.filter(status__in=(RunStatus.RUNNING, RunStatus.QUEUED))
        for run in begun.select_related("project", "user", "approves"):
            if run.status == RunStatus.RUNNING:
                self._revive(run)
            elif _old(run.created_at, 30):
                queued = DBTaskResult.objects.filter(status="READY", args_kwargs={"args": [run.pk], "kwargs": {}})
                if not queued.exists():
                    sync.enqueue(run.pk)

    @staticmethod
    def _revive(run: SyncRun) -> None:
        if leases.is_held(leases.of_project(run.project_id)) or not (run.beat_at and _old(run.beat_at, 5)):
            return
        logger.warning("the worker of a sync of %s died: queued again", run.project.slug)
        run.errors = [*run.errors, {"memory": "", "title": "", "side": "", "error": DIED}]
        run.status, run.finished_at = RunStatus.FAILED, timezone.now()
        run.save(update_fields=["status", "errors", "finished_at"])
        enqueue_run(
            run.project,
            trigger=run.trigger,
            user=run.user,
            allow_deletions=run.allow_deletions,
            approves=run.approves,
        )

    def _start_if_due(self, project: Project) -> None:
        if project.sync_mode == SyncMode.MANUAL:
            return
        latest = project.runs.only("project", "status", "finished_at").first()
        if latest and latest.status in (RunStatus.QUEUED, RunStatus.RUNNING):
            return
        seconds = self._seconds_since_look(project, latest)
        if seconds >= SHORTEST and seconds >= interval(project):  # which takes a few questions
            enqueue_run(project, trigger="watch")

    @staticmethod
    def _seconds_since_look(project: Project, latest: SyncRun | None) -> float:
        looked = Connection.objects.filter(project=project).aggregate(last=Max("looked_at"))["last"]
        times = [moment for moment in (looked, latest and latest.finished_at) if moment]
        return (timezone.now() - max(times)).total_seconds() if times else float("inf")

    def _push_held(self, project: Project) -> None:
        """What waits for an agent at work is tried again every few seconds, until a while after it is to be written."""
        since = timezone.now() - timedelta(seconds=settings.AGENT_PATIENCE) - PATIENCE
        held = Replica.objects.filter(connection__project=project, held_since__gt=since, status="ok")
        ids = list(held.order_by("held_since").values_list("memory_id", flat=True)[:200])
        due = time.monotonic() - self.held.get(project.pk, 0.0) >= HELD
        if not ids or not due or DBTaskResult.objects.filter(status="READY", queue_name="push").exists():
            return
        self.held[project.pk] = time.monotonic()
        push.enqueue(ids)

    def _push_again(self, project: Project) -> None:
        """Edits that wait although no push is queued: their worker died, or a side was down."""
        late = Memory.objects.filter(project=project, waiting_since__lt=timezone.now() - PATIENCE)
        ids = list(late.order_by("waiting_since").values_list("pk", flat=True)[:200])
        if not ids:
            self.pushed.pop(project.pk, None)
            return
        due, pause = self.pushed.get(project.pk, (0.0, PATIENCE.total_seconds()))
        if time.monotonic() < due or DBTaskResult.objects.filter(status="READY", queue_name="push").exists():
            return
        self.pushed[project.pk] = (time.monotonic() + pause, min(LONGEST, pause * 2))
        push.enqueue(ids)

    def _finish_purges(self) -> None:
        if time.monotonic() - self.purged > PURGES or not self.purged:
            self.purged = time.monotonic()
            finish()

    def _tidy(self) -> None:
        """Once an hour, a part in each round: what there is to remove can be much."""
        if self.tidying is None and (time.monotonic() - self.tidied >= HOUR or not self.tidied):
            self.tidied, self.tidying = time.monotonic(), tidying(timezone.now())
        tidying_now, self.tidying = self.tidying, None  # one that fails is begun anew in an hour
        until = time.monotonic() + AT_ONCE
        for _ in tidying_now or ():
            if time.monotonic() > until:
                self.tidying = tidying_now
                return


def tidying(now: datetime) -> Iterator[object]:
    """Remove what is kept for a time only, a little at each step."""
    yield purge_deleted(now)
    yield SyncRun.objects.filter(created_at__lt=now - KEEP_RUNS).delete()
    yield call_command("prune_db_task_results", queue_name="*", min_age_days=1, verbosity=0)
    yield from prune_intents(now - KEEP_RUNS)
    yield from thin(now, shown_elsewhere)
    yield from sweep(now)
    clean_again(now)


DIED = "The process that ran this died. What it had done is recorded; the rest was queued again."


def _old(moment: datetime, seconds: float) -> bool:
    return moment < timezone.now() - timedelta(seconds=seconds)


def interval(project: Project) -> float:
    """Seconds between two looks: as set; or as short as the cost of a look allows, longer while it fails.

    A side that is down alone is tried less often by itself (see `outages`) and does not slow down the other.
    """
    if project.sync_mode == SyncMode.EVERY:
        return project.sync_minutes * 60.0
    sides = [place.connection for place in places_of(project).values() if place.kind == "server" and place.connection]
    looked_at = [side for side in sides if not side.failures] or sides
    slowest = max((side.look_seconds or 0.0 for side in looked_at), default=0.0)
    own = sum(side.look_cpu or 0.0 for side in looked_at)
    failures = max(_failures(project), min((side.failures for side in sides), default=0))
    pause = max(SHORTEST, SERVERS_COST * slowest, OWN_COST * own)
    return float(min(pause * 2 ** min(failures, 10), LONGEST))


def _failures(project: Project) -> int:
    """How many runs in a row stopped for a reason of their own: at the brake, by an error in the hub."""
    ended = project.runs.filter(finished_at__isnull=False).defer("steps", "removals")[:7]
    return len(list(takewhile(lambda run: run.broke or run.status == RunStatus.BRAKED, ended)))
