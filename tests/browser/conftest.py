"""The hub with all its processes, Chromium, and people with a browser each.

Everything lives as long as this folder's tests: the loop of playwright must not go on under the other ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from memoryhub.models import LettaServer, LocalStore, Membership, Project, Role
from syncjobs.models import SyncRun
from syncjobs.tasks import enqueue_run
from tests.browser.hub import Hub, account, session_of, wait
from tests.browser.outside import Outside

SECONDS = 60  # how long a page may take; the machine may be busy
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--no-first-run",
]
expect.set_options(timeout=SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def hub(chroma_server: str) -> Iterator[Hub]:
    """The whole hub, started once; a test works in a project of its own."""
    with tempfile.TemporaryDirectory(prefix="memhub-browser-") as folder:
        hub = Hub(Path(folder), chroma_server).start()
        try:
            yield hub
        finally:
            hub.stop()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed (`make chromium` does)")
        pytest.skip("Chromium is not installed (`make chromium` does)")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's loop runs in this thread, and is no harm
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def hub_models(hub: Hub, chromium: Browser, django_db_blocker: Any) -> Iterator[None]:
    """The models of this folder's tests are those of the running hub."""
    with hub.models(), django_db_blocker.unblock():
        yield


class People:
    """Opens browsers, each with somebody in front of it, and hears what the pages complain about."""

    def __init__(self, hub: Hub, chromium: Browser) -> None:
        self.hub, self.chromium = hub, chromium
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.expected: list[str] = []  # parts of complaints that a test provokes

    def open(self, user: User | None = None, **options: Any) -> Page:
        """A page in a browser of its own, signed in as `user`."""
        options = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"} | options
        context = self.chromium.new_context(base_url=self.hub.url, **options)
        context.set_default_timeout(SECONDS * 1000)
        self.contexts.append(context)
        context.on("console", self.hear)
        context.on("weberror", lambda error: self.complaints.append(f"{error.page and error.page.url}: {error.error}"))
        if user is not None:
            cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session_of(user), "url": self.hub.url}
            context.add_cookies([cookie])  # type: ignore[list-item]
        return context.new_page()

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.page and message.page.url}: {message.text}")

    def close(self) -> None:
        for context in self.contexts:
            context.close()

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(part in text for part in self.expected)]


@pytest.fixture
def people(hub: Hub, chromium: Browser, hub_models: None) -> Iterator[People]:
    """At the end no page may have complained: no error, no warning, nothing stopped by the content security policy."""
    assert hub.answers(), f"the hub is gone:\n{hub.log.read_text()[-3000:]}"
    people, said = People(hub, chromium), len(hub.log.read_text())
    yield people
    people.close()
    assert people.unexpected() == [], hub.log.read_text()[said:]
    assert " ERROR " not in hub.log.read_text()[said:]


@pytest.fixture
def outside(letta_server: str, chroma_server: str, collection: str, hub_models: None) -> Outside:
    """A real Letta server, and a real store in the original layout with memories of two projects."""
    letta, _ = LettaServer.objects.get_or_create(url=letta_server, defaults={"name": "Team Letta"})
    store = LocalStore.objects.create(name=f"Store {collection[-6:]}", url=chroma_server, collection=collection)
    return Outside(letta, store, name=f"harbour-{collection[-6:]}")


ROLES = {"olga": Role.OWNER, "maria": Role.EDITOR, "victor": Role.VIEWER}


def make_project(slug: str, **fields: Any) -> Project:
    """olga's project; maria edits it, victor reads it."""
    project = Project.objects.create(slug=slug, **fields)
    for name, role in ROLES.items():
        Membership.objects.create(project=project, user=account(name), role=role)
    return project


@pytest.fixture
def project(hub_models: None, collection: str) -> Project:
    """Without servers of its own."""
    return make_project(f"harbour-{collection[-6:]}", name="Harbour")


@pytest.fixture
def synced(outside: Outside, people: People) -> Project:
    """Connected to both servers, and in step with them."""
    project = make_project(outside.name, name="Harbour", letta_server=outside.letta, local_store=outside.store)
    run = enqueue_run(project, trigger="button")
    wait(lambda: SyncRun.objects.get(pk=run.pk).status == "done")
    return project
