"""The agents of a project: who sees which, what is attached and detached, and what a server that fails is told."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from blocks import actions, agents
from blocks.models import Agent, Memory
from blocks.stores.base import StoreError
from memoryhub.models import LettaServer, Project, Role
from syncjobs.models import Connection, SyncRun
from syncjobs.run import start
from tests.conftest import person
from tests.contract.letta import Server
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db


def url(name: str, *values: Any, slug: str = "planner") -> str:
    return reverse(name, args=[slug, *values])


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def say(reply: Any) -> list[str]:
    """The messages on the page that a redirect leads to."""
    return [str(message) for message in reply.context["messages"]]


# --- Registered with the hub ------------------------------------------------------------------------------


@pytest.fixture
def sam(project: Project, memory: Memory) -> Agent:
    """An agent of the built-in server that sees a memory and has a persona."""
    persona = {"label": "persona", "value": "I am Sam, and nobody else's business."}
    return agents.create(project, {"name": "Sam"}, blocks=[memory.uuid], new_blocks=[persona], agent="Sam")


def names_seen(agent: Agent) -> list[str]:
    return sorted(str(one.memory) for one in agent.attachments.exclude(memory=None))


def test_the_list_says_what_each_sees(sam: Agent, memory: Memory, viewer: User) -> None:
    page = signed_in(viewer).get(url("agents"))
    (entry,) = page.context["page"]
    assert (entry.name, entry.memories, entry.others) == ("Sam", [memory], 1)
    assert memory.get_absolute_url() in page.text
    assert "nobody else" not in page.text
    assert "persona" not in page.text
    assert "New agent" not in page.text


def test_an_agent_of_another_project_is_not_there(sam: Agent, viewer: User) -> None:
    other = Project.objects.create(slug="other", name="Other")
    theirs = agents.create(other, {"name": "Eve"}, agent="Eve")
    client = signed_in(viewer)
    assert "Eve" not in client.get(url("agents")).text
    assert client.get(url("agent", theirs.letta_id)).status_code == 404


def test_attach_and_detach(sam: Agent, memory: Memory, editor: User) -> None:
    other = actions.create(memory.project, {"title": "Second", "text": "2"}, user=editor)
    client = signed_in(editor)
    assert "Second" in client.get(url("agent", sam.letta_id)).text
    reply = client.post(url("agent_attach", sam.letta_id), {"memory": str(other.uuid)}, follow=True)
    assert say(reply) == ["Sam sees “Second”."]
    assert names_seen(sam) == ["Deployment checklist", "Second"]
    reply = client.post(url("agent_detach", sam.letta_id), {"memory": str(memory.uuid)}, follow=True)
    assert say(reply) == [
        "Sam no longer sees “Deployment checklist”. Nothing was deleted: “Deployment checklist” is where it was."
    ]
    assert names_seen(sam) == ["Second"]
    memory.refresh_from_db()
    assert memory.live
    sam.refresh_from_db()
    assert sam.author == "maria"


def test_a_label_is_seen_once(sam: Agent, memory: Memory, editor: User) -> None:
    twin = actions.create(memory.project, {"title": "Twin", "text": "2"}, user=editor)
    Memory.objects.filter(pk=twin.pk).update(label=memory.label)
    reply = signed_in(editor).post(url("agent_attach", sam.letta_id), {"memory": str(twin.uuid)}, follow=True)
    (message,) = say(reply)
    assert message.startswith(f"Nothing was changed. “Sam” already sees another block labelled “{memory.label}”")
    assert names_seen(sam) == ["Deployment checklist"]


@pytest.mark.parametrize("which", ["other project", "kept local", "archived", "no uuid"])
def test_what_cannot_be_attached(which: str, sam: Agent, editor: User) -> None:
    project = Project.objects.create(slug="other", name="Other") if which == "other project" else sam.project
    memory = actions.create(project, {"title": "X", "text": "x"}, user=editor, shared=which != "kept local")
    if which == "archived":
        actions.archive([memory], user=editor)
    given = "x" if which == "no uuid" else str(memory.uuid)
    reply = signed_in(editor).post(url("agent_attach", sam.letta_id), {"memory": given})
    assert reply.status_code == 404
    assert names_seen(sam) == ["Deployment checklist"]


def test_make_an_agent_with_the_shared_memory(project: Project, memory: Memory, editor: User) -> None:
    said = {"name": "Nina", "model": "letta/letta-free", "digest": "on"}
    reply = signed_in(editor).post(url("agent_new"), said)
    made = Agent.objects.get()
    assert reply["Location"] == url("agent", made.letta_id)
    assert (made.name, made.made_by, made.settings["model"]) == ("Nina", "maria", "letta/letta-free")
    assert [row.label for row in agents.blocks_of(agents.of_project(project).get())] == ["shared_memory_planner"]
    page = signed_in(editor).get(url("agent", made.letta_id))
    assert page.context["agent"].digest
    assert page.context["agent"].others == 0
    reply = signed_in(editor).post(url("agent_detach", made.letta_id), {"memory": "digest"}, follow=True)
    assert not reply.context["agent"].digest
    reply = signed_in(editor).post(url("agent_attach", made.letta_id), {"memory": "digest"}, follow=True)
    assert reply.context["agent"].digest


def test_make_an_agent_with_chosen_memories(project: Project, memory: Memory, editor: User) -> None:
    other = actions.create(project, {"title": "Second", "text": "2"}, user=editor)
    said = {"name": "Nina", "model": "x", "memory": [str(other.uuid)]}
    signed_in(editor).post(url("agent_new"), said)
    assert names_seen(Agent.objects.get()) == ["Second"]


def test_an_agent_needs_a_name(project: Project, editor: User) -> None:
    reply = signed_in(editor).post(url("agent_new"), {"name": " ", "model": "x"})
    assert reply.status_code == 422
    assert not Agent.objects.exists()


def test_what_is_ticked_stays_through_a_search(project: Project, memory: Memory, editor: User) -> None:
    for number in range(30):
        actions.create(project, {"title": f"Note {number}", "text": "x"}, user=editor)
    query = {"q": "Note 17", "memory": [str(memory.uuid)]}
    page = signed_in(editor).get(url("agent_new"), query, headers={"HX-Request": "true"})
    assert page.text.count('<input type="checkbox"') == 2
    assert f'value="{memory.uuid}" checked' in page.text
    assert "Note 17" in page.text
    assert "<html" not in page.text


def test_many_agents_are_paged_and_searched(project: Project, memory: Memory, viewer: User, editor: User) -> None:
    for number in range(60):
        agents.create(project, {"name": f"Agent {number:02}"}, blocks=[memory.uuid] if number == 5 else [], agent="x")
    client = signed_in(viewer)
    first = client.get(url("agents"))
    assert [entry.name for entry in first.context["page"]] == [f"Agent {number:02}" for number in range(25)]
    assert [entry.name for entry in client.get(url("agents"), {"page": 3}).context["page"]][-1] == "Agent 59"
    assert [entry.name for entry in client.get(url("agents"), {"q": "t 31"}).context["page"]] == ["Agent 31"]
    by_memory = client.get(url("agents"), {"q": "checklist"}, headers={"HX-Request": "true"})
    assert "Agent 05" in by_memory.text
    assert "<html" not in by_memory.text


def test_a_list_takes_few_queries(
    project: Project, memory: Memory, viewer: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        agents.create(project, {"name": f"Agent {number}"}, blocks=[memory.uuid], agent="x")
    client = signed_in(viewer)
    with django_assert_max_num_queries(14):
        client.get(url("agents"))


def test_a_memory_says_who_sees_it(sam: Agent, memory: Memory, editor: User) -> None:
    agents.create(memory.project, {"name": "Nina"}, blocks=[memory.uuid], agent="Nina")
    client = signed_in(editor)
    page = client.get(memory.get_absolute_url())
    assert "2 agents see this block" in page.text
    assert "(2 agents lose it)" in page.text
    assert url("agent", sam.letta_id) in page.text
    assert "2 agents</strong> lose this block" in client.get(url("memory_delete", memory.uuid)).text
    assert "2 agents see it" in client.get(url("memories")).text


def test_an_archived_memory_is_seen_by_nobody(sam: Agent, memory: Memory, editor: User) -> None:
    actions.archive([memory], user=editor)
    client = signed_in(editor)
    assert "Sam" not in client.get(memory.get_absolute_url()).text
    assert "sees it" not in client.get(url("memories"), {"shown": "archived"}).text
    (entry,) = client.get(url("agents")).context["page"]
    assert (entry.memories, entry.others) == ([], 1)
    actions.unarchive([memory], user=editor)
    assert "1 agent sees this block" in client.get(memory.get_absolute_url()).text


def test_taking_it_off_asks_for_the_agents(sam: Agent, memory: Memory, editor: User) -> None:
    page = signed_in(editor).get(memory.get_absolute_url())
    form = page.context["form"]
    said = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    del said["shared"]
    reply = signed_in(editor).post(memory.get_absolute_url(), said)
    assert reply.status_code == 422
    assert "these agents lose it: Sam" in reply.text


# --- On a Letta server ------------------------------------------------------------------------------------


@pytest.fixture
def shared(world: World) -> Memory:
    """A memory that is a block on a Letta server, where the agent `sam` sees it, and `eve` another team's."""
    memory = world.create("One", title="One")
    world.synced()
    theirs = world.letta.put("their secret", slug="other", label="their_label")
    world.letta.attached = {block_of(world, memory): ["sam"], theirs.id: ["sam", "eve"]}
    world.synced()  # the look keeps who sees what
    return memory


