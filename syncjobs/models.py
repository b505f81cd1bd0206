"""What is known of every memory on every side, and what was done about it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

from blocks.models import Memory, Text
from blocks.state import State
from memoryhub.models import Project


class Side(models.TextChoices):
    LETTA = "letta", "Letta"
    LOCAL = "local", "local"


class Connection(models.Model):
    """One project on one real server. Another address is another connection, with replicas of its own.

    identity: of the server behind the address (see `Store.identify`); when another answers there, `suspect` says
    so and nothing is deleted or archived until a person confirms.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="connections")
    side = models.CharField(max_length=5, choices=Side)
    address = models.CharField(max_length=1100)
    identity = models.CharField(max_length=200, blank=True)
    suspect = models.TextField(blank=True)
    stamp = models.PositiveBigIntegerField(default=0, help_text="Grows with what is known of the side.")
    stamped = models.PositiveBigIntegerField(default=0, help_text="The last stamp that was stored on the side.")
    looked_at = models.DateTimeField(null=True)
    look_seconds = models.FloatField(null=True)
    look_cpu = models.FloatField(null=True, help_text="Seconds of this machine's processor that the last look took.")
    look_error = models.TextField(blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="Looks that failed since the last one that did not.")
    items = models.PositiveIntegerField(null=True, help_text="Items in scope at the last complete look.")
    problems = models.JSONField(default=list, help_text="Items that could not be read at the last look: [id, why].")
    agents = models.JSONField(default=dict, help_text="By block id the agents that have it: [{id, name}].")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "side", "address"], name="connection_once")]

    def __str__(self) -> str:
        return f"{self.project} on {self.address}"

    @property
    def down(self) -> bool:
        """Whether the last look failed; a look that only did not see everything is no failure."""
        return bool(self.look_error and self.failures)


class Replica(models.Model):
    """What is known of one memory on one connection.

    base: the state both last agreed on (None: never). seen: the state last seen there. Texts lie in `Text`, the
    other fields in JSON. external_id: block id or document_id ('' while there is nothing).
    """

    memory = models.ForeignKey(Memory, on_delete=models.CASCADE, related_name="replicas")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="replicas")
    external_id = models.CharField(max_length=500, blank=True)
    marked = models.BooleanField(default=False)
    base_fields = models.JSONField(null=True)
    base_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")
    base_hash = models.CharField(max_length=64, blank=True)
    seen_fields = models.JSONField(null=True)
    seen_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")
    seen_hash = models.CharField(max_length=64, blank=True)
    seen_at = models.DateTimeField(null=True)
    chunks = models.PositiveIntegerField(default=1)
    keep = models.JSONField(default=dict, help_text="What brings it back after a deletion.")
    status = models.CharField(
        max_length=12,
        choices=[
            ("ok", "there"),
            ("absent", "not there"),
            ("problem", "could not be read"),
            ("refused", "refused"),
            ("out", "no longer in this project"),
        ],
        default="ok",
    )
    reason = models.TextField(blank=True)
    hub_hash = models.CharField(max_length=64, blank=True, help_text="`Memory.hash` when both were last in step.")
    version = models.PositiveIntegerField(default=0, help_text="Grows with every change of this row.")
    refused_hash = models.CharField(max_length=64, blank=True, help_text="Of the state the side would not take.")
    held_since = models.DateTimeField(null=True, help_text="Since when a write waits for an agent at work.")
    copies = models.PositiveSmallIntegerField(
        default=0, help_text="Agents' older copies in a row that the next push replaces."
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["memory", "connection"], name="replica_once"),
            models.UniqueConstraint(
                fields=["connection", "external_id"], condition=~models.Q(external_id=""), name="replica_item_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["connection", "held_since"],
                name="replica_held",
                condition=models.Q(held_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.memory_id} as {self.external_id}"

    @staticmethod
    def join(fields: dict[str, Any] | None, text: Text | None) -> State | None:
        """A state from its two halves."""
        if fields is None:
            return None
        return {**fields, "text": text.text} if text else dict(fields)

    @property
    def base(self) -> State | None:
        return self.join(self.base_fields, self.base_text)

    @property
    def seen(self) -> State | None:
        return self.join(self.seen_fields, self.seen_text)


class Intent(models.Model):
    """An outside write that is about to happen, or happened: the journal.

    Written and committed before the call; `outcome` says how it ended ('' while open). An open intent whose holder
    is gone is read back before anything else is planned for its memory.
    """

    memory = models.ForeignKey(Memory, on_delete=models.CASCADE, related_name="intents")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="intents")
    op = models.CharField(max_length=6)
    external_id = models.CharField(max_length=500, blank=True)
    expected_hash = models.CharField(max_length=64, blank=True)
    new_hash = models.CharField(max_length=64, blank=True)
    new_fields = models.JSONField(null=True)
    new_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")
    old_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")  # that it replaces
    copies = models.PositiveSmallIntegerField(default=0, help_text="`Replica.copies` when it was sent.")
    outcome = models.CharField(max_length=10, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["connection"], condition=models.Q(outcome=""), name="intent_open"),
        ]

    def __str__(self) -> str:
        return f"{self.op} {self.memory_id} ({self.outcome or 'open'})"


