"""What the keys do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from blocks import actions
from memoryhub.models import Project
from tests.browser.conftest import People
from tests.browser.hub import account


@pytest.fixture
def page(people: People, project: Project) -> Page:
    for title in ("third", "second", "first"):  # newest first
        actions.create(project, {"title": title, "text": f"text of the {title}"}, user=account("olga"))
    page = people.open(account("olga"))
    page.goto(f"/p/{project.slug}/")
    return page


def test_slash_searches(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("third/j?")
    expect(page.get_by_role("searchbox")).to_have_value("third/j?")
    expect(page.locator("#help")).to_be_hidden()


def test_j_and_k_move_and_enter_opens(page: Page) -> None:
    for key, title in (("j", "first"), ("j", "second"), ("j", "third"), ("j", "third"), ("k", "second")):
        page.keyboard.press(key)
        chosen = page.locator(".at a.title:visible")
        expect(chosen).to_have_text(title)
        expect(chosen).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="second")).to_be_visible()


def test_e_edits_the_chosen_one_and_control_enter_saves(page: Page) -> None:
    page.keyboard.press("j")
    page.keyboard.press("e")
    text = page.get_by_label("Text (Markdown)")
    expect(text).to_be_focused()
    expect(text).to_have_value("text of the first")
    page.keyboard.press("Control+End")
    page.keyboard.type(", longer")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Saved as revision 2")).to_be_visible()
    expect(text).to_be_focused()


def test_e_on_the_page_of_a_memory_goes_to_its_text(page: Page) -> None:
    page.locator("a.title").first.click()
    expect(page.get_by_role("heading", level=1, name="first")).to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_label("Text (Markdown)")).to_be_focused()


def test_question_mark_helps(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator(".at")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_s_syncs(people: People, synced: Project) -> None:
    page = people.open(account("maria"))
    page.goto(f"/p/{synced.slug}/")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("/sync/$"))
    expect(page.locator("#past tbody tr")).to_have_count(2)
    expect(page.locator("#past")).to_contain_text("maria")


def test_the_first_tab_skips_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
