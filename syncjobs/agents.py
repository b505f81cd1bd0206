"""What agents have to do with the items of a batch: who is at work with one, and whose older copy one shows.

An agent reads its blocks, thinks, and may then write back what it had read, over whatever was written meanwhile. So
a write to an item waits while an agent that sees it is at work, for a time. And an item that shows an earlier text
of ours again, or one made from it, while an agent's turn spanned the push that replaced it, shows that agent's older
copy: it is compared with what the agent had read. Without such a turn it is what somebody wants.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from blocks.stores.base import Snapshot, StoreError
from syncjobs.match import Item
from syncjobs.models import Conflict, Intent, Replica
from syncjobs.observation import Observation
from syncjobs.sides import OpenSide

LOOK_BACK = 5  # pushes of an item whose texts an agent may still have
PUSHES = 2  # over older copies in a row; the next one is a conflict


@dataclass(frozen=True)
class Copy:
    """What an item shows was made from `text`, which a push of ours had replaced. times: so often in a row by now."""

    text: str
    agent: str
    times: int

    @property
    def disputed(self) -> bool:
        return self.times > PUSHES


@dataclass
class Agents:
    """What is known of agents, by side and id of an item. at_work: names of those that see it and are at work."""

    at_work: dict[tuple[str, str], str] = field(default_factory=dict)
    copies: dict[tuple[str, str], Copy] = field(default_factory=dict)


def ask_about(items: Iterable[Item], observation: Observation) -> Agents:
    """Ask the sides about items that were seen there. Not in a transaction: this asks over the network.

    Where a side cannot say whose a text is, nothing follows from that item: it is put to the unknown ones.
    """
    agents, items = Agents(), list(items)
    for side in observation.sides:
        seen = [item for item in items if side.side in item.seen]
        if seen and side.writes and not side.error:
            ids = [item.seen[side.side].id for item in seen]
            agents.at_work |= {(side.side, id): name for id, name in _at_work(side, ids).items()}
            for item, pushes, replica in _changed(side, seen):
                _judge(side, item, pushes, replica, agents, observation)
    return agents


def _at_work(side: OpenSide, ids: list[str]) -> dict[str, str]:
    """To wait is a courtesy: a server that cannot say who is at work is written to all the same."""
    try:
        return side.store.agents_at_work(ids)
    except StoreError:
        return {}


def _changed(side: OpenSide, items: list[Item]) -> Iterable[tuple[Item, list[Intent], Replica]]:
    """Items with another text than the base's, with our last pushes, newest first."""
    known = {item.row.id: item for item in items if item.row and _differs(item, side.side)}
    pushes = _last_pushes(side, list(known))
    rows = Replica.objects.filter(connection=side.connection, memory_id__in=pushes.keys(), base_text__isnull=False)
    for replica in rows.select_related("base_text"):
        item, base = known[replica.memory_id], _base(replica)
        if item.seen[side.side].state.get("text", base) != base:
            yield item, pushes[replica.memory_id], replica


def _base(replica: Replica) -> str:
    return replica.base_text.text if replica.base_text else ""


def _differs(item: Item, side: str) -> bool:
    link, seen = item.links.get(side), item.seen[side]
    return bool(link and link.base_hash and link.external_id == seen.id and link.base_hash != seen.hash)


def _last_pushes(side: OpenSide, memory_ids: list[int]) -> dict[int, list[Intent]]:
    if not memory_ids:
        return {}
    rank = Window(RowNumber(), partition_by=F("memory_id"), order_by=F("pk").desc())
    done = Intent.objects.filter(connection=side.connection, memory_id__in=memory_ids, op="update", outcome="done")
    rows = done.exclude(old_text=None).annotate(rank=rank).filter(rank__lte=LOOK_BACK)
    pushes: dict[int, list[Intent]] = {}
    for intent in rows.select_related("old_text").order_by("-pk"):
        pushes.setdefault(intent.memory_id, []).append(intent)
    return pushes


def _judge(
    side: OpenSide, item: Item, pushes: list[Intent], replica: Replica, agents: Agents, observation: Observation
) -> None:
    """What was seen just so before was judged then: the base says since what it was made from, but in a dispute."""
    seen, last, base = item.seen[side.side], pushes[0], _base(replica)
    texts = [push.old_text.text if push.old_text else base for push in pushes]
    numbers, times = nearest(seen.state["text"], base, texts), last.copies + 1
    if not numbers or (replica.seen_hash == seen.hash and times <= PUSHES):
        return
    try:
        known = times > PUSHES and _in_conflict(side, item, seen)
        number, name = (numbers[0], "") if known else _whose(side, seen, pushes, numbers)
    except StoreError as error:
        observation.unknown.setdefault(side.side, set()).add(seen.id)
        observation.problems.setdefault(side.side, []).append(
            Snapshot(seen.id, {}, problem=f"cannot be told from an agent's older copy: {error}")
        )
        del item.seen[side.side]
        return
    if known or name:
        agents.copies[side.side, seen.id] = Copy(texts[number], name, times)


def _in_conflict(side: OpenSide, item: Item, seen: Snapshot) -> bool:
    """Whether just this is what people have to decide about already."""
    rows = Conflict.objects.filter(connection=side.connection, memory_id=item.row.id if item.row else 0, closed_at=None)
    return rows.filter(side_hash=seen.hash).exists()


def _whose(side: OpenSide, seen: Snapshot, pushes: list[Intent], numbers: list[int]) -> tuple[int, str]:
    """The first of some texts that an agent may have read in a turn that spans our last push; its name, '' if none."""
    last = pushes[0].created_at
    for number in numbers:
        name = side.store.agent_turn(seen.id, pushes[number].closed_at or last, last)
        if name:
            return number, name
    return numbers[0], ""


def nearest(text: str, base: str, olders: Sequence[str]) -> list[int]:
    """Which of some older texts, newest first, a text was perhaps made from, the likeliest first.

    Those from which no more words differ than from `base`. Of equals the oldest comes first: the more was written
    since, the more can be lost by taking the text for a change of the newer one.
    """
    words = Counter(WORDS.findall(text))
    least = _distance(words, base)
    distances = [(_distance(words, older), -number) for number, older in enumerate(olders) if older != base]
    if text == base:
        return []
    return [-number for distance, number in sorted(distances) if distance <= least]


WORDS = re.compile(r"\w+|[^\w\s]|\n")


def _distance(words: Counter[str], other: str) -> int:
    others = Counter(WORDS.findall(other))
    return (words - others).total() + (others - words).total()
