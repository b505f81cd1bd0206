"""Every membership and role question. Outsiders get 404, members without the right 403."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest

from memoryhub.models import LettaServer, LocalStore, Membership, Project, Role

RANK = {Role.VIEWER: 1, Role.EDITOR: 2, Role.OWNER: 3}


def role_of(user: User | AnonymousUser, project: Project) -> Role | None:
    """The user's role in the project; superusers are owners everywhere."""
    if user.is_superuser:
        return Role.OWNER
    if user.pk is None:
        return None
    membership = Membership.objects.filter(project=project, user_id=user.pk).first()
    return Role(membership.role) if membership else None


def maker_and_role(user_id: int, project: Project) -> tuple[User, Role | None]:
    """A person and their role in the project, by one query; None also for who may not sign in any more."""
    theirs = Membership.objects.filter(project=project, user=OuterRef("pk")).values("role")[:1]
    user = User.objects.annotate(role=Subquery(theirs)).get(pk=user_id)
    if not user.is_active:
        return user, None
    return user, Role.OWNER if user.is_superuser else Role(user.role) if user.role else None


def get_project(request: HttpRequest, slug: str, need: Role = Role.VIEWER) -> Project:
    """The project, with `project.role` set, if the signed-in user may do what needs `need`.

    Raises Http404 for outsiders (as if it did not exist) and PermissionDenied for members below `need`; archived
    projects can be read, and written to by owners only.
    """
    project = Project.objects.select_related("letta_server", "local_store").filter(slug=slug).first()
    role = role_of(request.user, project) if project else None
    if project is None or role is None:
        raise Http404("No such project.")
    if RANK[role] < RANK[need] or (project.archived_at and need == Role.EDITOR and role != Role.OWNER):
        raise PermissionDenied(f"This needs the role {need}; yours is {role}. Ask an owner of the project.")
    project.role = role  # type: ignore[attr-defined]
    return project


def may_adopt(user: User | AnonymousUser, project: Project) -> bool:
    """Whether the user may see and adopt blocks in no project on the project's Letta server."""
    if user.is_staff or user.is_superuser:
        return project.letta_server is not None
    if user.pk is None or project.letta_server is None or role_of(user, project) != Role.OWNER:
        return False
    return project.letta_server.adopters.filter(pk=user.pk).exists()


def may_choose_scope(user: User | AnonymousUser, server: LettaServer | LocalStore | None) -> bool:
    """Whether the user may reach, on this server or store, beyond what carries the project's own mark."""
    if user.is_staff or user.is_superuser:
        return True
    return server is not None and user in server.adopters.all()


def may_write(project: Project) -> bool:
    """Whether the person `get_project` looked at may do what editors do."""
    role: Role = project.role  # type: ignore[attr-defined]
    return RANK[role] >= RANK[Role.EDITOR] and (project.archived_at is None or role == Role.OWNER)
