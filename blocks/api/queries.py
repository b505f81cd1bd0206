"""What the lists and the search of the API can be asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from blocks.api.paging import CURSOR, Place
from blocks.api.schemas import DATE, STORABLE
from blocks.listing import MAX_VALUE, MAX_VALUES, tagged
from blocks.models import MemoryQuerySet
from blocks.search import MAX_QUERY
from blocks.state import unstorable
from memoryhub.api import DIGITS, Number
from memoryhub.models import Project


def _storable(value: str) -> str:
    if problem := unstorable(value):
        raise ValueError(f"This {problem}.")
    return value


def _moment(value: str) -> str:
    moment_of(value)
    return value


def _cursor(value: str) -> str:
    Place.decode(value)
    return value


def moment_of(value: str) -> datetime:
    """A date, or a date and a time (UTC where it says no zone). Raises ValueError."""
    try:
        found = datetime.fromisoformat(_in_range(value))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("Write a date, or a date and a time, such as 2026-01-31T09:30:00Z.") from error


def _in_range(value: str) -> str:
    """RFC 3339 knows a second 60, and a year 0; Python does not."""
    head, tail = value[:17], value[17:]
    if head[:4] == "0000":
        head = "0001" + head[4:]
    return head + ("59" + tail[2:] if tail.startswith("60") else tail)


Word = Annotated[
    str,
    Field(max_length=MAX_VALUE, json_schema_extra={"pattern": STORABLE}),
    AfterValidator(_storable),
]
Words = Annotated[list[Word], Field(max_length=MAX_VALUES)]
YesNo = Annotated[Literal["true", "false"], WithJsonSchema({"type": "boolean"})]


class Paged(BaseModel):
    limit: Annotated[int, Field(ge=1, le=200), DIGITS] = Field(50, description="How many at most.")


class ListQuery(Paged):
    """Which memories, and in which order. Conditions of different names must all hold."""

    kind: Words = Field([], description="Any of these kinds.")
    tag: Words = Field([], description="All of these tags.")
    source: Word | None = None
    client: Word | None = None
    label: Word | None = None
    status: Word | None = None
    since: Annotated[str, AfterValidator(_moment), WithJsonSchema(DATE)] | None = Field(
        None, description="Changed at or after this moment."
    )
    shelf: Literal["live", "archived"] = Field("live", description="Those in use, or those that are archived.")
    order: Literal["changed", "created", "title"] = Field(
        "changed", description="The newest change or the newest memory first, or by title."
    )
    cursor: Annotated[str, AfterValidator(_cursor), WithJsonSchema({"type": "string", "pattern": CURSOR})] | None = (
        Field(None, description="`next` of the page before. Its order counts.")
    )
    text: YesNo = Field("true", description="false: without the texts, which is quicker.")


class SearchQuery(BaseModel):
    """What to look for, and in which memories."""

    q: Annotated[str, Field(max_length=MAX_QUERY, json_schema_extra={"pattern": STORABLE}), AfterValidator(_storable)]
    limit: Annotated[int, Field(ge=1, le=50), DIGITS] = Field(10, description="How many at most.")
    mode: Literal["auto", "words", "meaning"] = Field(
        "auto", description="words: what is written; meaning: what it is about; auto: both."
    )
    order: Literal["relevance", "recall"] = Field(
        "relevance", description="recall: by similarity, age and kind, as the original RAG engine ranked."
    )
    kind: Words = Field([], description="Any of these kinds.")
    tag: Words = Field([], description="All of these tags.")
    client: Word | None = None


class HistoryQuery(Paged):
    before: Number | None = Field(None, description="Only versions with a lower number.")


class ChangesQuery(Paged):
    since: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = Field(
        None, description="`next` of the call before; without it the newest changes come."
    )


def narrowed(queryset: MemoryQuerySet, project: Project, query: ListQuery | SearchQuery, shelf: str) -> MemoryQuerySet:
    """Those with the kinds, tags, source, client, label and status that are asked for."""
    if query.kind:
        queryset = queryset.filter(kind__in=query.kind)
    for tag in query.tag:
        queryset = tagged(queryset, project, shelf, tag)
    exact: dict[str, Any] = {name: getattr(query, name, None) for name in ("source", "client", "label", "status")}
    return queryset.filter(**{name: value for name, value in exact.items() if value is not None})
