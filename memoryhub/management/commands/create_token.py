"""Make a token for an agent."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from memoryhub import tokens
from memoryhub.forms import validate_agent
from memoryhub.models import Project, Role

LONGEST = 3650  # days


class Command(BaseCommand):
    help = "Make a token with which an agent or a script reads and writes a project's memory. It is printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="its slug")
        parser.add_argument("name", help="of the agent: the history shows it as the author")
        parser.add_argument("--role", choices=[Role.VIEWER.value, Role.EDITOR.value], default=Role.EDITOR.value)
        parser.add_argument("--days", type=int, help="until it expires; default: it does not")
        parser.add_argument("--json", action="store_true", help="print JSON: token, project, name, role, expires_at")

    def handle(self, **options: Any) -> None:
        project = self._project(options["project"])
        name, days = self._name(options["name"]), options["days"]
        if days is not None and not 1 <= days <= LONGEST:
            raise CommandError(f"--days: from 1 to {LONGEST}", returncode=2)
        token, plain = tokens.issue(project, name, role=Role(options["role"]), days=days)
        expires = token.expires_at.isoformat(timespec="seconds") if token.expires_at else None
        if options["json"]:
            said = {"token": plain, "project": project.slug, "name": name, "role": token.role, "expires_at": expires}
            self.stdout.write(json.dumps(said))
        else:
            self.stdout.write(plain)
            until = f"until {expires}" if expires else "and does not expire"
            self.stderr.write(f"{name} is {token.role} of {project.slug} {until}. The token is not shown again.")

    @staticmethod
    def _project(slug: str) -> Project:
        project = Project.objects.filter(slug=slug).first()
        if project is None:
            slugs = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:20])
            there = f"There are: {slugs or 'none yet'}; manage.py setup_project makes one."
            raise CommandError(f"There is no project “{slug}”. {there}", returncode=2)
        return project

    @staticmethod
    def _name(name: str) -> str:
        name = name.strip()
        if not 1 <= len(name) <= 100:
            raise CommandError("Give the agent a name of 1 to 100 characters.", returncode=2)
        try:
            validate_agent(name)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=2) from error
        return name
