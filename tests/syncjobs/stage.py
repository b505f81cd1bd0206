"""Where the stories of the model-based test play: a world, what is remembered of it, and what must hold.

What a story does is in `story.py`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from blocks.models import Memory, Revision, Text
from blocks.stores.base import Write
from syncjobs import conflicts
from syncjobs.apply import Batch
from syncjobs.intake import Intake
from syncjobs.models import Conflict, Intent, Lease, Replica
from tests.syncjobs.fakes import LETTA, LOCAL, Crash, Server, Thing, Turn
from tests.syncjobs.ledger import Ledger, words
from tests.syncjobs.world import World, did

RUNS_TO_AGREE = 4
PATIENCE = 60
STAGES = {"take_in": Intake, "_prepare_writes": Batch, "_write_side": Batch, "_settle": Batch}
LOGGERS = ("syncjobs.run", "syncjobs.push")  # they say what a story lets go wrong on purpose
IN = {LETTA: "in Letta", LOCAL: "in the local store"}


class Stage:
    """One story's world. told: what happened in it, in words.

    saved: texts that a person saved or a run acknowledged. wrong: what must never happen, and did. deleted: memories
    that somebody deleted, anywhere, or stopped to share. copied: texts of items that somebody copied.
    """

    told_of: Counter[str] = Counter()  # over all stories: in how many each thing happened

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name in LOGGERS:
            logging.getLogger(name).disabled = True
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.patch.setattr(settings, "AGENT_PATIENCE", PATIENCE)
        self.world = World().install(self.patch)
        self.servers = self.world.servers
        self.letta = self.world.letta
        self.number = 0
        self.ledger = Ledger()
        self.saved: set[str] = set()
        self.wrong: list[str] = []
        self.deleted: set[UUID] = set()
        self.copied: set[str] = set()
        self.unpromised: set[str] = set()  # written on a side between our compare and our write
        self.made: set[str] = set()  # ids of blocks the hub made
        self.told: set[str] = set()
        self.steps = 0
        self.crash_at = ""
        self._guard_crashes()
        for server in self.servers.values():
            self._watch(server)

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            Stage.told_of.update({*self.told, "stories"})
            Stage.told_of["steps"] += self.steps
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            self.patch.undo()
            for name in LOGGERS:
                logging.getLogger(name).disabled = False

    def _guard_crashes(self) -> None:
        """The process may end right after each stage of a batch."""
        for name, whose in STAGES.items():
            original = getattr(whose, name)

            def stage(part: Intake | Batch, *args: Any, _original: Any = original, _name: str = name) -> Any:
                result = _original(part, *args)
                if self.crash_at == _name:
                    self.crash_at = ""
                    self.tell("crash")
                    raise Crash
                return result

            self.patch.setattr(whose, name, stage)

    def tell(self, what: str) -> None:
        self.told.add(what)

    # --- what is watched while the hub writes

    def _watch(self, server: Server) -> None:
        server.on_loss = lambda thing, op: self._check_loss(server, thing, op)
        server.on_write = lambda write: self._check_write(server, write)
        # That an old text of ours wins that way cannot be known from outside; the newer one stays in the history.
        server.on_late = lambda thing, write: self.ledger.removed(thing.state["text"], but=write.state["text"])
        server.on_made = lambda thing: self._check_made(server, thing)
        server.on_fault = lambda fault: self.tell(FAULTS[fault]) if fault else None

    def _check_loss(self, server: Server, thing: Thing, op: str) -> None:
        text = thing.state["text"]
        if text in self.unpromised:
            self.ledger.removed(text)
        elif not self.held(text):
            self.wrong.append(f"overwritten, though the hub does not hold it: {text!r}")
        if op == "delete":
            self.ledger.removed(text, but=self._linked_text(server, thing))
            if thing.uuid not in self.deleted and not self._is_twin(server, thing):
                self.wrong.append(f"deleted {IN[server.side]}, though nobody had deleted it: {text!r}")

    @staticmethod
    def _linked(server: Server, thing: Thing) -> Replica | None:
        known = Replica.objects.filter(connection__side=server.side)
        return known.filter(memory__uuid=thing.uuid).first() if thing.uuid else None

    def _is_twin(self, server: Server, thing: Thing) -> bool:
        replica = self._linked(server, thing)
        return replica is None or replica.external_id != thing.id

    def _linked_text(self, server: Server, thing: Thing) -> str:
        replica = self._linked(server, thing)
        return replica.memory.text if replica and replica.memory.live else ""

    def _check_write(self, server: Server, write: Write) -> None:
        """A block is left alone while an agent at work sees it, for a time; where the server can say so."""
        at_work = {turn.agent for turn in server.turns if not turn.ended}
        if server.side == LETTA and not server.turns_fail and at_work & set(server.attached.get(write.id, ())):
            replica = Replica.objects.filter(external_id=write.id, connection__side=LETTA).first()
            since = replica.held_since if replica else None
            if since is None or timezone.now() - since < timedelta(seconds=PATIENCE):
                self.wrong.append(f"written while an agent was at work with it: {write.id}")
            self.tell("agent not waited for any longer")

    def _check_made(self, server: Server, made: Thing) -> None:
        """A create is never repeated while what it made is there."""
        if server.side == LETTA:
            twins = [t.id for t in server.things.values() if t.uuid == made.uuid and t is not made]
            if self.made & set(twins):
                self.wrong.append(f"made twice: {made.uuid}")
            self.made.add(made.id)

    def held(self, text: str) -> bool:
        """Whether the hub has a text where people find it."""
        return (
            Memory.objects.filter(text=text).exists()
            or any(text == row.text for row in Text.objects.filter(pk__in=revised()))
            or any(text in row for row in open_texts())
        )

    # --- who writes what

    def text(self) -> str:
        """A new text; its words stand in no other."""
        self.number += 1
        text = f"text{self.number}\n-\nmiddle{self.number}\n-\nend{self.number}"
        self.ledger.edited("", text)
        return text

    def changed(self, text: str, line: int) -> str:
        """The text with one line changed, which may be merged with a change to another one; 1, 3: a new text."""
        lines = text.split("\n")
        if line % 2 or len(lines) != 5:
            new = self.text()
        else:
            self.number += 1
            lines[line] = f"line{self.number}"
            new = "\n".join(lines)
        self.ledger.edited(text, new)
        return new

    def memory(self, number: int, **filters: Any) -> Memory | None:
        memories = list(Memory.objects.filter(project=self.world.project, **filters).order_by("pk"))
        return memories[number % len(memories)] if memories else None

    def thing(self, side: str, number: int) -> Thing | None:
        things = [thing for thing in self.servers[side].things.values() if not thing.problem]
        return things[number % len(things)] if things else None

    def twin(self, thing: Thing) -> Thing | None:
        """The record of a block's memory."""
        things = self.servers[LOCAL].things.values()
        return next((t for t in things if t.uuid and t.uuid == thing.uuid and not t.problem), None)

    def save(self, memory: Memory) -> Memory:
        self.saved.add(memory.text)
        return memory

    def edit_here(self, memory: Memory, line: int) -> Memory:
        self.tell("edit in the hub")
        memory.refresh_from_db()
        edited = self.save(self.world.edit(memory, text=self.changed(memory.text, line)))
        if not edited.live:
            self.ledger.removed(edited.text)
        return edited

    def edit_there(self, side: str, thing: Thing, line: int) -> None:
        self.tell(f"edit {IN[side]}")
        self.servers[side].edit(thing.id, text=self.changed(thing.state["text"], line))

    def remove_here(self, memory: Memory, remove: Callable[..., Any]) -> None:
        self.tell("deletion in the hub")
        memory.refresh_from_db()
        self.deleted.add(memory.uuid)
        self.ledger.removed(memory.text)
        remove([memory], user=None)

    def remove_there(self, side: str, thing: Thing) -> None:
        self.tell(f"deletion {IN[side]}")
        linked = Replica.objects.filter(external_id=thing.id, connection__side=side).first()
        self.deleted |= {linked.memory.uuid} if linked else {thing.uuid} if thing.uuid else set()
        self.ledger.removed(thing.state["text"])
        self.servers[side].remove(thing.id)

    def decide(self, conflict: Conflict, how: str) -> None:
        """A person, who sees all the texts of a conflict, keeps some."""
        conflict.memory.refresh_from_db()
        shown = [conflict.memory.text, str(conflict.side.get("text", "")), str((conflict.base or {}).get("text", ""))]
        edited = self.text() if how == "edited" else ""
        memory = self.save(conflicts.resolve(conflict, how, user=None, text=edited))
        if how != "all":
            self.ledger.removed(*shown, but=memory.text)

    # --- agents

    def turn(self, number: int) -> Turn | None:
        turns = [turn for turn in self.letta.turns if not turn.ended]
        return turns[number % len(turns)] if turns else None

    def begin_turn(self, thing: Thing, agent: str) -> Turn:
        agents = self.letta.attached.setdefault(thing.id, [])
        if agent not in agents:
            agents.append(agent)
        self.tell("agent's turn")
        return self.letta.begin_turn(agent)

    @staticmethod
    def end_turn(turn: Turn) -> None:
        turn.ended = timezone.now()

    def read_again(self, turn: Turn) -> None:
        """The next step of a turn begins with new copies."""
        now = {id: thing.state["text"] for id, thing in self.letta.things.items()}
        turn.copies = {id: now[id] for id in turn.copies if id in now}
        turn.pushes = len(self.letta.replaced)

    def write_back(self, turn: Turn, id: str = "", line: int = 1) -> None:
        """All its copies are there again, one of them (`id`) with a change: a line rewritten, or continued (1, 3)."""
        for copied, copy in turn.copies.items():
            thing = self.letta.things.get(copied)
            if thing is None or thing.problem:
                continue
            there, text = thing.state["text"], self._by_agent(copy, line) if copied == id else copy
            pushed = [(before, after) for it, before, after in self.letta.replaced[turn.pushes :] if it == copied]
            if there not in (copy, text):
                self.tell("stale write-back" if copy == text else "stale write-back with a change")
            self.ledger.undone(there, copy, text, pushed)
            if text != there:
                self.letta.edit(copied, text=text)

    def _by_agent(self, copy: str, line: int) -> str:
        self.number += 1
        lines = copy.split("\n")
        if line % 2:
            lines[-1] += f" agent{self.number}"
        else:
            lines[min(line, len(lines) - 1)] = f"agent{self.number}"
        return "\n".join(lines)

    def patience_ends(self) -> None:
        held = Replica.objects.exclude(held_since=None)
        held.update(held_since=timezone.now() - timedelta(seconds=PATIENCE + 1))

    # --- what the hub does

    def go(self, call: Callable[[], Any]) -> None:
        """A run or a push that may die. What it left is released as time would."""
        try:
            call()
        except Crash:
            self.tell("crash")
            Lease.objects.all().delete()
        finally:
            for server in self.servers.values():
                server.down = server.look_fails = server.get_fails = server.turns_fail = False
                server.unlisted, server.faults = set(), []
                server.before_compare = lambda write: None
                server.before_write = lambda write: None
            self.crash_at = ""
            if Replica.objects.filter(reason__startswith="waiting for agent").exists():
                self.tell("waiting for an agent")

    def shown(self) -> set[str]:
        seen = [thing for server in self.servers.values() for thing in server.things.values()]
        return {thing.state["text"] for thing in seen if not thing.hidden and not thing.problem}

    # --- what must hold at any time

    def check_what_is_kept(self) -> None:
        stored = {row.text for row in Text.objects.exclude(pk__in=revised())}
        there = {text for row in open_texts() for text in row}
        there |= {thing.state["text"] for server in self.servers.values() for thing in server.things.values()}
        # Of an item that nobody may take in any more, as a hidden one, what was seen last is shown with the memory.
        left = Replica.objects.filter(status="out").values("seen_text")
        there |= {row.text for row in Text.objects.filter(pk__in=left)}
        assert stored <= there, stored - there

    def check_conflicts(self) -> None:
        """A block that nobody but the hub ever wrote cannot be in conflict with it."""
        for row in Conflict.objects.filter(closed_at=None, connection__side=LETTA):
            self.tell("conflict")
            ids = Replica.objects.filter(memory_id=row.memory_id, connection_id=row.connection_id)
            (id,) = ids.values_list("external_id", flat=True)
            alone = id in self.made and not self.letta.edited[id] and row.memory.uuid not in self.deleted
            assert not alone, f"a conflict that nobody caused: {id}"

    # --- what must hold in the end

    def come_to_rest(self) -> None:
        for server in self.servers.values():
            server.deliver()
            for thing in server.things.values():
                thing.hidden = False
        for turn in self.letta.turns:
            turn.ended = turn.ended or timezone.now()
        for refused in Replica.objects.filter(status="refused"):  # tried again when it changes
            self.world.edit(refused.memory, title=f"{refused.memory.title}, again")
        self.saved |= self.shown()
        for _ in range(RUNS_TO_AGREE):
            run = self.world.run(allow_deletions=True)
            open_ones = list(Conflict.objects.filter(closed_at=None))
            self._check_words()
            for conflict in open_ones:
                self.decide(conflict, "hub")
            if not open_ones and run.status == "done" and not did(run):
                break
        self._check_rest()
        self._check_agreement()
        self._check_keeping()
        assert not self.wrong, self.wrong

    def _check_words(self) -> None:
        current = "\n".join(Memory.objects.live().values_list("text", flat=True))
        lost = self.ledger.due - words(current) - {word for row in open_texts() for text in row for word in words(text)}
        assert not lost, f"nobody took these words out: {lost}"

    def _check_rest(self) -> None:
        """A further run does nothing at all."""
        before = self._done()
        run = self.world.run(allow_deletions=True)
        assert (run.status, did(run), run.errors) == ("done", {}, []), "it does not come to rest"
        assert self._done() == before, "a run that says that it did nothing did something"

    def _done(self) -> list[int]:
        rows = [Revision.objects.count(), Intent.objects.count(), Memory.objects.count()]
        return [*rows, *(len(server.written) for server in self.servers.values())]

    def _check_agreement(self) -> None:
        live = {memory.uuid: memory for memory in Memory.objects.live()}
        for side, server in self.servers.items():
            wanted = {uuid for uuid, memory in live.items() if memory.shared or side == LOCAL}
            assert sorted(str(thing.uuid) for thing in server.things.values()) == sorted(map(str, wanted)), side
            for thing in server.things.values():
                state = live[thing.uuid].state  # type: ignore[index]
                assert thing.state == {name: state[name] for name in thing.state}, side
        texts = Counter(memory.text for memory in live.values())
        doubled = [text for text, number in texts.items() if number > 1 and text not in self.copied]
        assert not doubled, f"there twice, though nobody copied it: {doubled}"
        assert not Intent.objects.filter(outcome="").exists()
        assert not Memory.objects.filter(sync_state__in=["waiting", "conflict", "problem"]).exists()

    def _check_keeping(self) -> None:
        for text in self.saved:
            assert self.held(text), text
        vanished = [m for m in Memory.objects.all() if not m.live and m.uuid not in self.deleted]
        assert not vanished, vanished


FAULTS = {
    "lost_request": "lost request",
    "lost_reply": "lost reply",
    "late": "request that arrives late",
    "crash_before": "crash",
    "crash_after": "crash",
    "torn": "crash between two chunks",
    "broken": "connection that breaks",
    "changed": "write overtaken by another",
    "refused": "refused write",
}


def revised() -> Any:
    return Revision.objects.values("text_id")


def open_texts() -> list[tuple[str, str]]:
    """The texts of open conflicts: the side's and the earlier one, each."""
    rows = Conflict.objects.filter(closed_at=None).select_related("side_text", "base_text")
    return [(row.side.get("text") or "", (row.base or {}).get("text") or "") for row in rows]
