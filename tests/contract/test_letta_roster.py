"""Managing the agents of a real Letta server: what it shows of them, attaching, detaching, making one."""

from __future__ import annotations

from uuid import uuid4

import pytest

from blocks.stores.letta import LettaStore
from blocks.stores.letta_calls import CallError
from tests.contract.letta import Server, proxy

NOBODY = f"agent-{uuid4()}"


@pytest.fixture
def server(letta_server: str) -> Server:
    return Server(letta_server)


@pytest.fixture
def slug() -> str:
    return f"roster-{uuid4().hex[:8]}"


@pytest.fixture
def store(server: Server, slug: str) -> LettaStore:
    return server.store(slug)


def test_an_agent_is_shown_with_its_blocks(server: Server, store: LettaStore) -> None:
    block = server.block(label="mine")["id"]
    id = server.agent(block)
    found, _ = store.list_agents()
    agent = next(one for one in found if one.id == id)
    assert (agent.blocks, agent.model, agent.active) == ({block: "mine"}, "letta/letta-free", None)
    assert store.find_agent(id) == agent


@pytest.mark.parametrize("id", [NOBODY, "agent-0"])
def test_an_agent_that_is_not_there(id: str, store: LettaStore) -> None:
    assert store.find_agent(id) is None


def test_attach_and_detach(server: Server, store: LettaStore) -> None:
    block, agent = server.block(label="mine")["id"], server.agent()
    for _ in range(2):  # once more is no error
        store.attach(agent, block)
        assert list(getattr(store.find_agent(agent), "blocks", ())) == [block]
    for _ in range(2):
        store.detach(agent, block)
        assert not getattr(store.find_agent(agent), "blocks", None)
    assert server.show(block)["value"] == "text"


def test_a_label_is_taken_once(server: Server, store: LettaStore) -> None:
    agent = server.agent(server.block(label="mine")["id"])
    with pytest.raises(CallError) as caught:
        store.attach(agent, server.block(label="mine")["id"])
    assert caught.value.status == 409


def test_what_is_gone(server: Server, store: LettaStore) -> None:
    block = server.block()["id"]
    for agent, missing in ((NOBODY, block), (server.agent(), f"block-{uuid4()}")):
        with pytest.raises(CallError) as caught:
            store.attach(agent, missing)
        assert caught.value.gone


def test_make_an_agent(server: Server, store: LettaStore, slug: str) -> None:
    block = server.block(label="mine")["id"]
    made = store.create_agent("Nina O'Hara-2", "letta/letta-free", [block])
    assert (made.name, made.blocks, made.projects) == ("Nina O'Hara-2", {block: "mine"}, {slug})
    assert store.find_agent(made.id) == made


def test_a_model_that_is_not_there(store: LettaStore) -> None:
    with pytest.raises(CallError) as caught:
        store.create_agent("Nina", "nobody/nothing", [])
    assert caught.value.status == 404


def test_an_agent_whose_reply_was_lost_is_found(server: Server, slug: str) -> None:
    with proxy(server.url, lose="POST") as url:
        made = Server(url).store(slug).create_agent("Nina", "letta/letta-free", [])
    found, _ = server.store(slug).list_agents()
    assert [agent.id for agent in found if slug in agent.projects] == [made.id]


def test_a_character_that_no_name_has(store: LettaStore) -> None:
    """Why the page refuses it: the server fails with 500."""
    with pytest.raises(CallError) as caught:
        store.create_agent("a/b", "letta/letta-free", [])
    assert caught.value.status == 500
