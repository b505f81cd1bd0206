"""Memories: the current state, and every state that ever was."""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone

from blocks.state import DEFAULT_KIND, DEFAULT_LIMIT, FIELDS, State, state_hash
from memoryhub.models import Project


def digest_of(text: str) -> str:
    """Hex SHA-256 of a text: its key in `Text`."""
    return hashlib.sha256(text.encode()).hexdigest()


FRESH = timedelta(minutes=30)  # a text kept before that is noted as kept again: `retention` leaves such texts alone


class TextQuerySet(models.QuerySet["Text"]):
    @transaction.atomic(savepoint=False)
    def keep(self, texts: Iterable[str]) -> None:
        """Store every text that is not stored yet. Refer to them in the same transaction."""
        rows = {digest_of(text): text for text in texts}
        digests = sorted(rows)
        for first in range(0, len(digests), 500):
            self._keep(digests[first : first + 500], rows)

    def _keep(self, digests: list[str], rows: Mapping[str, str]) -> None:
        now = timezone.now()
        known = set(self.filter(digest__in=digests).values_list("digest", flat=True))
        if known:
            stale = self.filter(digest__in=known, kept_at__lt=now - FRESH).order_by("digest")
            found = list(stale.select_for_update().values_list("digest", flat=True))
            if found:  # from here on nobody deletes them: either they are locked, or they are fresh
                self.filter(digest__in=found).update(kept_at=now)
            known = set(self.filter(digest__in=known).values_list("digest", flat=True))
        fresh: list[Any] = [Text.of(rows[digest], digest, now) for digest in digests if digest not in known]
        self.bulk_create(fresh, ignore_conflicts=True)


class Text(models.Model):
    """A text, stored once by content, compressed. `length` in characters, `size` in bytes as it is stored.

    kept_at: when somebody was last about to refer to it.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    data = models.BinaryField()
    length = models.PositiveIntegerField()
    kept_at = models.DateTimeField(default=timezone.now)
    size = models.PositiveIntegerField(default=0)

    objects = TextQuerySet.as_manager()

    class Meta:
        # Sums of sizes are read from this index, without the texts.
        indexes: ClassVar = [models.Index(fields=["digest", "size"], name="text_sizes")]

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, text: str, digest: str, now: datetime) -> Text:
        data = zlib.compress(text.encode())
        return cls(digest=digest, data=data, length=len(text), size=len(data), kept_at=now)

    @property
    def text(self) -> str:
        return zlib.decompress(bytes(self.data)).decode()


class SyncState(models.TextChoices):
    """How a memory stands, in the words and the order of the main page's filter."""

    SYNCED = "synced", "in sync"
    WAITING = "waiting", "waiting"
    CHANGED = "changed", "changed there"
    CONFLICT = "conflict", "conflict"
    PROBLEM = "problem", "problem"
    LOCAL_ONLY = "local_only", "not shared"


class MemoryQuerySet(models.QuerySet["Memory"]):
    def live(self) -> MemoryQuerySet:
        return self.filter(archived_at=None, deleted_at=None)

    def archived(self) -> MemoryQuerySet:
        return self.filter(archived_at__isnull=False, deleted_at=None)

    def deleted(self) -> MemoryQuerySet:
        return self.filter(deleted_at__isnull=False)


