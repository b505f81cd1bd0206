"""Carries out what `plan` says for some memories: the hub's part in one transaction, then the sides', journalled.

What the hub takes in: `syncjobs.intake`. Callers hold the leases of the memories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from blocks.models import SyncState, digest_of
from blocks.state import state_hash
from blocks.stores.base import Outcome, Write
from memoryhub.bulk import update_rows
from memoryhub.models import Project
from syncjobs import leases
from syncjobs.agents import ask_about
from syncjobs.intake import Intake
from syncjobs.marks import Marks, carry_out
from syncjobs.match import Item
from syncjobs.models import Intent
from syncjobs.observation import Observation
from syncjobs.plan import Step
from syncjobs.planning import Planner, Work, restrict
from syncjobs.replicas import agree, forget, save_replicas, see
from syncjobs.sides import OpenSide
from syncjobs.stamps import count_up
from syncjobs.tally import Tally, close_intents, show_states


class Batch:
    """Some memories of one project, taken through plan, hub, sides. Use once: `run()`, or `begin(pool)` and `finish()`.

    holder: who has their leases, which are renewed while a slow side takes its time. Those of memories that it makes
    it takes by itself, and gives back.
    """

    def __init__(
        self, project: Project, observation: Observation, items: Iterable[Item], tally: Tally, holder: str
    ) -> None:
        self.project, self.observation, self.tally, self.holder = project, observation, tally, holder
        self.sides = {side.side: side for side in observation.sides}
        self.items = list(items)
        self.works: list[Work] = []
        self.made: list[str] = []  # leases
        self.marks = Marks(tally, self._while_held, self._alive)

    def run(self) -> None:
        self.begin()
        self.finish()

    def begin(self, pool: Executor | None = None) -> None:
        """The hub's part. pool: where there is nothing to write but marks, they are planted there meanwhile."""
        agents = ask_about(self.items, self.observation)
        with transaction.atomic():
            planner = Planner(self.project, self.observation, agents)
            self.works = planner.load(self.items, lock=True)
            self.tally.again |= planner.again
            Intake(self.works, self.observation, agents, self.tally).take_in()
            self._prepare_writes()
            self._settle([work for work in self.works if not work.writes])
            self.works = [work for work in self.works if work.writes or work.marks]
            self.made = [leases.of_memory(work.memory.pk) for work in self.works if work.fresh]
            leases.acquire(self.made, self.holder)  # nobody else can have them: they are not there before this commits
        if pool and not any(work.writes for work in self.works):
            for side in self.sides.values():
                self.marks.begin(side, self.works, pool)

    def finish(self) -> None:
        """The sides' part."""
        if not self.works:
            return
        try:
            for side in self.sides.values():
                self.marks.plant(side, self.works)
                self._write_side(side)
            with transaction.atomic():
                self._settle([w for w in self.works if not w.overtaken and (w.writes or not w.settled)])
        finally:
            leases.let_go(self.holder, self.made)

    # --- the sides' part ------------------------------------------------------------------------------------------

    def _prepare_writes(self) -> None:
        intents = []
        for work in self.works:
            for step in work.plan.steps:
                intent = self._intend(work, step)
                if intent:
                    intents.append(intent)
        Intent.objects.bulk_create(intents, batch_size=200)

    def _intend(self, work: Work, step: Step) -> Intent | None:
        side, replica = self.sides[step.side], work.replicas[step.side]
        if step.side in work.waits:
            work.settled = False
            return None
        state = {} if step.op == "delete" else restrict(work.plan.state, side.store.fields)
        wanted = state_hash(state)
        if step.op in ("create", "update") and replica.refused_hash == wanted:
            self.tally.fail(work.memory, step.side, replica.reason)
            work.settled = False
            return None
        seen = work.item.seen.get(step.side)
        if step.op == "mark" and seen:
            work.marks[step.side] = Write("mark", work.memory.uuid, state, seen.id, seen.hash, seen)
            return None
        work.writes[step.side] = Write(
            op=step.op,
            uuid=work.memory.uuid,
            state=state,
            id=replica.external_id or str(replica.keep.get("id", "")),
            expected=seen.hash if seen and step.op != "create" else None,
            keep=replica.keep if step.op == "create" else {},
        )
        work.intents[step.side] = intent = Intent(
            memory=work.memory,
            connection=side.connection,
            op=step.op,
            external_id=replica.external_id,
            expected_hash=seen.hash if seen else "",
            new_hash=wanted,
            new_fields={k: v for k, v in state.items() if k != "text"} or None,
            new_text_id=digest_of(state["text"]) if "text" in state else None,
            old_text_id=digest_of(seen.state["text"]) if seen and "text" in seen.state else None,
            copies=replica.copies,
        )
        return intent

    def _write_side(self, side: OpenSide) -> None:
        by_uuid = {w.memory.uuid: w for w in self.works if side.side in w.writes and not w.overtaken}
        if not by_uuid:
            return
        writes = {uuid: work.writes[side.side] for uuid, work in by_uuid.items()}
        held = self._while_held(by_uuid.values(), writes)
        outcomes = carry_out(side.store, held, writes.values(), self._alive)
        with transaction.atomic():
            ours = self._ours(by_uuid.values(), side)
            for outcome in outcomes:
                if not by_uuid[outcome.write.uuid].overtaken:
                    self._record(by_uuid[outcome.write.uuid], side, outcome)
            save_replicas([work.replicas[side.side] for work in ours])
            close_intents([work.intents[side.side] for work in ours])
            count_up([side])

    def _alive(self) -> None:
        leases.renew_at_times(self.holder)

    def _while_held(self, works: Iterable[Work], writes: Mapping[UUID, Write]) -> Iterator[Write]:
        """The writes, each as long as its memory's lease is ours; what another process has taken over is left to it."""
        for work in works:
            if leases.still_held(self.holder, [leases.of_memory(work.memory.pk)]):
                yield writes[work.memory.uuid]
            else:
                self._leave(work)

    def _ours(self, works: Iterable[Work], side: OpenSide) -> list[Work]:
        """Those whose journal is still open: whoever took a memory over has closed it, and knows better by now."""
        intents = Intent.objects.select_for_update().filter(pk__in=[work.intents[side.side].pk for work in works])
        still_open = set(intents.filter(outcome="").values_list("pk", flat=True))
        for work in works:
            if work.intents[side.side].pk not in still_open:
                self._leave(work)
        return [work for work in works if not work.overtaken]

    def _leave(self, work: Work) -> None:
        work.overtaken, work.settled = True, False
        self.tally.again.add(work.memory.pk)

    def _record(self, work: Work, side: OpenSide, outcome: Outcome) -> None:
        replica, intent, op = work.replicas[side.side], work.intents[side.side], outcome.write.op
        if outcome.status == "unclear":  # the intent stays open: the next run reads back what became of it
            work.settled = False
            replica.reason = outcome.error
            self.tally.fail(work.memory, side.side, outcome.error)
            return
        intent.outcome, intent.closed_at = outcome.status, timezone.now()
        if outcome.status == "refused":
            work.settled = False
            replica.status, replica.reason, replica.refused_hash = "refused", outcome.error, intent.new_hash
            self.tally.fail(work.memory, side.side, outcome.error)
        elif outcome.status == "changed" or (outcome.status == "gone" and op != "delete"):
            work.settled = False
            self.tally.again.add(work.memory.pk)
        elif op == "delete":
            forget(replica, outcome.keep)
            if outcome.status == "done":
                self.tally.count("deleted", work.memory)
        else:
            self._landed(work, side, outcome)

    def _landed(self, work: Work, side: OpenSide, outcome: Outcome) -> None:
        replica = work.replicas[side.side]
        if outcome.snapshot:
            see(replica, outcome.snapshot, work.memory, side, text_kept=outcome.write.state.get("text"))
        agree(replica, outcome.write.state, work.intents[side.side].new_hash)
        replica.copies = 0
        if len(work.writes) == 1 and work.agrees(side):
            replica.hub_hash = work.memory.hash  # all is settled with that: the row need not be written once more
        name = {"create": "created", "update": "pushed"}.get(outcome.write.op)
        if name:
            self.tally.count(name, work.memory)

    # --- how it all stands now ------------------------------------------------------------------------------------

    def _settle(self, works: list[Work]) -> None:
        """What was written by this batch, or needs no write. Call in a transaction."""
        in_step = []
        for work in works:
            for name, replica in work.replicas.items():
                side = self.sides.get(name)
                if side and work.in_step(side) and replica.hub_hash != work.memory.hash:
                    replica.hub_hash = work.memory.hash
                    in_step.append(replica)
        update_rows(in_step, ["hub_hash"])
        standings = [(work, self._standing(work)) for work in works]
        show_states([(work.memory, state) for work, state in standings if not self._shows(work, state)])

    @staticmethod
    def _shows(work: Work, state: SyncState) -> bool:
        """Whether a memory that nobody else knows, because this transaction has made it, shows how it stands."""
        return work.fresh and not (work.writes or work.plan.clashes) and work.memory.sync_state == state

    def _standing(self, work: Work) -> SyncState:
        if any(r.status in ("refused", "problem", "out") for s, r in work.replicas.items() if s in self.sides):
            return SyncState.PROBLEM
        if not work.settled or not self.observation.certain(work.item):
            return SyncState.WAITING
        return SyncState.SYNCED if work.memory.shared else SyncState.LOCAL_ONLY
