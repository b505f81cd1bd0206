"""Every write to a project and to its memberships, but for its connections (those are `syncjobs`' to change)."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.text import slugify

from memoryhub.models import Membership, Project, Role


class LastOwner(Exception):
    """The only owner of a project would be gone."""

    def __init__(self) -> None:
        super().__init__("This is the only owner: make somebody else an owner first.")


def free_slug(name: str) -> str:
    """A slug made from a name, with a number where it is taken."""
    stem = slugify(name)[:44].strip("-_") or "project"
    taken = set(Project.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    slug, number = stem, 2
    while slug in taken:
        slug, number = f"{stem}-{number}", number + 1
    return slug


@transaction.atomic
def create(owner: User, *, name: str, **fields: Any) -> Project:
    """A new project with its first owner. Its slug is made from the name and never changes."""
    project = Project.objects.create(slug=free_slug(name), name=name, **fields)
    Membership.objects.create(project=project, user=owner, role=Role.OWNER)
    return project


def archive(project: Project) -> None:
    """Take a project out of use: it is not synced, only its owners may write. Nothing is removed."""
    project.archived_at = project.archived_at or timezone.now()
    project.save(update_fields=["archived_at"])


def unarchive(project: Project) -> None:
    project.archived_at = None
    project.save(update_fields=["archived_at"])


def find_account(name: str) -> User | None:
    """The active account with this username, or else with this e-mail address (if there is exactly one)."""
    active = User.objects.filter(is_active=True)
    found = active.filter(username=name).first()
    if found is None and "@" in name:
        by_mail = list(active.filter(Q(email__iexact=name))[:2])
        found = by_mail[0] if len(by_mail) == 1 else None
    return found


def add_member(project: Project, user: User, role: Role) -> None:
    Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})


@transaction.atomic
def set_role(membership: Membership, role: Role) -> None:
    """Raises `LastOwner`."""
    _keep_an_owner(membership, stays=role == Role.OWNER)
    membership.role = role
    membership.save(update_fields=["role"])


@transaction.atomic
def remove_member(membership: Membership) -> None:
    """Raises `LastOwner`."""
    _keep_an_owner(membership, stays=False)
    membership.delete()


def _keep_an_owner(membership: Membership, *, stays: bool) -> None:
    """Two owners who leave at the same time wait for each other here."""
    Project.objects.select_for_update().get(pk=membership.project_id)
    owners = Membership.objects.filter(project_id=membership.project_id, role=Role.OWNER)
    if not stays and not owners.exclude(pk=membership.pk).exists() and owners.filter(pk=membership.pk).exists():
        raise LastOwner
