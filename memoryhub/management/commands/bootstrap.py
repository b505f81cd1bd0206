"""The second half of the set-up: the database, the first account, the static files."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from memoryhub.models import LocalStore

ADMIN = "admin"


class Command(BaseCommand):
    help = "Migrate the database, create the first account, collect static files; all as far as it is needed"
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.migrate()
            LocalStore.objects.ensure_builtin()
            self.ensure_admin()
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database ({where()}) cannot be used: {reason}") from error
        self.collect_static()

    def migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Bringing the database up to date ...")
            call_command("migrate", interactive=False, verbosity=0)

    def ensure_admin(self) -> None:
        """Create the account, unless some account may do everything already; say a generated password once."""
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists() or users.filter(username=ADMIN).exists():
            return
        password = settings.ADMIN_PASSWORD or secrets.token_urlsafe(12)
        users.create_superuser(ADMIN, password=password)
        said = "from MEMORYHUB_ADMIN_PASSWORD" if settings.ADMIN_PASSWORD else f"{password} (not shown again)"
        self.stdout.write(f"Created the account {ADMIN}, password: {said}")

    def collect_static(self) -> None:
        """Copy and hash the static files, unless none changed since the last time."""
        stamp: Path = settings.DATA_DIR / "static.stamp"
        state = static_state()
        manifest = settings.STATIC_ROOT / "staticfiles.json"
        if manifest.exists() and stamp.exists() and stamp.read_text() == state:
            return
        self.stdout.write("Collecting the static files ...")
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(state)


def static_state() -> str:
    """A digest that changes with any static file's path, size or time."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            stat = Path(storage.path(path)).stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def where() -> str:
    database = settings.DATABASES["default"]
    return f"{database['NAME']} at {database['HOST'] or 'localhost'}" if database.get("HOST") else database["NAME"]
