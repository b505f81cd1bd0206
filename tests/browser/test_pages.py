"""Every page, wide and narrow, light and dark: nothing is cut off, in the way, unreadable or complained about.

The pictures go to the folder MEMORYHUB_SCREENSHOTS, for people to look at, or else to one that pytest keeps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from playwright.sync_api import Page, ViewportSize

from memoryhub.models import LettaServer, LocalStore
from syncjobs.models import Replica, SyncRun
from syncjobs.tasks import enqueue_run
from tests import original_store
from tests.browser.conftest import People, make_project
from tests.browser.hub import Hub, account, wait
from tests.browser.scene import Scene, make_scene

WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LOOKS = [(size, scheme) for scheme in THEMES for size in (WIDE, NARROW)]
EXAMINED = [(WIDE, "light"), (NARROW, "dark")]  # by axe: every layout and every colour once
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COUNT = 24  # memories
STRICT = {"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"}


@dataclass
class Shown:
    """A page in a state. path: in a scene. who: looks at it; empty is nobody. fill, open: the field that is filled with
    “Claude” and what is clicked first."""

    name: str
    path: Callable[[Scene], str]
    who: str = "olga"
    status: int = 200
    fill: str = ""
    open: str = ""


def at(name: str, *values: Any) -> Callable[[Scene], str]:
    return lambda scene: reverse(name, args=[scene.full.slug, *(value(scene) for value in values)])


def plus(path: Callable[[Scene], str], more: str) -> Callable[[Scene], str]:
    return lambda scene: path(scene) + more


def empty(name: str) -> Callable[[Scene], str]:
    return lambda scene: reverse(name, args=[scene.empty.slug])


def plain(name: str) -> Callable[[Scene], str]:
    return lambda scene: reverse(name)


PAGES = [
    Shown("login", plain("login"), who=""),
    Shown("password_reset", plain("password_reset"), who=""),
    Shown("password_reset_done", plain("password_reset_done"), who=""),
    Shown("password_reset_complete", plain("password_reset_complete"), who=""),
    Shown("password_reset_confirm", lambda scene: reverse("password_reset_confirm", args=["x", "x-x"]), who=""),
    Shown("password_change", plain("password_change")),
    Shown("password_change_done", plain("password_change_done")),
    Shown("home", plain("home")),
    Shown("home-first", plain("home"), who="nora"),
    Shown("project_new", plain("project_new")),
    Shown("status", plain("status")),
    Shown("memories", at("memories")),
    Shown("memories-viewer", at("memories"), who="victor"),
    Shown("memories-menu", at("memories"), open="summary:has-text('kind')"),
    Shown("memories-help", at("memories"), open="[data-help]"),
    Shown("memories-found", plus(at("memories"), "?q=timeout")),
    Shown("memories-nothing", plus(at("memories"), "?q=nobody+wrote+this")),
    Shown("memories-conflict", plus(at("memories"), "?state=conflict")),
    Shown("memories-archived", plus(at("memories"), "?shown=archived")),
    Shown("memories-empty", empty("memories")),
    Shown("memory", at("memory", lambda s: s.memory.uuid)),
    Shown("memory-viewer", at("memory", lambda s: s.memory.uuid), who="victor"),
    Shown("memory-more", at("memory", lambda s: s.memory.uuid), open="details.more > summary"),
    Shown("memory-conflict", at("memory", lambda s: s.open.memory.uuid)),
    Shown("memory-deleted", at("memory", lambda s: s.deleted.uuid)),
    Shown("memory_new", at("memory_new")),
    Shown("memory_history", at("memory_history", lambda s: s.memory.uuid)),
    Shown("memory_purge", at("memory_purge", lambda s: s.memory.uuid)),
    Shown("memory_purge-deleted", at("memory_purge", lambda s: s.deleted.uuid)),
    Shown("memory_purge-conflict", at("memory_purge", lambda s: s.open.memory.uuid)),
    Shown("memory_delete", at("memory_delete", lambda s: s.memory.uuid)),
    Shown("activity", at("activity")),
    Shown("activity-empty", empty("activity")),
    Shown("sync", at("sync")),
    Shown("sync-plan", at("sync"), open="#preview"),
    Shown("sync-viewer", at("sync"), who="victor"),
    Shown("sync-empty", empty("sync")),
    Shown("sync_preview", at("sync_preview")),
    Shown("run", at("run", lambda s: s.done.pk)),
    Shown("run-running", at("run", lambda s: s.running.pk)),
    Shown("run-braked", at("run", lambda s: s.braked.pk)),
    Shown("conflicts", at("conflicts")),
    Shown("conflicts-decided", plus(at("conflicts"), "?closed")),
    Shown("conflicts-empty", empty("conflicts")),
    Shown("conflict", at("conflict", lambda s: s.open.pk)),
    Shown("conflict-decided", at("conflict", lambda s: s.decided.pk)),
    Shown("agents", at("agents")),
    Shown("agents-all", plus(at("agents"), "?all"), who="stella"),
    Shown("agents-viewer", at("agents"), who="victor"),
    Shown("agents-nothing", plus(at("agents"), "?q=nobody+has+this+name")),
    Shown("agents-empty", empty("agents")),
    Shown("agent", at("agent", lambda s: s.agent)),
    Shown("agent-viewer", at("agent", lambda s: s.agent), who="victor"),
    Shown("agent_new", at("agent_new")),
    Shown("agent_new-empty", empty("agent_new")),
    Shown("memory-seen", at("memory", lambda s: s.seen.uuid)),
    Shown("memory_delete-seen", at("memory_delete", lambda s: s.seen.uuid)),
    Shown("project_settings", at("project_settings")),
    Shown("members", at("members")),
    Shown("tokens", at("tokens")),
    Shown("tokens-made", at("tokens"), fill="[name=name]", open="button:has-text('Make the token')"),
    Shown("connections", at("connections")),
    Shown("connections-tested", at("connections"), open="button:has-text('Test connection of Letta')"),
    Shown("connections-viewer", at("connections"), who="victor"),
    Shown("others", at("others"), who="stella"),
    Shown("404", lambda scene: "/p/nowhere/", status=404),
    Shown("403", at("others"), status=403),
]
NO_PAGES = {"logout", "healthz", "memory_preview", "memory_archive", "memory_restore", "memory_restore_revision"} | {
    *("sync_now", "sync_allow", "run_stop", "conflict_resolve", "connection_test", "connection_confirm", "adopt"),
    *("project_archive", "project_unarchive", "project_demo", "member_invite", "member_role", "member_remove"),
    *("live", "token_create", "token_revoke", "agent_attach", "agent_detach", "memory_agents"),
    *("memory_purge_text", "memory_purge_revisions", "memory_purge_memory"),
}


def named(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver) and pattern.namespace is None:
            yield from named(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_every_page_is_looked_at() -> None:
    shown = {page.name for page in PAGES}
    assert set(named(get_resolver().url_patterns)) - NO_PAGES - shown == set()


@pytest.fixture(scope="module")
def scene(hub: Hub, hub_models: None, letta_server: str, chroma_server: str) -> Scene:
    """Memories of a store in the original layout, synced with both servers, and what people did then."""
    slug = f"planner-{uuid4().hex[:6]}"
    letta, _ = LettaServer.objects.get_or_create(url=letta_server, defaults={"name": "Team Letta"})
    store = LocalStore.objects.create(name="Team store", url=chroma_server, collection=slug)
    original_store.fill(original_store.open_server(chroma_server), original_store.memories(COUNT, (slug,)), slug)
    account("nora")
    account("stella", is_superuser=True, is_staff=True)
    about = "What the planning agents and their team remember."
    full = make_project(slug, name="Planner", description=about, letta_server=letta, local_store=store)
    run = enqueue_run(full, trigger="button", user=account("olga"))
    wait(lambda: SyncRun.objects.get(pk=run.pk).status == "done")
    assert Replica.objects.filter(memory__project=full).count() == 2 * COUNT
    return make_scene(full, make_project(f"quiet-{uuid4().hex[:6]}", name="A quiet project"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = os.environ.get("MEMORYHUB_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_page(shown: Shown, people: People, scene: Scene, pictures: Path) -> None:
    if shown.status >= 400:
        people.expected.append(f"status of {shown.status}")
    page = people.open(account(shown.who) if shown.who else None)
    reply = page.goto(shown.path(scene))
    assert reply is not None
    assert reply.status == shown.status
    assert not STRICT - set(reply.headers["content-security-policy"].split("; "))
    assert "unsafe" not in reply.headers["content-security-policy"]
    if shown.fill:
        page.locator(shown.fill).fill("Claude")
    if shown.open:
        page.locator(shown.open).first.click()
        page.wait_for_load_state("networkidle")
    for size, scheme in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.screenshot(path=pictures / f"{shown.name}-{size['width']}-{scheme}.png", full_page=True)
        if (size, scheme) in EXAMINED:
            assert trouble(page) == ""
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"scrolls at {size['width']}"


def trouble(page: Page) -> str:
    """What axe finds."""
    found = AXE.run(page, options={"resultTypes": ["violations"], "runOnly": RULES}).response["violations"]
    return "\n".join(f"{one['id']}: {node['target']} {node['html'][:200]}" for one in found for node in one["nodes"])


AXE = Axe()
