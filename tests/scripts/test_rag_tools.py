"""rag_tools.py against a hub as it runs in production."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import httpx
import pytest

import rag_tools
from rag_tools import RagError
from tests.contract.letta import serving
from tests.scripts.bridge import fake_hub
from tests.scripts.rag import SCRIPT, Agent, agent, environment, fresh, other_token
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.contract
__all__ = ["agent", "fresh", "other_token"]

SIGNATURES = {
    "remember": "content, title='Quick Note', project=None, client=None, **kwargs",
    "recall": "query, limit=3, *, kind=None, tags=None, client=None, project=None",
    "log_error": "error_text, source, project=None, **kwargs",
    "log_fix": "description, workaround, project=None, **kwargs",
    "log_decision": "decision, rationale, project=None, **kwargs",
    "get_context": "query, client=None, project=None, **kwargs",
    "project_status": "project_name",
    "client_info": "client_name",
    "memory_stats": "",
    "send_agent_message": "message, topic='general', from_agent='claude', priority='normal'",
    "read_agent_messages": "topic=None, limit=10, *, render=True",
    "sync_to_letta": "project_name='planner', api_key=None",
    "list_shared_blocks": "api_key=None",
}
ALIASES = {
    "save": "remember",
    "find": "recall",
    "search": "recall",
    "status": "memory_stats",
    "sync": "sync_to_letta",
    "shared": "list_shared_blocks",
    "send": "send_agent_message",
    "inbox": "read_agent_messages",
}


@pytest.fixture
def word() -> str:
    """One that nobody else uses."""
    return f"zq{uuid4().hex[:10]}"


# --- what it looks like


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signatures_of_the_original(name: str) -> None:
    signature = inspect.signature(getattr(rag_tools, name))
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({SIGNATURES[name]})"
    assert name in rag_tools.__all__


def test_the_aliases_of_the_original() -> None:
    assert all(getattr(rag_tools, short) is getattr(rag_tools, name) for short, name in ALIASES.items())
    assert ALIASES.keys() <= set(rag_tools.__all__)


def test_importing_it_takes_nothing_but_the_standard_library() -> None:
    code = "import sys; old = set(sys.modules); import rag_tools; print(*(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()} - {"rag_tools"}
    assert loaded <= set(sys.stdlib_module_names)
    assert not {"http", "ssl", "argparse", "asyncio", "email"} & loaded  # what takes long


# --- agents among themselves


def test_what_one_agent_logs_another_finds(agent: Agent, other_token: str, word: str) -> None:
    id = rag_tools.log_error(f"ValueError: {word} expects two conditions", "import.py")

    agent.monkeypatch.setenv("MEMORYHUB_TOKEN", other_token)
    (found,) = rag_tools.recall(f"Why does {word} fail?")
    assert found["id"] == id
    assert found["title"] == f"[ERROR] ValueError: {word} expects two conditions"
    assert (found["kind"], found["source"], found["project"]) == ("error", "import.py", "planner")
    assert found["author"] == "Agent editor"


def test_what_is_remembered_on_monday_is_recalled_on_wednesday(agent: Agent, word: str) -> None:
    code = f"from rag_tools import remember; print(remember('The {word} runs at night', 'Nightly', priority='high'))"
    monday = agent.python(code)
    id = monday.communicate()[0].strip()

    wednesday = agent.shell("recall", f"when does the {word} run", "--json")
    (found,) = json.loads(wednesday.stdout)
    assert (found["id"], found["title"], found["priority"]) == (id, "Nightly", "high")
    assert found["text"] == f"The {word} runs at night"
    assert 0 < found["score"] <= 1.05
    assert (datetime.now().astimezone() - datetime.fromisoformat(found["created_at"])).total_seconds() < 600


def test_titles_and_texts_of_the_original(agent: Agent, word: str) -> None:
    long = f"parser.on fails {word} " + "again and " * 9
    ids = [
        rag_tools.log_error(long, "parser.py", client="Acme"),
        rag_tools.log_fix(long, "Call parser.reset()", tags="parser, python"),
        rag_tools.log_decision(f"Use SQLite {word}", "One file", status="open"),
        rag_tools.remember(f"Only text {word}"),
    ]

    error, fix, decision, note = (rag_tools.recall(word, 4, kind=kind)[0] for kind in (
        "error", "gotcha", "decision", "project_details"
    ))  # fmt: skip
    assert [one["id"] for one in (error, fix, decision, note)] == ids
    assert error["title"] == f"[ERROR] {long[:60]}".strip()
    assert (error["text"], error["client"]) == (long, "Acme")
    assert fix["title"] == f"[GOTCHA] {long[:60]}".strip()
    assert fix["text"] == f"**Gotcha**: {long}\n\n**Workaround**: Call parser.reset()"
    assert fix["tags"] == ["parser", "python"]
    assert decision["title"] == f"[DECISION] Use SQLite {word}"
    assert decision["text"] == f"**Decision**: Use SQLite {word}\n\n**Rationale**: One file"
    assert (decision["status"], note["title"]) == ("open", "Quick Note")


def test_every_field_arrives(agent: Agent, word: str) -> None:
    given = {"source": "a.py", "file_path": "src/a.py", "priority": "low", "status": "done", "label": f"x-{word}"}
    given |= {"description": "for agents", "created_at": "2025-01-31T09:30:00+05:30"}

    id = rag_tools.remember(
        word, "Title", "planner", "Acme", artifact_type="best_practice", tags=["b", "a, c"], **given
    )
    (found,) = agent.memories(label=f"x-{word}")
    assert found["uuid"] == id
    assert {name: found[name] for name in given} == given
    assert (found["client"], found["kind"], found["tags"]) == ("Acme", "best_practice", ["a, c", "b"])


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "fix"}, "fix"),
        ({"doc_type": "meeting_notes"}, "meeting_notes"),
        ({"doc_type": "runtime_artifact", "artifact_type": "rollback"}, "rollback"),
        ({"doc_type": "template", "artifact_type": "fix"}, "template/fix"),
        ({}, "project_details"),
    ],
)
def test_kinds_and_the_two_types_of_the_original(given: dict[str, str], kind: str) -> None:
    assert rag_tools.fields_of("text", "", None, given)["kind"] == kind


def test_a_field_that_there_is_not(agent: Agent) -> None:
    with pytest.raises(TypeError, match=r"no 'colour'.* priority, status"):
        rag_tools.remember("text", colour="red")
    with pytest.raises(TypeError, match="either kind"):
        rag_tools.remember("text", kind="fix", artifact_type="fix")
    with pytest.raises(TypeError, match="no 'colour'"):
        rag_tools.get_context("text", colour="red")
    with pytest.raises(RagError, match="empty"):
        rag_tools.remember(" \n")
    with pytest.raises(RagError, match="empty"):
        rag_tools.log_fix("", "none")
    with pytest.raises(RagError, match="empty"):
        rag_tools.recall(" ")


@pytest.mark.parametrize(
    "given",
    [{"content": "a\0b"}, {"content": "a", "title": "b\0"}, {"content": "a", "tags": ["b", "c\0"]}],
    ids=["text", "title", "tags"],
)
def test_what_somebody_writes_has_no_nul(agent: Agent, given: dict[str, Any]) -> None:
    with pytest.raises(RagError, match=f"The {'text' if len(given) == 1 else list(given)[1]} has a NUL character"):
        rag_tools.remember(**given)
    with pytest.raises(RagError, match="The text has a NUL"):
        rag_tools.send("a\0b")


def test_an_artifact_without_a_title_is_titled_as_one(agent: Agent, word: str) -> None:
    for given in ({"doc_type": "runtime_artifact", "artifact_type": "slow_query"}, {"kind": "slow_query"}):
        rag_tools.remember(f"{word} takes\n" + "long " * 20, **given)
    rag_tools.remember(f"{word} takes long", "Mine", kind="slow_query")
    titles = [one["title"] for one in rag_tools.recall(f"{word} takes", 9, kind="slow_query")]
    assert sorted(titles)[:1] == ["Mine"]
    assert sorted(titles)[1:] == ["[SLOW_QUERY] " + " ".join((f"{word} takes\n" + "long " * 20)[:60].split())] * 2


def test_what_is_no_character_and_what_is_long(agent: Agent, word: str) -> None:
    rag_tools.log_error(f"{word} \0 half \ud83d " + "x" * 150_000, "dump")  # an agent's log must not fail over it

    (found,) = rag_tools.recall(word)
    assert found["text"] == f"{word} \ufffd half ? " + "x" * 150_000


def test_another_project_is_an_error(agent: Agent, word: str) -> None:
    for call in (
        lambda: rag_tools.remember(word, project="website"),
        lambda: rag_tools.recall(word, project="website"),
        lambda: rag_tools.project_status("website"),
        lambda: rag_tools.sync_to_letta("website"),
    ):
        with pytest.raises(RagError, match="belongs to the project 'planner', not to 'website'"):
            call()
    assert not rag_tools.recall(word)
    assert rag_tools.recall(word, project="planner") == []
    assert rag_tools.remember(word, project="Planner")  # by its name


def test_recall_narrows(agent: Agent, word: str) -> None:
    rag_tools.remember(f"{word} one", client="Acme", tags=["a", "b"], kind="fix")
    rag_tools.remember(f"{word} two", client="Zenith", tags=["a"], kind="gotcha")

    def texts(**wanted: Any) -> set[str]:
        return {one["text"].split()[1] for one in rag_tools.recall(word, 5, **wanted)}

    assert texts() == {"one", "two"}
    assert texts(client="Acme") == texts(kind="fix") == texts(tags=["a", "b"]) == {"one"}
    assert texts(kind=["fix", "gotcha"]) == texts(tags="a") == {"one", "two"}
    assert len(rag_tools.recall(word, 1)) == 1
    assert len(rag_tools.recall(word, 1000)) == 2


def test_of_a_traceback_counts_its_end() -> None:
    long = "Traceback (most recent call last):\n" + '  File "a.py", line 1\n' * 30 + "KeyError: 'limit'"
    assert rag_tools.query_of(long) == "KeyError: 'limit'"
    assert len(rag_tools.query_of("word " * 100)) <= 200


def test_what_is_found_prints_and_is_json(agent: Agent, word: str) -> None:
    rag_tools.remember(f"{word}\nsecond\x1b[31m line", "A title", source="x.py")

    found = rag_tools.recall(word)
    assert re.match(r"1\. A title \(project_details, planner, x\.py, \d{4}-\d\d-\d\d, score \d\.\d\d\)\n", repr(found))
    assert f"\n   {word} second\ufffd[31m line" in str(found)
    assert json.loads(json.dumps(found))[0]["title"] == "A title"
    assert str(rag_tools.recall(f"{word}nothing")).startswith("Nothing was found.")


def test_a_block_without_a_title_is_called_as_its_label(agent: Agent, word: str) -> None:
    sign = {"Authorization": f"Bearer {agent.token}"}
    block = {"label": f"gotchas_{word}", "value": f"{word} names have no spaces"}
    httpx.post(f"{agent.hub.url}/v1/blocks/", json=block, headers=sign, trust_env=False).raise_for_status()

    found = rag_tools.recall(word)
    assert (found[0]["title"], str(found)[: len(word) + 14]) == (block["label"], f"1. gotchas_{word} (p")
    assert rag_tools.get_context(word).startswith(f"## gotchas_{word} (project_details, ")


def test_a_context_for_a_prompt(agent: Agent, word: str) -> None:
    rag_tools.log_fix(f"{word} breaks", "turn it off and on", client="Acme")
    rag_tools.remember(f"{word} " + "much " * 2000, client="Acme")

    text = rag_tools.get_context(word, client="Acme", max_chars=2000)
    assert f"## [GOTCHA] {word} breaks (gotcha, 2" in text
    assert "**Workaround**: turn it off and on" in text
    assert "## Quick Note" in text
    assert len(text) <= 2000
    assert rag_tools.get_context(word, client="Zenith") == ""
    assert rag_tools.get_context(word, project="planner", limit=1).count("## ") == 1


def test_messages_by_topic(agent: Agent, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    rag_tools.send_agent_message("first", topic=word)
    rag_tools.send("second\nline", topic=word, from_agent="gpt", priority="high")
    rag_tools.send("elsewhere", topic=f"{word}-other")

    found = rag_tools.inbox(word)
    assert [one["text"] for one in found] == ["second\nline", "first"]
    assert [one["source"] for one in found] == ["gpt", "claude"]
    printed = capsys.readouterr().out
    assert f" gpt on {word}, high:\n  second\nline\n" in printed
    assert f" claude on {word}:\n  first\n" in printed
    assert [one["text"] for one in rag_tools.read_agent_messages(word, 1, render=False)] == ["second\nline"]
    assert rag_tools.read_agent_messages(limit=3, render=False)[0]["text"] == "elsewhere"
    assert capsys.readouterr().out == ""
    assert found[0]["kind"] == "conversation"
    with pytest.raises(RagError, match="topic"):
        rag_tools.send("x", topic=" ")
    for call in (lambda: rag_tools.send("x", topic="a,b"), lambda: rag_tools.inbox("a,b")):
        with pytest.raises(RagError, match="A topic has no comma"):
            call()


def test_numbers(agent: Agent, word: str) -> None:
    rag_tools.remember(word, "Of a client", client=word, kind="fix")
    whole = agent.memories()

    stats = rag_tools.memory_stats()
    assert stats["where"] == f"Memory Hub at {agent.hub.url}, project planner, as Agent editor"
    assert (stats["reachable"], stats["memories"], stats["waiting"]) == (True, len(whole), 0)
    client = rag_tools.client_info(word)
    assert (client["memories"], client["by_kind"]) == (1, {"fix": 1})
    assert [one["title"] for one in client["newest"]] == ["Of a client"]
    project = rag_tools.project_status("planner")
    assert project["memories"] == len(whole)
    assert project["newest"][0]["title"] == "Of a client"
    assert "by kind: " in str(project)
    assert agent.token not in f"{stats}{project}"


# --- blocks and sync


def test_shared_blocks_are_listed(agent: Agent, word: str) -> None:
    rag_tools.remember("text of the block", label=word)

    found = {one["label"]: one["value"] for one in rag_tools.list_shared_blocks()}
    assert found[word] == "text of the block"
    agent.monkeypatch.delenv("MEMORYHUB_TOKEN")
    assert word in {one["label"] for one in rag_tools.shared(api_key=agent.token)}
    assert f"{word}: text of the block" in str(rag_tools.shared(agent.token))


def test_sync_where_there_is_nothing_to_sync(agent: Agent) -> None:
    done = rag_tools.sync_to_letta()
    assert done["status"] == "done"
    assert "nothing to keep in step" in done["note"]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"status": "done", "counters": {"pushed": 2}, "errors": []}, ""),
        ({"status": "failed", "errors": []}, "'failed'"),
        ({"status": "failed", "errors": [{"title": "A", "side": "letta", "error": "long"}]}, r"A \(letta\): long"),
        ({"status": "failed", "errors": [{"title": "", "side": "local", "error": "away."}]}, r": local: away\."),
        ({"status": "braked", "errors": [{"title": "", "side": "", "error": "Stopped."}]}, r"'braked': Stopped\."),
    ],
)
def test_sync_waits_for_the_run(monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], says: str) -> None:
    with fake_hub({"status": "running"}, run) as (url, asked):
        monkeypatch.setenv("MEMORYHUB_URL", url)
        monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_x")
        if not says:
            assert rag_tools.sync_to_letta()["counters"] == {"pushed": 2}
        else:
            with pytest.raises(RagError, match=says):
                rag_tools.sync()
    assert asked.count("GET /api/sync/12 Bearer mhub_x") == 2


# --- where to


@pytest.mark.parametrize(
    ("env", "target"),
    [
        ({"MEMORYHUB_TOKEN": "mhub_a"}, ("http://127.0.0.1:8000", "mhub_a")),
        ({"LETTA_API_KEY": "mhub_b"}, ("http://127.0.0.1:8000", "mhub_b")),
        ({"LETTA_API_KEY": "mhub_b", "LETTA_BASE_URL": "http://hub/v1/"}, ("http://hub", "mhub_b")),
        (
            {"LETTA_API_KEY": "mhub_b", "LETTA_BASE_URL": "http://x", "MEMORYHUB_URL": "http://y/"},
            ("http://y", "mhub_b"),
        ),
        (  # the address of another server: the hub's token is not for it
            {"MEMORYHUB_TOKEN": "mhub_a", "LETTA_API_KEY": "sk-cloud", "LETTA_BASE_URL": "http://letta"},
            ("http://127.0.0.1:8000", "mhub_a"),
        ),
        ({"LETTA_API_KEY": "sk-cloud"}, ("http://127.0.0.1:8001", "project_memory")),
        ({"CHROMA_URL": "http://c:1", "CHROMA_COLLECTION": "other"}, ("http://c:1", "other")),
    ],
)
def test_where_to(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], target: tuple[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert rag_tools.place() is rag_tools.places[target]


@pytest.mark.parametrize(
    "env",
    [
        {"MEMORYHUB_TOKEN": "mhub_a b"},
        {"MEMORYHUB_TOKEN": "mhub_a", "MEMORYHUB_URL": "hub"},
        {"MEMORYHUB_TOKEN": "mhub_a", "MEMORYHUB_URL": "http://hub:99999"},
        {"MEMORYHUB_TOKEN": "mhub_a", "MEMORYHUB_URL": "http://hub..example"},
        {"MEMORYHUB_TOKEN": "mhub_a", "MEMORYHUB_URL": f"http://{'a' * 64}.example"},
        {"MEMORYHUB_TOKEN": "mhub_a", "MEMORYHUB_URL": "http://hub:8000/#memories"},
        {"CHROMA_COLLECTION": "a b"},
    ],
)
def test_an_environment_that_is_no_good(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RagError):
        rag_tools.memory_stats()


# --- what goes wrong


def test_nothing_listens(agent: Agent) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    agent.monkeypatch.setenv("MEMORYHUB_URL", url)

    with pytest.raises(RagError, match=f"Connection refused: nothing listens at {url}") as error:
        rag_tools.recall("text")
    assert "make run" in error.value.hint
    assert error.value.__suppress_context__
    stats = rag_tools.memory_stats()
    assert (stats["reachable"], stats["error"][:19]) == (False, "Connection refused:")


def test_a_token_that_is_no_good(agent: Agent) -> None:
    agent.monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_wrong")
    for call in (lambda: rag_tools.recall("text"), lambda: rag_tools.remember("text"), rag_tools.inbox):
        with pytest.raises(RagError, match=r"Unauthorized.*Settings > Tokens") as error:
            call()
        assert "mhub_wrong" not in str(error.value)


def test_a_token_that_may_only_read(agent: Agent) -> None:
    agent.monkeypatch.setenv("MEMORYHUB_TOKEN", agent.hub.tokens["viewer"])
    with pytest.raises(RagError, match=r"may only read.* make an editor's token"):
        rag_tools.remember("text")
    assert rag_tools.memory_stats()["waiting"] == 0
    assert rag_tools.project_status("planner")["memories"] >= 0


class Page(BaseHTTPRequestHandler):
    """Not a hub."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


