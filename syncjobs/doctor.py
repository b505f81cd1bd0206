"""The checks of `manage.py doctor`: what is there, whether it answers, what to do."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django_tasks_db.models import DBTaskResult

from blocks.stores.base import Probe
from memoryhub.models import LettaServer, LocalStore, Project
from memoryhub.secrets import UnreadableSecret
from syncjobs import leases
from syncjobs.models import Connection, RunStatus, SyncRun
from syncjobs.sides import probe_letta, probe_local
from syncjobs.tasks import push, sync

PACKAGES = ("django", "letta-client", "chromadb", "django-tasks-db", "granian")
LEAST_SPACE = 200_000_000  # bytes


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was found, and what to do if that is wrong."""

    what: str
    ok: bool
    found: str
    help: str = ""


def checks(patience: float) -> Iterator[Check]:
    """All checks. patience: seconds to wait for a worker to take a task."""
    yield Check("versions", True, _versions())
    database = check_database()
    yield database
    if not database.ok:
        return
    yield check_migrations()
    yield check_space()
    yield from check_workers(patience)
    yield check_watch()
    for server in LettaServer.objects.all():
        yield _probed(f"Letta server {server}", server)
    for store in LocalStore.objects.all():
        yield _probed(f"local store {store}", store)
    for suspect in Connection.objects.exclude(suspect="").select_related("project"):
        yield Check(f"connection {suspect}", False, suspect.suspect, "confirm it in the project's settings")


def _versions() -> str:
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])


def check_database() -> Check:
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except Error as error:
        return Check("database", False, str(error).strip(), "is DATABASE_URL right, and is the server running?")
    return Check("database", True, connection.vendor)


def check_migrations() -> Check:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        return Check("migrations", False, f"{len(waiting)} to be applied", "run manage.py migrate")
    return Check("migrations", True, "all applied")


def check_space() -> Check:
    free = shutil.disk_usage(settings.DATA_DIR).free
    found = f"{free // 1_000_000} MB free in {settings.DATA_DIR}"
    return Check("disk", free > LEAST_SPACE, found, "" if free > LEAST_SPACE else "make room: writes will fail")


def check_workers(patience: float) -> Iterator[Check]:
    """Give both queues a task that does nothing, and see whether it is taken."""
    results = {"push": push.enqueue([]), "sync": sync.enqueue(0)}
    ids = {name: result.id for name, result in results.items()}
    until = time.monotonic() + patience
    waiting = dict(ids)
    while waiting and time.monotonic() < until:
        time.sleep(0.1)
        ready = set(DBTaskResult.objects.filter(id__in=waiting.values(), status="READY").values_list("id", flat=True))
        waiting = {name: id for name, id in waiting.items() if id in {str(value) for value in ready}}
    DBTaskResult.objects.filter(id__in=waiting.values()).delete()
    for name in ids:
        if name in waiting and name == "sync" and _run_under_way():
            yield Check(f"worker for {name}", True, "busy with a run")
        elif name in waiting:
            help = f"start it: manage.py db_worker --queue-name {name} (make run does)"
            yield Check(f"worker for {name}", False, f"took no task within {patience:g} s", help)
        else:
            yield Check(f"worker for {name}", True, "running")


def _run_under_way() -> bool:
    runs = SyncRun.objects.filter(status=RunStatus.RUNNING)
    return any(leases.is_held(leases.of_project(run.project_id)) for run in runs)


def check_watch() -> Check:
    if leases.is_held("watch"):
        return Check("watch", True, "running")
    automatic = Project.objects.active().exclude(sync_mode="manual").count()
    help = "start it: manage.py watch (make run does)"
    return Check("watch", False, f"not running; {automatic} projects wait for it to be synced by themselves", help)


def _probed(what: str, server: LettaServer | LocalStore) -> Check:
    try:
        probe = probe_letta(server) if isinstance(server, LettaServer) else probe_local(server)
    except UnreadableSecret as error:
        probe = Probe("unauthorized", str(error))
    return Check(what, probe.kind == "ok", probe.message, probe.help)
