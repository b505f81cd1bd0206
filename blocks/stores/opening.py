"""Opening the local store of a project. Nothing is sent over the network here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from memoryhub.models import LocalStore, Project

if TYPE_CHECKING:  # it takes a second to import: at first use, not at every start of a command
    from blocks.stores.chroma import ChromaStore


def open_local(project: Project, timeout: float | None = None) -> ChromaStore:
    """The project's Chroma collection. Raises `UnreadableSecret` when its key cannot be decrypted.

    timeout: seconds for one call, None as the settings say.
    """
    assert project.local_store is not None  # noqa: S101 - for the type checker: callers ask first
    others = Project.objects.filter(local_store=project.local_store).exclude(pk=project.pk)
    claimed = frozenset(other.record_project for other in others) - {"*"}
    return open_chroma(project.local_store, project.slug, project.local_project, claimed, timeout)


def open_chroma(
    store: LocalStore,
    slug: str,
    local_project: str = "",
    claimed: frozenset[str] = frozenset(),
    timeout: float | None = None,
) -> ChromaStore:
    """A collection as the project with this slug sees it. See `ChromaStore`."""
    from blocks.stores.chroma import ChromaStore

    return ChromaStore(
        url=store.base_url,
        api_key=store.api_key,
        tenant=store.tenant,
        database=store.database,
        collection=store.collection,
        slug=slug,
        local_project=local_project,
        timeout=settings.STORE_TIMEOUT if timeout is None else timeout,
        claimed=claimed,
    )