class Memory(models.Model):
    """One remembered thing, as the hub has it now. Written only by `blocks.actions`."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memories")
    label = models.TextField()
    title = models.TextField(blank=True)
    sort_title = models.CharField(max_length=200, blank=True, editable=False)
    description = models.TextField(blank=True)
    text = models.TextField(blank=True)
    kind = models.CharField(max_length=400, default=DEFAULT_KIND)
    tags = models.JSONField(default=list, blank=True)
    source = models.TextField(blank=True)
    file_path = models.TextField(blank=True)
    client = models.TextField(blank=True)
    priority = models.TextField(blank=True)
    status = models.TextField(blank=True)
    created_at = models.TextField(blank=True, help_text="ISO 8601, exactly as whoever wrote it first gave it.")
    limit = models.BigIntegerField(default=DEFAULT_LIMIT)
    read_only = models.BooleanField(default=False)

    shared = models.BooleanField(default=True, help_text="Not shared: it is kept local and gets no block.")
    hash = models.CharField(max_length=64, editable=False)
    number = models.PositiveIntegerField(default=0, editable=False, help_text="Of its latest revision.")
    author = models.CharField(max_length=200, blank=True, editable=False, help_text="Of its latest revision.")
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    notice = models.TextField(blank=True, help_text="What people should know of the last thing sync did with it.")
    sync_state = models.CharField(max_length=10, choices=SyncState, default=SyncState.SYNCED, editable=False)
    waiting_since = models.DateTimeField(
        null=True, editable=False, help_text="Of the oldest edit not yet on every side."
    )

    objects = MemoryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "memories"
        indexes: ClassVar = [
            models.Index(fields=["project", "-changed_at", "-id"], name="memory_by_change"),
            models.Index(fields=["project", "sort_title", "id"], name="memory_by_title"),
            models.Index(fields=["project", "kind", "id"], name="memory_by_kind"),
            models.Index(fields=["project", "sync_state"], name="memory_by_state"),
            models.Index(
                fields=["project", "waiting_since"],
                name="memory_waiting",
                condition=models.Q(waiting_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.title.strip() or self.label.strip() or "(no name)"

    def get_absolute_url(self) -> str:
        return reverse("memory", args=[self.project.slug, self.uuid])

    @property
    def state(self) -> State:
        """All fields that are kept in step."""
        return {name: getattr(self, name) for name in FIELDS}

    def take(self, state: Mapping[str, Any]) -> None:
        """Set the fields a state says, and the hash; does not save."""
        for name in FIELDS:
            if name in state:
                setattr(self, name, state[name])
        self.sort_title = str(self).casefold()[:200]
        self.hash = state_hash(self.state)

    @property
    def live(self) -> bool:
        return self.archived_at is None and self.deleted_at is None

    def revision_with(self, text_digest: str | None) -> list[int]:
        """The number of the latest revision with a text, as `Revision.parents` has it; empty where there is none."""
        return list(self.revisions.filter(text=text_digest).values_list("number", flat=True)[:1]) if text_digest else []


class Origin(models.TextChoices):
    """Where a revision came from."""

    HUB = "hub", "edited"
    LETTA = "letta", "from Letta"
    LOCAL = "local", "from local"
    MERGE = "merge", "merged"


class Revision(models.Model):
    """A state a memory was in. `fields` holds all but the text.

    parents: numbers of the revisions it was made from, where that is not simply the one before it; of a merge or a
    resolution the hub's, then the sides'. One that was thinned out or purged is no longer there.
    """

    memory = models.ForeignKey(Memory, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    text = models.ForeignKey(Text, on_delete=models.PROTECT, related_name="+")
    fields = models.JSONField()
    hash = models.CharField(max_length=64)
    origin = models.CharField(max_length=10, choices=Origin)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    author = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)
    parents = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["memory", "number"], name="revision_once")]
        indexes: ClassVar = [models.Index(fields=["created_at", "memory"], name="revision_by_age")]

    def __str__(self) -> str:
        return f"{self.memory_id} r{self.number}"

    @property
    def state(self) -> State:
        return {**self.fields, "text": self.text.text}


class PurgeKind(models.TextChoices):
    """What was removed for good."""

    TEXT = "text", "erased a piece of text"
    REVISIONS = "revisions", "removed the earlier revisions"
    MEMORY = "memory", "removed the memory"
    BESIDE = "beside", "erased a piece of text in what is no memory"


class Purge(models.Model):
    """That somebody removed something for good: who, when, and of how many versions; never what it was.

    Of what is beside the memories, versions counts agents and blocks.

    waits: what is still to be erased, because a side shows it or somebody is writing it: `texts` (digests of whole
    ones), `states` (hashes), and `for`: whom it waits for, in words.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="purges")
    memory = models.ForeignKey(Memory, null=True, on_delete=models.SET_NULL, related_name="purges")
    kind = models.CharField(max_length=10, choices=PurgeKind)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    author = models.CharField(max_length=200, blank=True)
    versions = models.PositiveIntegerField(default=0)
    waits = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True)
    called_off = models.BooleanField(default=False, help_text="The memory was restored before it was removed.")

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["project", "-created_at"], name="purge_by_project"),
            models.Index(fields=["done_at"], name="purge_open", condition=models.Q(done_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.project})"

    @property
    def waits_for(self) -> list[str]:
        return [] if self.done_at else list(self.waits.get("for", ()))


