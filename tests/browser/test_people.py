"""Several people at once, and what a viewer may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Dialog, Page, expect

from blocks import actions
from blocks.models import Memory
from memoryhub.models import Project
from tests.browser.conftest import People
from tests.browser.hub import account

LINES = "first line\n\nsecond line\n\nthird line"


@pytest.fixture
def memory(project: Project) -> Memory:
    return actions.create(project, {"title": "Rollback", "text": LINES}, user=account("olga"))


def text_of(page: Page) -> str:
    return page.get_by_label("Text (Markdown)").input_value()


def test_edits_of_different_lines_come_together(people: People, memory: Memory) -> None:
    people.expected.append("409")
    olga, maria = people.open(account("olga")), people.open(account("maria"))
    for page in (olga, maria):
        page.goto(memory.get_absolute_url())
    write(maria, LINES.replace("third", "THIRD"))
    save(olga, LINES.replace("first", "FIRST"))
    expect(olga.get_by_text("Saved as revision 2")).to_be_visible()
    maria.get_by_role("button", name="Save").click()
    expect(maria.get_by_role("heading", name="olga changed this memory while you edited it")).to_be_focused()
    expect(maria.get_by_role("region", name="What changed meanwhile")).to_contain_text("FIRST")
    assert text_of(maria) == "FIRST line\n\nsecond line\n\nTHIRD line"
    maria.get_by_role("button", name="Save").click()
    expect(maria.get_by_text("Saved as revision 3")).to_be_visible()
    memory.refresh_from_db()
    assert memory.text == "FIRST line\n\nsecond line\n\nTHIRD line"


def test_edits_of_the_same_line_lose_no_text(people: People, memory: Memory) -> None:
    people.expected.append("409")
    olga, maria = people.open(account("olga")), people.open(account("maria"))
    for page in (olga, maria):
        page.goto(memory.get_absolute_url())
    write(maria, "what maria wrote")
    save(olga, "what olga wrote")
    expect(olga.get_by_text("Saved as revision 2")).to_be_visible()
    maria.get_by_role("button", name="Save").click()
    expect(maria.get_by_text("Both changed the same lines")).to_be_visible()
    expect(maria.get_by_role("region", name="What saving would change")).to_contain_text("what olga wrote")
    assert text_of(maria) == "what maria wrote"
    maria.get_by_role("button", name="Save").click()
    expect(maria.get_by_text("Saved as revision 3")).to_be_visible()
    assert [revision.text.text for revision in memory.revisions.order_by("number")] == [
        *(LINES, "what olga wrote", "what maria wrote"),
    ]


def write(page: Page, text: str) -> None:
    page.get_by_label("Text (Markdown)").fill(text)


def save(page: Page, text: str) -> None:
    write(page, text)
    page.get_by_role("button", name="Save").click()


def test_leaving_with_unsaved_text_asks_first(people: People, memory: Memory) -> None:
    page = people.open(account("olga"))
    page.goto(memory.get_absolute_url())
    page.get_by_label("Text (Markdown)").fill(f"{LINES}x")
    with answering(page, "dismiss") as asked:
        page.get_by_role("link", name="Activity").click()
        expect(page.get_by_label("Text (Markdown)")).to_have_value(f"{LINES}x")
    assert asked == ["beforeunload"]
    with answering(page, "accept") as asked:
        page.get_by_role("link", name="Discard").click()
        expect(page.get_by_label("Text (Markdown)")).to_have_value(LINES)
    assert asked == ["confirm"]


@contextmanager
def answering(page: Page, answer: str) -> Iterator[list[str]]:
    """Inside, every dialog gets this answer; the types of those that came up."""
    asked: list[str] = []

    def hear(dialog: Dialog) -> None:
        asked.append(dialog.type)
        getattr(dialog, answer)()

    page.on("dialog", hear)
    yield asked
    page.remove_listener("dialog", hear)


def test_a_text_that_is_refused_stays_in_the_form(people: People, memory: Memory) -> None:
    people.expected.append("422")
    page = people.open(account("olga"))
    page.goto(memory.get_absolute_url())
    page.get_by_text("Label, description, limit and sharing").click()
    page.get_by_label("Limit").fill("5")
    save(page, "more than five characters")
    expect(page.get_by_role("alert").filter(has_text="Not saved")).to_be_visible()
    expect(page.get_by_label("Text (Markdown)")).to_have_value("more than five characters")
    memory.refresh_from_db()
    assert memory.number == 1


def test_a_signed_out_person_keeps_what_they_typed(people: People, memory: Memory) -> None:
    page = people.open(account("olga"))
    page.goto(memory.get_absolute_url())
    page.get_by_label("Text (Markdown)").fill("typed for an hour")
    page.context.clear_cookies()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#trouble")).to_be_visible()
    expect(page.get_by_label("Text (Markdown)")).to_have_value("typed for an hour")
    people.expected.append("403")


WRITING = re.compile("New memory|Save|Delete|Archive|Restore|Sync now|Resolve")
READING = ("", "activity/", "sync/", "conflicts/", "settings/", "settings/members/", "settings/connections/")


def test_a_viewer_sees_everything_and_no_control_that_writes(people: People, project: Project, memory: Memory) -> None:
    page = people.open(account("victor"))
    paths = [*(f"/p/{project.slug}/{path}" for path in READING), memory.get_absolute_url()]
    for path in [*paths, f"{memory.get_absolute_url()}history/"]:
        reply = page.goto(path)
        assert reply is not None
        assert reply.ok, path
        forms = page.locator("main form[method=post]")
        leaving = forms.filter(has=page.get_by_role("button", name="Leave"))
        assert forms.count() == leaving.count() == (path.endswith("members/")), path
        assert page.locator("main textarea").count() == 0, path
        assert page.locator("main").get_by_text(WRITING).count() == 0, path


def test_for_an_outsider_the_project_does_not_exist(people: People, project: Project) -> None:
    page = people.open(account("otto"))
    people.expected.append("404")
    reply = page.goto(f"/p/{project.slug}/")
    assert reply is not None
    assert reply.status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
