"""What the views of one memory share."""

from __future__ import annotations

from uuid import UUID

from django.shortcuts import get_object_or_404

from blocks.models import Memory
from blocks.standing import Row, rows_of
from memoryhub.access import RANK, get_project
from memoryhub.http import Request
from memoryhub.models import Project, Role


def get_memory(request: Request, slug: str, uuid: UUID, need: Role = Role.VIEWER) -> tuple[Project, Memory]:
    """The project, if the person may do what needs `need` there, and its memory."""
    project = get_project(request, slug, need)
    return project, get_object_or_404(Memory.objects.select_related("project"), project=project, uuid=uuid)


def may_edit(project: Project) -> bool:
    """Whether the person `get_project` looked at may write."""
    role: Role = project.role  # type: ignore[attr-defined]
    return RANK[role] >= RANK[Role.EDITOR] and (project.archived_at is None or role == Role.OWNER)


def row_of(project: Project, memory: Memory) -> Row:
    return rows_of(project, [memory])[0]
