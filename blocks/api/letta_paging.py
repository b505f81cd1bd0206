"""Pages of agents, as Letta's API asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from django.db.models import F, Q, QuerySet
from pydantic import BaseModel, Field

from blocks.api import letta
from blocks.api.letta_shapes import Order
from blocks.builtin_list import UnknownCursor
from blocks.models import Agent

MOST = 1000  # agents of a page: each comes with its blocks
OrderBy = Literal["created_at", "updated_at", "last_run_completion"]


class AgentPage(BaseModel):
    before: str | None = None
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 50
    order: Order = "desc"
    order_by: OrderBy = "created_at"


def agents_page(rows: QuerySet[Agent], asked: AgentPage) -> Sequence[Agent]:
    """The page of agents, with the rules of `builtin_list.page`. Raises `UnknownCursor`."""
    # Nothing runs here, so that there is no time of a last run: those agents are in the order they were made in.
    column = "changed_at" if asked.order_by == "updated_at" else "created_at"
    newest = asked.order == "desc"
    after, before = _cursor(rows, asked.after, "after"), _cursor(rows, asked.before, "before")
    backwards = before is not None and after is None
    falling = newest != backwards
    found = rows.filter(_beyond(after, column, "lt" if newest else "gt"))
    found = found.filter(_beyond(before, column, "gt" if newest else "lt"))
    order = [F(name).desc() if falling else F(name).asc() for name in (column, "pk")]
    page = list(found.order_by(*order)[: asked.limit])
    return page[::-1] if backwards else page


def _cursor(rows: QuerySet[Agent], id: str | None, place: str) -> Agent | None:
    uuid = letta.cursor_in(id, "agent", place)
    if uuid is None:
        return None
    found = rows.prefetch_related(None).filter(uuid=uuid).first()
    if found is None:
        raise UnknownCursor(f"There is no agent-{uuid} (any more) to go on from.")
    return found


def _beyond(cursor: Agent | None, column: str, way: str) -> Q:
    if cursor is None:
        return Q()
    value: Any = getattr(cursor, column)
    return Q(**{f"{column}__{way}": value}) | Q(**{column: value, f"pk__{way}": cursor.pk})
