"""The stories of the model-based test: what people, agents, programs, networks and the hub may do, in any order."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
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
from blocks.models import Memory
from syncjobs import conflicts
from syncjobs.models import Conflict, RunStatus
from tests.syncjobs.fakes import LETTA, LOCAL, Server, Thing
from tests.syncjobs.stage import IN, STAGES, Stage

STEPS = int(os.environ.get("MEMORYHUB_STEPS", "25"))

line = st.integers(min_value=0, max_value=4)
pick = st.integers(min_value=0, max_value=5)
sides = st.sampled_from([LETTA, LOCAL])
agent_names = st.sampled_from(["Ada", "Ada", "Bob"])
FAULTS: tuple[str, ...] = ("", "", "", "lost_request", "lost_reply", "late", "crash_before", "crash_after")
FAULTS += ("torn", "torn", "torn", "broken", "changed", "refused")
faults = st.lists(st.sampled_from(FAULTS), max_size=4)
points = st.sampled_from(["", "", "", "", "", *STAGES])
BLINDNESS = {
    "turns_fail": "agents that cannot be asked for",
    "down": "side that is down",
    "look_fails": "list that fails",
    "get_fails": "look by id that fails",
}
blindness = st.sampled_from(["", "", "", "", "unlisted", *BLINDNESS])
MEDDLING: tuple[str, ...] = ("", "", "side_before", "side_before", "side_within", "hub_before", "hub_within")
meddling = st.sampled_from([*MEDDLING, "archive_within", "push", "agent_before", "removed_before"])
OVERTAKING = ["side_before", "side_before", "side_within", "removed_before", "agent_before", "hub_within", "push"]
reasons = st.sampled_from(["", "edit", "edit", "edit_there", "archive"])  # so that there is something to write


class Story(Stage, RuleBasedStateMachine):
    # --- what people do in the hub

    @initialize()
    def begin(self) -> None:
        self.save(self.world.create(self.text()))
        self.servers[LETTA].put(self.text(), slug="planner")
        self.servers[LOCAL].put(self.text(), slug="planner")
        self.world.run()

    @rule(shared=st.booleans())
    def create(self, shared: bool) -> None:
        self.save(self.world.create(self.text(), shared=shared))

    @rule(number=pick, tag=st.sampled_from(["", "x", "y"]), line=line)
    def edit(self, number: int, tag: str, line: int) -> None:
        memory = self.memory(number)
        if memory and tag:
            self.save(self.world.edit(memory, tags=sorted({*memory.tags, tag})))
        elif memory:
            self.edit_here(memory, line)

    @rule(number=pick)
    def archive(self, number: int) -> None:
        memory = self.memory(number)
        if memory:
            self.remove_here(memory, actions.archive)

    @rule(number=pick)
    def delete(self, number: int) -> None:
        memory = self.memory(number)
        if memory:
            self.remove_here(memory, actions.delete)

    @rule(number=pick)
    def restore(self, number: int) -> None:
        memory = self.memory(number)
        if memory:
            actions.unarchive([memory], user=None)

    @rule(number=pick, shared=st.booleans())
    def share(self, number: int, shared: bool) -> None:
        memory = self.memory(number)
        if memory:
            self.deleted |= set() if shared else {memory.uuid}
            self.world.edit(memory, shared=shared)

    @precondition(lambda self: Conflict.objects.filter(closed_at=None).exists())
    @rule(number=pick, how=st.sampled_from(conflicts.RESOLUTIONS))
    def resolve(self, number: int, how: str) -> None:
        rows = list(Conflict.objects.filter(closed_at=None).order_by("pk"))
        self.tell("conflict decided")
        self.decide(rows[number % len(rows)], how)

    # --- what other programs do on the sides

    @rule(side=sides)
    def make_there(self, side: str) -> None:
        self.servers[side].put(self.text(), slug="planner")

    @rule(side=sides, number=pick, tag=st.sampled_from(["", "", "z"]), line=line)
    def change_there(self, side: str, number: int, tag: str, line: int) -> None:
        thing = self.thing(side, number)
        if thing and tag:
            self.servers[side].edit(thing.id, tags=sorted({*thing.state["tags"], tag}))
        elif thing:
            self.edit_there(side, thing, line)

    @rule(number=pick, lines=st.tuples(line, line, line))
    def edit_everywhere(self, number: int, lines: tuple[int, int, int]) -> None:
        """In the hub and on both sides at once."""
        thing = self.thing(LETTA, number)
        memory = Memory.objects.filter(uuid=thing.uuid).first() if thing and thing.uuid else None
        twin = self.twin(thing) if thing else None
        if thing and memory and twin:
            self.tell("edits on three sides at once")
            self.edit_here(memory, lines[0])
            self.edit_there(LETTA, thing, lines[1])
            self.edit_there(LOCAL, twin, lines[2])

    @rule(number=pick, other=st.booleans())
    def edit_both_to_the_same_or_not(self, number: int, other: bool) -> None:
        thing = self.thing(LETTA, number)
        twin = self.twin(thing) if thing else None
        if thing and twin:
            self.edit_there(LETTA, thing, 1)
            text = self.text() if other else thing.state["text"]
            self.ledger.edited(twin.state["text"], text)
            self.servers[LOCAL].edit(twin.id, text=text)

    @rule(side=sides, number=pick)
    def delete_there(self, side: str, number: int) -> None:
        thing = self.thing(side, number)
        if thing and not thing.hidden:
            self.remove_there(side, thing)

    @rule(number=pick)
    def copy_there(self, number: int) -> None:
        thing = self.thing(LETTA, number)
        if thing and not thing.hidden:
            self.copied.add(self.servers[LETTA].copy(thing.id).state["text"])

    @rule(side=sides, number=pick)
    def hide_or_show_there(self, side: str, number: int) -> None:
        thing = self.thing(side, number)
        if thing:
            self.tell(f"hidden {IN[side]}")
            thing.hidden = not thing.hidden

    @precondition(lambda self: self.servers[LETTA].undelivered or self.servers[LOCAL].undelivered)
    @rule()
    def deliver(self) -> None:
        for server in self.servers.values():
            server.deliver()

    @rule(side=sides)
    def wipe_and_bring_back(self, side: str) -> None:
        """A side that shows nothing at once, where something was, stops the run, and nothing is deleted elsewhere."""
        server = self.servers[side]
        there = {id: thing for id, thing in server.things.items() if not thing.hidden}
        live = set(Memory.objects.live().values_list("uuid", flat=True))
        server.things = {id: thing for id, thing in server.things.items() if thing.hidden}
        run = self.world.run()
        if run.status == RunStatus.BRAKED:
            self.tell("brake")
            server.things.update(there)
        else:  # it had to make all of it again, because all was changed meanwhile
            self.ledger.removed(*(thing.state["text"] for thing in there.values()))
            self.deleted |= {thing.uuid for thing in there.values() if thing.uuid}
        gone = live - self.deleted - set(Memory.objects.live().values_list("uuid", flat=True))
        assert not gone, "archived without being asked for"

    # --- what agents do

    @rule(number=pick, agent=agent_names)
    def an_agent_begins(self, number: int, agent: str) -> None:
        thing = self.thing(LETTA, number)
        if thing and not thing.hidden:
            self.begin_turn(thing, agent)

    @precondition(lambda self: self.turn(0))
    @rule(number=pick, line=line, own=st.booleans(), then=st.sampled_from(["", "again", "end", "end"]))
    def an_agent_writes_back(self, number: int, line: int, own: bool, then: str) -> None:
        turn = self.turn(number)
        assert turn
        copies = sorted(turn.copies)
        self.write_back(turn, copies[number % len(copies)] if own and copies else "", line)
        if then == "again":
            self.read_again(turn)
        elif then == "end":
            self.end_turn(turn)

    @precondition(lambda self: self.turn(0))
    @rule(number=pick)
    def an_agent_ends(self, number: int) -> None:
        turn = self.turn(number)
        assert turn
        self.end_turn(turn)

    @rule()
    def time_passes(self) -> None:
        self.patience_ends()

    @rule(
        number=pick,
        agent=agent_names,
        edits=st.lists(line, min_size=1, max_size=3),
        other=st.sampled_from([None, None, None, 0, 2, 4]),
        writes=st.lists(st.one_of(st.none(), line), min_size=1, max_size=3),
    )
    def an_agent_undoes_our_push(
        self, number: int, agent: str, edits: list[int], other: int | None, writes: list[int | None]
    ) -> None:
        """A whole turn: pushes that waited for long happen in it, another program edits, older copies come back."""
        thing = self.thing(LETTA, number)
        memory = Memory.objects.filter(uuid=thing.uuid).first() if thing and thing.uuid else None
        if not thing or not memory or thing.hidden:
            return
        turn = self.begin_turn(thing, agent)
        if other is not None:
            self.edit_there(LETTA, thing, other)
        for one in edits:
            self.edit_here(memory, one)
            self._run_in_the_end()
        for own in writes:
            self.write_back(turn, "" if own is None else thing.id, own or 0)
            self._run_in_the_end()
        self.end_turn(turn)

    def _run_in_the_end(self) -> None:
        self.go(lambda: self.world.run(allow_deletions=True))
        self.patience_ends()
        self.go(lambda: self.world.run(allow_deletions=True))

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
        self._blind(server, blind, self.thing(side, number))
        self._meddle(server, meddling)
        memory = self.memory(number)
        if what == "push" and memory:
            self.go(lambda: self.world.push(memory))
        else:
            self.go(lambda: self.world.run(allow_deletions=True))

    sync_once_more = sync  # twice as likely

    @rule(side=sides, number=pick, line=line, how=st.sampled_from(OVERTAKING))
    def sync_while_others_write(self, side: str, number: int, line: int, how: str) -> None:
        """A write that somebody else's comes between."""
        memory = self.memory(number, archived_at=None, deleted_at=None)
        if memory:
            self.edit_here(memory, line)
            self._meddle(self.servers[side], how)
            self.go(lambda: self.world.run(allow_deletions=True))

    @rule(side=sides, hidden=st.booleans())
    def an_answer_gets_lost(self, side: str, hidden: bool) -> None:
        """Of creates; somebody may hide what was made before the hub reads it back."""
        memory, server = self.save(self.world.create(self.text())), self.servers[side]
        server.faults = ["lost_reply"] * 4
        self.go(lambda: self.world.run(allow_deletions=True))
        for thing in server.things.values():
            thing.hidden = thing.hidden or (hidden and thing.uuid == memory.uuid)

    def _give(self, reason: str, side: str, number: int) -> None:
        memory, thing = self.memory(number, archived_at=None, deleted_at=None), self.thing(side, number)
        if reason == "edit_there" and thing:
            self.edit_there(side, thing, (number + 2) % 5)
        elif reason == "edit" and memory:
            self.edit_here(memory, number % 5)
        elif reason == "archive" and memory:
            self.remove_here(memory, actions.archive)

    def _blind(self, server: Server, blind: str, thing: Thing | None) -> None:
        if blind == "unlisted":
            server.unlisted = {thing.id} if thing else set()
            self.tell("list without an item")
        elif blind:
            self.tell(BLINDNESS[blind])
            setattr(server, blind, True)

    def _meddle(self, server: Server, how: str) -> None:
        """Somebody does something while the next write is under way."""
        done: list[Any] = []

        def once(write: Any) -> None:
            thing = server.things.get(write.id)
            if not done and (thing or not how.startswith(("side", "agent", "removed"))):
                done.append(write)
                self._interfere(server, how, write, thing)

        if how.endswith("within"):
            server.before_write = once
        elif how:
            server.before_compare = once

    def _interfere(self, server: Server, how: str, write: Any, thing: Thing | None) -> None:
        memory, turn = Memory.objects.filter(uuid=write.uuid).first(), self.turn(0)
        if how == "side_before" and thing:
            self.tell("edit on the side between look and compare")
            self.edit_there(server.side, thing, self.number % 5)
        elif how == "side_within" and thing:
            self.tell("edit on the side between compare and write")
            self.edit_there(server.side, thing, self.number % 5)
            self.unpromised.add(thing.state["text"])
        elif how == "removed_before" and thing:
            self.tell("deletion between look and compare")
            self.remove_there(server.side, thing)
        elif how == "agent_before" and turn:
            self.tell("write-back between look and compare")
            self.write_back(turn)
        elif how in ("hub_before", "hub_within") and memory:
            self.tell("edit in the hub while it is written")
            self.edit_here(memory, 1)
        elif how == "archive_within" and memory and memory.live:
            self.tell("deletion in the hub while it is written")
            self.remove_here(memory, actions.archive)
        elif how == "push" and memory:
            self.tell("two processes with one memory")
            self.world.push(memory)

    @rule()
    def sync_in_peace(self) -> None:
        """After a run that was told of no problem, the hub has acknowledged all it can see."""
        before = self.shown()
        run = self.world.run(allow_deletions=True)
        if run.status == "done":
            self.saved |= before | self.shown()

    # --- what must hold

    @invariant()
    def nothing_wrong_was_done(self) -> None:
        self.steps += 1
        assert not self.wrong, self.wrong

    @invariant()
    def every_text_the_hub_ever_took_in_can_be_found(self) -> None:
        self.check_what_is_kept()

    @invariant()
    def nobody_has_to_decide_what_nobody_caused(self) -> None:
        self.check_conflicts()


def tell_stories(number: int, *, seeded: int | None = None, shrink: bool = False) -> None:
    """Play stories; raises what the first one that fails raises. seeded: another number, other stories; None: always
    the same ones."""

    class Seeded(Story):
        pass

    run_state_machine_as_test(
        seed(seeded)(Seeded) if seeded is not None else Seeded,
        settings=settings(
            max_examples=number,
            stateful_step_count=STEPS,
            derandomize=seeded is None,
            deadline=None,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