class Numbers(json.JSONDecoder):
    """Large floats as such: PostgreSQL writes 1e300 as a whole number, and none of more than 64 bits is ever kept.
    From 2^63 to 2^64 a float comes back as the whole number that it is, as smaller ones do there.

    For what comes from others as JSON and has to come back as it was.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"parse_int": _number, **options})


def _number(text: str) -> int | float:
    whole = int(text)
    return whole if -(2**63) <= whole < 2**64 else float(text)


class BlockExtra(models.Model):
    """What a memory says as a block of the built-in Letta server and in no field of its own; see `blocks.builtin`.

    marks: tags that begin with memhub:. metadata: as it was last given, where the fields do not say it all. fields:
    project_id, template_name and the like. version: counts the changes.
    """

    memory = models.OneToOneField(Memory, on_delete=models.CASCADE, related_name="block_extra")
    marks = models.JSONField(default=list)
    metadata = models.JSONField(default=dict, decoder=Numbers)
    fields = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.memory_id}"


class PrivateBlock(models.Model):
    """A block of the built-in Letta server that is no memory: an agent's own (human, persona), a template, a hidden
    one, the project's digest (`blocks.digest`), or another hub's digest or marker. People do not see it, and it has no
    history.

    after: the id of the latest memory when it was made, which puts both in one order. fields: as in `BlockExtra`.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="private_blocks")
    after = models.BigIntegerField(default=0)
    label = models.TextField()
    text = models.TextField(blank=True)
    description = models.TextField(blank=True)
    limit = models.BigIntegerField(default=DEFAULT_LIMIT)
    read_only = models.BooleanField(default=False)
    hidden = models.BooleanField(default=False)
    is_template = models.BooleanField(default=False)
    is_digest = models.BooleanField(default=False, editable=False, help_text="Its text is computed, and not stored.")
    tags = models.JSONField(default=list)
    metadata = models.JSONField(default=dict, decoder=Numbers)
    fields = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=1)
    made_by = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=200, blank=True, help_text="Of the latest change.")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["project", "after", "id"], name="private_block_order")]

    def __str__(self) -> str:
        return self.label


class Agent(models.Model):
    """An agent registered at the built-in Letta server: who it is, and which blocks it sees. It does not run here.

    settings: what else it was made with (model, system, ...), kept and shown again.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="agents")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True, decoder=Numbers)
    settings = models.JSONField(default=dict, blank=True, decoder=Numbers)
    made_by = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=200, blank=True, help_text="Of the latest change.")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def letta_id(self) -> str:
        return f"agent-{self.uuid}"


class Attachment(models.Model):
    """That an agent sees a memory, or a private block, as one of its blocks."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="attachments")
    memory = models.ForeignKey(Memory, null=True, blank=True, on_delete=models.CASCADE, related_name="attachments")
    private = models.ForeignKey(
        PrivateBlock, null=True, blank=True, on_delete=models.CASCADE, related_name="attachments"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["agent", "memory"], name="attached_memory_once"),
            models.UniqueConstraint(fields=["agent", "private"], name="attached_private_once"),
            models.CheckConstraint(
                condition=models.Q(memory__isnull=True) ^ models.Q(private__isnull=True), name="attached_to_one"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id}"
