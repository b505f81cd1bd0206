"""Agents of a real Letta server, by clicking: what they see is attached, detached, and known at the memory."""

from __future__ import annotations

import re
from uuid import uuid4

from playwright.sync_api import expect

from blocks.models import Memory
from memoryhub.models import Project
from tests.browser.conftest import People
from tests.browser.hub import account
from tests.browser.outside import Outside


def labels_of(outside: Outside, agent: str) -> set[str]:
    return {block.label or "" for block in outside.client.agents.blocks.list(agent)}


def test_make_an_agent_and_attach_a_memory(people: People, synced: Project, outside: Outside) -> None:
    first, second = Memory.objects.filter(project=synced).order_by("pk")[:2]
    name = f"Nina {uuid4().hex[:6]}"
    page = people.open(account("olga"))
    page.goto(synced.get_absolute_url())
    page.get_by_role("navigation", name="Project").get_by_role("link", name="Agents").click()
    page.get_by_role("link", name="New agent").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("searchbox").fill(first.title)
    page.get_by_role("checkbox", name=first.label).check()
    page.get_by_role("searchbox").fill("nobody wrote this")
    expect(page.get_by_text("No other shared memory")).to_be_visible()
    expect(page.get_by_role("checkbox", name=first.label)).to_be_checked()
    page.get_by_role("button", name="Make the agent").click()
    expect(page.get_by_text(f"The agent “{name}” was made.")).to_be_visible()
    agent = page.url.rstrip("/").rpartition("/")[2]
    assert labels_of(outside, agent) == {first.label, f"shared_memory_{synced.slug}"}

    page.get_by_role("searchbox").fill(second.title)
    offers = page.locator("#offers")
    expect(offers.get_by_role("link")).to_have_count(1)
    offers.get_by_role("button", name="Attach").click()
    expect(page.get_by_text(f"{name} sees “{second}”")).to_be_visible()
    assert second.label in labels_of(outside, agent)

    page.goto(second.get_absolute_url())
    expect(page.get_by_text("1 agent sees this block")).to_be_visible()
    page.locator("aside").get_by_role("link", name=name).click()
    expect(page).to_have_url(re.compile(agent))
    page.get_by_role("button", name=f"Detach {second.title[:20]}").click()
    expect(page.get_by_text("Nothing was deleted")).to_be_visible()
    assert labels_of(outside, agent) == {first.label, f"shared_memory_{synced.slug}"}

    page.goto(f"{synced.get_absolute_url()}agents/")
    page.get_by_role("searchbox").fill(name)
    expect(page).to_have_url(re.compile("q=Nina"))
    expect(page.locator("#list tbody tr")).to_have_count(1)
    expect(page.locator("#list")).to_contain_text("digest block")