def block_of(world: World, memory: Memory) -> str:
    return next(thing.id for thing in world.letta.things.values() if thing.uuid == memory.uuid)


def test_other_teams_agents_are_not_shown(world: World, shared: Memory) -> None:
    client = signed_in(person("maria", world.project, Role.EDITOR))
    page = client.get(url("agents"), {"all": ""})
    (entry,) = page.context["page"]
    assert (entry.name, entry.memories, entry.others) == ("sam", [shared], 1)
    for text in (page.text, client.get(url("agent", "sam")).text):
        assert "their_label" not in text
        assert "eve" not in text.replace("every", "")
    assert client.get(url("agent", "eve")).status_code == 404
    reply = client.post(url("agent_attach", "eve"), {"memory": str(shared.uuid)})
    assert reply.status_code == 404
    assert world.letta.attached[block_of(world, shared)] == ["sam"]


def test_adopters_find_the_others(world: World, shared: Memory) -> None:
    ada = person("ada", world.project, Role.OWNER)
    assert world.project.letta_server
    world.project.letta_server.adopters.add(ada)
    client = signed_in(ada)
    assert [entry.name for entry in client.get(url("agents")).context["page"]] == ["sam"]
    page = client.get(url("agents"), {"all": ""})
    assert [entry.name for entry in page.context["page"]] == ["eve", "sam"]
    assert "their_label" not in page.text
    client.post(url("agent_attach", "eve"), {"memory": str(shared.uuid)})
    assert world.letta.attached[block_of(world, shared)] == ["sam", "eve"]
    assert "2 agents see this block" in client.get(shared.get_absolute_url()).text


