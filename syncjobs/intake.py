"""What the hub takes in of a batch: new revisions, what is known of the sides now, conflicts.

It all belongs in one transaction, before anything is written to a side: see `syncjobs.apply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

from django.utils import timezone

from blocks.actions import Change, record
from blocks.models import Origin, Text
from blocks.state import State, state_hash
from syncjobs.agents import Agents
from syncjobs.conflicts import close_moot, open_conflict
from syncjobs.models import Conflict, Replica
from syncjobs.observation import Observation
from syncjobs.plan import NAMES, Plan, Seen
from syncjobs.planning import Work, describe, restrict, written_at
from syncjobs.replicas import agree, forget, hold, save_replicas, see
from syncjobs.sides import OpenSide
from syncjobs.stamps import count_up
from syncjobs.tally import SHOWN_STEPS, Tally


class Intake:
    """The hub's part of a batch. Use once: `take_in()`."""

    def __init__(self, works: list[Work], observation: Observation, agents: Agents, tally: Tally) -> None:
        self.works, self.observation, self.agents, self.tally = works, observation, agents, tally
        self.sides = observation.by_name
        self.texts: set[str] = set()  # that this batch has stored already

    def take_in(self) -> None:
        """Call in a transaction that has locked the memories."""
        self._keep_texts()
        self._load_conflicts()
        self._save_what_goes()
        changes = {id(work): change for work in self.works if (change := self._change(work))}
        record(list(changes.values()), kept=self.texts)
        self._tell(work for work in self.works if id(work) not in changes)
        self._save_replicas()
        for work in self.works:
            self._count_hub(work)
            self._note(work)
        self._save_conflicts()

    def _keep_texts(self) -> None:
        texts = {
            snapshot.state["text"]
            for work in self.works
            for name, snapshot in work.item.seen.items()
            if "text" in snapshot.state and self.observation.seen(work.item, self.sides[name]) is Seen.THERE
        }
        texts |= {work.plan.state["text"] for work in self.works if work.plan.steps}
        Text.objects.keep(texts)
        self.texts = texts

    def _load_conflicts(self) -> None:
        known = Conflict.objects.filter(memory_id__in=[w.memory.pk for w in self.works if not w.fresh], closed_at=None)
        rows = {(row.memory_id, row.connection_id): row for row in known.select_related("side_text", "base_text")}
        for work in self.works:
            for side in self.sides.values():
                row = rows.get((work.memory.pk, side.connection.pk))
                if row:
                    work.conflicts[side.side] = row

    def _save_what_goes(self) -> None:
        """Revisions of states that are about to be shown nowhere else; one of each memory at a time."""
        saved = [self._saved(work) for work in self.works]
        for work, states in zip(self.works, saved, strict=True):
            work.rewritten = bool(states)
            last = work.memory.number + len(states)
            numbers = range(last - len(work.plan.parts) + 1, last + 1)  # they come last
            work.parents = [number for number in (work.memory.number, *numbers) if number] if states else []
        for changes in zip_longest(*saved):
            record([change for change in changes if change], kept=self.texts)

    def _saved(self, work: Work) -> list[Change]:
        going = [(side, state, side, "overwritten there") for side, state in work.plan.saved.items()]
        moot = "was in conflict, and is not there any more"
        going += [(side, state, side, moot) for side, state in self._displaced(work)]
        if not work.fresh:
            going += [
                (side, state, side, "was there before it could be taken in") for side, state in self._passed_by(work)
            ]
        parts = work.plan.parts.items()
        going += [(side, state, self._author(work, [side]), "before it was merged") for side, state in parts]

        def begun(side: str) -> list[int]:
            replica = work.replicas.get(side)
            return work.memory.revision_with(replica.base_text_id) if replica and work.memory.pk else []

        return [
            Change(work.memory, {**work.memory.state, **state}, Origin(side), author, note=note, parents=begun(side))
            for side, state, author, note in going
        ]

    def _displaced(self, work: Work) -> Iterator[tuple[str, State]]:
        """What a side showed in an open conflict, where it shows something else now and no revision has it."""
        for side, row in work.conflicts.items():
            if self.observation.seen(work.item, self.sides[side]) is Seen.UNKNOWN:
                continue
            seen = work.item.seen.get(side)
            if seen and seen.hash == row.side_hash:
                continue
            whole = state_hash({**work.memory.state, **row.side})
            if not work.memory.revisions.filter(hash=whole).exists():
                yield side, row.side

    def _passed_by(self, work: Work) -> Iterator[tuple[str, State]]:
        """What a side once showed and the hub never took in (a run ended before), where something else is there now."""
        for side, replica in work.replicas.items():
            if side in work.conflicts or replica.seen_hash in ("", replica.base_hash) or not replica.seen_text_id:
                continue
            seen = work.item.seen.get(side)
            if self.observation.seen(work.item, self.sides[side]) is Seen.UNKNOWN or (
                seen and seen.hash == replica.seen_hash
            ):
                continue
            if replica.seen and not work.memory.revision_with(replica.seen_text_id):
                yield side, replica.seen

    @staticmethod
    def _tell(works: Iterable[Work]) -> None:
        """Notices about memories whose state stays as it is."""
        for work in works:
            notice = "; ".join(work.plan.notices)
            if notice and work.memory.notice != notice:
                work.memory.notice = notice
                work.memory.save(update_fields=["notice"])

    def _change(self, work: Work) -> Change | None:
        result = work.plan
        turned = bool(result.archived_by or result.revived_by)
        if not (work.fresh or turned or work.rewritten or state_hash(result.state) != state_hash(work.memory.state)):
            return None
        sources = [side for side, how in result.taken.items() if how in ("pull", "merge")]
        if work.fresh:
            sources = [work.source]
        extra: dict[str, Any] = {"notice": "; ".join(result.notices)}
        if work.fresh:
            extra["changed_at"] = written_at(result.state["created_at"])
        if result.archived_by:
            extra["archived_at"] = timezone.now()
        if result.revived_by:
            extra |= {"archived_at": None, "deleted_at": None}
        return Change(
            work.memory,
            result.state,
            self._origin(sources, result),
            author=self._author(work, sources),
            note="; ".join([*result.notices, *([why_archived(result)] if result.archived_by else [])]),
            extra=extra,
            parents=work.parents,
        )

    @staticmethod
    def _origin(sources: list[str], result: Plan) -> Origin:
        if not sources:
            return Origin(result.archived_by) if result.archived_by else Origin.MERGE
        merged = len(sources) > 1 or "merge" in result.taken.values()
        return Origin.MERGE if merged else Origin(sources[0])

    @staticmethod
    def _author(work: Work, sources: list[str]) -> str:
        who = [str(work.item.seen[side].keep.get("by") or "") or side for side in sources if side in work.item.seen]
        return " + ".join(who) or work.plan.archived_by or "sync"

    def _count_hub(self, work: Work) -> None:
        tally, result, memory = self.tally, work.plan, work.memory
        for side, how in result.taken.items():
            if side == work.source:
                tally.count("pulled", memory)
            elif how in ("pull", "merge", "link"):
                tally.count({"pull": "pulled", "merge": "merged", "link": "linked"}[how], memory)
        if result.archived_by:
            tally.count("archived", memory)

    def _note(self, work: Work) -> None:
        """What will be shown of this memory's steps."""
        if len(self.tally.steps) < SHOWN_STEPS:
            self.tally.steps.extend(describe(work))

    # --- what is known of the sides -------------------------------------------------------------------------------

    def _save_replicas(self) -> None:
        """A look that shows nothing new, as at an open conflict in every run, counts up nothing."""
        changed: list[Replica] = []
        news: set[str] = set()
        for work in self.works:
            for side in self.sides.values():
                before = known_of(work.replicas.get(side.side))
                replica = self._refresh(work, side)
                if replica:
                    changed.append(replica)
                    news |= {side.side} if known_of(replica) != before else set()
        save_replicas(changed)
        count_up(side for side in self.sides.values() if side.side in news)

    def _refresh(self, work: Work, side: OpenSide) -> Replica | None:
        """The replica brought to what was seen; None where nothing changed."""
        snapshot, replica = work.item.seen.get(side.side), work.replicas.get(side.side)
        seen = self.observation.seen(work.item, side)
        stepped = [step.op for step in work.plan.steps if step.side == side.side]
        if replica is None:
            if seen is not Seen.THERE and not stepped:
                return None
            replica = Replica(memory=work.memory, connection=side.connection, status="absent")
            work.replicas[side.side] = replica
        if seen is Seen.THERE and snapshot:
            refused, held_since = (replica.refused_hash, replica.reason), replica.held_since
            see(replica, snapshot, work.memory, side)
            self._compare_with_copy(work, side, replica)
            if stepped and refused[0] == state_hash(restrict(work.plan.state, side.store.fields)):
                replica.status, (replica.refused_hash, replica.reason) = "refused", refused
            if "mark" in stepped:  # which changes nothing that either says, and after which the side says it all
                agree(replica, restrict(work.plan.state, side.store.fields))
                replica.seen_fields, replica.seen_hash = replica.base_fields, replica.base_hash
            elif side.side in work.plan.rebase:
                agree(replica, snapshot.state, snapshot.hash)
            agent = self.agents.at_work.get((side.side, snapshot.id))
            replica.copies = replica.copies if set(stepped) - {"mark"} else 0
            if stepped and agent and hold(replica, agent, held_since):
                work.waits.add(side.side)
            if all(step.op == "mark" for step in work.plan.steps) and work.in_step(side):
                replica.hub_hash = work.memory.hash  # now, so that the row need not be written once more
        elif seen is Seen.GONE:
            agents = side.connection.agents.get(replica.external_id, ())
            forget(replica, {"agents": [agent["id"] for agent in agents]} if agents else None)
        elif seen is Seen.UNKNOWN:
            self._unknown(work, side, replica)
        return replica

    @staticmethod
    def _compare_with_copy(work: Work, side: OpenSide, replica: Replica) -> None:
        """From now on the text an agent's copy was made from is the base: that needs to be found out only once."""
        copy, base = work.copies.get(side.side), replica.base
        if copy and base and not copy.disputed:
            agree(replica, {**base, "text": copy.text})
            replica.copies = copy.times

    def _unknown(self, work: Work, side: OpenSide, replica: Replica) -> None:
        reasons = {s.id: s.problem for s in self.observation.problems.get(side.side, ())}
        if replica.external_id in reasons:
            replica.status, replica.reason = "problem", reasons[replica.external_id]
            self.tally.fail(work.memory, side.side, replica.reason)
        elif replica.external_id in self.observation.out.get(side.side, ()):
            replica.status = "out"
            replica.reason = "no longer in this project (its tag or project name changed, or it is hidden)"

    def _save_conflicts(self) -> None:
        for work in self.works:
            for side in self.sides.values():
                row = work.conflicts.get(side.side)
                if side.side in work.plan.clashes:
                    work.settled = False
                    new = open_conflict(row, work.memory, work.replicas[side.side], work.plan.clashes[side.side])
                    if new:
                        self.tally.count("conflicts", work.memory)
                elif row and self.observation.seen(work.item, side) is not Seen.UNKNOWN:
                    close_moot(row)


def why_archived(result: Plan) -> str:
    return f"deleted in {NAMES[result.archived_by]}"


def known_of(replica: Replica | None) -> tuple[str, str, str] | None:
    """What the hub knows of a memory on a side, as far as an older copy of that side would show something else."""
    return (replica.external_id, replica.seen_hash, replica.base_hash) if replica else None
