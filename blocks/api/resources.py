"""A project's blocks as resources of the MCP server: the digest first, then what is no memory, then the memories.

The same blocks as `/v1` lists by default, and the digest.
"""

from __future__ import annotations

from itertools import islice
from uuid import UUID

from django.http import Http404
from mcp_types import ListResourcesResult, Resource

from blocks import digest
from blocks.builtin import Row
from blocks.models import Memory, PrivateBlock
from memoryhub.models import Project

MEMORIES, BLOCKS = "memhub://memories/", "memhub://blocks/"
LISTED = 200  # on a page
PRIVATE = "block-"  # how a cursor begins that stands among the blocks that are no memories


def page(project: Project, after: str | None) -> ListResourcesResult:
    """One page. after: the cursor that came with the page before; one that is none begins again."""
    rows = _rows(project, after or "")
    found = list(islice(rows, LISTED + 1))
    more = len(found) > LISTED
    return ListResourcesResult(
        resources=[_resource(row) for row in found[:LISTED]],
        next_cursor=_cursor(found[LISTED - 1]) if more else None,
    )


def text_of(project: Project, uuid: str) -> str:
    """What a block says that is no memory. Raises Http404."""
    try:
        row = project.private_blocks.filter(uuid=UUID(uuid)).first()
    except ValueError:
        row = None
    if row is None:
        raise Http404("No such block.")
    digest.fill(row)
    return row.text


def _rows(project: Project, after: str) -> list[Row]:
    """One more than a page has, if there are so many."""
    pk, among_private = _number(after.removeprefix(PRIVATE)), after.startswith(PRIVATE)
    found: list[Row] = [] if pk else [digest.block_of(project)]
    if among_private or not pk:
        private = project.private_blocks.filter(is_digest=False, hidden=False, is_template=False)
        found += private.filter(pk__gt=pk).order_by("pk").defer("text")[: LISTED + 1]
        pk = 0
    memories = Memory.objects.live().filter(project=project, shared=True, pk__gt=pk)
    return [*found, *memories.order_by("pk").defer("text")[: LISTED + 1]]


def _number(said: str) -> int:
    return int(said) if said.isdecimal() and len(said) < 19 else 0


def _cursor(row: Row) -> str:
    return f"{PRIVATE}{row.pk}" if isinstance(row, PrivateBlock) else str(row.pk)


def _resource(row: Row) -> Resource:
    return Resource(
        uri=f"{MEMORIES if isinstance(row, Memory) else BLOCKS}{row.uuid}",
        name=row.label or str(row.uuid),
        title=str(row),
        description=row.description or None,
        mime_type="text/markdown",
    )
