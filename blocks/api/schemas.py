"""What the API for memories takes and gives.

What a field must be like stands here for the document only; `blocks.validation` decides, as for pages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from blocks.models import Memory, SyncState
from blocks.standing import rows_of
from blocks.state import DEFAULT_KIND, DEFAULT_LIMIT, MARK, MAX_TAG_LENGTH, MAX_TAGS, PRIVATE_LABELS
from blocks.validation import LARGEST_LIMIT, MAX_KIND
from memoryhub.api import ErrorOut
from memoryhub.models import Project

STORABLE = r"^[^\u0000]*$"  # not every side can keep a NUL character
UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
PRIVATE = "|".join(sorted(PRIVATE_LABELS))
DATE: dict[str, Any] = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}


def said(**schema: Any) -> WithJsonSchema:
    """How a field stands in the document."""
    return WithJsonSchema({"type": "string", "pattern": STORABLE} | schema)


Line = Annotated[str, said()]
Label = Annotated[
    str,
    said(
        pattern=f"^(?!({PRIVATE})$)[A-Za-z0-9_/-]{{1,50}}$",
        description="The block's name on Letta. Agents know it by this; no other memory of the project has it.",
        examples=["deploy/checklist"],
    ),
]
NewLabel = Annotated[
    str,
    said(
        pattern=f"^(?!({PRIVATE})$)[A-Za-z0-9_/-]{{0,50}}$",
        description="As in a memory; empty: one is made from the title.",
        examples=["deploy/checklist"],
    ),
]
Tag = Annotated[str, said(maxLength=MAX_TAG_LENGTH, pattern=rf"^(?!\s*{MARK})[^\u0000]*$", examples=["deploy"])]
Kind = Annotated[
    str,
    said(maxLength=MAX_KIND, description=f"What sort of thing it is. Empty: {DEFAULT_KIND}.", examples=["gotcha"]),
]
Text = Annotated[str, said(description="The memory itself, Markdown. Longer than the memory's limit: 409.")]
Limit = Annotated[
    int,
    BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value),
    WithJsonSchema(
        {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "description": "Characters the text may have."}
    ),
]
When = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [*DATE["anyOf"], {"maxLength": 0}],
            "description": "When it was first written: ISO 8601, kept exactly as it is given. Empty: now.",
        }
    ),
]
Stamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
UuidOut = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]


class Fields(BaseModel):
    """What can be said of a memory. What is left out stays as it is, or gets its default."""

    model_config = ConfigDict(strict=True, extra="forbid")

    title: Line = Field("", examples=["Deployment checklist"])
    text: Text = Field("", examples=["1. Run the tests\n2. Tag\n"])
    kind: Kind = DEFAULT_KIND
    tags: Annotated[list[Tag], Field(json_schema_extra={"maxItems": MAX_TAGS})] = []
    label: Label = ""
    description: Annotated[str, said(description="What the block is for. Agents read it; empty: the title.")] = ""
    source: Line = Field("", examples=["deploy.sh"])
    file_path: Line = ""
    client: Line = ""
    priority: Line = Field("", examples=["high"])
    status: Line = Field("", examples=["open"])
    created_at: When = ""
    limit: Limit = DEFAULT_LIMIT
    read_only: bool = Field(False, description="Agents cannot change it; people in the hub can.")
    shared: bool = Field(True, description="Not shared: kept local, and gets no block.")


class NewMemory(Fields):
    """A new memory. It needs a title or a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["title"], "properties": {"title": {"minLength": 1}}},
                {"required": ["text"], "properties": {"text": {"minLength": 1}}},
            ],
            "example": {"title": "Deployment checklist", "text": "1. Run the tests\n2. Tag\n", "tags": ["deploy"]},
        }
    )

    label: NewLabel = ""
    uuid: Annotated[
        str,
        WithJsonSchema(
            {
                "type": "string",
                "format": "uuid",
                "description": "Made by the client, so that the call can be repeated: the first memory comes back, or "
                "409 with `archived` where it was archived since.",
            }
        ),
    ] = ""


