"""Who works on what, and which servers a project is connected to."""

from __future__ import annotations

import uuid
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from memoryhub.secrets import conceal, reveal

SLUG = r"[a-z0-9][a-z0-9_-]{0,49}"
validate_slug = RegexValidator(rf"^{SLUG}\Z", "Use 1 to 50 of a-z, 0-9, - and _; begin with a letter or digit.")


def validate_url(url: str) -> None:
    """http or https, a host (also one without a dot, as inside a cluster), at most a port and a path."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        good = False
    if not good or any(character.isspace() for character in url):
        raise ValidationError("Enter a valid URL, such as http://127.0.0.1:8283.")


LETTA_CLOUD_URL = "https://api.letta.com"


class Installation(models.Model):
    """The one row that says which hub this is: marks on shared servers name it."""

    hub_id = models.UUIDField(default=uuid.uuid4, editable=False)

    def __str__(self) -> str:
        return str(self.hub_id)

    @classmethod
    def current_id(cls) -> str:
        row, _ = cls.objects.get_or_create(pk=1)
        return str(row.hub_id)


class Keyed(models.Model):
    """A server whose API key is kept encrypted and is never shown."""

    api_key_token = models.TextField(blank=True, default="", editable=False)

    class Meta:
        abstract = True

    @property
    def api_key(self) -> str:
        """The plain key, to be sent and never logged. Raises `UnreadableSecret`."""
        return reveal(self.api_key_token)

    @api_key.setter
    def api_key(self, plain: str) -> None:
        self.api_key_token = conceal(plain)


class LettaServer(Keyed):
    """A self-hosted Letta server or Letta Cloud. Staff define them: they carry URLs and keys."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField(
        "URL",
        max_length=500,
        validators=[validate_url],
        help_text=f"Such as http://127.0.0.1:8283; Cloud is {LETTA_CLOUD_URL}",
    )
    adopters = models.ManyToManyField(
        User,
        blank=True,
        related_name="adoptable_servers",
        help_text="Project owners who may see and adopt the blocks that are in no project, and use other rules.",
    )

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def address(self) -> str:
        """What a connection is bound to: the same address is the same connection."""
        return self.url.rstrip("/")


class LocalStoreQuerySet(models.QuerySet["LocalStore"]):
    def ensure_builtin(self) -> LocalStore:
        """The store on the hub's own Chroma server, made at first use."""
        return self.get_or_create(url="", collection="project_memory", defaults={"name": "Hub's own Chroma"})[0]


class LocalStore(Keyed):
    """A collection on a Chroma server, or on Chroma Cloud. Staff define them."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField(
        "URL",
        max_length=500,
        blank=True,
        validators=[validate_url],
        help_text="Such as http://127.0.0.1:8001; empty for the Chroma server that starts with the hub.",
    )
    tenant = models.CharField(max_length=200, default="default_tenant")
    database = models.CharField(max_length=200, default="default_database")
    collection = models.CharField(
        max_length=512,
        default="project_memory",
        validators=[RegexValidator(r"^[a-zA-Z0-9._-]{3,512}\Z", "3 to 512 of letters, digits, dot, dash, underscore.")],
    )
    adopters = models.ManyToManyField(
        User,
        blank=True,
        related_name="adoptable_stores",
        help_text="Project owners who may take in records of other project names than their project's own.",
    )

    objects = LocalStoreQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["url", "tenant", "database", "collection"], name="local_store_once")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def base_url(self) -> str:
        return (self.url or settings.CHROMA_URL).rstrip("/")

    @property
    def address(self) -> str:
        return f"{self.base_url}/{self.tenant}/{self.database}/{self.collection}"


class Direction(models.TextChoices):
    TWO_WAY = "two_way", "two-way"
    TO_SIDE = "to_side", "hub to side"
    FROM_SIDE = "from_side", "side to hub"
    OFF = "off", "off"


class SyncMode(models.TextChoices):
    MANUAL = "manual", "only by hand"
    EVERY = "every", "every N minutes"
    CONTINUOUS = "continuous", "continuously"


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: User) -> ProjectQuerySet:
        """Projects the user is a member of; all for a superuser."""
        return self if user.is_superuser else self.filter(memberships__user=user)

    def active(self) -> ProjectQuerySet:
        return self.filter(archived_at=None)


class Project(models.Model):
    """One team's memory: members, at most one Letta server and one local store."""

    slug = models.CharField(
        max_length=50,
        unique=True,
        validators=[validate_slug],
        help_text="Part of every address and mark; it never changes.",
    )
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True, max_length=2000)
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

    letta_server = models.ForeignKey(
        LettaServer,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="projects",
        help_text="Empty: the built-in one, the project's memories are the blocks.",
    )
    letta_rule = models.CharField(max_length=120, blank=True, help_text="Empty, tag:NAME, label:PREFIX or all.")
    letta_direction = models.CharField(max_length=10, choices=Direction, default=Direction.TWO_WAY)
    local_store = models.ForeignKey(
        LocalStore, null=True, blank=True, on_delete=models.PROTECT, related_name="projects", help_text="Empty: none."
    )
    local_project = models.CharField(
        max_length=200, blank=True, help_text="The project_name of its records; empty: the slug; * for all."
    )
    local_direction = models.CharField(max_length=10, choices=Direction, default=Direction.TWO_WAY)

    sync_mode = models.CharField(max_length=10, choices=SyncMode, default=SyncMode.MANUAL)
    sync_minutes = models.PositiveIntegerField(default=60, validators=[MinValueValidator(1)])

    members = models.ManyToManyField(User, through="Membership", related_name="projects")

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name", "slug"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("memories", args=[self.slug])

    @property
    def record_project(self) -> str:
        """The project_name of its records; '*' for all."""
        return self.local_project or self.slug

    @property
    def sides_in_words(self) -> str:
        """One sentence that says where its memories live."""
        letta = f"{self.letta_server}" if self.letta_server else "the built-in server"
        local = f"{self.local_store} (records of {self.record_project})" if self.local_store else "none"
        return f"Letta: {letta}; local store: {local}."


class Role(models.TextChoices):
    VIEWER = "viewer", "viewer"
    EDITOR = "editor", "editor"
    OWNER = "owner", "owner"


class Membership(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"


class ApiToken(models.Model):
    """What an agent or a script signs in with, to one project. Made by `memoryhub.tokens`; it itself is not kept.

    prefix: its first characters, by which people tell it; digest: hex SHA-256 of all of it (32 random characters need
    no slow hash). created_by: a token can do no more than that person by now; empty: made by an operator.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, help_text="Of the agent: the history shows it as the author.")
    role = models.CharField(
        max_length=10, choices=[(r.value, r.label) for r in (Role.VIEWER, Role.EDITOR)], default=Role.EDITOR
    )
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def usable(self) -> bool:
        return self.revoked_at is None and not self.expired
