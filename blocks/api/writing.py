"""What agents write, checked by the rules people's input is checked by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404
from ninja.errors import HttpError

from blocks import actions
from blocks.api.queries import moment_of
from blocks.api.schemas import MemoryChanges, NewMemory
from blocks.models import Memory
from blocks.state import DEFAULT_KIND, DEFAULTS, FIELDS, clean_tags
from blocks.validation import LONG, TAKEN, problems
from memoryhub.api import Unprocessable
from memoryhub.models import Project
from memoryhub.tokens import Caller

Another = Callable[[Memory], str]  # why a memory's present revision is not the one the caller meant; '' if it is
TITLE = 60  # characters of a first line that become a title


class Newer(Exception):
    """The caller meant another revision than the present one; `memory` is the memory as it is now."""

    def __init__(self, memory: Memory, why: str) -> None:
        super().__init__(why)
        self.memory = memory


def overtaken(meant: Collection[int], memory: Memory) -> str:
    """Why none of these revisions is the present one of a memory; '' if one is."""
    if memory.number in meant:
        return ""
    if not meant:
        return f"This was meant for another revision than the present one, which is {memory.number}."
    if max(meant) > memory.number:
        return f"There is no revision {max(meant)} yet: the present one is {memory.number}. Read it again."
    return f"Revision {memory.number} is newer than the one this was meant for."


class Archived(HttpError):
    """The memory with this uuid was made by an earlier call, and taken out of use since."""

    def __init__(self) -> None:
        super().__init__(409, "This memory was made, and archived since. People restore it in the hub.")


def create(who: Caller, wanted: NewMemory) -> tuple[Memory, bool]:
    """The memory, and whether it was made now: a call that is repeated with its uuid finds the one made first.

    Raises `Archived` where that is out of use by now.
    """
    uuid = _uuid(wanted)
    given = wanted.model_dump(exclude_unset=True, exclude={"uuid"})
    shared = given.pop("shared", True)
    if uuid and (known := _repeated(who.project, uuid)):
        _check_again(given, who.project)
        return _in_use(known), False
    try:
        with actions.naming(who.project, given.get("label", "")):
            state = _cleaned(given, DEFAULTS, who.project, None)
            state["title"] = state.get("title") or title_from(state.get("text", ""))
            return _as_stored(actions.create(who.project, state, agent=who.name, shared=shared, uuid=uuid)), True
    except IntegrityError:  # the same call came twice at the same time
        if uuid and (known := _repeated(who.project, uuid)):
            return _in_use(known), False
        raise


def title_from(text: str) -> str:
    """A title: the first line with something in it, without the marks of a heading."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = line.lstrip("#").strip() or line
    return line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"


def _uuid(wanted: NewMemory) -> UUID | None:
    if "uuid" not in wanted.model_fields_set:
        return None
    try:
        if len(wanted.uuid) != 36:
            raise ValueError
        return UUID(wanted.uuid)
    except ValueError as error:
        raise Unprocessable({"uuid": "Write it as 8-4-4-4-12 hexadecimal digits, or leave it out."}) from error


def _repeated(project: Project, uuid: UUID) -> Memory | None:
    known = Memory.objects.filter(uuid=uuid).first()
    if known is not None and known.project_id != project.pk:
        raise HttpError(409, "This uuid is in use already. Make another one.")
    return known


def _in_use(known: Memory) -> Memory:
    if not known.live:
        raise Archived
    return known


def _check_again(given: Mapping[str, Any], project: Project) -> None:
    """A call that is no good is none the second time either; that its label is taken by now is as it should be."""
    found = _wrong(given, DEFAULTS, project, None)
    if "label" in found and found["label"].code == TAKEN:
        del found["label"]
    if found:
        _refuse(found)


def change(another: Another, who: Caller, pk: int, wanted: MemoryChanges) -> Memory:
    """Apply what is wanted to the memory as it is by then. Raises `Newer` where another revision was meant."""
    given = wanted.model_dump(exclude_unset=True)
    shared, added = given.pop("shared", None), given.pop("append", "")
    with actions.naming(who.project, given.get("label", "")):
        memory = _locked(another, who, pk)
        if added:
            given["text"] = appended(given.get("text", memory.text), added)
        state = _cleaned(given, memory.state, who.project, memory)
        return _as_stored(actions.edit(memory, state, agent=who.name, based_on=memory.number, shared=shared))


def archive(another: Another, who: Caller, pk: int) -> Memory:
    """Take it out of use; one that is out of use already stays as it is."""
    with transaction.atomic():
        memory = _locked(another, who, pk)
        actions.archive([memory], agent=who.name)
        return Memory.objects.select_related("project").get(pk=pk)


def _as_stored(memory: Memory) -> Memory:
    """With the state that those who keep sides in step gave it."""
    memory.refresh_from_db(fields=["sync_state"])
    return memory


def appended(text: str, added: str) -> str:
    """The text with something at its end, on a line of its own."""
    return text + ("" if not text or text.endswith("\n") else "\n") + added


def _locked(another: Another, who: Caller, pk: int) -> Memory:
    """The memory, which nobody else changes until the transaction ends, if the caller may change it."""
    memory = Memory.objects.select_for_update().get(pk=pk)
    memory.project = who.project
    if not memory.live:  # since it was looked up
        raise Http404("This memory was archived just now.")
    if memory.read_only:
        raise PermissionDenied("This memory is read-only for agents. People can change it in the hub.")
    if why := another(memory):
        raise Newer(memory, why)
    return memory


def _cleaned(
    given: Mapping[str, Any], current: Mapping[str, Any], project: Project, memory: Memory | None
) -> dict[str, Any]:
    """The fields as they will be stored. Raises `Unprocessable`; HttpError 409 where they do not fit what is there."""
    new = dict(given)
    if "kind" in new:
        new["kind"] = new["kind"].strip() or DEFAULT_KIND
    if memory is None and not new.get("label"):
        new.pop("label", None)
    if found := _wrong(new, current, project, memory):
        _refuse(found)
    if "tags" in new:
        new["tags"] = clean_tags(new["tags"])
    return {name: value for name, value in new.items() if name in FIELDS}


def _wrong(
    new: Mapping[str, Any], current: Mapping[str, Any], project: Project, memory: Memory | None
) -> dict[str, ValidationError]:
    found = problems(new, current, project, memory)
    if new.get("created_at") and new["created_at"] != current["created_at"]:
        _check_moment(new["created_at"], found)
    return found


def _check_moment(value: str, found: dict[str, ValidationError]) -> None:
    try:
        moment_of(value)
    except ValueError as error:
        found.setdefault("created_at", ValidationError(str(error)))


def _refuse(found: dict[str, ValidationError]) -> None:
    errors = {name: " ".join(error.messages) for name, error in found.items()}
    # Each is good in itself: a label that another memory has, a text that is longer than a limit.
    if all(error.code in (TAKEN, LONG) for error in found.values()):
        raise HttpError(409, " ".join(f"{name}: {text}" for name, text in errors.items()))
    raise Unprocessable(errors)
