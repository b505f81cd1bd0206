"""Open pages show what others write, without being loaded again."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Route, expect

from blocks import actions
from blocks.models import Memory
from memoryhub import tokens
from memoryhub.models import LettaServer, Project
from syncjobs.push import push
from tests.browser.conftest import People, make_project
from tests.browser.hub import Hub, account
from tests.contract.letta import DIRECT, Server


@pytest.fixture
def team(hub_models: None) -> Project:
    return make_project(f"live-{uuid4().hex[:6]}", name="Live")


@pytest.fixture
def memory(team: Project) -> Memory:
    return actions.create(team, {"title": "Rollback", "text": "Stop the queue.\n"}, user=account("maria"))


def show(people: People, path: str, **options: Any) -> Page:
    page = people.open(account("olga"), **options)
    with page.expect_response(lambda reply: "/live/" in reply.url):
        page.goto(path)
    return page


def test_the_list_shows_what_an_agent_wrote(people: People, team: Project, memory: Memory) -> None:
    page = show(people, team.get_absolute_url())
    expect(page.locator("#project-nav .count")).to_have_text("1")
    actions.create(team, {"title": "E4711", "text": "The lock file is stale."}, agent="Claude")
    expect(page.locator("#list").get_by_role("link", name="E4711").first).to_be_visible()
    expect(page.locator("#project-nav .count")).to_have_text("2")


def test_what_is_searched_for_and_chosen_stays(people: People, team: Project, memory: Memory) -> None:
    page = show(people, team.get_absolute_url())
    page.locator("#q").fill("roll")
    expect(page).to_have_url(re.compile("q=roll"))
    page.locator("#list a.title:visible").first.focus()
    actions.create(team, {"title": "Roll of honour", "text": "x"}, agent="Claude")
    expect(page.locator("#list").get_by_role("link", name="Roll of honour").first).to_be_visible()
    expect(page.locator("#q")).to_have_value("roll")
    assert page.evaluate("document.activeElement.textContent").strip() == "Rollback"
    actions.create(team, {"title": "Something else", "text": "x"}, agent="Claude")
    expect(page.locator("#project-nav .count")).to_have_text("3")
    expect(page.locator("#list").get_by_role("link", name="Something else")).to_have_count(0)


def test_an_open_memory_shows_the_new_text(people: People, memory: Memory) -> None:
    page = show(people, memory.get_absolute_url())
    actions.edit(memory, {"text": "Stop the queue first.\n"}, agent="GPT", based_on=1)
    expect(page.locator("#id_text")).to_have_value("Stop the queue first.\n")
    expect(page.locator(".history")).to_contain_text("GPT")


def test_who_sees_a_block_is_asked_for_when_its_page_opens(people: People, hub_models: None, letta_server: str) -> None:
    letta, _ = LettaServer.objects.get_or_create(url=letta_server, defaults={"name": "Team Letta"})
    team = make_project(f"seen-{uuid4().hex[:6]}", name="Seen", letta_server=letta)
    memory = actions.create(team, {"title": "Rollback", "text": "Stop the queue.\n"}, user=account("maria"))
    assert push([memory.pk]) == []
    Server(letta_server).agent(memory.replicas.get().external_id)
    page = show(people, memory.get_absolute_url())
    expect(page.locator("#whole")).to_contain_text("1 agent sees this block")


def test_a_message_stays_when_the_page_is_drawn_anew(people: People, memory: Memory) -> None:
    page = show(people, memory.get_absolute_url())
    page.get_by_role("button", name="Archive").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("is back.")).to_be_visible()
    actions.edit(memory, {"text": "Stop the queue first.\n"}, agent="GPT", based_on=3)
    expect(page.locator("#id_text")).to_have_value("Stop the queue first.\n")
    expect(page.get_by_text("is back.")).to_be_visible()


def test_nothing_is_taken_from_who_is_typing(people: People, memory: Memory) -> None:
    page = show(people, memory.get_absolute_url())
    page.locator("#id_text").fill("Mine.")
    actions.edit(memory, {"text": "Theirs.\n"}, agent="GPT", based_on=1)
    expect(page.locator("#news")).to_be_visible()
    expect(page.locator("#id_text")).to_have_value("Mine.")


def test_nothing_is_taken_from_who_begins_while_the_page_is_fetched(people: People, memory: Memory) -> None:
    page = show(people, memory.get_absolute_url())
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.headers.get("hx-trigger") == "live-refresh":
            held.append(route)
        else:
            route.continue_()

    page.route("**/m/**", hold)
    actions.edit(memory, {"text": "Theirs.\n"}, agent="GPT", based_on=1)
    while not held:
        page.wait_for_timeout(50)
    page.locator("#id_text").fill("Mine.")
    held.pop().continue_()
    expect(page.locator("#news")).to_be_visible()
    expect(page.locator("#id_text")).to_have_value("Mine.")


def test_without_a_stream_the_page_asks_now_and_then(people: People, team: Project, memory: Memory) -> None:
    page = people.open(account("olga"))
    page.add_init_script("window.EventSource = class { readyState = 2; addEventListener() {} close() {} }")
    page.goto(team.get_absolute_url())
    actions.create(team, {"title": "E4711", "text": "The lock file is stale."}, agent="Claude")
    expect(page.locator("#list").get_by_role("link", name="E4711").first).to_be_visible()


def test_many_open_pages_take_no_thread_of_the_others(people: People, team: Project, hub: Hub, memory: Memory) -> None:
    pages = [show(people, team.get_absolute_url()) for _ in range(10)]
    _, plain = tokens.issue(team, "Claude")
    request = urllib.request.Request(f"{hub.url}/api/project")
    request.add_header("Authorization", f"Bearer {plain}")
    with DIRECT.open(request, timeout=30) as reply:
        assert reply.status == 200
    actions.create(team, {"title": "E4711", "text": "The lock file is stale."}, agent="Claude")
    for page in pages:
        expect(page.locator("#list").get_by_role("link", name="E4711").first).to_be_visible()


def test_the_stream_is_for_members(people: People, team: Project) -> None:
    people.expected.append("status of 404")
    page = people.open(account("otto"))
    reply = page.goto(f"{team.get_absolute_url()}live/")
    assert reply is not None
    assert reply.status == 404
    began = time.monotonic()
    anonymous = people.open().goto(f"{team.get_absolute_url()}live/")
    assert anonymous is not None
    assert "/login/" in anonymous.url
    assert time.monotonic() - began < 60
