"""Create or update a project and its connections."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from memoryhub.forms import check_records_are_free, validate_rule
from memoryhub.models import LETTA_CLOUD_URL, LettaServer, LocalStore, Membership, Project, Role
from syncjobs.connect import show_waiting

Server = TypeVar("Server", LettaServer, LocalStore)


class Command(BaseCommand):
    help = (
        "Create a project, or update the one with this slug: only what is named changes, and running it again changes "
        "nothing. A new project is connected to the built-in Letta server and the hub's own local store unless told "
        "otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="1 to 50 of a-z, 0-9, - and _; it never changes")
        parser.add_argument("--name", help="shown to people; default: the slug")
        parser.add_argument("--letta-url", metavar="URL|cloud|builtin", help="the Letta server")
        parser.add_argument("--letta-key-env", metavar="VAR", help="environment variable with the server's API key")
        parser.add_argument("--chroma-url", metavar="URL", help="the Chroma server; default: the hub's own")
        parser.add_argument("--collection", metavar="NAME", help="the Chroma collection; default: project_memory")
        parser.add_argument(
            "--local-project", metavar="NAME", help="its records' project_name: default the slug, * all"
        )
        parser.add_argument("--letta-blocks", metavar="RULE", help="besides its tag: tag:NAME, label:PREFIX or all")
        parser.add_argument("--owner", metavar="USERNAME", help="make this account an owner")

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        project = Project.objects.filter(slug=options["slug"]).first()
        created = project is None
        project = project or Project(slug=options["slug"], name=options["slug"])
        before = {} if created else _settings(project)
        self._fill(project, options, created)
        try:
            project.full_clean()
            validate_rule(project.letta_rule)
            check_records_are_free(project, project.local_store, project.record_project)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=2) from error
        project.save()
        if options["owner"]:
            self._own(project, options["owner"])
        if not created and _settings(project) != before:
            show_waiting(project)
        verb = "created" if created else "updated" if _settings(project) != before else "unchanged"
        self.stdout.write(f"{project.slug}: {verb}. {project.sides_in_words}")

    def _fill(self, project: Project, options: dict[str, Any], created: bool) -> None:
        if options["name"]:
            project.name = options["name"]
        if options["letta_url"]:
            project.letta_server = self._letta(options["letta_url"], options["letta_key_env"])
        elif options["letta_key_env"]:
            raise CommandError("--letta-key-env goes with --letta-url", returncode=2)
        if options["letta_blocks"] is not None:
            project.letta_rule = options["letta_blocks"]
        if options["local_project"] is not None:
            project.local_project = "" if options["local_project"] == project.slug else options["local_project"]
        if options["chroma_url"] or options["collection"] or created:
            project.local_store = self._local(project, options["chroma_url"], options["collection"])

    def _letta(self, url: str, key_env: str | None) -> LettaServer | None:
        if url == "builtin":
            return None
        key = self._key(key_env)
        url = LETTA_CLOUD_URL if url == "cloud" else url.rstrip("/")
        server = LettaServer.objects.filter(url__in=[url, url + "/"]).first() or LettaServer(url=url, name=url[:100])
        if url == LETTA_CLOUD_URL and not (key or server.api_key_token):
            raise CommandError("Letta Cloud needs a key: name its variable with --letta-key-env", returncode=2)
        if key:
            server.api_key = key
        return self._checked(server)

    @staticmethod
    def _key(variable: str | None) -> str:
        if variable is None:
            return ""
        key = os.environ.get(variable, "")
        if not key:
            raise CommandError(f"the environment variable {variable} is empty or not set", returncode=2)
        return key

    def _local(self, project: Project, url: str | None, collection: str | None) -> LocalStore:
        current = project.local_store
        wanted_url = (url if url is not None else current.url if current else "").rstrip("/")
        name = collection or (current.collection if current else "project_memory")
        if not wanted_url and name == "project_memory":
            return LocalStore.objects.ensure_builtin()
        found = LocalStore.objects.filter(url__in=[wanted_url, wanted_url + "/"], collection=name).first()
        label = f"{wanted_url or 'own'}/{name}"[:100]
        return found or self._checked(LocalStore(url=wanted_url, collection=name, name=label))

    @staticmethod
    def _checked(server: Server) -> Server:
        try:
            server.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=2) from error
        server.save()
        return server

    def _own(self, project: Project, username: str) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"no account {username}: make it in the admin or with createsuperuser", returncode=2)
        Membership.objects.update_or_create(project=project, user=user, defaults={"role": Role.OWNER})


def _settings(project: Project) -> dict[str, Any]:
    return {
        name: getattr(project, name)
        for name in ("name", "letta_server_id", "letta_rule", "local_store_id", "local_project")
    }
