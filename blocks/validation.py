"""What a memory's fields must be like when people or agents write them: one set of rules, and their sentences.

The pages' form and the APIs share them. Each rule raises `ValidationError` with a sentence for whoever wrote it. They
are asked of what somebody changed only: a side may have put there what they refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError

from blocks.models import Memory
from blocks.state import LABEL, MARK, MAX_TAG_LENGTH, MAX_TAGS, MAX_TEXT, PRIVATE_LABELS, unstorable
from blocks.stores.letta_blocks import digest_label
from memoryhub.models import Project

LARGEST_LIMIT = 2**31 - 1  # of a block; Letta keeps no larger one
MAX_KIND = 400
TAKEN = "taken"  # the code of the error of a label that another memory has
LONG = "long"  # and of a text that is too long


def check_storable(value: str) -> None:
    """Refuses what not every side can keep."""
    if problem := unstorable(value):
        raise ValidationError(f"This {problem}; not every side can keep that. Remove it.")


def check_kind(kind: str) -> None:
    if len(kind) > MAX_KIND:
        raise ValidationError(f"A kind has at most {MAX_KIND} characters; this one has {len(kind):,}.")


def check_label(label: str, project: Project, memory: Memory | None = None) -> None:
    """memory: the one that is to get the label, None for a new one."""
    if not LABEL.fullmatch(label):
        raise ValidationError("Use 1 to 50 of letters (a-z, A-Z), digits, _, - and /.")
    if label in PRIVATE_LABELS:
        raise ValidationError(f"Agents keep a private block named {label}. Choose another label.")
    if label == digest_label(project.slug):
        raise ValidationError("The project's digest block has this label. Choose another.", code=TAKEN)
    others = Memory.objects.filter(project=project, label=label, deleted_at=None)
    if others.exclude(pk=memory.pk if memory else 0).exists():
        raise ValidationError("Another memory of this project has this label. Choose another.", code=TAKEN)


def check_tags(tags: Collection[str], known: Iterable[str] = ()) -> None:
    """known: tags the memory has already, whatever they are like."""
    if len(tags) > MAX_TAGS:
        raise ValidationError(f"At most {MAX_TAGS} tags; these are {len(tags)}.")
    fresh = [tag for tag in tags if tag not in set(known)]
    if too_long := [tag for tag in fresh if len(tag) > MAX_TAG_LENGTH]:
        raise ValidationError(f"A tag has at most {MAX_TAG_LENGTH} characters: “{too_long[0][:40]}…” is longer.")
    if reserved := [tag for tag in fresh if tag.strip().startswith(MARK)]:
        raise ValidationError(f"“{reserved[0][:40]}” begins with {MARK}, which is kept for the hub's own marks.")


def check_limit(limit: int) -> None:
    if not 1 <= limit <= LARGEST_LIMIT:
        raise ValidationError(f"A limit is between 1 and {LARGEST_LIMIT:,} characters.")


def check_length(text: str, limit: int) -> None:
    if len(text) > MAX_TEXT:
        most = f"The hub keeps texts of at most {MAX_TEXT:,} characters"
        raise ValidationError(f"{most}; this one has {len(text):,}.", code=LONG)
    if len(text) > limit:
        over = len(text) - limit
        why = f"{len(text):,} characters are {over:,} more than the limit of {limit:,}. Shorten it or raise it."
        raise ValidationError(why, code=LONG)


def problems(
    changes: Mapping[str, Any], current: Mapping[str, Any], project: Project, memory: Memory | None
) -> dict[str, ValidationError]:
    """What is wrong with the fields somebody wants changed: a dict from field name to `ValidationError`.

    current: the whole state as it is, the defaults for a new memory. memory: None for a new one, whose label may be
    empty: one is made then.
    """
    found: dict[str, ValidationError] = {}
    changed = {name: value for name, value in changes.items() if value != current[name]}

    def ask(name: str, rule: Callable[..., None], *values: Any) -> None:
        try:
            rule(*values)
        except ValidationError as error:
            found.setdefault(name, error)

    for name, value in changed.items():
        for each in value if isinstance(value, list) else [value]:
            ask(name, check_storable, each)
    if "kind" in changed:
        ask("kind", check_kind, changed["kind"])
    if "label" in changed:
        ask("label", check_label, changed["label"], project, memory)
    if "tags" in changed:
        ask("tags", check_tags, changed["tags"], current["tags"])
    if "limit" in changed:
        ask("limit", check_limit, changed["limit"])
    if {"text", "limit"} & set(changed) and "limit" not in found:
        ask("text", check_length, changed.get("text", current["text"]), changed.get("limit", current["limit"]))
    if memory is None and not changes.get("title") and not changes.get("text"):
        found.setdefault("text", ValidationError("Write a title or a text."))
    return found
