"""A project between two servers, with its hub in a process that can be killed, and rounds of mixed work on it.

`Mixed.work` leaves something of every kind to be done; `sync` has it done, perhaps killed or disturbed; `heal` runs
once more and asserts that all is well.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from memoryhub.settings import BASE_DIR
from tests.contract.letta import raw
from tests.original_store import cheap_vectors, open_server
from tests.syncjobs import peace

Points = list[tuple[str, str]]
START = 14  # memories; each round makes about as many as it deletes
LONG = 2500  # characters: six chunks


class Victim:
    """The process in which the hub's commands run, each in a fork that can be killed (see `victim`)."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self.environment = inherited | {
            "DJANGO_SETTINGS_MODULE": "memoryhub.settings",
            "MEMORYHUB_ENV_FILE": os.devnull,
            "MEMORYHUB_DATA": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'hub.sqlite3'}",
            "SECRET_KEY": "only-for-tests",
            "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.syncjobs.victim", str(folder)],
            cwd=BASE_DIR,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def order(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def call(self, name: str, **arguments: Any) -> Any:
        """What a function of `people` returns."""
        answer = self.order(do="call", name=name, args=arguments)
        assert answer["code"] == 0, answer["error"]
        return json.loads(answer["out"])

    def manage(self, *arguments: str) -> None:
        answer = self.order(do="manage", args=arguments)
        assert answer["code"] == 0, answer["error"] + answer["out"]

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@dataclass
class Ended:
    """How a run ended. result: as `sync_memory --json` says, {} if it was killed. points: see `victim`."""

    killed: bool
    result: dict[str, Any]
    points: Points
    seconds: float
    error: str

    @property
    def writes(self) -> list[str]:
        """The outside writes that it sent."""
        return [label for _, label in self.points if label.startswith(("before write letta", "before write chroma"))]


@dataclass
class Mixed:
    """letta_url: as the hub has it; straight_url: the same server without what stands before it."""

    victim: Victim
    letta_url: str
    chroma_url: str
    collection: str
    straight_url: str = ""
    straight_chroma: str = ""
    seed: int = 1
    start: int = START
    slug: str = field(default_factory=lambda: f"mixed-{uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.straight_url = self.straight_url or self.letta_url
        self.dice = random.Random(self.seed)
        self.number = 0
        self.acknowledged: set[str] = set()
        self.fragments: set[str] = set()  # acknowledged, as a part of a text
        self.deleted: set[str] = set()
        self.rows: Any = None

    def begin(self) -> Mixed:
        """A hub with its first memories, in step with both sides."""
        self.victim.manage("migrate", "--verbosity", "0")
        self.victim.manage(
            *("setup_project", self.slug, "--letta-url", self.letta_url),
            *("--chroma-url", self.chroma_url, "--collection", self.collection),
        )
        self.create([self.text(self.dice.choice((30, 30, LONG))) for _ in range(self.start)])
        assert not self.sync().killed
        self.rows = open_server(self.straight_chroma or self.chroma_url).get_collection(self.collection)
        self.heal()
        return self

    # --- what is there

    def text(self, length: int = 30) -> str:
        """A text that nobody wrote before: five lines and more."""
        self.number += 1
        lines = [f"Note {self.number} of {self.slug}", "a line", f"the middle of {self.number}", "a line", "the end"]
        while sum(map(len, lines)) < length:
            lines.append(f"line {len(lines)} of {self.number}: {self.dice.random()} and so on")
        return "\n".join(lines)

    def facts(self) -> peace.Facts:
        return peace.Facts(**self.victim.call("facts", slug=self.slug))

    def blocks(self) -> dict[str, peace.Thing]:
        return {thing.uuid: thing for thing in peace.blocks_of(self.straight_url, self.slug)}

    def sides(self) -> dict[str, list[peace.Thing]]:
        return {
            peace.LETTA: peace.blocks_of(self.straight_url, self.slug),
            peace.LOCAL: peace.records_of(self.rows, self.slug),
        }

    # --- what people and other programs do

    def work(self) -> None:
        """Something of every kind, in the hub and on both sides, each with memories of its own."""
        self.victim.call("resolve", slug=self.slug, how=self.dice.choice(("hub", "side", "all")))
        live = self.facts().live
        blocks, uuids = self.blocks(), sorted(live)
        self.dice.shuffle(uuids)
        uuids = [uuid for uuid in uuids if uuid in blocks and blocks[uuid].text == live[uuid]]
        long = [uuid for uuid in uuids if len(live[uuid]) > 600]
        short = [uuid for uuid in uuids if len(live[uuid]) <= 600]
        edits = {uuid: self.text() for uuid in long[:1]} | {uuid: self.text(LONG) for uuid in short[:2]}
        rest = short[2:] + long[1:]
        self.create([self.text(), self.text(LONG)])
        self._collide(live, blocks, rest[:3], edits)
        self.edit(edits)
        self._edit_outside(blocks, live, rest[3:6])
        self._delete_anywhere(blocks, rest[6:])
        self._make_outside()

    def work_meanwhile(self) -> None:
        """Somebody goes on while the hub is dead or ill: what it had begun to write is changed by somebody else.

        Only texts that the hub holds are replaced, because of others it could not know.
        """
        facts, sides = self.facts(), self.sides()
        known = set(facts.texts)
        blocks, records = (
            [thing for thing in sides[name] if thing.uuid and not thing.problem and thing.text in known]
            for name in (peace.LETTA, peace.LOCAL)
        )
        for block in self.dice.sample(blocks, 2):
            self._block(block, self.text())
        for record in self.dice.sample(records, 2):
            self._record(record.uuid, self.text())
        self.edit({self.dice.choice(sorted(facts.live)): self.text(LONG)})

    def create(self, texts: list[str]) -> None:
        states = [{"text": text, "title": text[:40], "kind": "fix", "tags": ["one"]} for text in texts]
        self.victim.call("create", slug=self.slug, states=states)
        self.acknowledged |= set(texts)

    def edit(self, texts: dict[str, str]) -> None:
        self.victim.call("edit", slug=self.slug, texts=texts)
        self.acknowledged |= set(texts.values())

    def _block(self, block: peace.Thing, text: str) -> None:
        assert raw(self.straight_url, "PATCH", f"/v1/blocks/{block.id}", {"value": text})[0] == 200
        self.acknowledged.add(text)

    def _record(self, uuid: str, text: str) -> None:
        """As a program does that knows of one chunk only: a short text becomes this one, a long one has it in it."""
        ids = sorted(self.rows.get(where={"memhub_id": uuid}, include=[])["ids"])
        self.rows.update(ids=ids[:1], documents=[text], embeddings=cheap_vectors([text]))
        (self.fragments if ids[1:] else self.acknowledged).add(text)

    def _collide(self, live: dict[str, str], blocks: dict[str, Any], uuids: list[str], edits: dict[str, str]) -> None:
        """Edits on two sides at once that merge, on three that merge, and some that do not."""
        for uuid, how in zip(uuids, ("merge", "three", "conflict"), strict=False):
            text = live[uuid]
            if how == "conflict":
                edits[uuid] = self.text()
                self._block(blocks[uuid], self.text())
                continue
            edits[uuid] = f"{self.text(1).splitlines()[0]} in the hub\n{text}"
            self._block(blocks[uuid], f"{text}\n{self.text(1).splitlines()[0]} on Letta")
            if how == "three" and len(text) < 400:
                self._record(uuid, text.replace("the middle", f"the middle, {self.number},"))

    def _edit_outside(self, blocks: dict[str, Any], live: dict[str, str], uuids: list[str]) -> None:
        for uuid, length in zip(uuids[:2], (30, LONG), strict=False):
            self._block(blocks[uuid], self.text(length))
        for uuid in uuids[2:]:
            self._record(uuid, self.text())

    def _delete_anywhere(self, blocks: dict[str, Any], uuids: list[str]) -> None:
        """Four at most: what one run deletes stays below the brake."""
        if len(uuids) < 5:
            return
        archived, there, here = uuids[:2], uuids[2], uuids[3]
        self.victim.call("archive", slug=self.slug, uuids=archived)
        assert raw(self.straight_url, "DELETE", f"/v1/blocks/{blocks[there].id}")[0] == 200
        self.rows.delete(where={"memhub_id": here})
        self.deleted |= set(uuids[:4])

    def _make_outside(self) -> None:
        block, record = self.text(), self.text()
        body = {"label": f"other-{self.number}", "value": block, "tags": [f"memhub:project:{self.slug}"]}
        assert raw(self.straight_url, "POST", "/v1/blocks/", body)[0] == 200
        id = str(uuid4())
        meta = {"document_id": id, "project_name": self.slug, "title": record[:20], "chunk_index": 0}
        vectors = cheap_vectors([record])
        self.rows.add(ids=[f"{id}_chunk_0"], documents=[record], metadatas=[meta], embeddings=vectors)
        self.acknowledged |= {block, record}

    # --- what the hub does

    @property
    def command(self) -> list[str]:
        return ["sync_memory", "--json", "--project", self.slug]

    def sync(self, kill: dict[str, Any] | None = None, *, push: bool = False, **settings: Any) -> Ended:
        order = {"do": "push", "slug": self.slug} if push else {"do": "manage", "args": self.command}
        answer = self.victim.order(**order, kill=kill, settings=settings)
        assert answer["killed"] or answer["code"] in (0, 1), answer["error"]
        whole = not answer["killed"] and not push
        result = json.loads(answer["out"])[0] if whole else {}
        return Ended(answer["killed"], result, answer["points"], answer["seconds"], answer["error"])

    def heal(self) -> Ended:
        """One healthy run, then all must be well, and a further run has nothing to do. Returns the first."""
        healthy = self.sync()
        assert (healthy.result["status"], healthy.result["errors"]) == ("done", []), healthy.result
        self.check()
        again = self.sync()
        peace.check_quiet(again.result, again.writes)
        return healthy

    def check(self) -> None:
        facts = self.facts()
        peace.check(facts, self.sides(), acknowledged=self.acknowledged, deleted=self.deleted)
        held = "\0".join(facts.texts)
        assert [fragment for fragment in self.fragments if fragment not in held] == []