class Lost(Page):
    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    do_POST = do_GET


@pytest.mark.parametrize("handler", [Page, Lost])
def test_what_answers_is_no_hub(agent: Agent, handler: type[Page]) -> None:
    with serving(handler) as url:
        agent.monkeypatch.setenv("MEMORYHUB_URL", url)
        for call in (lambda: rag_tools.recall("text"), lambda: rag_tools.remember("text"), rag_tools.shared):
            with pytest.raises(RagError, match="is not Memory Hub"):
                call()
    assert rag_tools.memory_stats()["waiting"] == 0


def test_a_proxy_is_not_asked_for_this_machine(agent: Agent, word: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        agent.monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert rag_tools.remember(word)


def test_a_proxy_is_asked_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(Page):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Proxy-Authorization']}")
            super().do_GET()

    with serving(Proxy) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("MEMORYHUB_URL", "http://hub.example:8000")
        monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_x")
        with pytest.raises(RagError):
            rag_tools.memory_stats() and rag_tools.recall("text")
    assert asked[0] == "http://hub.example:8000/api/project None"


def test_a_connection_that_the_server_closed_meanwhile(agent: Agent, word: str) -> None:
    class Closing(Page):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps({"slug": "planner", "name": "P", "items": [], "note": ""}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True  # without saying so

    with serving(Closing) as url:
        agent.monkeypatch.setenv("MEMORYHUB_URL", url)
        for _ in range(3):
            assert rag_tools.recall(word) == []


def test_many_threads(agent: Agent, word: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: rag_tools.remember(f"{number}", tags=[word]), range(24)))
    assert {one["uuid"] for one in agent.memories(tag=word)} == set(ids)


# --- the command


def test_the_command(agent: Agent, word: str) -> None:
    made = agent.shell("log-error", f"{word} failed", "build.sh", "--tag", "ci", "--tag", "night")
    noted = agent.shell("remember", "-", "--title", "Piped", "--json", stdin=f"{word}\nline")

    assert (made.returncode, noted.returncode) == (0, 0)
    found = {one["id"]: one for one in rag_tools.recall(word)}
    assert found[made.stdout.strip()]["tags"] == ["ci", "night"]
    assert found[made.stdout.strip()]["source"] == "build.sh"
    assert found[json.loads(noted.stdout)["id"]]["text"] == f"{word}\nline"
    assert f"[ERROR] {word} failed" in agent.shell("recall", word, "--limit", "5").stdout
    assert f"## [ERROR] {word} failed" in agent.shell("context", word).stdout
    agent.shell("send", "hello", "--topic", word, "--from-agent", "cron")
    assert f"cron on {word}:\n  hello" in agent.shell("messages", "--topic", word).stdout
    assert json.loads(agent.shell("--json", "status").stdout)["reachable"] is True
    assert "memories: " in agent.shell("project", "planner").stdout
    assert "status: done" in agent.shell("sync").stdout
    dashed = agent.shell("log-error", "--tag", word, "--", "-v", "sh")
    assert [one["text"] for one in agent.memories(tag=word)] == ["-v"], dashed.stderr


def test_streams_that_are_closed_or_full(agent: Agent, word: str) -> None:
    for command, streams, code, told in (
        ("recall x", ">/dev/full", 1, "rag_tools: The output cannot be used: No space left on device.\n"),
        ("remember -", "<&-", 2, "rag_tools: Standard input is closed.\n"),
        (f"remember {word}", ">&-", 0, ""),
        ("messages --limit 0", "2>&-", 2, ""),
    ):
        line = ["sh", "-c", f'"$@" {streams}', "sh", sys.executable, str(SCRIPT), *command.split()]
        variables = environment(**agent.env, MEMORYHUB_SPOOL=rag_tools.spool().path)
        done = subprocess.run(line, capture_output=True, text=True, env=variables)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", told)
    assert len(rag_tools.recall(word)) == 1


def test_exit_codes(agent: Agent) -> None:
    for arguments, env, code in (
        (("recall",), {}, 2),
        (("recall", " "), {}, 2),
        (("recall", "x", "--limit", "0"), {}, 2),
        (("recall", "x"), {"MEMORYHUB_TOKEN": "mhub_wrong"}, 1),
        (("recall", "x"), {"MEMORYHUB_URL": "nowhere"}, 2),
        (("recall", f"zq{uuid4().hex}"), {}, 0),
    ):
        done = agent.shell(*arguments, **env)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
