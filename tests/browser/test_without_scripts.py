"""Everything essential with JavaScript switched off."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from blocks.models import Memory, SyncState
from memoryhub.models import Project
from syncjobs.models import SyncRun
from tests.browser.conftest import People
from tests.browser.hub import Hub, account, wait
from tests.browser.outside import COUNT, Outside


def test_list_search_edit_sync_and_resolve(people: People, hub: Hub, synced: Project, outside: Outside) -> None:
    page = people.open(account("maria"), java_script_enabled=False)
    page.goto(f"/p/{synced.slug}/")
    expect(page.locator("li.memory")).to_have_count(COUNT)
    memory = search_and_filter(page, synced)
    edit(page, hub, memory)
    wait(lambda: Memory.objects.get(pk=memory.pk).sync_state == SyncState.SYNCED)
    sync_and_find_a_conflict(page, hub, synced, memory, outside)
    page.get_by_role("link", name="Conflicts").click()
    page.get_by_role("link", name="Resolve").click()
    page.get_by_label("Text (Markdown)").fill("decided without a script")
    page.get_by_role("button", name="Keep this text").click()
    expect(page.get_by_text("goes to both sides")).to_be_visible()
    wait(lambda: Memory.objects.get(pk=memory.pk).sync_state == SyncState.SYNCED)
    assert outside.texts_of(memory) == ("decided without a script", "decided without a script")


def search_and_filter(page: Page, project: Project) -> Memory:
    memory = Memory.objects.filter(project=project).order_by("pk")[0]
    number = re.findall(r"#\d+", memory.text)[0]
    page.get_by_role("searchbox").fill(number)
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("li.memory")).to_have_count(1)
    page.get_by_role("link", name="all states").click()
    expect(page.get_by_role("searchbox")).to_have_value(number)
    return memory


def edit(page: Page, hub: Hub, memory: Memory) -> None:
    page.locator(f"#m-{memory.uuid} a.title:visible").click()
    page.get_by_label("Text (Markdown)").fill("# written without a script")
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Preview").click()
    expect(opened.value.locator("#preview").get_by_role("heading")).to_have_text("written without a script")
    opened.value.close()
    with hub.paused("push"):
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved as revision 2")).to_be_visible()
        expect(page.locator(".badge", has_text="waiting to push")).to_be_visible()


def sync_and_find_a_conflict(page: Page, hub: Hub, project: Project, memory: Memory, outside: Outside) -> None:
    with hub.paused("push"):
        outside.edit_block(memory, "what the agent says")
        page.get_by_label("Text (Markdown)").fill("what maria says")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Sync", exact=True).click()
        page.get_by_role("button", name="Sync now").click()
        expect(page.get_by_role("heading", name=re.compile("^Sync queued|^Sync running|^Last sync"))).to_be_visible()
        wait(lambda: not SyncRun.objects.filter(project=project, finished_at=None).exists())


def test_what_needs_a_script_is_not_shown(people: People, synced: Project) -> None:
    page = people.open(account("maria"), java_script_enabled=False)
    page.goto(f"/p/{synced.slug}/")
    expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_hidden()
    expect(page.get_by_role("button", name="Switch between light and dark")).to_be_hidden()
    page.goto(f"/p/{synced.slug}/sync/")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="What a sync would do now")).to_be_visible()
    expect(page.get_by_text("Nothing to do")).to_be_visible()
