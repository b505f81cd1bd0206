"""Finding memories, for agents and scripts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router

from blocks import recall
from blocks.api.memories import Pages
from blocks.api.queries import SearchQuery
from blocks.api.schemas import FoundList, memories_out
from memoryhub.api import answers, caller, no_others

router = Router(tags=["memories"])


@router.get("/search", response=answers({200: FoundList}), operation_id="search_memories", summary="Search memories")
def search(request: HttpRequest, query: Query[SearchQuery]) -> dict[str, Any]:
    """Best first, by meaning and by words; by words only where the local store cannot be asked, and `note` says so."""
    project = caller(request).project
    no_others(request, SearchQuery)
    found = recall.search(
        project,
        query.q,
        limit=query.limit,
        order=query.order,
        mode=query.mode,
        kinds=query.kind,
        tags=query.tag,
        client=query.client or "",
    )
    pages = Pages(request, project)
    items = [
        said | {"score": hit.score, "similarity": hit.similarity, "excerpt": hit.excerpt}
        for hit, said in zip(
            found.hits, memories_out(project, [hit.memory for hit in found.hits], pages.of), strict=True
        )
    ]
    return {"items": items, "how": found.how, "note": found.note}
