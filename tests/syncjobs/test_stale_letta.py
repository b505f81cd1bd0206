"""A real agent's turn on a real Letta server, with a model that is slow to answer, and an edit in the middle of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from blocks import actions
from blocks.models import Memory, SyncState
from memoryhub.models import LettaServer, Project
from syncjobs import run as runs
from syncjobs.models import Intent, Replica, SyncRun
from tests.contract.letta import Server, raw, serving
from tests.syncjobs.world import did, history, quiet

pytestmark = pytest.mark.contract

TEXT, OURS = "first line\nsecond line", "first line\nsecond line, edited"
PATIENCE = 30  # seconds in which a turn gets to its model, or to its end


class Model:
    """A model endpoint like OpenAI's. asked: it was. go: it may answer, first with a call of a memory tool."""

    def __init__(self) -> None:
        self.asked, self.go = Event(), Event()
        self.calls: list[dict[str, Any]] = []

    def call(self, name: str, **arguments: str) -> None:
        function = {"name": name, "arguments": json.dumps(arguments)}
        self.calls.append({"id": f"call_{uuid4().hex[:8]}", "type": "function", "function": function})

    def answer(self) -> dict[str, Any]:
        self.asked.set()
        self.go.wait(PATIENCE)
        message: dict[str, Any] = {"role": "assistant", "content": "Done."}
        if self.calls:
            message |= {"content": None, "tool_calls": [self.calls.pop(0)]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "fake"}
        return whole | {"choices": [choice], "usage": usage}

    @contextmanager
    def served(self) -> Iterator[str]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                data = json.dumps(model.answer()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        with serving(Handler) as url:
            yield url


class Stage:
    """A memory in step with a real server, and the agent Ada who sees its block and another one, "notes"."""

    def __init__(self, url: str, model_url: str, model: Model, pool: ThreadPoolExecutor) -> None:
        self.server, self.model, self.pool, self.model_url = Server(url), model, pool, model_url
        letta = LettaServer.objects.create(name="Letta", url=url)
        self.project = Project.objects.create(slug=f"stale-{uuid4().hex[:8]}", name="Stale", letta_server=letta)
        actions.create(self.project, {"text": TEXT, "title": "One", "label": "one"}, user=None)
        assert did(self.run()) == {"created": 1}
        self.block = Replica.objects.get().external_id
        notes = self.server.block(label="notes", value="nothing yet")["id"]
        self.ada = self.hire("Ada", self.block, notes)

    def hire(self, name: str, *blocks: str) -> str:
        """The id of a new agent that sees some blocks."""
        config = {"model": "fake", "model_endpoint_type": "openai", "model_endpoint": f"{self.model_url}/v1"}
        body = {
            "name": name,
            "llm_config": config | {"context_window": 32_000, "put_inner_thoughts_in_kwargs": False},
            "embedding": "letta/letta-free",
            "include_base_tools": False,
            "tools": ["core_memory_append"],
            "block_ids": blocks,
        }
        status, agent = raw(self.server.url, "POST", "/v1/agents/", body)
        assert status == 200
        return str(agent["id"])

    def run(self) -> SyncRun:
        run = SyncRun(project=self.project, trigger="button")
        runs.start(run)
        return run

    @property
    def memory(self) -> Memory:
        return Memory.objects.get(project=self.project)

    def text(self) -> str:
        return str(self.server.show(self.block)["value"])

    def edit(self, text: str) -> None:
        memory = self.memory
        actions.edit(memory, {"text": text}, user=None, based_on=memory.number)

    def begin_turn(self, label: str, agent: str = "") -> Future[tuple[int, Any]]:
        """An agent (Ada) has read its blocks, and is about to add a line to one of them."""
        self.model.asked.clear()
        self.model.call("core_memory_append", label=label, content="by Ada")
        body = {"messages": [{"role": "user", "content": "go"}]}
        turn = self.pool.submit(raw, self.server.url, "POST", f"/v1/agents/{agent or self.ada}/messages", body)
        assert self.model.asked.wait(PATIENCE)
        return turn

    def end_turn(self, turn: Future[tuple[int, Any]]) -> None:
        self.model.go.set()
        assert turn.result(PATIENCE)[0] == 200


@pytest.fixture
def stage(db: None, letta_server: str) -> Iterator[Stage]:
    model = Model()
    with model.served() as url, ThreadPoolExecutor(2) as pool:
        yield Stage(letta_server, url, model, pool)
        model.go.set()


def test_an_agents_turn_undoes_an_edit_and_the_next_run_repairs_it(
    stage: Stage, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = stage.begin_turn("notes")
    stage.edit(OURS)

    assert quiet(stage.run())
    assert stage.text() == TEXT
    assert Replica.objects.get().reason == "waiting for agent Ada"
    assert stage.memory.sync_state == SyncState.WAITING

    settings.AGENT_PATIENCE = 0
    assert did(stage.run()) == {"pushed": 1}
    assert stage.text() == OURS
    stage.end_turn(turn)
    assert stage.text() == TEXT  # an agent that never touched this block has undone the edit

    settings.AGENT_PATIENCE = 60
    assert did(stage.run()) == {"pushed": 1}
    assert stage.text() == stage.memory.text == OURS
    assert history(stage.memory) == [TEXT, OURS]
    assert list(Intent.objects.filter(op="update").order_by("pk").values_list("copies", flat=True)) == [0, 1]
    assert quiet(stage.run())

    # Put back when no turn spans our last push, the same text is what somebody wants. One machine has one clock.
    monkeypatch.setattr("blocks.stores.letta_agents.CLOCKS", timedelta(0))
    stage.server.edit(stage.block, value=TEXT)
    assert did(stage.run()) == {"pulled": 1}
    assert stage.text() == stage.memory.text == TEXT


def test_the_store_says_who_is_at_work(stage: Stage) -> None:
    store = stage.server.store(stage.project.slug)
    other = stage.server.block()["id"]
    assert store.agents_at_work([stage.block, other]) == {}
    turns = [stage.begin_turn("notes")]
    second = stage.hire("Bob", stage.block)

    store = stage.server.store(stage.project.slug)  # without what the other one remembers
    assert store.agents_at_work([stage.block, other]) == {stage.block: "Ada"}
    now = timezone.now()
    assert store.agent_turn(stage.block, now, now) == "Ada"
    assert store.agent_turn(stage.block, now - timedelta(minutes=1), now) == ""
    assert store.agent_turn(other, now, now) == ""

    turns.append(stage.begin_turn("one", second))
    store = stage.server.store(stage.project.slug)
    assert store.agents_at_work([stage.block]).keys() == {stage.block}  # two at work, one block
    assert store.agents_at_work([other]) == {}
    for turn in turns:
        stage.end_turn(turn)
    later = timezone.now() + timedelta(seconds=10)
    store = stage.server.store(stage.project.slug)
    assert store.agents_at_work([stage.block, other]) == {}
    assert store.agent_turn(stage.block, later, later) == ""


def test_what_the_agent_wrote_into_its_older_copy_is_kept(stage: Stage, settings: Any) -> None:
    settings.AGENT_PATIENCE = 0
    turn = stage.begin_turn("one")
    stage.edit("a title\n" + TEXT)
    assert did(stage.run()) == {"pushed": 1}
    stage.end_turn(turn)
    assert stage.text() == TEXT + "\nby Ada"

    stage.run()
    conflicts = [conflict.side["text"] for conflict in stage.memory.conflicts.filter(closed_at=None)]
    assert stage.memory.text.startswith("a title\n")
    assert any("by Ada" in text for text in [stage.memory.text, *conflicts])
