"""The project a token belongs to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from ninja import Router

from blocks.api.schemas import ProjectOut
from blocks.models import Memory, SyncState
from blocks.standing import Place, places_of
from memoryhub.api import answers, caller, no_others
from memoryhub.models import Project

router = Router(tags=["project"])


@router.get("/project", response=answers({200: ProjectOut}), operation_id="read_project", summary="The token's project")
def project(request: HttpRequest) -> dict[str, Any]:
    """What is in it, how it is connected, and what the token may do there."""
    who = caller(request)
    no_others(request)
    return {
        "slug": who.project.slug,
        "name": who.project.name,
        "description": who.project.description,
        "role": who.role.value,
        "agent": who.name,
        "archived": who.project.archived_at is not None,
        "counts": _counts(who.project),
        "sides": [_side(who.project, place) for place in places_of(who.project).values()],
    }


def _counts(project: Project) -> dict[str, Any]:
    """One query over the memories in use, one for the archived ones."""
    rows = Memory.objects.live().filter(project=project).order_by().values_list("kind", "client", "sync_state")
    kinds, clients, states = Counter[str](), Counter[str](), Counter[str]()
    for kind, client, state, count in rows.annotate(Count("pk")):
        kinds[kind] += count
        clients[client] += count
        states[state] += count
    return {
        "memories": kinds.total(),
        "archived": Memory.objects.archived().filter(project=project).count(),
        "by_kind": dict(kinds.most_common()),
        "by_client": {client: count for client, count in clients.most_common() if client},
        "conflicts": states[SyncState.CONFLICT],
        "waiting": states[SyncState.WAITING],
    }


def _side(project: Project, place: Place) -> dict[str, Any]:
    connection = place.connection
    return {
        "side": place.side,
        "kind": place.kind,
        "name": place.title,
        "direction": str(project.letta_direction if place.side == "letta" else project.local_direction),
        "looked_at": place.looked_at.isoformat() if place.looked_at else None,
        "error": (connection.suspect or connection.look_error) if connection else "",
    }
