"""The built-in Letta server: a project's memories as blocks, and the blocks that are no memories.

A *block* is a dict as Letta's API has it, without id and times. Its label, value, description, limit, read_only, tags
and some of its metadata are fields of the memory; what else it says is kept in `BlockExtra`, so that every block
comes back as it was given. Not every block is a memory: see `PrivateBlock`, and `digest` for the one that is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max, OuterRef, Q, Subquery
from django.utils import timezone

from blocks import actions, digest
from blocks.models import Attachment, BlockExtra, Memory, MemoryQuerySet, PrivateBlock, Revision, digest_of
from blocks.state import DEFAULT_KIND, DEFAULT_LIMIT, MARK, State, clean_tags
from blocks.stores.letta_blocks import IN_METADATA, digest_label, is_private, unsendable
from blocks.validation import check_kind, check_length, check_limit, check_tags
from memoryhub.models import Project

Block = dict[str, Any]
Row = Memory | PrivateBlock
Key = tuple[int, int, int]  # by which blocks are ordered: the oldest first

PLAIN = ("label", "description", "limit", "read_only")  # the same in a block and in a memory
OTHERS = (
    *("project_id", "template_name", "template_id", "base_template_id", "deployment_id", "entity_id"),
    *("preserve_on_migration", "hidden"),
)
EMPTY: Block = dict.fromkeys(OTHERS) | {"preserve_on_migration": False}
OF_DIGEST = ("value", "description", "limit", "read_only")  # what may be written of it
MAX_LABEL, MAX_MARKS = 500, 20


class Unfit(Exception):
    """A block cannot be kept like this; `field`: which part, the message: why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class Kept(Exception):
    """A block that is always there was to be deleted."""


class LabelTaken(Exception):
    """An agent would see two blocks of the same label, or the project have two that are labelled as its digest."""


# --- Reading ----------------------------------------------------------------------------------------------


def memories(project: Project) -> MemoryQuerySet:
    """The memories that are blocks, each with `made_by`, and with what `block_of` looks at."""
    return _blocks().filter(project=project)


@cache
def _blocks() -> MemoryQuerySet:
    """Of every project; put together once, because that takes longer than to find one."""
    first = Revision.objects.filter(memory=OuterRef("pk"), number=1).values("author")[:1]
    blocks = Memory.objects.live().filter(shared=True).select_related("block_extra")
    return blocks.annotate(made_by=Subquery(first))


def find(project: Project, uuid: UUID, *, lock: bool = False) -> Row | None:
    """A block; lock: nobody else changes it until the transaction ends."""
    for rows in (memories(project), project.private_blocks.all()):
        chosen: Any = rows.filter(uuid=uuid)
        if lock:
            chosen = chosen.select_for_update(of=("self",))
        row: Row | None = next(iter(chosen.order_by()[:1]), None)
        if row is not None:
            return row
    return None


def key_of(row: Row) -> Key:
    return (row.pk, 0, 0) if isinstance(row, Memory) else (row.after, 1, row.pk)


def extra_of(memory: Memory) -> BlockExtra:
    try:
        return memory.block_extra
    except BlockExtra.DoesNotExist:
        return BlockExtra(memory=memory)


def block_of(row: Row) -> Block:
    """What a memory, or a private block, says as a block."""
    if isinstance(row, Memory):
        extra = extra_of(row)
        tags, metadata, others = [*extra.marks, *row.tags], metadata_of(row, extra.metadata), extra.fields
        description, is_template = row.description or row.title, False
    else:
        digest.fill(row)
        tags, metadata, others, description = row.tags, row.metadata, row.fields, row.description
        is_template = row.is_template
    return {
        "value": row.text,
        "label": row.label,
        "description": description or None,
        "limit": row.limit,
        "read_only": row.read_only,
        "tags": tags,
        "metadata": metadata,
        "is_template": is_template,
        **EMPTY,
        **others,
    }


