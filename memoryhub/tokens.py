"""Tokens: made, shown once, and what whoever carries one may do."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from memoryhub.access import RANK, maker_and_role
from memoryhub.models import ApiToken, Project, Role

START = "mhub_"
ALPHABET = string.ascii_letters + string.digits
PREFIX, SECRET = 8, 32  # characters after START: the first are kept in the clear, the others only as a hash
USED = timedelta(minutes=1)  # "last used" is no more exact than that: reading must not mean writing


class TokenRefused(Exception):
    """Nobody is let in with this token; the message says why."""


@dataclass(frozen=True)
class Caller:
    """Who came in with a token. role: viewer or editor; a viewer where the project may only be read."""

    token: ApiToken
    project: Project
    role: Role

    @property
    def name(self) -> str:
        return self.token.name

    @property
    def may_write(self) -> bool:
        return RANK[self.role] >= RANK[Role.EDITOR]

    @property
    def why_not(self) -> str:
        """Why this caller may not write."""
        if self.project.archived_at:
            return f"The project “{self.project}” is archived: it can be read only."
        return f"The token “{self.name}” may only read: writing needs one with the role editor."


def issue(
    project: Project, name: str, *, role: Role = Role.EDITOR, days: int | None = None, user: User | None = None
) -> tuple[ApiToken, str]:
    """Make a token: its row, and the token itself, which cannot be had again. days: until it expires, None never."""
    prefix = START + "".join(secrets.choice(ALPHABET) for _ in range(PREFIX))
    plain = prefix + "".join(secrets.choice(ALPHABET) for _ in range(SECRET))
    token = ApiToken.objects.create(
        project=project,
        name=name,
        role=role,
        prefix=prefix,
        digest=_digest(plain),
        created_by=user,
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )
    return token, plain


def revoke(token: ApiToken) -> None:
    """Nobody comes in with it any more. It stays in the list."""
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])


def caller_of(plain: str) -> Caller:
    """Who carries this token. Raises `TokenRefused`."""
    token = _token(plain[: len(START) + PREFIX]) if plain.isascii() else None
    if token is None or not hmac.compare_digest(token.digest, _digest(plain)):
        raise TokenRefused("Unknown token. Make one on the project's Settings > Tokens page.")
    if token.revoked_at:
        raise TokenRefused(f"The token “{token}” was revoked.")
    if token.expired:
        raise TokenRefused(f"The token “{token}” has expired. Make a new one on the project's Settings > Tokens page.")
    role = _role(token)
    _note_use(token)
    return Caller(token, token.project, role)


def _token(prefix: str) -> ApiToken | None:
    """The row of a token. Every request asks for it, and a column less is quicker: what only some routes need of a
    project (its servers) they ask for themselves."""
    rows = ApiToken.objects.select_related("project").filter(prefix=prefix)
    return next(iter(rows.order_by()[:1]), None)


def _role(token: ApiToken) -> Role:
    """What it may do by now: no more than the person who made it."""
    role = Role(token.role)
    if token.created_by_id is not None:
        maker, theirs = maker_and_role(token.created_by_id, token.project)
        if theirs is None:
            raise TokenRefused(f"“{maker}”, who made the token “{token}”, is no longer a member of the project.")
        role = min(role, theirs, key=RANK.__getitem__)
    return Role.VIEWER if token.project.archived_at else role


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > USED:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()