def test_an_agent_that_sees_nothing_any_more_leaves_the_list(world: World, shared: Memory) -> None:
    client = signed_in(person("maria", world.project, Role.EDITOR))
    reply = client.post(url("agent_detach", "sam"), {"memory": str(shared.uuid)}, follow=True)
    assert reply.redirect_chain[-1][0] == url("agents")
    assert say(reply)[1] == "sam sees nothing of this project any more, so it is not listed here."
    assert world.letta.attached[block_of(world, shared)] == []
    assert client.get(url("agent", "sam")).status_code == 404


def test_a_memory_without_a_block_waits(world: World, shared: Memory) -> None:
    fresh = world.create("Two", title="Two")
    client = signed_in(person("maria", world.project, Role.EDITOR))
    assert "no block there yet: sync first" in client.get(url("agent", "sam")).text
    reply = client.post(url("agent_attach", "sam"), {"memory": str(fresh.uuid)}, follow=True)
    assert say(reply) == ["Nothing was changed. “Two” has no block on Letta yet: a sync makes it."]


def test_a_server_that_is_down(world: World, shared: Memory) -> None:
    world.letta.down = True
    client = signed_in(person("maria", world.project, Role.EDITOR))
    for address in (url("agents"), url("agent", "sam")):
        page = client.get(address)
        assert page.status_code == 200
        assert "cannot be reached. Is the server running" in page.text
        assert "sam" in page.text
        assert shared.get_absolute_url() in page.text
        assert "their_label" not in page.text
    reply = client.post(url("agent_attach", "sam"), {"memory": str(shared.uuid)}, follow=True)
    assert say(reply)[0].startswith("cannot be reached.")
    made = client.post(url("agent_new"), {"name": "Nina", "model": "x"})
    assert made.status_code == 422
    assert "look whether the agent is in the list" in made.text


def test_another_server_is_not_asked(world: World, shared: Memory) -> None:
    Connection.objects.filter(side="letta").update(suspect="Another one answers there.")
    client = signed_in(person("maria", world.project, Role.EDITOR))
    assert "Another one answers there." in client.get(url("agents")).text
    client.post(url("agent_attach", "sam"), {"memory": str(shared.uuid)})
    assert world.letta.attached[block_of(world, shared)] == ["sam"]


def test_agents_registered_with_the_hub_are_listed_too(world: World, shared: Memory) -> None:
    agents.create(world.project, {"name": "Rita"}, blocks=[shared.uuid], agent="Rita")
    client = signed_in(person("maria", world.project, Role.EDITOR))
    assert [entry.name for entry in client.get(url("agents")).context["page"]] == ["Rita", "sam"]
    world.synced()
    assert "2 agents see this block" in client.get(shared.get_absolute_url()).text


def test_letta_refuses_some_names(world: World) -> None:
    reply = signed_in(person("maria", world.project, Role.EDITOR)).post(url("agent_new"), {"name": "a/b", "model": "x"})
    assert reply.status_code == 422
    assert "Letta takes letters" in reply.text
    assert not world.letta.attached


