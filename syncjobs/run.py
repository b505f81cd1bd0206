"""A sync run: lease, look, plan, brake, apply, digest."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.utils import timezone

from blocks.models import Memory, SyncState
from blocks.stores.base import StoreError
from memoryhub.models import SyncMode
from memoryhub.secrets import UnreadableSecret
from syncjobs import leases, unchanged
from syncjobs.apply import Batch
from syncjobs.digest import update_digest
from syncjobs.foresee import chunked, foresee
from syncjobs.looks import glance
from syncjobs.match import Item
from syncjobs.mend import mend
from syncjobs.models import Intent, RunStatus, SyncRun
from syncjobs.observation import Observation
from syncjobs.observe import observe
from syncjobs.outages import in_words
from syncjobs.purge import finish_of
from syncjobs.push import sync_memory
from syncjobs.recover import recover
from syncjobs.sides import OpenSide, look_up_sides
from syncjobs.stamps import leave_stamps
from syncjobs.tally import SHOWN_STEPS, Tally
from syncjobs.twins import is_our_own, remove_twin

logger = logging.getLogger(__name__)
BATCH = 300  # memories leased, journalled and written together
AWAY = (OperationalError, InterfaceError)  # the hub's database is locked, full, or not there


class Busy(Exception):
    """Another process is syncing this project."""


class Stopped(Exception):
    """Somebody asked the run to stop: what it did stays, the rest is for the next."""


class Overtaken(Exception):
    """The run was held up for so long that its lease ended, and another process has begun one."""


class Braked(Exception):
    """The run would delete more than it may without being asked."""


def start(run: SyncRun) -> None:
    """Carry out a queued run and record how it went.

    Raises `Busy`, and leaves the run queued, while another process syncs the project.
    """
    holder = leases.new_holder()
    with leases.held([leases.of_project(run.project_id)], holder) as got:
        if not got:
            raise Busy
        _Runner(run, holder).run()
    finish_of([run.project_id])
    leases.release(holder)


class _Runner:
    def __init__(self, run: SyncRun, holder: str) -> None:
        self.sync_run, self.project, self.holder = run, run.project, holder
        self.tally = Tally()
        self.sides: list[OpenSide] = []

    def run(self) -> None:
        run = self.sync_run
        run.status, run.started_at = RunStatus.RUNNING, timezone.now()
        self._close_dead()
        if not run.pk:
            run.save()
        self._beat("looking at both sides")
        try:
            self._work()
            run.status = RunStatus.FAILED if self.tally.errors else RunStatus.DONE
        except Stopped:
            run.status = RunStatus.STOPPED
        except Braked as reason:
            run.status = RunStatus.BRAKED
            self.tally.errors.append({"memory": "", "title": "", "side": "", "error": str(reason)})
        except UnreadableSecret as error:
            run.status = RunStatus.FAILED
            self.tally.fail(None, "", str(error))
        except Overtaken:
            run.status = RunStatus.FAILED
            self.tally.fail(None, "", OVERTAKEN)
        except AWAY as error:
            run.status = RunStatus.FAILED
            self.tally.fail(None, "", DATABASE_AWAY.format(str(error).strip()))
            logger.error("sync of %s stopped: the database: %s", self.project.slug, error)
            self._finish_if_possible()
            raise
        except BaseException as error:
            run.status = RunStatus.FAILED
            self.tally.fail(None, "", f"stopped by {type(error).__name__}: {error}. What was done is recorded.")
            logger.exception("sync of %s stopped", self.project.slug)
            self._finish_if_possible()
            raise
        self._finish()

    def _close_dead(self) -> None:
        """Runs whose process is gone, where no `watch` looks after that: whoever holds the lease is the only one."""
        before = timezone.now() - timedelta(seconds=leases.SECONDS)
        dead = SyncRun.objects.filter(project=self.project, status=RunStatus.RUNNING).exclude(pk=self.sync_run.pk)
        for run in dead.filter(beat_at__lt=before):
            run.errors = [*run.errors, {"memory": "", "title": "", "side": "", "error": DIED}]
            run.status, run.finished_at = RunStatus.FAILED, timezone.now()
            run.save(update_fields=["status", "errors", "finished_at"])

    def _finish_if_possible(self) -> None:
        """After an error: on a new connection where the old one broke. Else the next run says that this one died."""
        if not connection.in_atomic_block:  # whoever has begun a transaction around the run ends it himself
            connection.close_if_unusable_or_obsolete()
        with suppress(DatabaseError, InterfaceError):
            self._finish()

    def _work(self) -> None:
        hub = self._look_up()
        observation = self._observe(hub)
        if observation is None:
            return
        busy = [item for item in observation.items if not observation.idle(item)]
        live = {item.row.id for item in observation.items if item.row and item.row.live}
        self._report_sides(observation)
        mended: dict[int, str] = {}
        try:
            if not self.sync_run.allow_deletions:
                self._brake(observation, busy)
            mended = mend(observation, self.holder)
        finally:
            self._report_unread(observation, mended.values())
        self.tally.again |= mended.keys()
        busy = [item for item in busy if not (item.row and item.row.id in mended)]
        self.sync_run.total = len(busy)
        self._bring_in_step(observation, busy)
        self._twins(observation)
        self._again()
        self.tally.again |= update_digest(self.project, self.sides, self.tally)
        self._again()
        leave_stamps(self.sides)
        self._idle_states(observation)
        self._count_items(observation)
        self.tally.counters["unchanged"] = len(live - self.tally.touched)
        quiet = not (busy or observation.twins or self.tally.errors or self.tally.touched)
        if quiet and hub and len(observation.prints) == len(self.sides):
            unchanged.remember(self.project, hub, observation.prints)

    def _bring_in_step(self, observation: Observation, busy: list[Item]) -> None:
        """All that is to be done, in parts. While new memories of one are marked on a side, the next is recorded."""
        before: Batch | None = None
        with ThreadPoolExecutor(1, "marks") as pool:
            try:
                for part in chunked(busy, BATCH):
                    self._beat("bringing both sides in step")
                    if SyncRun.objects.filter(pk=self.sync_run.pk, stop_asked=True).exists():
                        raise Stopped
                    with uncollected():
                        begun, before = before, self._begin(observation, part, pool)
                        if begun:
                            begun.finish()
                    for item in part:
                        if item.row:
                            item.fold()
                        else:
                            item.seen.clear()  # by now it is in the database, and need not be in memory as well
                    self.sync_run.done += len(part)
            finally:
                if before:
                    before.finish()

    def _begin(self, observation: Observation, items: Sequence[Item], pool: Executor) -> Batch | None:
        """Carry out a part, but for what goes on in the pool: that has to be finished."""
        for item in items:
            item.unfold()
        if any(item.row for item in items):
            self._apply(observation, items)
            return None
        batch = Batch(self.project, observation, items, self.tally, self.holder)
        batch.begin(pool)
        return batch

    def _look_up(self) -> str:
        """Open the sides and settle what is unclear there; what of the hub decides what this run does."""
        sparing = self.sync_run.trigger == "watch" and self.project.sync_mode == SyncMode.CONTINUOUS
        self.sides = look_up_sides(self.project, sparing=sparing)
        open_intents = Intent.objects.filter(connection__in=[side.connection for side in self.sides], outcome="")
        pending = {leases.of_memory(pk): pk for pk in open_intents.values_list("memory_id", flat=True)}
        if pending:
            with leases.held(pending, self.holder) as got:
                recover(self.sides, [pending[name] for name in got])
        return unchanged.fingerprint(self.project, self.sides)

    def _observe(self, hub: str) -> Observation | None:
        """What both sides hold; None if nothing is different from when a look found nothing to do."""
        prints = unchanged.prints_if_quiet(self.project, hub) if self.sync_run.trigger == "watch" else None
        with uncollected():
            looks = glance(self.sides, prints, self._alive) if prints else None
        if prints and looks is None:
            return None
        unchanged.forget(self.project)
        return observe(
            self.project,
            self.sides,
            self._alive,
            looks,
            in_time=lambda: unchanged.fingerprint(self.project, self.sides) == hub,
        )

    def _alive(self) -> None:
        leases.renew(self.holder)

    def _report_sides(self, observation: Observation) -> None:
        for side in observation.sides:
            if side.error or side.partial:
                self.tally.fail(None, side.side, in_words(side))
            for remark in observation.remarks.get(side.side, ()):
                self.tally.fail(None, side.side, remark)

    def _report_unread(self, observation: Observation, mended: Collection[str]) -> None:
        """Items that could not be read and are no memory's; of the others it is said where they are brought in step."""
        known = {link.external_id for item in observation.items for link in item.links.values()} | set(mended)
        for side, snapshots in observation.problems.items():
            for snapshot in snapshots:
                if snapshot.id not in known:
                    self.tally.fail(None, side, f"{snapshot.id}: {snapshot.problem}")

    def _apply(self, observation: Observation, items: Iterable[Item]) -> None:
        names = {leases.of_memory(item.row.id): item for item in items if item.row}
        fresh = [item for item in items if not item.row]
        with leases.held(names, self.holder) as got:
            self.tally.again.update(item.row.id for name, item in names.items() if name not in got and item.row)
            items = [*fresh, *(item for name, item in names.items() if name in got)]
            Batch(self.project, observation, items, self.tally, self.holder).run()

    def _brake(self, observation: Observation, busy: list[Item]) -> None:
        approved = self.sync_run.approves.removals if self.sync_run.approves else ()
        known = [item for item in busy if item.row]  # what the hub does not have yet removes nothing
        if foresee(self.project, observation, known, approved).brake:
            foreseen = foresee(self.project, observation, busy, approved)
            self.tally.steps, self.sync_run.removals = foreseen.steps, foreseen.removals
            self.sync_run.foreseen = foreseen.counters
            raise Braked(foreseen.brake)

    def _twins(self, observation: Observation) -> None:
        """Copies of a linked item: our own create that came through after all is removed, another becomes a memory."""
        for name, snapshot in observation.twins:
            side = observation.by_name[name]
            if not side.writes or side.error:
                continue
            try:
                removed = is_our_own(side, snapshot) and remove_twin(side, snapshot)
            except StoreError as error:
                self.tally.fail(None, name, f"a copy of a memory's item, {snapshot.id}: {error}")
                continue
            if not removed and side.reads:
                self._apply(observation, [Item(uuid4(), seen={name: snapshot})])

    def _again(self) -> None:
        """What changed on a side right before it was to be written, or was being pushed: looked at once more."""
        for _ in range(3):
            todo, self.tally.again = self.tally.again, set()
            for pk in todo:
                if not sync_memory(pk, self.sides, self.tally, self.holder):
                    self.tally.again.add(pk)
            if not self.tally.again:
                return
            time.sleep(0.5)

    def _idle_states(self, observation: Observation) -> None:
        """Memories that hashes showed to be in step, but that were shown as waiting (a push that found nothing)."""
        waiting = Memory.objects.filter(project=self.project, sync_state=SyncState.WAITING)
        if any(side.error for side in self.sides):
            return
        items = [item for item in observation.items if observation.idle(item) and observation.certain(item)]
        idle = {item.row.id: item.row.hash for item in items if item.row}
        for pk, hash, shared in waiting.values_list("pk", "hash", "shared"):
            if idle.get(pk) == hash:
                state = SyncState.SYNCED if shared else SyncState.LOCAL_ONLY
                Memory.objects.filter(pk=pk, hash=hash).update(sync_state=state, waiting_since=None)

    def _count_items(self, observation: Observation) -> None:
        """What each side holds now that the run has made and deleted some of it."""
        for side in observation.sides:
            if not side.error and not side.partial:
                linked = side.connection.replicas.exclude(external_id="").exclude(status="out").count()
                side.connection.items = linked
                side.connection.save(update_fields=["items"])

    def _beat(self, phase: str) -> None:
        run = self.sync_run
        if not leases.still_held(self.holder, [leases.of_project(self.project.pk)]):
            raise Overtaken
        run.phase, run.beat_at, run.counters = phase, timezone.now(), self.tally.counters
        run.save(update_fields=["status", "started_at", "phase", "beat_at", "counters", "done", "total"])
        leases.renew(self.holder)

    def _finish(self) -> None:
        run = self.sync_run
        run.counters, run.errors = self.tally.counters, self.tally.errors[:500]
        run.steps, run.finished_at, run.phase = self.tally.steps[:SHOWN_STEPS], timezone.now(), ""
        if run.trigger == "watch" and not self.tally.touched and not self.tally.steps:
            if run.status == RunStatus.DONE:
                run.delete()  # a look that found nothing, every few seconds, is not history
                return
            self._replace_the_same()
        columns = ["status", "counters", "errors", "steps", "removals", "finished_at", "phase", "done", "total"]
        run.save(update_fields=columns)

    def _replace_the_same(self) -> None:
        """Of looks that fail for the same reason, every few seconds, the last one is history enough."""
        run = self.sync_run
        before = self.project.runs.exclude(pk=run.pk).filter(finished_at__isnull=False, trigger="watch").first()
        if before and before.errors == run.errors and before.status == run.status and not (run.broke or before.steps):
            before.delete()


OVERTAKEN = (
    "Held up for so long that another run began meanwhile. What this one had done is recorded, the rest is left to the "
    "other one: nothing has to be done."
)
DATABASE_AWAY = (
    "The hub's database did not answer ({}). Nothing is lost: what was written to the sides is in the journal, and the "
    "next run reads it back. Make sure that the database runs and that its disk has room, then sync again."
)
DIED = "The process that ran this ended in the middle. What it had done is recorded; later runs go on from there."


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for cyclic garbage afterwards, not again and again while many objects are made: a sixth of the time of a
    batch, a third of that of a look."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
