"""Import a Chroma folder in the original layout."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from blocks.stores.base import StoreError
from blocks.stores.folder import read_folder
from memoryhub.models import Project
from memoryhub.secrets import UnreadableSecret
from syncjobs.importing import Imported, import_documents


class Command(BaseCommand):
    help = (
        "Put the memories of a Chroma folder in the original layout into the local stores of the projects they name. "
        "Ids, metadata, dates and vectors are kept, each memory is imported once however often this is run, and the "
        "folder stays as it was. Afterwards sync_memory brings them into the hub and to Letta. Exit code 1 if "
        "anything was left."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="the folder with chroma.sqlite3")
        parser.add_argument("--project", metavar="SLUG", help="only the memories of this project")
        parser.add_argument("--dry-run", action="store_true", help="show what would be imported, change nothing")
        parser.add_argument("--json", action="store_true", help="print a list with one object a project name")

    def handle(self, **options: Any) -> None:
        folder: Path = options["folder"].resolve()
        if folder == Path(settings.CHROMA_PATH).resolve():
            raise CommandError(f"{folder} is the folder the hub's own Chroma server serves: nothing to import.")
        only = self._project(options["project"]) if options["project"] else None
        try:
            with read_folder(folder) as found:
                results = import_documents(found, only, dry_run=options["dry_run"])
        except (StoreError, UnreadableSecret) as error:
            raise CommandError(f"{error}. What was imported before stays; run it again for the rest.") from error
        self._show(results, options)
        if any(result.problem for result in results):
            raise SystemExit(1)

    @staticmethod
    def _project(slug: str) -> Project:
        project = Project.objects.active().select_related("local_store").filter(slug=slug).first()
        if project is None:
            raise CommandError(f"No active project {slug}. See manage.py setup_project --help.", returncode=2)
        return project

    def _show(self, results: list[Imported], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps([asdict(result) for result in results], indent=2))
            return
        verb = "to import" if options["dry_run"] else "imported"
        for result in results:
            if result.problem:
                self.stderr.write(f"{result.name or '(no project name)'}: {result.problem}")
            else:
                self.stdout.write(f"{result.project}: {result.imported} {verb}, {result.present} there already")
        if not results:
            self.stdout.write("nothing in the folder belongs to that project")
