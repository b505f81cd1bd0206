"""Whatever happens, in whatever order: both sides and the hub come to agree, and no text is lost.

Hypothesis makes up the story: people edit in the hub, other programs on the sides, answers get lost, requests come
late, the process dies between any two steps. At each moment nothing may be overwritten on a side whose text the hub
does not hold. At the end everything works again, and a few runs must bring all to agree.

MEMORYHUB_STORIES=2000 makes it longer, and different every time.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from blocks import actions
from blocks.models import Memory, Text
from syncjobs import conflicts, leases
from syncjobs.apply import Batch
from syncjobs.models import Conflict, Intent, Lease, Replica
from tests.syncjobs.fakes import LETTA, LOCAL, Crash, Server, Thing
from tests.syncjobs.world import World, did

SHORT = 80
STORIES = int(os.environ.get("MEMORYHUB_STORIES", SHORT))
RUNS_TO_AGREE = 4

pytestmark = pytest.mark.django_db

line = st.integers(min_value=0, max_value=4)
pick = st.integers(min_value=0, max_value=5)
sides = st.sampled_from([LETTA, LOCAL])
FAULTS = (
    "",
    "",
    "",
    "lost_request",
    "lost_reply",
    "late",
    "crash_before",
    "crash_after",
    "torn",
    "torn",
    "torn",
    "broken",
    "changed",
    "refused",
)
faults = st.lists(st.sampled_from(FAULTS), max_size=4)
points = st.sampled_from(["", "", "", "", "", "_commit_hub", "_prepare_writes", "_write_side", "_settle"])
blindness = st.sampled_from(["", "", "", "", "down", "look_fails", "get_fails", "unlisted"])
meddling = st.sampled_from(["", "", "side_before", "side_before", "hub_before", "hub_within", "archive_within", "push"])
reasons = st.sampled_from(["", "edit", "edit", "edit_there", "archive"])  # so that there is something to write


class Story(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        logging.getLogger("syncjobs.run").disabled = True
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.world = World().install(self.patch)
        self.servers = self.world.servers
        self.number = 0
        self.saved: set[str] = set()  # texts that a person saved or a run acknowledged
        self.lost: list[str] = []  # texts overwritten on a side without being held by the hub
        self.deleted: set[UUID] = set()  # memories that somebody deleted, anywhere
        self.crash_at = ""
        self._guard_crashes()
        for server in self.servers.values():
            server.on_loss = self._check_loss

    def teardown(self) -> None:
        try:
            self._come_to_rest()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            self.patch.undo()
            logging.getLogger("syncjobs.run").disabled = False

    # --- the machinery

    def _guard_crashes(self) -> None:
        """The process may end right before or after each stage of a batch."""
        for name in ("_commit_hub", "_prepare_writes", "_write_side", "_settle"):
            original = getattr(Batch, name)

            def stage(batch: Batch, *args: Any, _original: Any = original, _name: str = name) -> Any:
                result = _original(batch, *args)
                if self.crash_at == _name:
                    self.crash_at = ""
                    raise Crash
                return result

            self.patch.setattr(Batch, name, stage)

    def _check_loss(self, thing: Thing) -> None:
        if not self._held(thing.state["text"]):
            self.lost.append(thing.state["text"])

    @staticmethod
    def _held(text: str) -> bool:
        """Whether the hub has a text where people find it."""
        return (
            Memory.objects.filter(text=text).exists()
            or any(text == row.text for row in Text.objects.filter(pk__in=revised()))
            or any(
                text in (row.side.get("text"), (row.base or {}).get("text"))
                for row in Conflict.objects.filter(closed_at=None)
            )
        )

    def _text(self) -> str:
        self.number += 1
        return f"text {self.number}\n-\nmiddle {self.number}\n-\nend"

    def _changed(self, text: str, line: int) -> str:
        """The text with one line changed, which may be merged with a change to another one; 1, 3: a new text."""
        lines = text.split("\n")
        if line % 2 or len(lines) != 5:
            return self._text()
        self.number += 1
        lines[line] = f"line {self.number}"
        return "\n".join(lines)

    def _memory(self, number: int, **filters: Any) -> Memory | None:
        memories = list(Memory.objects.filter(project=self.world.project, **filters).order_by("pk"))
        return memories[number % len(memories)] if memories else None

    def _thing(self, side: str, number: int) -> Thing | None:
        things = [thing for thing in self.servers[side].things.values() if not thing.problem]
        return things[number % len(things)] if things else None

    def _save(self, memory: Memory) -> Memory:
        self.saved.add(memory.text)
        return memory

    def _go(self, call: Any) -> None:
        """A run or a push that may die. What it left is released as time would."""
        try:
            call()
        except Crash:
            Lease.objects.all().delete()
        finally:
            for server in self.servers.values():
                server.down = server.look_fails = server.get_fails = False
                server.unlisted, server.faults = set(), []
                server.before_compare = lambda write: None
                server.before_write = lambda write: None
            self.crash_at = ""

    def _meddle(self, server: Server, how: str) -> None:
        """Somebody does something while the next write is under way."""
        done: list[Any] = []

        def once(write: Any) -> None:
            if done:
                return
            if how == "side_before" and write.id not in server.things:
                return
            done.append(write)
            memory = Memory.objects.filter(uuid=write.uuid).first()
            if how == "side_before":
                server.edit(write.id, text=self._changed(server.things[write.id].state["text"], self.number % 5))
            elif how in ("hub_before", "hub_within") and memory:
                self._save(self.world.edit(memory, text=self._text()))
            elif how == "archive_within" and memory and memory.live:
                self.deleted.add(memory.uuid)
                actions.archive([memory], user=None)
            elif how == "push" and memory:
                self.world.push(memory)

        if how in ("hub_within", "archive_within"):
            server.before_write = once
        elif how:
            server.before_compare = once

    # --- what people do in the hub

    @initialize()
    def begin(self) -> None:
        self._save(self.world.create(self._text()))
        self.servers[LETTA].put(self._text(), slug="planner")
        self.servers[LOCAL].put(self._text(), slug="planner")
        self.world.run()

    @rule(shared=st.booleans())
    def create(self, shared: bool) -> None:
        self._save(self.world.create(self._text(), shared=shared))

    @rule(number=pick, tag=st.sampled_from(["", "x", "y"]), line=line)
    def edit(self, number: int, tag: str, line: int) -> None:
        memory = self._memory(number)
        if memory:
            state = {"tags": sorted({*memory.tags, tag})} if tag else {"text": self._changed(memory.text, line)}
            self._save(self.world.edit(memory, **state))

    @rule(number=pick)
    def archive(self, number: int) -> None:
        memory = self._memory(number)
        if memory:
            self.deleted.add(memory.uuid)
            actions.archive([memory], user=None)

    @rule(number=pick)
    def delete(self, number: int) -> None:
        memory = self._memory(number)
        if memory:
            self.deleted.add(memory.uuid)
            actions.delete([memory], user=None)

    @rule(number=pick)
    def restore(self, number: int) -> None:
        memory = self._memory(number)
        if memory:
            actions.unarchive([memory], user=None)

    @rule(number=pick, shared=st.booleans())
    def share(self, number: int, shared: bool) -> None:
        memory = self._memory(number)
        if memory:
            self.world.edit(memory, shared=shared)

    @rule(number=pick, how=st.sampled_from(conflicts.RESOLUTIONS))
    def resolve(self, number: int, how: str) -> None:
        rows = list(Conflict.objects.filter(closed_at=None).order_by("pk"))
        if rows:
            self._save(conflicts.resolve(rows[number % len(rows)], how, user=None, text=self._text()))

    # --- what other programs do on the sides

    @rule(side=sides)
    def make_there(self, side: str) -> None:
        self.servers[side].put(self._text(), slug="planner")

    @rule(side=sides, number=pick, tag=st.sampled_from(["", "", "z"]), line=line)
    def edit_there(self, side: str, number: int, tag: str, line: int) -> None:
        thing = self._thing(side, number)
        if thing and tag:
            self.servers[side].edit(thing.id, tags=sorted({*thing.state["tags"], tag}))
        elif thing:
            self.servers[side].edit(thing.id, text=self._changed(thing.state["text"], line))

    @rule(number=pick, lines=st.tuples(line, line, line))
    def edit_everywhere(self, number: int, lines: tuple[int, int, int]) -> None:
        """In the hub and on both sides at once."""
        thing = self._thing(LETTA, number)
        memory = Memory.objects.filter(uuid=thing.uuid).first() if thing and thing.uuid else None
        if thing and memory:
            self._save(self.world.edit(memory, text=self._changed(memory.text, lines[0])))
            self.servers[LETTA].edit(thing.id, text=self._changed(thing.state["text"], lines[1]))
            twin = next(
                (t for t in self.servers[LOCAL].things.values() if t.uuid == thing.uuid and not t.problem), None
            )
            if twin:
                self.servers[LOCAL].edit(twin.id, text=self._changed(twin.state["text"], lines[2]))

    @rule(number=pick, other=st.booleans())
    def edit_both_to_the_same_or_not(self, number: int, other: bool) -> None:
        thing = self._thing(LETTA, number)
        twin = next((t for t in self.servers[LOCAL].things.values() if thing and t.uuid and t.uuid == thing.uuid), None)
        if thing and twin and not twin.problem:
            self.servers[LETTA].edit(thing.id, text=self._text())
            self.servers[LOCAL].edit(twin.id, text=self._text() if other else thing.state["text"])

    @rule(side=sides, number=pick)
    def delete_there(self, side: str, number: int) -> None:
        thing = self._thing(side, number)
        if thing and not thing.hidden:
            linked = Replica.objects.filter(external_id=thing.id, connection__side=side).first()
            self.deleted |= {linked.memory.uuid} if linked else {thing.uuid} if thing.uuid else set()
            self.servers[side].remove(thing.id)

    @rule(number=pick)
    def copy_there(self, number: int) -> None:
        thing = self._thing(LETTA, number)
        if thing and not thing.hidden:
            self.servers[LETTA].copy(thing.id)

    @rule(side=sides, number=pick)
    def hide_or_show_there(self, side: str, number: int) -> None:
        thing = self._thing(side, number)
        if thing:
            thing.hidden = not thing.hidden

    @precondition(lambda self: self.servers[LETTA].undelivered or self.servers[LOCAL].undelivered)
    @rule()
    def deliver(self) -> None:
        for server in self.servers.values():
            server.deliver()

    # --- what the hub does about it

    @rule(
        side=sides,
        reason=reasons,
        faults=faults,
        crash_at=points,
        blind=blindness,
        meddling=meddling,
        what=st.sampled_from(["run", "run", "run", "push"]),
        number=pick,
    )
    def sync(
        self,
        side: str,
        reason: str,
        faults: list[Any],
        crash_at: str,
        blind: str,
        meddling: str,
        what: str,
        number: int,
    ) -> None:
        self._give(reason, LOCAL if side == LETTA else LETTA, number)
        server = self.servers[side]
        server.faults, self.crash_at = list(faults), crash_at
        thing = self._thing(side, number)
        if blind == "unlisted":
            server.unlisted = {thing.id} if thing else set()
        elif blind:
            setattr(server, blind, True)
        self._meddle(server, meddling)
        memory = self._memory(number)
        if what == "push" and memory:
            self._go(lambda: self.world.push(memory))
        else:
            self._go(lambda: self.world.run(allow_deletions=True))

    def _give(self, reason: str, side: str, number: int) -> None:
        memory, thing = self._memory(number, archived_at=None, deleted_at=None), self._thing(side, number)
        if reason == "edit_there" and thing:
            self.servers[side].edit(thing.id, text=self._changed(thing.state["text"], (number + 2) % 5))
        elif reason == "edit" and memory:
            self._save(self.world.edit(memory, text=self._changed(memory.text, number % 5)))
        elif reason == "archive" and memory:
            self.deleted.add(memory.uuid)
            actions.archive([memory], user=None)

    @rule()
    def sync_in_peace(self) -> None:
        """After a run that was told of no problem, the hub has acknowledged all it can see."""
        before = self._shown()
        run = self.world.run(allow_deletions=True)
        if run.status == "done":
            self.saved |= before | self._shown()

    def _shown(self) -> set[str]:
        seen = [thing for server in self.servers.values() for thing in server.things.values()]
        return {thing.state["text"] for thing in seen if not thing.hidden and not thing.problem}

    # --- what must hold

    @invariant()
    def nothing_was_overwritten_that_the_hub_does_not_hold(self) -> None:
        assert not self.lost, self.lost

    @invariant()
    def every_text_the_hub_ever_took_in_can_be_found(self) -> None:
        stored = {row.text for row in Text.objects.exclude(pk__in=revised())}
        there = {conflict.side.get("text") for conflict in Conflict.objects.filter(closed_at=None)}
        there |= {(conflict.base or {}).get("text") for conflict in Conflict.objects.filter(closed_at=None)}
        there |= {thing.state["text"] for server in self.servers.values() for thing in server.things.values()}
        assert stored <= there, stored - there

    def _come_to_rest(self) -> None:
        for server in self.servers.values():
            server.deliver()
            for thing in server.things.values():
                thing.hidden = False
        for refused in Replica.objects.filter(status="refused"):  # tried again when it changes
            self.world.edit(refused.memory, title=self._text())
        for _ in range(RUNS_TO_AGREE):
            run = self.world.run(allow_deletions=True)
            open_ones = list(Conflict.objects.filter(closed_at=None))
            for conflict in open_ones:
                conflicts.resolve(conflict, "hub", user=None)
            if not open_ones and run.status == "done" and not did(run):
                break
        run = self.world.run(allow_deletions=True)
        assert (run.status, did(run), run.errors) == ("done", {}, []), "it does not come to rest"
        self._check_agreement()
        self._check_keeping()

    def _check_agreement(self) -> None:
        live = {memory.uuid: memory for memory in Memory.objects.live()}
        for side, server in self.servers.items():
            wanted = {uuid for uuid, memory in live.items() if memory.shared or side == LOCAL}
            assert sorted(str(thing.uuid) for thing in server.things.values()) == sorted(map(str, wanted)), side
            for thing in server.things.values():
                state = live[thing.uuid].state  # type: ignore[index]
                assert thing.state == {name: state[name] for name in thing.state}, side
        assert len({memory.text for memory in live.values()}) + self._copies() == len(live)
        assert not Intent.objects.filter(outcome="").exists()
        assert not Memory.objects.filter(sync_state__in=["waiting", "conflict", "problem"]).exists()

    def _copies(self) -> int:
        """Memories with the text of another one: only copies that somebody made, never the hub's doing."""
        texts = [memory.text for memory in Memory.objects.live()]
        return len(texts) - len(set(texts))

    def _check_keeping(self) -> None:
        for text in self.saved:
            assert self._held(text), text
        vanished = [m for m in Memory.objects.all() if not m.live and m.uuid not in self.deleted]
        assert not vanished, vanished


def revised() -> Any:
    from blocks.models import Revision

    return Revision.objects.values("text_id")


def test_both_sides_and_the_hub_come_to_agree_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SECONDS", 90)
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=STORIES,
            stateful_step_count=25,
            derandomize=STORIES == SHORT,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate, *([Phase.shrink] if "MEMORYHUB_SHRINK" in os.environ else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
