"""Bring projects' Letta blocks and local memories in step, now, in this process."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError

from memoryhub.models import Project
from syncjobs import run as runs
from syncjobs.braked import named, not_shown
from syncjobs.conflicts import count_open
from syncjobs.foresee import preview
from syncjobs.models import COUNTERS, RunStatus, SyncRun, zero_counters

EXIT = {RunStatus.DONE: 0, RunStatus.FAILED: 1, RunStatus.BRAKED: 3, RunStatus.BUSY: 4}
WORST_FIRST = (RunStatus.FAILED, RunStatus.BRAKED, RunStatus.BUSY)
PATIENCE = 600  # seconds to wait for a run that is under way

NO_DATABASE = (
    "The hub's database does not answer, or has no tables: {}\nIs DATABASE_URL right, is the server running, has the "
    "disk room, was manage.py migrate run? Nothing is lost: the next sync reads back what this one had begun."
)


class Command(BaseCommand):
    help = (
        "Bring projects in step with their Letta server and local store. Runs in this process, whether or not web and "
        "worker are up. Exit code: 0 done (open conflicts are shown), 1 something failed, 2 wrong usage, 3 stopped at "
        "the brake, 4 busy; with several projects 1 wins over 3 over 4."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--project", action="append", default=[], metavar="SLUG", help="may be repeated; all if absent"
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")
        parser.add_argument("--allow-deletions", action="store_true", help="do what the brake would stop")
        parser.add_argument("--approve", type=int, metavar="RUN", help="do exactly the list that this run stopped at")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for a run that is under way")
        parser.add_argument("--json", action="store_true", help="print a list with one object a project")

    def handle(self, **options: Any) -> None:
        results: list[dict[str, Any]] = []
        try:
            projects = self._projects(options["project"])
            approved = self._approved(options, projects)
            results += (self._one(project, options, approved) for project in projects)
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            if results and options["json"]:
                self.stdout.write(json.dumps(results, indent=2))
            raise CommandError(NO_DATABASE.format(str(error).strip()), returncode=1) from error
        if options["json"]:
            self.stdout.write(json.dumps(results, indent=2))
        for status in WORST_FIRST:
            if any(result["status"] == status for result in results):
                raise SystemExit(EXIT[status])

    def _projects(self, slugs: list[str]) -> list[Project]:
        rows = Project.objects.active().select_related("letta_server", "local_store").order_by("slug")
        if not slugs:
            return list(rows)
        found = {project.slug: project for project in rows.filter(slug__in=slugs)}
        unknown = [slug for slug in slugs if slug not in found]
        if unknown:
            raise CommandError(
                f"No active project {', '.join(unknown)}. See manage.py setup_project --help.", returncode=2
            )
        return [found[slug] for slug in dict.fromkeys(slugs)]

    @staticmethod
    def _approved(options: dict[str, Any], projects: list[Project]) -> SyncRun | None:
        if options["approve"] is None:
            return None
        run = SyncRun.objects.filter(pk=options["approve"], status=RunStatus.BRAKED).first()
        if run is None or [run.project] != projects:
            why = f"There is no run {options['approve']} that stopped at the brake in the project named by --project."
            raise CommandError(why, returncode=2)
        return run

    def _one(self, project: Project, options: dict[str, Any], approved: SyncRun | None) -> dict[str, Any]:
        result = self._preview(project) if options["dry_run"] else self._run(project, options, approved)
        if not options["json"]:
            self._show(result, options["verbosity"])
        return {key: value for key, value in result.items() if not key.startswith("_")}

    def _preview(self, project: Project) -> dict[str, Any]:
        began = time.monotonic()
        foreseen = preview(project)
        status = RunStatus.FAILED if foreseen.errors else RunStatus.BRAKED if foreseen.brake else RunStatus.DONE
        errors = foreseen.errors + ([foreseen.brake] if foreseen.brake else [])
        seconds = time.monotonic() - began
        return self._result(project, status, foreseen.counters, errors, seconds, foreseen.steps)

    def _run(self, project: Project, options: dict[str, Any], approved: SyncRun | None) -> dict[str, Any]:
        allow = options["allow_deletions"]
        run = SyncRun(project=project, trigger="command", allow_deletions=allow, approves=approved)
        patience = time.monotonic() + (0 if options["no_wait"] else PATIENCE)
        while True:
            try:
                runs.start(run)
            except runs.Busy:
                if time.monotonic() >= patience:
                    return self._result(project, RunStatus.BUSY, zero_counters(), ["another run is under way"], 0.0, [])
                time.sleep(0.5)
            else:
                errors = [_sentence(error) for error in run.errors]
                if run.status == RunStatus.BRAKED:
                    errors.append(
                        f"The list: the page of run {run.pk} in the hub, or -v 2 here. If that is what you want, "
                        f"sync_memory --project {project.slug} --approve {run.pk} does exactly it."
                    )
                result = self._result(project, run.status, run.counters, errors, run.seconds or 0.0, run.steps)
                return result | ({"_run": run} if run.status == RunStatus.BRAKED else {})

    @staticmethod
    def _result(
        project: Project,
        status: str,
        counters: dict[str, int],
        errors: list[str],
        seconds: float,
        steps: list[dict[str, Any]],
    ) -> dict[str, Any]:
        return {
            "project": project.slug,
            "status": str(status),
            **{name: counters.get(name, 0) for name in COUNTERS},
            "open_conflicts": count_open(project),
            "seconds": round(seconds, 3),
            "errors": errors,
            "_steps": steps,
        }

    def _show(self, result: dict[str, Any], verbosity: int) -> None:
        self.stdout.write(f"{result['project']}: {result['status']} in {result['seconds']:.1f} s: {_did(result)}")
        if count := result["open_conflicts"]:
            self.stdout.write(f"  {count} open conflict{'s'[: count > 1]}, to be decided on the Conflicts page")
        if verbosity > 1:
            for step in result["_steps"]:
                self.stdout.write(f"  {step['op']:8} {step['side']:6} {step['title'][:80]}  ({step['why']})")
            for going in named(not_shown(result["_run"])) if "_run" in result else ():
                self.stdout.write(f"  {'remove':8} {going.title[:80]}  ({going.sides})")
        for error in result["errors"]:
            self.stderr.write(f"{result['project']}: {error}")  # cron sends only this


def _did(result: dict[str, Any]) -> str:
    """What a run counted, or would have counted had it not stopped at the brake."""
    run = result.get("_run")
    counters, words = (run.foreseen or result, "nothing changed; would have ") if run else (result, "")
    counted = ", ".join(f"{counters[name]} {name}" for name in COUNTERS if counters[name])
    return f"{words}{counted or 'nothing there yet'}"


def _sentence(error: dict[str, str]) -> str:
    about = f"{error['title']} ({error['memory']}): " if error["memory"] else ""
    return f"{error['side']}: {about}{error['error']}" if error["side"] else f"{about}{error['error']}"
