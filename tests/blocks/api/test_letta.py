"""Letta's API of the hub: who may, what becomes of a memory, conditions, and errors. The rest is in tests/contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from blocks import actions, builtin
from blocks.api import letta_blocks
from blocks.models import Agent, Memory, PrivateBlock, Revision
from memoryhub import tokens
from memoryhub.models import Project, Role

pytestmark = pytest.mark.django_db

GONE = "block-00000000-0000-4000-8000-000000000000"
Call = Callable[..., tuple[int, Any]]


class Caller:
    """A client with a token. `call` gives (status, JSON); `headers`: of the last answer."""

    def __init__(self, project: Project, role: Role = Role.EDITOR, name: str = "Claude") -> None:
        self.token = tokens.issue(project, name, role=role)[1]
        self.client = Client(raise_request_exception=False)
        self.headers: Any = {}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        said = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        reply = self.client.generic(method, f"/v1/{path}", said, "application/json", headers=sent)
        self.headers = reply.headers
        return reply.status_code, json.loads(reply.content) if reply.content else None

    def block(self, **fields: Any) -> dict[str, Any]:
        status, block = self.call("POST", "blocks/", {"label": "note", "value": "text"} | fields)
        assert status == 200, block
        return block

    def show(self, id: str) -> dict[str, Any]:
        return self.call("GET", f"blocks/{id}")[1]


@pytest.fixture
def claude(project: Project) -> Caller:
    return Caller(project)


def memory_of(block: dict[str, Any]) -> Memory:
    return Memory.objects.get(uuid=block["id"].removeprefix("block-"))


# --- Who may ----------------------------------------------------------------------------------------------

WRITES = [
    ("POST", "blocks/", {"label": "x", "value": "y"}),
    ("PATCH", "blocks/{block}", {"value": "z"}),
    ("DELETE", "blocks/{block}", None),
    ("POST", "agents/", {"name": "x"}),
    ("PATCH", "agents/{agent}", {"name": "y"}),
    ("DELETE", "agents/{agent}", None),
    ("PATCH", "agents/{agent}/core-memory/blocks/attach/{block}", None),
    ("PATCH", "agents/{agent}/core-memory/blocks/detach/{block}", None),
    ("PATCH", "agents/{agent}/core-memory/blocks/note", {"value": "z"}),
]
READS = [
    "blocks/",
    "blocks/count",
    "blocks/{block}",
    "blocks/{block}/agents",
    "agents/",
    "agents/count",
    "agents/{agent}",
]
READS += ["agents/{agent}/core-memory", "agents/{agent}/core-memory/blocks", "agents/{agent}/core-memory/blocks/note"]


@pytest.fixture
def ids(claude: Caller) -> dict[str, str]:
    block = claude.block()["id"]
    return {"block": block, "agent": claude.call("POST", "agents/", {"name": "Ada", "block_ids": [block]})[1]["id"]}


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_who_may_write(project: Project, ids: dict[str, str], method: str, path: str, body: Any) -> None:
    path = path.format(**ids)
    other = Project.objects.create(slug="other", name="Other")
    before = list(Revision.objects.values_list("hash")), list(Agent.objects.values())

    status, answer = Caller(project, Role.VIEWER).call(method, path, body)
    assert (status, "role editor" in answer["detail"]) == (403, True)
    if path not in ("blocks/", "agents/"):  # those are about nothing of the project
        assert Caller(other).call(method, path, body)[0] == 404
    assert Client().generic(method, f"/v1/{path}", b"{}", "application/json").status_code == 401
    assert (list(Revision.objects.values_list("hash")), list(Agent.objects.values())) == before

    assert Caller(project).call(method, path, body)[0] == 200


@pytest.mark.parametrize("path", READS)
def test_who_may_read(project: Project, ids: dict[str, str], path: str) -> None:
    path = path.format(**ids)
    assert Caller(project, Role.VIEWER).call("GET", path)[0] == 200
    assert Client().get(f"/v1/{path}").status_code == 401
    other = Caller(Project.objects.create(slug="other", name="Other"))
    status, answer = other.call("GET", path)
    labels = [block["label"] for block in answer] if isinstance(answer, list) else answer
    assert status == 404 or labels in ([], 0)
    assert "agents/count" not in path or answer == 0


def test_an_agent_cannot_see_a_block_of_another_project(project: Project, ids: dict[str, str]) -> None:
    other = Caller(Project.objects.create(slug="other", name="Other"))
    theirs = other.block()["id"]
    agent = other.call("POST", "agents/", {"name": "Eve"})[1]["id"]

    assert other.call("POST", "agents/", {"block_ids": [ids["block"]]})[0] == 404
    assert other.call("PATCH", f"agents/{agent}/core-memory/blocks/attach/{ids['block']}")[0] == 404
    assert other.call("PATCH", f"agents/{ids['agent']}/core-memory/blocks/attach/{theirs}")[0] == 404
    assert other.call("GET", f"blocks/?after={ids['block']}")[0] == 404


def test_health_needs_no_token() -> None:
    for path in ("/health", "/health/", "/v1/health", "/v1/health/"):
        assert Client().get(path).json()["status"] == "ok"


# --- Memories ---------------------------------------------------------------------------------------------


def test_a_block_is_a_memory_and_the_token_its_author(claude: Caller, project: Project) -> None:
    block = claude.block(label="gotcha", value="One", description="What for", tags=["b", " a "])
    claude.call("PATCH", f"blocks/{block['id']}", {"value": "Two"})

    memory = memory_of(block)
    assert (memory.project, memory.label, memory.text, memory.tags) == (project, "gotcha", "Two", ["a", "b"])
    assert [revision.author for revision in memory.revisions.all()] == ["Claude", "Claude"]
    shown = claude.show(block["id"])
    assert (shown["created_by_id"], shown["last_updated_by_id"]) == ("Claude", "Claude")
    assert shown["created_at"] == memory.created_at


def test_a_memory_of_a_person_is_a_block(claude: Caller, memory: Memory) -> None:
    block = claude.show(f"block-{memory.uuid}")
    assert (block["value"], block["tags"], block["label"]) == (memory.text, ["deploy"], memory.label)
    assert block["description"] == "Deployment checklist"
    assert block["metadata"] == {"title": "Deployment checklist", "kind": "fix"}
    assert block["created_by_id"] == "maria"


def test_what_was_read_and_is_written_back_changes_nothing(claude: Caller, memory: Memory) -> None:
    block = claude.show(f"block-{memory.uuid}")
    version = claude.headers["ETag"]

    assert claude.call("PATCH", f"blocks/{block['id']}", block)[1] == block
    assert claude.headers["ETag"] == version
    memory.refresh_from_db()
    assert (memory.number, memory.description) == (1, "")


def test_kept_local_archived_and_deleted_memories_are_no_blocks(claude: Caller, project: Project, editor: User) -> None:
    made = [actions.create(project, {"title": f"M{n}"}, user=editor, shared=n != 0) for n in range(4)]
    actions.archive([made[1]], user=editor)
    actions.delete([made[2]], user=editor)

    blocks = claude.call("GET", "blocks/")[1]
    assert [block["id"] for block in blocks] == [f"block-{made[3].uuid}"]
    assert [claude.call("GET", f"blocks/block-{one.uuid}")[0] for one in made] == [404, 404, 404, 200]


def test_a_deleted_block_can_be_restored_with_its_agents(claude: Caller, ids: dict[str, str], editor: User) -> None:
    memory = memory_of({"id": ids["block"]})
    assert claude.call("DELETE", f"blocks/{ids['block']}") == (200, None)
    assert claude.call("GET", f"agents/{ids['agent']}/core-memory/blocks")[1] == []
    memory.refresh_from_db()
    assert memory.archived_at is not None

    actions.unarchive([memory], user=editor)
    assert [block["id"] for block in claude.call("GET", f"agents/{ids['agent']}")[1]["blocks"]] == [ids["block"]]


METADATA: list[dict[str, Any]] = [
    {},
    {"team": "a", "deep": {"list": [1, 2.5, None, True]}},
    {"title": "A title", "kind": "error", "source": "ci", "created_at": "2026-01-02", "more": 1},
    {"title": "", "kind": "", "created_at": ""},
    {"title": 5, "kind": None, "source": ["x"]},
    {"kind": 5, "created_at": 1_700_000_000},
    {"floats": [1e300, -2.5e22, 1e16, 0.1, 1.0, 5e-324], "whole": [2**63 - 1, 2**63, 2**64 - 1, -(2**63)]},
    {"kind": "project_details"},
    {"memhub_id": "x", "priority": "high"},
]


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_comes_back_as_it_was_given(claude: Caller, metadata: dict[str, Any]) -> None:
    made = claude.block(metadata=metadata)
    assert made["metadata"] == metadata
    changed = claude.block(metadata={"title": "Before", "before": 1})
    assert claude.call("PATCH", f"blocks/{changed['id']}", {"metadata": metadata})[1]["metadata"] == metadata
    for block in (made, changed):
        claude.call("PATCH", f"blocks/{block['id']}", {"value": "new"})
        shown = claude.show(block["id"])["metadata"]
        assert shown == metadata
        assert claude.call("PATCH", f"blocks/{block['id']}", {"metadata": shown | {"one": "more"}})[0] == 200


@pytest.mark.parametrize("path", ["blocks/", "agents/"])
def test_large_numbers_come_back(claude: Caller, path: str) -> None:
    metadata = {"floats": [1e300, -2.5e22]}
    made = claude.call("POST", path, {"label": "human", "value": "x", "name": "Ada", "metadata": metadata})[1]
    assert claude.call("GET", f"{path}{made['id']}")[1]["metadata"] == metadata


def test_fields_in_metadata_are_the_memorys(claude: Caller, editor: User) -> None:
    block = claude.block(metadata={"title": "A title", "kind": "error", "more": 1})
    memory = memory_of(block)
    assert (memory.title, memory.kind) == ("A title", "error")

    actions.edit(memory, {"title": "Another", "kind": "fix"}, user=editor, based_on=1)
    assert claude.show(block["id"])["metadata"] == {"title": "Another", "kind": "fix", "more": 1}
    memory.refresh_from_db()
    actions.edit(memory, {"title": ""}, user=editor, based_on=2)
    assert claude.show(block["id"])["metadata"] == {"kind": "fix", "more": 1}


def test_everything_else_a_block_says_comes_back(claude: Caller) -> None:
    said = {"project_id": "p", "template_name": "t", "entity_id": "e", "preserve_on_migration": True, "hidden": False}
    block = claude.block(**said, tags=["memhub:memory:x", "own"])
    shown = claude.show(block["id"])
    assert {name: shown[name] for name in said} == said
    assert shown["tags"] == ["memhub:memory:x", "own"]
    assert memory_of(block).tags == ["own"]
    assert [one["id"] for one in claude.call("GET", "blocks/?tags=memhub:memory:x&tags=none")[1]] == [block["id"]]


def test_a_block_needs_few_queries(claude: Caller, memory: Memory, django_assert_max_num_queries: Any) -> None:
    claude.show(f"block-{memory.uuid}")
    with django_assert_max_num_queries(2):  # the token with its project, the block
        claude.show(f"block-{memory.uuid}")


# --- Private blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"label": "human"}, {"label": "persona"}, {"is_template": True}, {"hidden": True}])
def test_private_blocks_are_no_memories(claude: Caller, fields: dict[str, Any]) -> None:
    block = claude.block(**fields, tags=["x"], metadata={"a": 1})
    assert not Memory.objects.exists()
    assert claude.show(block["id"]) == block
    assert {**block, **fields} == block

    claude.call("PATCH", f"blocks/{block['id']}", {"value": "new", "tags": []})
    changed = claude.show(block["id"])
    assert (changed["value"], changed["tags"], changed["metadata"]) == ("new", [], {"a": 1})
    claude.call("DELETE", f"blocks/{block['id']}")
    assert not PrivateBlock.objects.exists()


def test_memories_and_private_blocks_are_in_one_order(claude: Caller, project: Project) -> None:
    labels = ["human", "a", "b", "persona", "human", "c", "persona"]
    made = [claude.block(label=label, tags=["t"])["id"] for label in labels]

    def ids(query: str) -> list[str]:
        return [block["id"] for block in claude.call("GET", f"blocks/?tags=t&{query}")[1]]

    assert ids("") == made
    assert [block["id"] for block in claude.call("GET", "blocks/")[1]] == made
    assert ids("order=desc") == made[::-1]
    for at in range(len(made)):
        assert ids(f"limit=2&after={made[at]}") == made[at + 1 : at + 3]
        assert ids(f"limit=2&before={made[at]}") == made[max(at - 2, 0) : at]
        assert ids(f"limit=2&order=desc&after={made[at]}") == made[:at][::-1][:2]
        assert ids(f"limit=2&order=desc&before={made[at]}") == made[at + 1 : at + 3][::-1]
    assert builtin.find(project, PrivateBlock.objects.all()[0].uuid) is not None


# --- Conditions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["note", "human"])
def test_if_match(claude: Caller, label: str) -> None:
    path = f"blocks/{claude.block(label=label)['id']}"
    old = claude.headers["ETag"]
    assert claude.call("PATCH", path, {"value": "two"}, If_Match=old)[0] == 200
    new = claude.headers["ETag"]

    for method, body in (("PATCH", {"value": "three"}), ("DELETE", None)):
        status, answer = claude.call(method, path, body, If_Match=old)
        assert (status, "changed meanwhile by Claude" in answer["detail"], claude.headers["ETag"]) == (412, True, new)
    assert claude.call("GET", path)[1]["value"] == "two"
    assert claude.call("PATCH", path, {"value": "three"}, If_Match=f'"x", {new}')[0] == 200
    assert claude.call("DELETE", path, If_Match="*")[0] == 200


def test_if_none_match(claude: Caller) -> None:
    path = f"blocks/{claude.block()['id']}"
    version = claude.headers["ETag"]
    assert claude.call("GET", path, If_None_Match=version) == (304, None)
    claude.call("PATCH", path, {"metadata": {"only": "metadata"}})
    assert claude.call("GET", path, If_None_Match=version)[0] == 200


# --- What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": "x" * 11, "limit": 10}, "limit of 10"),
        ({"label": " "}, "label"),
        ({"label": "x" * 501}, "500"),
        ({"metadata": {"deep": {"a": "\0"}}}, "NUL"),
        ({"metadata": {"kind": "x" * 401}}, "400"),
        ({"metadata": {"n": 2**64}}, "64 bits, under “n”"),
        ({"metadata": {"n": -(2**63) - 1}}, "64 bits, under “n”"),
        ({"tags": ["x" * 101]}, "100"),
        ({"tags": [f"t{n}" for n in range(201)]}, "200"),
        ({"tags": [f"memhub:{n}" for n in range(21)]}, "memhub:"),
    ],
)
def test_what_no_block_may_be(claude: Caller, fields: dict[str, Any], words: str) -> None:
    status, answer = claude.call("POST", "blocks/", {"label": "x", "value": "y"} | fields)
    assert (status, words in answer["detail"]) == (422, True)
    path = f"blocks/{claude.block(limit=100)['id']}"
    assert claude.call("PATCH", path, {**fields, **({"limit": 10} if "limit" in fields else {})})[0] == 422
    assert memory_of(claude.call("GET", path)[1]).number == 1


def test_metadata_that_is_nested_too_deeply(claude: Caller) -> None:
    deep = b'{"label": "x", "value": "y", "metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}"
    assert claude.call("POST", "blocks/", deep)[0] == 422
    deeper = deep.replace(b"[" * 900, b"[" * 90_000)
    assert claude.call("POST", "blocks/", deeper)[0] == 422


def test_a_text_that_was_too_long_already_does_not_stand_in_the_way(claude: Caller, memory: Memory) -> None:
    Memory.objects.update(limit=3)
    path = f"blocks/block-{memory.uuid}"
    assert claude.call("PATCH", path, {"description": "new"})[0] == 200
    assert claude.call("PATCH", path, {"value": "longer"})[0] == 422


def test_an_error_of_ours_is_json(claude: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("something with a secret in it")

    monkeypatch.setattr(letta_blocks.builtin, "find", fail)
    assert claude.call("GET", f"blocks/{GONE}") == (500, {"detail": "An unknown error occurred"})


@pytest.mark.parametrize("path", ["agents/x/messages", "agents/x/messages/stream", "tools/", "models", "x/y/z"])
def test_what_is_not_offered(claude: Caller, path: str) -> None:
    for method in ("GET", "POST"):
        status, answer = claude.call(method, path, {})
        assert (status, list(answer)) == (501, ["detail"])
    assert Client().get(f"/v1/{path}").status_code == 401
