"""One write to one Letta block: read, compare, write, say what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from blocks.stores import deadline
from blocks.stores.base import Outcome, Snapshot, Write
from blocks.stores.letta_blocks import Scope, difference, read_block, refusal, tags_of, write_block
from blocks.stores.letta_calls import THREADS, CallError, Calls, block_path

GIVE_UP_AFTER = THREADS  # failures to connect in a row: the server is away, and every further try costs a timeout

FRESH = 1.0  # seconds after which a block is compared again: this process was stopped, or its machine slept
TOO_LATE = 45.0  # seconds after which nothing more of a write is sent; somebody else has its lease after 90
COMPARISONS = 3  # at most: a server that is slow is written to all the same
NO_BLOCK = "The server answered with something that is no block."


def in_threads(writes: Iterable[Write], one: Callable[[Write], Outcome]) -> Iterator[Outcome]:
    """Outcomes as they come. `writes` is drawn from in the caller's thread, a few ahead of what is under way.

    Raises what a write raised, after the outcomes of those under way.
    """
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="letta") as pool:
        for write in writes:
            running.add(pool.submit(one, write))
            if len(running) >= 2 * THREADS:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from results(done, running)
        yield from results(running, set())


def results(done: set[Future[Outcome]], running: set[Future[Outcome]]) -> Iterator[Outcome]:
    """The outcomes of `done`; where one raised, those of all the rest first, without those that never began."""
    failed = [future for future in done if future.exception()]
    if failed:
        begun = {future for future in running if not future.cancel()}
        done = {future for future in wait(done | begun).done if not future.exception()}
    for future in done:
        yield future.result()
    if failed:
        raise failed[0].exception() or AssertionError


def is_fresh(begun: float) -> bool:
    """Whether what was asked for at `time.time()` `begun` can be taken for what is there."""
    return abs(time.time() - begun) < FRESH


class Writer:
    """Carries out writes for one scope; called from several threads at once."""

    def __init__(self, calls: Calls, scope: Scope) -> None:
        self.calls = calls
        self.scope = scope
        self.failures = 0  # connections in a row that failed; a lost count between threads does no harm

    def run(self, write: Write) -> Outcome:
        """The outcome; raises StoreError where every other write would fail too (key, server away)."""
        steps = {"create": self._create, "update": self._update, "mark": self._update, "delete": self._delete}
        try:
            with deadline.sent_by(time.time() + TOO_LATE):
                outcome = steps[write.op](write)
        except CallError as error:
            return self._failed(write, error)
        self.failures = 0
        return outcome

    def _failed(self, write: Write, error: CallError) -> Outcome:
        self.failures = self.failures + 1 if error.kind == "refused" else 0
        if error.kind in ("unauthorized", "not_a_server") or self.failures >= GIVE_UP_AFTER:
            raise error
        return Outcome(write, "refused" if error.permanent else "unclear", error=str(error))

    def _snapshot(self, block: Any) -> Snapshot:
        return read_block(block, self.scope)

    def _create(self, write: Write) -> Outcome:
        body = write_block(write.state, write.uuid, self.scope, write.keep)
        body |= {flag: True for flag in ("hidden", "is_template") if write.keep.get(flag)}
        reason = refusal(write.state, body)
        if reason:
            return Outcome(write, "refused", error=reason)
        snapshot = self._snapshot(self.calls.call("post", "/v1/blocks/", body=body))
        if not snapshot.id or snapshot.uuid != write.uuid or snapshot.problem:
            return Outcome(write, "unclear", error=NO_BLOCK)
        left = self._attach(snapshot.id, write.keep.get("agents", ()))
        note = f"Not attached again to {', '.join(left)}." if left else ""
        return Outcome(write, "done", snapshot, error=note)

    def _attach(self, id: str, agents: Iterable[str]) -> list[str]:
        """Attach a block to agents; returns those that could not be reached.

        One that is gone (404) or has this label already (409) is left as it is.
        """
        left = []
        for agent in agents:
            try:
                self.calls.call("patch", f"/v1/agents/{agent}/core-memory/blocks/attach/{id}", body={})
            except CallError as error:
                if error.status not in (404, 409):
                    left.append(agent)
        return left

    def _differs(self, write: Write, snapshot: Snapshot) -> bool:
        return bool(snapshot.problem) or write.expected not in (None, snapshot.hash)

    def _compared(self, write: Write) -> tuple[dict[str, Any], Snapshot] | Outcome:
        """The block as it is right before the write, if it is as expected."""
        block = self.calls.block(write.id)
        if block is None:
            return Outcome(write, "gone")
        snapshot = self._snapshot(block)
        if self._differs(write, snapshot):
            return Outcome(write, "changed", snapshot, error=snapshot.problem)
        return block, snapshot

    def _update(self, write: Write) -> Outcome:
        for _ in range(COMPARISONS):
            begun = time.time()
            found = self._compared(write)
            if isinstance(found, Outcome):
                return found
            block, snapshot = found
            body, reason = self._patch_for(write, snapshot, block)
            if reason:
                return Outcome(write, "refused", error=reason)
            if is_fresh(begun):
                break
        return self._patch(write, body) if body else Outcome(write, "done", snapshot)

    def _patch_for(self, write: Write, snapshot: Snapshot, block: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """What must be sent, and why it must not be ('' if it may)."""
        said, wanted = snapshot.state, write.state
        target = {**wanted, **said} if write.op == "mark" else {**said, **wanted}
        before = {"tags": tags_of(block), "metadata": block.get("metadata")}
        body = difference(write_block(target, write.uuid, self.scope, before), block)
        return body, refusal(target, body)

    def _patch(self, write: Write, body: dict[str, Any]) -> Outcome:
        try:
            snapshot = self._snapshot(self.calls.call("patch", block_path(write.id), body=body))
        except CallError as error:
            if error.gone:
                return Outcome(write, "gone")
            if error.status != 409:
                raise
            return self._overtaken(write)
        if snapshot.id != write.id or snapshot.problem:
            return Outcome(write, "unclear", error=NO_BLOCK)
        return Outcome(write, "done", snapshot)

    def _overtaken(self, write: Write) -> Outcome:
        """Somebody else's write was under way (409): show what came of it, never repeat blindly."""
        block = self.calls.block(write.id)
        return Outcome(write, "changed", self._snapshot(block)) if block else Outcome(write, "gone")

    def _delete(self, write: Write) -> Outcome:
        agents = [agent["id"] for agent in self.calls.agents(write.id)]
        for _ in range(COMPARISONS):
            begun = time.time()
            found = self._compared(write)
            if isinstance(found, Outcome):
                return found
            _, snapshot = found
            if is_fresh(begun):
                break
        kept = snapshot.keep | ({"agents": agents} if agents else {})
        return replace(self._remove(write), keep=kept)

    def _remove(self, write: Write) -> Outcome:
        try:
            answer = self.calls.call("delete", block_path(write.id))
        except CallError as error:
            if error.gone:
                return Outcome(write, "gone")
            if error.status != 409:
                raise
            return self._overtaken(write)
        if answer is not None and self.calls.block(write.id):  # Letta answers null
            return Outcome(write, "unclear", error="The block is still there, though it was said to be deleted.")
        return Outcome(write, "done")