def metadata_of(memory: Memory, given: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a block: as it was given, with what the fields say by now.

    What the hub puts into every memory by itself (the usual kind, when it was made) is left out unless it was given; a
    number or a list given under such a name is not the field, and stays.
    """
    shown = dict(given)
    for name in IN_METADATA:
        value, said = getattr(memory, name), given.get(name)
        named = isinstance(said, str) and said != ""
        if value and (named or not _by_itself(name, value)):
            shown[name] = value
        elif not value and named:
            del shown[name]
    return shown


def _by_itself(name: str, value: str) -> bool:
    return name == "created_at" or (name == "kind" and value == DEFAULT_KIND)


def version_of(row: Row) -> str:
    """Differs whenever anything of the block does."""
    if isinstance(row, Memory):
        return f"{row.number}.{extra_of(row).version}-{row.hash[:16]}"
    digest.fill(row)
    return f"{row.version}-{digest_of(row.text)[:16]}" if row.is_digest else f"{row.version}"


# --- Writing ----------------------------------------------------------------------------------------------


@transaction.atomic
def create(project: Project, block: Mapping[str, Any], agent: str) -> Row:
    """Make a block: a memory of the project, unless it is none. Raises `Unfit`, `LabelTaken`."""
    check(block, {})
    _check_not_digest(project, block)
    if is_private(block, block.get("tags") or ()):
        return _create_private(project, block, agent)
    memory = actions.create(project, state_of(block), agent=agent)
    memory.block_extra = BlockExtra(memory=memory)
    _keep_extra(memory, block)
    memory.made_by = agent  # type: ignore[attr-defined]
    return memory


def _create_private(project: Project, block: Mapping[str, Any], agent: str) -> PrivateBlock:
    latest = Memory.objects.aggregate(latest=Max("pk"))["latest"] or 0
    row = PrivateBlock(project=project, after=latest, made_by=agent)
    _fill_private(row, block, agent)
    row.save()
    return row


def _fill_private(row: PrivateBlock, block: Mapping[str, Any], agent: str) -> None:
    names = {"value": "text"} | {name: name for name in (*PLAIN, "is_template", "metadata")}
    for name, column in names.items():
        if block.get(name) is not None:
            setattr(row, column, block[name])
    if block.get("tags") is not None:
        row.tags = list(dict.fromkeys(block["tags"]))
    row.fields = row.fields | _others(block)
    row.hidden = bool(row.fields.get("hidden"))
    row.author = agent[:200]


@transaction.atomic
def update(row: Row, changes: Mapping[str, Any], agent: str) -> Row:
    """Change what `changes` says; None is no change. `row` is one that `find` locked. Raises `Unfit`, `LabelTaken`."""
    said = {name: value for name, value in changes.items() if value is not None}
    before = block_of(row)
    changes = {name: value for name, value in said.items() if value != before[name]}
    if not changes:
        return row
    if isinstance(row, PrivateBlock) and row.is_digest:
        return _update_digest(row, changes, before, agent)
    check(changes, before)
    if changes.get("label"):
        _check_not_digest(row.project, before | changes)
        _check_label_free(row, changes["label"])
    if isinstance(row, PrivateBlock):
        _fill_private(row, changes, agent)
        row.version += 1
        row.save()
        return row
    return _update_memory(row, changes, agent)


def _update_digest(row: PrivateBlock, changes: Block, before: Block, agent: str) -> PrivateBlock:
    """A text that is written into the digest becomes a memory: the digest goes on being computed."""
    for name in changes:
        if name not in OF_DIGEST:
            raise Unfit(name, f"The {name} of this block stays as it is: the hub computes the project's digest.")
    check(changes, before | {"value": ""})
    digest.keep(row, changes.pop("value", ""), agent)
    row.text = ""
    if changes:
        _fill_private(row, changes, agent)
        row.version += 1
        row.save()
    return row


def _update_memory(memory: Memory, changes: Mapping[str, Any], agent: str) -> Memory:
    for name in ("label", "hidden", "is_template"):
        if is_private({name: changes.get(name)}, ()):
            why = "is a memory of the project: it cannot become an agent's own block, hidden or a template"
            raise Unfit(name, f"This block {why}. Make a new block.")
    state = state_of(changes)
    if state.get("description") == memory.title and not memory.description:
        del state["description"]  # it is what was shown for want of one
    extra, made_by = extra_of(memory), getattr(memory, "made_by", "")
    memory = actions.edit(memory, state, agent=agent, based_on=memory.number)
    memory.block_extra = extra
    _keep_extra(memory, changes)
    memory.made_by = made_by  # type: ignore[attr-defined]
    return memory


def _keep_extra(memory: Memory, block: Mapping[str, Any]) -> None:
    """Store what of a block, or of changes to one, the memory's fields do not say."""
    extra = extra_of(memory)
    before = (extra.marks, extra.metadata, extra.fields)
    if block.get("tags") is not None:
        extra.marks = list(dict.fromkeys(tag for tag in block["tags"] if tag.startswith(MARK)))
    if block.get("metadata") is not None:
        given = block["metadata"]
        extra.metadata = given if given != metadata_of(memory, {}) else {}
    extra.fields = extra.fields | _others(block)
    if (extra.marks, extra.metadata, extra.fields) == before:
        return
    extra.version += 1
    extra.save()
    memory.changed_at = timezone.now()
    memory.save(update_fields=["changed_at"])


def _others(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: block[name] for name in OTHERS if block.get(name) is not None}


@transaction.atomic
def remove(row: Row, agent: str) -> None:
    """Take a block away: a memory is archived, people can bring it back. Raises `Kept`."""
    if isinstance(row, Memory):
        actions.archive([row], agent=agent)
    elif row.is_digest:
        raise Kept("This block is the project's digest, which the hub computes. An agent can be detached from it.")
    else:
        row.delete()


def state_of(block: Mapping[str, Any]) -> State:
    """The fields of a memory that a block, or a change to one, says. Metadata and tags are whole."""
    state: State = {name: block[name] for name in PLAIN if block.get(name) is not None}
    if block.get("value") is not None:
        state["text"] = block["value"]
    if block.get("tags") is not None:
        state["tags"] = clean_tags(tag for tag in block["tags"] if not tag.startswith(MARK))
    if block.get("metadata") is not None:
        state |= _fields_in(block["metadata"])
    return state


def _fields_in(metadata: Mapping[str, Any]) -> State:
    said = {name: metadata[name] for name in IN_METADATA if isinstance(metadata.get(name), str)}
    fields = dict.fromkeys(IN_METADATA, "") | said
    fields["kind"] = fields["kind"] or DEFAULT_KIND
    if not fields["created_at"]:
        del fields["created_at"]
    return fields


# --- Rules ------------------------------------------------------------------------------------------------


def check(block: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raises `Unfit` where a block (or a change to the block `before`) cannot be kept by every side."""
    for name, value in block.items():
        if why := unfit_value(value):
            raise Unfit(name, f"The {name} {why}.")
    rules: dict[str, Callable[[Any], None]] = {
        "label": _check_label,
        "limit": check_limit,
        "tags": lambda tags: _check_tags(tags, before.get("tags", ())),
        "metadata": lambda metadata: check_kind(_fields_in(metadata)["kind"]),
    }
    for name, rule in rules.items():
        if block.get(name) is not None:
            _ask(name, rule, block[name])
    if {"value", "limit"} & set(block):
        after = {"value": "", "limit": DEFAULT_LIMIT, **before, **block}
        _ask("value", lambda value: check_length(value, after["limit"]), after["value"])


def _ask(name: str, rule: Callable[[Any], None], value: Any) -> None:
    try:
        rule(value)
    except ValidationError as error:
        raise Unfit(name, error.messages[0]) from None


def unfit_value(value: Any) -> str:
    """Why a value, at any depth, cannot be kept; '' if it can."""
    try:
        return unsendable(value)
    except RecursionError:
        return "is nested too deeply"


def _check_label(label: str) -> None:
    if not label.strip():
        raise ValidationError("A block needs a label: agents know it by that.")
    if len(label) > MAX_LABEL:
        raise ValidationError(f"A label has at most {MAX_LABEL} characters; this one has {len(label):,}.")


def _check_tags(tags: Iterable[str], known: Iterable[str]) -> None:
    tags = list(tags)
    check_tags(clean_tags(tag for tag in tags if not tag.startswith(MARK)), known)
    if sum(tag.startswith(MARK) for tag in tags) > MAX_MARKS:
        raise ValidationError(f"At most {MAX_MARKS} tags that begin with {MARK}.")


def _check_not_digest(project: Project, block: Mapping[str, Any]) -> None:
    """Raises `LabelTaken` where agents would no longer know which block is the digest. Another hub's blocks keep their
    labels."""
    of_hub = any(tag.startswith(MARK) for tag in block.get("tags") or ())
    if block.get("label") == digest_label(project.slug) and not of_hub:
        raise LabelTaken("The project's digest has this label: attach that block, or choose another label.")


def _check_label_free(row: Row, label: str) -> None:
    """Raises `LabelTaken` where an agent that sees the block sees another of this label."""
    mine = Q(memory=row.pk) if isinstance(row, Memory) else Q(private=row.pk)
    agents = Attachment.objects.filter(mine).values("agent")
    others = Attachment.objects.filter(agent__in=agents).exclude(mine).select_related("agent")
    taken = others.filter(in_use(label)).first()
    if taken:
        raise LabelTaken(f"The agent “{taken.agent}” has another block labelled “{label}”.")


def in_use(label: str) -> Q:
    """Attachments to a block of this label that is there."""
    live = Q(memory__archived_at=None, memory__deleted_at=None, memory__shared=True)
    return Q(private__label=label) | (Q(memory__label=label) & live)