# --- On a real one ----------------------------------------------------------------------------------------


@pytest.fixture
def real(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def team(db: None, letta_server: str) -> Project:
    """A project with two memories, in step with a real server."""
    server = LettaServer.objects.create(name="Team Letta", url=letta_server)
    team = Project.objects.create(slug=f"team-{uuid4().hex[:6]}", name="Team", letta_server=server)
    for title in ("One", "Two"):
        actions.create(team, {"title": title, "text": title}, user=None)
    sync(team)
    return team


def sync(project: Project) -> None:
    run = SyncRun(project=project, trigger="button")
    start(run)
    assert run.status == "done", run.errors


def there(team: Project, title: str) -> tuple[Memory, str]:
    memory = Memory.objects.get(project=team, title=title)
    return memory, memory.replicas.get(connection__side="letta").external_id


def seen_by(real: Server, agent: str) -> set[str]:
    return {block["id"] for block in real.call("GET", f"/v1/agents/{agent}/core-memory/blocks")[1]}


def test_a_real_server(team: Project, real: Server) -> None:
    (one, block), (two, second) = there(team, "One"), there(team, "Two")
    outside = real.block(label="theirs", value="their secret")["id"]
    agent = real.agent(block, outside)
    real.agent(outside)
    client = signed_in(person("maria", team, Role.EDITOR))
    (entry,) = client.get(url("agents", slug=team.slug)).context["page"]
    assert (entry.id, entry.memories, entry.others, entry.digest) == (agent, [one], 1, False)
    assert entry.model == "letta/letta-free"
    for given in (str(two.uuid), "digest"):
        client.post(url("agent_attach", agent, slug=team.slug), {"memory": given})
    digest = real.call("GET", f"/v1/blocks/?label=shared_memory_{team.slug}")[1][0]["id"]
    assert seen_by(real, agent) == {block, outside, second, digest}
    assert "1 agent sees this block" in client.get(two.get_absolute_url()).text
    reply = client.post(url("agent_detach", agent, slug=team.slug), {"memory": str(one.uuid)}, follow=True)
    assert seen_by(real, agent) == {outside, second, digest}
    assert reply.context["agent"].digest
    assert real.call("GET", f"/v1/blocks/{block}")[0] == 200
    sync(team)
    assert Memory.objects.filter(project=team).live().count() == 2


def test_who_sees_a_block_of_a_real_server_is_asked_for_when_its_page_opens(
    team: Project, real: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, block = there(team, "One")
    client = signed_in(person("maria", team, Role.EDITOR))
    real.agent(block)
    real.agent(block)
    page = client.get(one.get_absolute_url())
    asks = url("memory_agents", one.uuid, slug=team.slug)
    assert asks in page.text
    assert "see this block" not in page.text
    assert client.get(asks).headers["HX-Trigger"] == "agents-changed"
    assert "2 agents see this block" in client.get(one.get_absolute_url()).text
    assert "HX-Trigger" not in client.get(asks).headers

    def away(*_: Any) -> None:
        raise StoreError("Nothing answers.")

    monkeypatch.setattr("blocks.stores.letta.LettaStore.agents", away)
    reply = client.get(asks)
    assert (reply.status_code, "HX-Trigger" in reply.headers) == (204, False)
    assert "2 agents see this block" in client.get(one.get_absolute_url()).text


def test_a_real_server_takes_a_label_once(team: Project, real: Server) -> None:
    one, block = there(team, "One")
    _, second = there(team, "Two")
    agent = real.agent(real.block(label=one.label)["id"], second)
    client = signed_in(person("maria", team, Role.EDITOR))
    reply = client.post(url("agent_attach", agent, slug=team.slug), {"memory": str(one.uuid)}, follow=True)
    assert "already sees another block labelled" in say(reply)[0]
    assert block not in seen_by(real, agent)


def test_make_an_agent_on_a_real_server(team: Project, real: Server) -> None:
    one, block = there(team, "One")
    client = signed_in(person("maria", team, Role.EDITOR))
    name = f"Nina {uuid4().hex[:6]}"
    said = {"name": name, "model": "letta/letta-free", "digest": "on", "memory": [str(one.uuid)]}
    reply = client.post(url("agent_new", slug=team.slug), said, follow=True)
    entry = reply.context["agent"]
    assert (entry.name, entry.memories, entry.digest, entry.made_here) == (name, [one], True, True)
    assert block in seen_by(real, entry.id)
    for given in (str(one.uuid), "digest"):
        client.post(url("agent_detach", entry.id, slug=team.slug), {"memory": given})
    assert client.get(url("agent", entry.id, slug=team.slug)).status_code == 200  # it was made here: it stays
    unknown = client.post(url("agent_new", slug=team.slug), said | {"model": "nobody/nothing"})
    assert "has no model “nobody/nothing”" in unknown.text
