"""What must hold after any fault and one healthy run more: the hub and both sides at peace, and nothing lost.

`facts_of` reads the hub, `blocks_of` and `records_of` read the sides as another program does, `check` compares.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote

from blocks.stores.chroma_records import Document, documents, snapshot_of
from blocks.stores.chroma_rows import Row

Sides = Mapping[str, Sequence["Thing"]]
LETTA, LOCAL = "letta", "local"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
QUIET = ("created", "pushed", "pulled", "merged", "linked", "deleted", "archived", "conflicts", "failed")


@dataclass(frozen=True)
class Thing:
    """An item on a side: its id there, the uuid it is marked with ('' without a mark), its text, what is wrong."""

    id: str
    uuid: str
    text: str
    problem: str = ""


@dataclass
class Facts:
    """What the hub holds. JSON-ready.

    live: by uuid the current text of what is neither archived nor deleted; local: which of those are not shared; gone:
    uuids of all the rest. texts: every text of a current state, of a revision or of an open conflict. disputed: by
    side the uuids in open conflict with it.
    """

    live: dict[str, str] = field(default_factory=dict)
    local: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    disputed: dict[str, list[str]] = field(default_factory=dict)
    open_intents: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def facts_of(slug: str) -> Facts:
    """The facts of a project, from this process's database."""
    from blocks.models import Memory, Revision
    from syncjobs.models import Conflict, Intent

    facts = Facts(open_intents=Intent.objects.filter(memory__project__slug=slug, outcome="").count())
    texts = set()
    for memory in Memory.objects.filter(project__slug=slug):
        texts.add(memory.text)
        if not memory.live:
            facts.gone.append(str(memory.uuid))
            continue
        facts.live[str(memory.uuid)] = memory.text
        if not memory.shared:
            facts.local.append(str(memory.uuid))
    for revision in Revision.objects.filter(memory__project__slug=slug).select_related("text"):
        texts.add(revision.text.text)
    for row in Conflict.objects.filter(memory__project__slug=slug, closed_at=None):
        texts |= {state["text"] for state in (row.side, row.base or {}) if "text" in state}
        facts.disputed.setdefault(row.connection.side, []).append(str(row.memory.uuid))
    facts.texts = sorted(texts)
    return facts


def blocks_of(letta_url: str, slug: str) -> list[Thing]:
    """The blocks with a project's tag, the digest left out."""
    address = f"{letta_url}/v1/blocks/?limit=5000&tags={quote(f'memhub:project:{slug}')}"
    with DIRECT.open(address, timeout=120) as reply:
        blocks = json.loads(reply.read())
    return [Thing(block["id"], _mark(block["tags"]), block["value"]) for block in blocks]


def _mark(tags: Iterable[str]) -> str:
    marks = [tag.removeprefix("memhub:memory:") for tag in tags if tag.startswith("memhub:memory:")]
    return marks[0] if marks else ""


def records_of(rows: Any, project_name: str) -> list[Thing]:
    """The records with a project_name in a chromadb collection; a chunk that somebody changed counts as the hub reads
    it."""
    found = rows.get(where={"project_name": project_name}, include=["documents", "metadatas"])
    read = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
    return [_record(document) for document in documents([Row(*row) for row in read]).values()]


def _record(document: Document) -> Thing:
    snapshot = snapshot_of(document)
    marks = {row.meta.get("memhub_id", "") for row in document.rows}
    problem = snapshot.problem or ("" if len(marks) == 1 else "its rows are marked differently")
    return Thing(document.id, str(snapshot.uuid or ""), snapshot.state.get("text", ""), problem)


def check(
    facts: Facts,
    sides: Sides,
    *,
    acknowledged: Iterable[str] = (),
    deleted: Iterable[str] = (),
    distinct: bool = True,
) -> None:
    """Assert that nothing is lost, doubled or left half done.

    sides: by name what each shows now. acknowledged: texts that a person saved, or that stood on a side when a run
    ended that could see it. deleted: uuids of memories that somebody, anywhere, deleted or archived. distinct: nobody
    wrote the same text twice, so that two memories with one text are the hub's doing.
    """
    assert facts.open_intents == 0, f"{facts.open_intents} open intents"
    lost = set(acknowledged) - set(facts.texts)
    assert not lost, f"lost: {[text[:200] for text in sorted(lost)]}"
    vanished = set(facts.gone) - set(deleted)
    assert not vanished, f"vanished, though nobody deleted them: {vanished}"
    twice = [text for text, count in Counter(facts.live.values()).items() if count > 1]
    assert not (distinct and twice), f"two memories with one text: {[text[:200] for text in twice]}"
    for side, things in sides.items():
        _check_side(facts, side, things)


def _check_side(facts: Facts, side: str, things: Sequence[Thing]) -> None:
    problems = [thing for thing in things if thing.problem]
    assert not problems, (side, problems)
    wanted = set(facts.live) - (set(facts.local) if side == LETTA else set())
    marks = Counter(thing.uuid for thing in things)
    twice = {uuid: count for uuid, count in marks.items() if count > 1}
    assert not twice, f"{side}: marked twice: {twice}"
    missing, strange = wanted - set(marks), set(marks) - wanted
    assert not missing, f"{side}: missing: {[(uuid, facts.live[uuid][:80]) for uuid in missing]}"
    assert not strange, f"{side}: not in the hub: {[thing for thing in things if thing.uuid in strange]}"
    free = set(facts.disputed.get(side, ()))
    for thing in things:
        agreed = thing.uuid in free or thing.text == facts.live[thing.uuid]
        assert agreed, f"{side} differs: {thing.text[:200]!r}, hub: {facts.live[thing.uuid][:200]!r}"


def check_quiet(result: Mapping[str, Any], writes: Sequence[str] = ()) -> None:
    """Assert that a run had nothing to do. result: counters, as in `SyncRun.counters`; writes: its outside writes."""
    assert {name: result[name] for name in QUIET if result[name]} == {}, result
    assert not writes, writes
