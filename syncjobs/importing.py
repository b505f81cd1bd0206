"""Puts the memories of a Chroma folder into the local stores of the projects they name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from blocks.models import Memory
from blocks.stores.chroma_records import Document
from blocks.stores.chroma_rows import Row
from blocks.stores.opening import open_local
from memoryhub.models import Project
from syncjobs.models import Replica


@dataclass
class Imported:
    """What became of the memories of one project name. problem: why none could be taken."""

    name: str
    project: str = ""
    imported: int = 0
    present: int = 0
    problem: str = ""


def import_documents(found: dict[str, Document], only: Project | None, *, dry_run: bool) -> list[Imported]:
    """Import every document whose project is known (or only those of one project), each once. Raises `StoreError`."""
    by_name: dict[str, list[Document]] = {}
    for document in found.values():
        by_name.setdefault(str(document.meta.get("project_name") or ""), []).append(document)
    targets = [only] if only else list(Project.objects.active().select_related("local_store"))
    results = []
    for name, documents in sorted(by_name.items()):
        project = project_for(name, targets)
        if project or not only:
            results.append(_import(name, project, documents, dry_run))
    return results


def project_for(name: str, projects: Iterable[Project]) -> Project | None:
    """The project whose records carry this project_name; one that takes all only where no other does."""
    with_store = [project for project in projects if project.local_store_id]
    exact = [project for project in with_store if name and project.record_project == name]
    return next(iter(exact or [p for p in with_store if p.record_project == "*"]), None)


def _import(name: str, project: Project | None, documents: list[Document], dry_run: bool) -> Imported:
    if project is None:
        shown = f"named “{name}”" if name else "that takes records without a project name"
        why = f"no project {shown} has a local store: {len(documents)} memories were left (see setup_project)"
        return Imported(name, problem=why)
    result = Imported(name, project.slug)
    store = open_local(project)
    rows = store.rows_for_import(create=not dry_run)
    stored: dict[str, Row] = {}
    if rows:
        stored = {row.id: row for row in rows.of([row.id for document in documents for row in document.rows])}
    known = _known(project, [document.id for document in documents])
    missing: list[Row] = []
    for document in documents:
        lacking = [] if document.id in known else _lacking(document, stored)
        missing += lacking
        result.imported += bool(lacking)
        result.present += not lacking
    if rows and missing and not dry_run:
        rows.upsert(missing)
    return result


def _known(project: Project, ids: list[str]) -> set[str]:
    """Documents the hub has, or had: whoever deleted one does not get it back from an old folder."""
    uuids = {str(uuid) for uuid in Memory.objects.filter(project=project).values_list("uuid", flat=True)}
    linked = Replica.objects.filter(connection__project=project, connection__side="local")
    linked_ids = set(linked.exclude(external_id="").values_list("external_id", flat=True))
    return {id for id in ids if id in linked_ids or id in uuids or _as_uuid(id) in uuids}


def _as_uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def _lacking(document: Document, stored: dict[str, Row]) -> list[Row]:
    """The rows to add: all, or what an import that was cut off left; none where somebody changed what is there."""
    there = [row for row in document.rows if row.id in stored]
    if any(stored[row.id].text != row.text or stored[row.id].meta != row.meta for row in there):
        return []
    return [row for row in document.rows if row.id not in stored]