class MemoryChanges(Fields):
    """What is to be different."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "closed", "append": "Fixed in 1.4.2."}})

    append: Annotated[
        str,
        said(description="Added at the end of the text, on a line of its own."),
    ] = ""


class MemoryOut(BaseModel):
    """A memory. revision: counts its versions. state: how it stands on both sides, in words. notice: what people
    should know of the last thing sync did with it; of one in state problem, what that is. url: its page."""

    uuid: UuidOut
    label: str
    title: str
    text: str = Field("", description="Left out where the list was asked for without texts.")
    description: str
    kind: str
    tags: list[str]
    source: str
    file_path: str
    client: str
    priority: str
    status: str
    created_at: str
    changed_at: Stamp
    limit: int
    read_only: bool
    shared: bool
    revision: int
    author: str
    archived: bool
    state: str
    notice: str
    url: str


class MemoryList(BaseModel):
    """next: what `cursor` takes for the next page; null: there is none."""

    items: list[MemoryOut]
    next: str | None


class FoundMemory(MemoryOut):
    """score: from 0 to 1, what was found first has the highest. similarity: of the meaning (cosine; in the order
    'recall' lifted for words of the query), null where only words were looked for."""

    score: float
    similarity: float | None
    excerpt: str


class FoundList(BaseModel):
    """how: what was looked for. note: what stood in the way of more, '' where nothing did."""

    items: list[FoundMemory]
    how: str
    note: str


class NotMadeOut(ErrorOut):
    """archived: an earlier call with this uuid made the memory, which was taken out of use since."""

    archived: bool = False


class NewerOut(BaseModel):
    """Somebody else changed it meanwhile: `current` is what it is now, with the revision to send next."""

    detail: str
    current: MemoryOut


class RevisionOut(BaseModel):
    """origin: hub, letta, local or merge. parents: numbers of the versions it was made from, where that is not simply
    the one before. length: of its text, in characters."""

    number: int
    author: str
    origin: str
    note: str
    created_at: Stamp
    parents: list[int]
    length: int


class RevisionList(BaseModel):
    """Newest first. next: what `before` takes for older ones; null: there are none."""

    items: list[RevisionOut]
    next: int | None


class VersionOut(RevisionOut):
    """state: every field as it was then."""

    state: dict[str, Any]


class ChangeOut(BaseModel):
    """One version somebody made; title, label and kind are those of that version. archived: whether the memory is out
    of use by now (archived or deleted)."""

    uuid: UuidOut
    title: str
    label: str
    kind: str
    revision: int
    author: str
    origin: str
    note: str
    changed_at: Stamp
    archived: bool


class ChangeList(BaseModel):
    """Oldest first. next: what `since` takes for what comes after these. more: whether that is something already."""

    items: list[ChangeOut]
    next: str
    more: bool


class SideOut(BaseModel):
    """side: letta or local. kind: builtin (the hub itself), none, off or server. direction: two_way, to_side,
    from_side or off. looked_at: when it was last looked at. error: why the last look failed."""

    side: Literal["letta", "local"]
    kind: str
    name: str
    direction: str
    looked_at: Annotated[str | None, WithJsonSchema({"type": ["string", "null"], "format": "date-time"})]
    error: str


class Counts(BaseModel):
    """memories: those in use; by_kind and by_client count these."""

    memories: int
    archived: int
    by_kind: dict[str, int]
    by_client: dict[str, int]
    conflicts: int
    waiting: int


class ProjectOut(BaseModel):
    """The token's project. role: what the token may do there. agent: the name it writes under."""

    slug: str
    name: str
    description: str
    role: str
    agent: str
    archived: bool
    counts: Counts
    sides: list[SideOut]


def state_in_words(memory: Memory) -> str:
    if memory.deleted_at:
        return "deleted"
    return "archived" if memory.archived_at else memory.get_sync_state_display()


def troubles_of(project: Project, memories: Iterable[Memory]) -> dict[int, str]:
    """In words what those have for a problem that show one; no query where none does, else as many as for one."""
    those = [memory for memory in memories if memory.live and memory.sync_state == SyncState.PROBLEM]
    rows = rows_of(project, those) if those else []
    return {
        row.memory.pk: " ".join(f"{side.place.name}: {side.reason}" for side in row.sides if side.status == "problem")
        for row in rows
    }


def memories_out(
    project: Project, memories: Collection[Memory], page_of: Callable[[Memory], str], *, text: bool = True
) -> list[dict[str, Any]]:
    """Memories of a project as the API gives them. page_of: the address of a memory's page."""
    troubles = troubles_of(project, memories)
    return [memory_out(memory, page_of(memory), troubles.get(memory.pk, ""), text=text) for memory in memories]


def memory_out(memory: Memory, url: str, trouble: str = "", *, text: bool = True) -> dict[str, Any]:
    """A memory as the API gives it. url: of its page. trouble: see `troubles_of`."""
    out = {name: getattr(memory, name) for name in COPIED}
    if text:
        out["text"] = memory.text
    return out | {
        "uuid": str(memory.uuid),
        "changed_at": memory.changed_at.isoformat(),
        "revision": memory.number,
        "archived": not memory.live,
        "state": state_in_words(memory),
        "notice": memory.notice or trouble,
        "url": url,
    }


MADE = {"uuid", "text", "changed_at", "revision", "archived", "state", "notice", "url"}
COPIED = [name for name in MemoryOut.model_fields if name not in MADE]