class Digest(models.Model):
    """A digest block's text that the hub wrote, or was about to write: such a text may be overwritten."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="digests")
    address = models.CharField(max_length=1100)
    hash = models.CharField(max_length=64)
    written = models.BooleanField(default=False, help_text="This is what stands in the block now.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "address", "hash"], name="digest_once")]

    def __str__(self) -> str:
        return f"digest of {self.project_id}"


class Conflict(models.Model):
    """A memory that two sides changed in ways that cannot be merged; every text is kept until somebody decides."""

    memory = models.ForeignKey(Memory, on_delete=models.CASCADE, related_name="conflicts")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="conflicts")
    fields = models.JSONField(help_text="Names of the fields that differ.")
    base_state = models.JSONField(null=True)
    base_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")
    side_state = models.JSONField()
    side_text = models.ForeignKey(Text, null=True, on_delete=models.PROTECT, related_name="+")
    side_hash = models.CharField(max_length=64)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)
    resolution = models.CharField(max_length=20, blank=True)
    resolved_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering: ClassVar = ["-opened_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["memory", "connection"], condition=models.Q(closed_at=None), name="one_open_conflict"
            )
        ]

    def __str__(self) -> str:
        return f"{self.memory} on {self.connection.side}"

    @property
    def base(self) -> State | None:
        return Replica.join(self.base_state, self.base_text)

    @property
    def side(self) -> State:
        return Replica.join(self.side_state, self.side_text) or {}

    @property
    def kept(self) -> str:
        """Whose text was kept, in words."""
        side = self.connection.side if self.resolution == "side" else self.resolution
        words = {"hub": "that of the hub", "base": "the earlier text", "all": "all of them", "edited": "an edited one"}
        return words.get(side) or f"that of {dict(Side.choices).get(side, side)}"


class RunStatus(models.TextChoices):
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    BRAKED = "braked", "stopped at the brake"
    BUSY = "busy", "busy"
    STOPPED = "stopped", "stopped"


COUNTERS = (
    "created",
    "pushed",
    "pulled",
    "merged",
    "linked",
    "deleted",
    "archived",
    "conflicts",
    "failed",
    "unchanged",
)


def zero_counters() -> dict[str, int]:
    return dict.fromkeys(COUNTERS, 0)


class SyncRun(models.Model):
    """One sync run of one project: who asked, how far it is, what it did, what went wrong."""

    foreseen: dict[str, int] | None = None  # of one that stopped at the brake just now: what it would have counted

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    trigger = models.CharField(max_length=10)  # button, command, schedule, watch
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(max_length=10, choices=RunStatus, default=RunStatus.QUEUED)
    allow_deletions = models.BooleanField(default=False)
    removals = models.JSONField(default=list, help_text="What the brake stopped: side:uuid of what would go.")
    approves = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="+", help_text="The braked run whose list it may do."
    )
    stop_asked = models.BooleanField(default=False)
    counters = models.JSONField(default=zero_counters)
    errors = models.JSONField(default=list)  # [{"memory": uuid or "", "side": ..., "title": ..., "error": ...}]
    steps = models.JSONField(
        default=list, help_text="What it did, or would do: [{op, side, memory, title, why, size}]."
    )
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    beat_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["project", "-created_at"], name="run_by_project")]

    def __str__(self) -> str:
        return f"{self.project}: {self.status}"

    @property
    def broke(self) -> bool:
        """Whether it failed by an error in the hub, which says neither a side nor a memory."""
        return self.status == RunStatus.FAILED and any(not (error["side"] or error["memory"]) for error in self.errors)

    @property
    def seconds(self) -> float | None:
        return (self.finished_at - self.started_at).total_seconds() if self.started_at and self.finished_at else None


class Lease(models.Model):
    """A named right to write, held until it expires unless renewed."""

    name = models.CharField(max_length=100, primary_key=True)
    holder = models.CharField(max_length=64)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} held by {self.holder}"
