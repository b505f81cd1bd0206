"""The whole story: from signing in to both sides in step, with a real Letta server and a real store."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from blocks.models import Memory, SyncState
from memoryhub.models import Project
from tests.browser.conftest import People
from tests.browser.hub import PASSWORD, Hub, account, wait
from tests.browser.outside import COUNT, Outside

TEXT = "# Rollback\n\nStop the **queue** first."


def test_from_signing_in_to_both_sides_in_step(people: People, hub: Hub, outside: Outside) -> None:
    account("olga")
    page = people.open()
    sign_in(page, "olga")
    project = make_a_project_and_see_its_first_sync(page, hub, outside)
    both_columns_are_filled(page, project, outside)
    test_the_connections(page)
    search_as_you_type(page, project)
    filter_by_kind(page, project)
    memory = Memory.objects.filter(project=project).order_by("sort_title", "id")[0]
    edit_with_a_preview(page, hub, memory)
    wait_until_in_sync(page, memory, outside, TEXT)
    preview_then_sync_what_an_agent_changed(page, project, memory, outside)
    resolve_a_conflict(page, hub, project, memory, outside)
    history_diff_and_restore(page, memory, outside)
    archive_restore_delete(page, memory, outside)


def sign_in(page: Page, name: str) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/accounts/login/"))
    for password in ("wrong", PASSWORD):
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        if password == "wrong":
            expect(page.get_by_text("Please enter a correct username and password")).to_be_visible()
    expect(page.locator("summary", has_text=name)).to_be_visible()


def make_a_project_and_see_its_first_sync(page: Page, hub: Hub, outside: Outside) -> Project:
    page.goto("/")
    page.get_by_role("link", name=re.compile("New project|Make a project")).click()
    page.get_by_label("Name").fill(outside.name.replace("-", " "))
    page.get_by_label("Letta server").select_option(label=outside.letta.name)
    page.get_by_label("Local store").select_option(label=outside.store.name)
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text(f"{COUNT} to push, {COUNT} to pull")).to_be_visible()
    with hub.paused("sync"):
        page.get_by_role("button", name="Do it: sync now").click()
        expect(page.get_by_role("heading", name="Sync queued")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("heading", name="Last sync: done")).to_be_visible()
    expect(page.locator("#past tbody tr")).to_have_count(1)
    return Project.objects.get(slug=outside.name)


def both_columns_are_filled(page: Page, project: Project, outside: Outside) -> None:
    page.get_by_role("link", name="Memories").click()
    rows = page.locator("li.memory")
    expect(rows).to_have_count(COUNT)
    expect(page.locator(".state", has_text="in sync")).to_have_count(COUNT)
    expect(page.locator(".form.letta .excerpt")).to_have_count(COUNT)
    expect(page.locator(".form.local", has_text="chunk")).to_have_count(COUNT)
    assert sorted(block.value for block in outside.blocks(project)) == outside.texts


def test_the_connections(page: Page) -> None:
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Connections").click()
    for name in ("Letta", "local"):
        page.get_by_role("button", name=f"Test connection of {name}").click()
    expect(page.locator(".probe.fine")).to_have_count(2)


test_the_connections.__test__ = False  # type: ignore[attr-defined]


def search_as_you_type(page: Page, project: Project) -> None:
    """The list follows the text, the address follows the list, and the way back leads over what was searched."""
    word = str(Memory.objects.filter(project=project).order_by("pk")[0].text.split("#")[1][:4].strip(". "))
    page.get_by_role("link", name="Memories").click()
    page.get_by_role("searchbox").press_sequentially(word)
    expect(page).to_have_url(re.compile(f"q={word}"))
    expect(page.locator("li.memory")).not_to_have_count(COUNT)
    page.get_by_role("searchbox").fill("nobody wrote this")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(f"q={word}$"))
    expect(page.get_by_role("searchbox")).to_have_value(word)
    expect(page.locator("li.memory").first).to_be_visible()
    page.go_back()
    expect(page.locator("li.memory")).to_have_count(COUNT)
    expect(page.get_by_role("searchbox")).to_have_value("")


def filter_by_kind(page: Page, project: Project) -> None:
    kind = Memory.objects.filter(project=project).order_by("pk")[0].kind
    count = Memory.objects.filter(project=project, kind=kind).count()
    page.locator("summary", has_text="kind").click()
    choice = page.locator(".drop a", has_text=kind).first
    expect(choice.locator(".count")).to_have_text(str(count))
    choice.click()
    expect(page).to_have_url(re.compile(f"kind={kind}"))
    expect(page.locator("li.memory")).to_have_count(count)
    page.get_by_role("link", name="clear").click()
    expect(page.locator("li.memory")).to_have_count(COUNT)


def edit_with_a_preview(page: Page, hub: Hub, memory: Memory) -> None:
    """Opened from the list; saved, it waits until a worker has brought it to both sides."""
    page.locator(f"#m-{memory.uuid} a.title:visible").click()
    page.get_by_label("Text (Markdown)").fill(TEXT)
    expect(page.locator("#preview").get_by_role("heading", name="Rollback")).to_be_visible()
    expect(page.locator("#preview strong")).to_have_text("queue")
    with hub.paused("push"):
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved as revision")).to_be_visible()
        expect(page.locator(".badge", has_text="waiting to push")).to_be_visible()
        page.get_by_role("link", name="Memories").first.click()
        expect(page.locator(f"#m-{memory.uuid} .state")).to_contain_text("waiting to push")


def wait_until_in_sync(page: Page, memory: Memory, outside: Outside, text: str) -> None:
    wait(lambda: Memory.objects.get(pk=memory.pk).sync_state == SyncState.SYNCED)
    assert outside.texts_of(memory) == (text, text)
    page.goto(f"/p/{outside.name}/")
    expect(page.locator(f"#m-{memory.uuid} .state")).to_contain_text("in sync")


def preview_then_sync_what_an_agent_changed(page: Page, project: Project, memory: Memory, outside: Outside) -> None:
    outside.edit_block(memory, f"{TEXT}\n\nThen tell the team.")
    page.get_by_role("navigation", name="Project").get_by_role("link", name="Sync").click()
    page.get_by_role("button", name="Preview").click()
    plan = page.locator("#plan")
    expect(plan.get_by_role("heading", name="The plan")).to_be_visible()
    expect(plan.get_by_role("row", name=re.compile(re.escape(memory.title[:20])))).not_to_have_count(0)
    assert Memory.objects.get(pk=memory.pk).text == TEXT
    page.locator("#sync-now").click()
    expect(page.locator("#past tbody tr")).to_have_count(2)
    wait_until_in_sync(page, memory, outside, f"{TEXT}\n\nThen tell the team.")


def resolve_a_conflict(page: Page, hub: Hub, project: Project, memory: Memory, outside: Outside) -> None:
    with hub.paused("push"):
        page.locator(f"#m-{memory.uuid} a.title:visible").click()
        outside.edit_block(memory, "An agent says: never roll back.")
        page.get_by_label("Text (Markdown)").fill("A person says: always roll back.")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved as revision")).to_be_visible()
        page.get_by_role("navigation", name="Project").get_by_role("link", name="Sync").click()
        page.locator("#sync-now").click()
        expect(page.locator("#past tbody tr")).to_have_count(3)
    page.get_by_role("link", name="Conflicts").click()
    page.get_by_role("link", name="Resolve").click()
    expect(page.locator(".versions")).to_contain_text("An agent says")
    expect(page.locator(".versions")).to_contain_text("A person says")
    page.get_by_label("Text (Markdown)").fill("Roll back, but stop the queue first.")
    page.get_by_role("button", name="Keep this text").click()
    expect(page.get_by_text("goes to both sides")).to_be_visible()
    expect(page.get_by_role("heading", name="No open conflicts")).to_be_visible()
    wait_until_in_sync(page, memory, outside, "Roll back, but stop the queue first.")


def history_diff_and_restore(page: Page, memory: Memory, outside: Outside) -> None:
    page.locator(f"#m-{memory.uuid} a.title:visible").click()
    page.get_by_role("link", name="all and compare").click()
    page.get_by_label("From revision 1", exact=True).check()
    page.get_by_label("To revision 2", exact=True).check()
    page.get_by_role("button", name="Compare the two chosen").click()
    expect(page.get_by_role("heading", name="Revision 1 to 2")).to_be_visible()
    expect(page).to_have_url(re.compile("(?=.*from=1)(?=.*to=2)"))
    expect(page.locator(".diff .add").first).to_contain_text("# Rollback")
    page.get_by_role("button", name="restore revision 1", exact=True).click()
    expect(page.get_by_text("Revision 1 is the current text again")).to_be_visible()
    first = memory.revisions.get(number=1).text.text
    expect(page.get_by_label("Text (Markdown)")).to_have_value(first)
    wait_until_in_sync(page, memory, outside, first)


def archive_restore_delete(page: Page, memory: Memory, outside: Outside) -> None:
    page.locator(f"#m-{memory.uuid} a.title:visible").click()
    page.get_by_role("button", name="Archive").click()
    expect(page.get_by_text("This memory is archived.")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("is back.")).to_be_visible()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("is deleted. It can be restored")).to_be_visible()
    expect(page.locator("li.memory")).to_have_count(COUNT - 1)
    page.locator("summary", has_text="show:").click()
    page.locator(".drop a", has_text="deleted").click()
    expect(page.locator("li.memory")).to_have_count(1)
    wait(lambda: not outside.client.blocks.list(tags=[f"memhub:memory:{memory.uuid}"]).items)
