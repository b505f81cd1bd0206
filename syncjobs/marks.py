"""Our marks on items that others made.

They are in no journal: a mark changes nothing that either says, what of it is done shows at the next look, and to do it
again does no harm. See docs/decisions/0012.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, wait
from itertools import groupby
from uuid import UUID

from django.db import transaction

from blocks.stores.base import Outcome, Store, StoreError, Write
from syncjobs.looks import ALIVE
from syncjobs.planning import Work
from syncjobs.replicas import note
from syncjobs.sides import OpenSide
from syncjobs.stamps import count_up
from syncjobs.tally import Tally


class Marks:
    """The marks of a batch. held: of some memories' writes those that may still be made, as their leases are ours;
    alive: renews these, every few seconds."""

    def __init__(
        self,
        tally: Tally,
        held: Callable[[Iterable[Work], Mapping[UUID, Write]], Iterator[Write]],
        alive: Callable[[], None],
    ) -> None:
        self.tally, self.held, self.alive = tally, held, alive
        self.coming: dict[str, Future[list[Outcome]]] = {}  # by side: marks that are being planted

    def begin(self, side: OpenSide, works: Iterable[Work], pool: Executor) -> None:
        """Have them planted in a thread, where the side allows that."""
        if side.store.threaded:
            wanted = of_side(side, works)
            held = list(self.held(wanted.values(), writes_of(side, wanted)))
            self.coming[side.side] = pool.submit(carry_out, side.store, held, held)

    def plant(self, side: OpenSide, works: Iterable[Work]) -> None:
        """Plant what has not been, and record what became of it."""
        wanted = of_side(side, works)
        coming = self.coming.get(side.side)
        if coming:
            while wait([coming], timeout=ALIVE).not_done:
                self.alive()
            outcomes = coming.result()
        else:
            writes = writes_of(side, wanted)
            outcomes = carry_out(side.store, self.held(wanted.values(), writes), writes.values(), self.alive)
        if not outcomes:
            return
        with transaction.atomic():
            for status, rows in groupby(sorted(outcomes, key=_status), _status):
                told = [(wanted[row.write.uuid], row.error) for row in rows if row.write.uuid in wanted]
                self._note(side, status, told)
            count_up([side])

    def _note(self, side: OpenSide, status: str, told: list[tuple[Work, str]]) -> None:
        if status == "done":
            note([work.replicas[side.side] for work, _ in told], marked=True)
            return
        for work, error in told:
            work.settled = False
            if status in ("changed", "gone"):
                self.tally.again.add(work.memory.pk)
                continue
            self.tally.fail(work.memory, side.side, error)
            refused = {"status": "refused"} if status == "refused" else {}
            note([work.replicas[side.side]], reason=error, **refused)


def of_side(side: OpenSide, works: Iterable[Work]) -> dict[UUID, Work]:
    """The memories that get a mark there."""
    return {work.memory.uuid: work for work in works if side.side in work.marks and not work.overtaken}


def writes_of(side: OpenSide, works: Mapping[UUID, Work]) -> dict[UUID, Write]:
    return {uuid: work.marks[side.side] for uuid, work in works.items()}


def carry_out(
    store: Store, writes: Iterable[Write], asked: Collection[Write], alive: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """What became of `writes`; unclear where the store failed. asked: all of them. alive: called after each."""
    outcomes: list[Outcome] = []
    try:
        for outcome in store.write(writes) if asked else ():
            outcomes.append(outcome)
            alive()
    except StoreError as error:
        told = {outcome.write.uuid for outcome in outcomes}
        outcomes += [Outcome(write, "unclear", error=str(error)) for write in asked if write.uuid not in told]
    return outcomes


def _status(outcome: Outcome) -> str:
    return outcome.status
