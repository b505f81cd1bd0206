"""The digest block of the built-in Letta server: computed when it is read, attached like any other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import pytest
from django.contrib.auth.models import User

from blocks import actions, agents, digest
from blocks.models import Memory, PrivateBlock
from memoryhub.models import Project, Role
from tests.blocks.api.test_letta import Caller

pytestmark = pytest.mark.django_db

LABEL, TAG = "shared_memory_planner", "memhub:digest:planner"


ALL = "blocks/?show_hidden_blocks=true"


@pytest.fixture
def claude(project: Project) -> Caller:
    return Caller(project)


@pytest.fixture
def shown(claude: Caller) -> dict[str, Any]:
    """The digest as the list has it."""
    (block,) = claude.call("GET", f"blocks/?label={LABEL}")[1]
    assert isinstance(block, dict)
    return block


def remember(project: Project, editor: User, *titles: str, **fields: Any) -> list[Memory]:
    return [
        actions.create(project, {"title": title, "text": f"text of {title}"} | fields, user=editor) for title in titles
    ]


def value(claude: Caller, shown: dict[str, Any]) -> str:
    return str(claude.show(shown["id"])["value"])


def test_no_other_block_is_labelled_as_the_digest(claude: Caller, project: Project) -> None:
    own = claude.call("POST", "blocks/", {"label": "own", "value": "x"})[1]["id"]
    refused = [
        claude.call("POST", "blocks/", {"label": LABEL, "value": "x"}),
        claude.call("POST", "blocks/", {"label": LABEL, "value": "x", "hidden": True}),
        claude.call("PATCH", f"blocks/{own}", {"label": LABEL}),
        claude.call("POST", "agents/", {"name": "A", "memory_blocks": [{"label": LABEL, "value": "x"}]}),
    ]
    assert [(status, "digest has this label" in said["detail"]) for status, said in refused] == [(409, True)] * 4
    assert not project.agents.exists()
    assert claude.call("POST", "blocks/", {"label": "shared_memory_other", "value": "x"})[0] == 200


def test_its_id_is_like_every_other(shown: dict[str, Any]) -> None:
    assert UUID(shown["id"].removeprefix("block-")).version == 4


def test_a_digest_that_was_made_before_keeps_its_id(claude: Caller, project: Project) -> None:
    old = uuid5(digest.SPACE, f"{project.pk} {project.slug}")
    assert digest.block_of(project).is_digest
    PrivateBlock.objects.update(uuid=old)
    assert [block["id"] for block in claude.call("GET", f"blocks/?label={LABEL}")[1]] == [f"block-{old}"]
    assert PrivateBlock.objects.count() == 1


def test_it_says_what_the_memories_say_now(claude: Caller, project: Project, editor: User) -> None:
    (block,) = claude.call("GET", ALL)[1]  # of a project without memories
    assert (block["label"], block["tags"], block["value"]) == (LABEL, [TAG], "# Shared Memory: planner\n")
    assert (block["limit"], block["read_only"], block["hidden"], block["is_template"]) == (100_000, False, None, False)

    plain, fix = remember(project, editor, "Plain") + remember(project, editor, "Fix", kind="fix")
    remember(project, editor, "Pinned", tags=["pinned"], text="x" * 501)
    entries = ["[1] Pinned (memory)\n" + "x" * 500, "[2] Fix (fix)\ntext of Fix", "[3] Plain (memory)\ntext of Plain"]
    entries = [entry.replace("(memory)", f"({plain.kind})") for entry in entries]
    assert value(claude, block) == "# Shared Memory: planner\n" + "".join(f"\n## {entry}\n" for entry in entries)

    actions.archive([fix], user=editor)
    actions.edit(plain, {"text": "new"}, user=editor, based_on=1)
    assert value(claude, block).endswith(f"## [2] Plain ({plain.kind})\nnew\n")
    assert claude.show(block["id"])["updated_at"] > block["updated_at"]
    assert claude.show(block["id"])["id"] == block["id"]
    assert not PrivateBlock.objects.exclude(text="").exists()


def test_it_is_the_same_block_in_every_list(claude: Caller, project: Project, editor: User) -> None:
    remember(project, editor, *(f"M{number}" for number in range(60)))
    (first, *_) = blocks = claude.call("GET", f"{ALL}&limit=100")[1]
    assert (first["label"], len(blocks)) == (LABEL, 61)
    assert first["value"].count("\n## [") == digest.MOST == 50
    for query in (
        *(f"tags={TAG}", f"label={LABEL}", "label_search=SHARED"),
        *("show_hidden_blocks=true&value_search=text+of+m59", "show_hidden_blocks=true&limit=1"),
    ):
        found = claude.call("GET", f"blocks/?{query}")[1]
        assert found[0] == first, query
        assert "value_search" in query or len(found) == 1
    assert claude.call("GET", f"blocks/count?tags={TAG}")[1] == 1
    assert claude.call("GET", "blocks/?value_search=never+said")[1] == []
    assert claude.call("GET", f"blocks/?label={LABEL}&templates_only=true")[1] == []
    assert claude.call("GET", f"blocks/?after={first['id']}&limit=1")[1] == [blocks[1]]
    assert claude.call("GET", f"{ALL}&before={blocks[1]['id']}")[1] == [first]
    assert first["id"] == f"block-{digest.block_of(project).uuid}"
    assert PrivateBlock.objects.count() == 1
    assert not Memory.objects.filter(label=LABEL).exists()


def test_who_lists_blocks_gets_what_was_made(claude: Caller, project: Project, editor: User) -> None:
    (made,) = remember(project, editor, "Made")
    digest.block_of(project)
    for query in ("", "?value_search=made", "?limit=5"):
        assert [block["id"] for block in claude.call("GET", f"blocks/{query}")[1]] == [f"block-{made.uuid}"]
    assert claude.call("GET", "blocks/count")[1] == 1


def test_each_project_has_its_own(claude: Caller, shown: dict[str, Any], memory: Memory) -> None:
    other = Caller(Project.objects.create(slug="other", name="Other"))
    (theirs,) = other.call("GET", ALL)[1]
    assert (theirs["label"], theirs["value"]) == ("shared_memory_other", "# Shared Memory: other\n")
    assert theirs["id"] != shown["id"]
    for method in ("GET", "PATCH", "DELETE"):
        assert other.call(method, f"blocks/{shown['id']}", {})[0] == 404
    assert memory.title in value(claude, shown)


def test_an_agent_sees_it(claude: Caller, shown: dict[str, Any], memory: Memory) -> None:
    status, agent = claude.call("POST", "agents/", {"name": "Ada", "block_ids": [shown["id"]]})
    path = f"agents/{agent['id']}/core-memory/blocks"
    assert (status, [block["value"] for block in agent["memory"]["blocks"]]) == (200, [value(claude, shown)])
    assert memory.text in claude.call("GET", f"{path}/{LABEL}")[1]["value"]
    assert [one["id"] for one in claude.call("GET", f"blocks/{shown['id']}/agents")[1]] == [agent["id"]]
    assert claude.call("GET", f"blocks/?label={LABEL}&connected_to_agents_count_gt=0")[1][0]["id"] == shown["id"]

    assert claude.call("PATCH", f"{path}/detach/{shown['id']}")[0] == 200
    assert claude.call("GET", path)[1] == []
    assert claude.call("PATCH", f"{path}/detach/{shown['id']}")[0] == 404
    assert claude.call("PATCH", f"{path}/attach/{shown['id']}")[0] == 200
    assert [block["id"] for block in claude.call("GET", path)[1]] == [shown["id"]]
    claude.call("DELETE", f"agents/{agent['id']}")
    assert value(claude, shown)


def test_it_is_computed_once_for_all_agents(
    claude: Caller, project: Project, memory: Memory, django_assert_max_num_queries: Any
) -> None:
    for number in range(10):
        agents.create(project, {"name": f"A{number}"}, blocks=[digest.block_of(project).uuid], agent="Claude")
    with django_assert_max_num_queries(7):  # token, agents, attachments, memories, digest: row, memories, when
        found = claude.call("GET", "agents/")[1]
    assert [memory.text in agent["blocks"][0]["value"] for agent in found] == [True] * 10


# --- Writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("{now}\nan agent's note\n", "an agent's note"),
        ("# A note\n\nof an agent", "# A note\n\nof an agent"),
        ("{now}", None),
        (" \n", None),
        ("", None),
        ("1. Run tests\n2. Tag\n", None),  # a memory says it already
        ("x" * 99_999, "x" * 99_999),
    ],
)
@pytest.mark.parametrize("by_agent", [False, True])
def test_what_is_written_into_it_becomes_a_memory(
    claude: Caller, shown: dict[str, Any], memory: Memory, written: str, kept: str | None, by_agent: bool
) -> None:
    agent = claude.call("POST", "agents/", {"name": "Ada", "block_ids": [shown["id"]]})[1]
    path = f"agents/{agent['id']}/core-memory/blocks/{LABEL}" if by_agent else f"blocks/{shown['id']}"
    said = {"value": written.replace("{now}", value(claude, shown))}
    again = written != "{now}\nan agent's note\n"  # what was added can be told from the digest as it is now only
    for _ in range(1 + again):  # the same text once more is nothing new
        status, block = claude.call("PATCH", path, said)
        assert (status, block["value"]) == (200, value(claude, shown))
    made = Memory.objects.exclude(pk=memory.pk)
    assert [one.text for one in made] == ([kept] if kept else [])
    assert all(one.author == "Claude" and one.shared and one.title in block["value"] for one in made)
    assert memory.text in block["value"]
    revisions = [revision.note for one in made for revision in one.revisions.all()]
    assert revisions == ([digest.NOTE] if kept else [])


def test_a_limit_and_a_description_can_be_set(claude: Caller, shown: dict[str, Any], memory: Memory) -> None:
    path = f"blocks/{shown['id']}"
    status, block = claude.call("PATCH", path, {"limit": 30, "description": "Read this first."})
    assert (status, block["limit"], block["description"]) == (200, 30, "Read this first.")
    assert block["value"] == "# Shared Memory: planner\n"
    assert claude.call("PATCH", path, {"value": "x" * 31})[0] == 422
    assert claude.call("PATCH", path, {"limit": 100_000})[1]["value"].count("## [") == 1
    assert Memory.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"label": "x"}, {"tags": []}, {"metadata": {}}, {"hidden": True}, {"is_template": True}]
)
def test_the_rest_stays(claude: Caller, shown: dict[str, Any], change: dict[str, Any]) -> None:
    status, answer = claude.call("PATCH", f"blocks/{shown['id']}", change | {"value": "a note"})
    assert (status, "the hub computes" in answer["detail"]) == (422, True)
    assert not Memory.objects.exists()
    assert claude.show(shown["id"]) == shown


def test_it_cannot_be_deleted(claude: Caller, project: Project, shown: dict[str, Any]) -> None:
    status, answer = claude.call("DELETE", f"blocks/{shown['id']}")
    assert (status, "which the hub computes" in answer["detail"]) == (409, True)
    assert claude.show(shown["id"]) == shown


def test_a_viewer_only_reads_it(project: Project, shown: dict[str, Any]) -> None:
    reader = Caller(project, Role.VIEWER)
    assert reader.show(shown["id"]) == shown
    for method in ("PATCH", "DELETE"):
        assert reader.call(method, f"blocks/{shown['id']}", {"value": "a note"})[0] == 403
    assert not Memory.objects.exists()


def test_a_viewer_may_be_the_first_to_read_it(project: Project) -> None:
    assert [block["label"] for block in Caller(project, Role.VIEWER).call("GET", ALL)[1]] == [LABEL]


# --- Conditions -------------------------------------------------------------------------------------------


def test_its_etag_is_of_its_text(claude: Caller, shown: dict[str, Any], memory: Memory, editor: User) -> None:
    path = f"blocks/{shown['id']}"
    claude.show(shown["id"])
    old = claude.headers["ETag"]
    assert claude.call("GET", path, If_None_Match=old)[0] == 304
    memory = actions.edit(memory, {"text": "new"}, user=editor, based_on=1)
    assert claude.call("GET", path, If_None_Match=old)[0] == 200
    new = claude.headers["ETag"]
    assert new != old

    assert claude.call("PATCH", path, {"value": "a note"}, If_Match=old)[0] == 412
    assert Memory.objects.count() == 1
    assert claude.call("PATCH", path, {"value": "a note"}, If_Match=new)[0] == 200
    assert claude.headers["ETag"] != new
    claude.call("PATCH", path, {"description": "other"})
    assert claude.call("GET", path, If_None_Match=new)[0] == 200


# --- Where it comes from ----------------------------------------------------------------------------------


def test_its_id_is_the_same_when_it_is_made_again(project: Project) -> None:
    first = digest.block_of(project)
    first.delete()
    assert digest.block_of(project).uuid == first.uuid


def test_another_hubs_block_of_its_label_is_a_memory(claude: Caller, project: Project, shown: dict[str, Any]) -> None:
    mine = claude.block(label=LABEL, value="my own", tags=["memhub:project:other"])
    assert [block["id"] for block in claude.call("GET", f"blocks/?label={LABEL}")[1]] == [shown["id"], mine["id"]]
    agent = agents.create(project, {"name": "Ada"}, blocks=[digest.block_of(project).uuid], agent="Claude")
    assert claude.call("PATCH", f"agents/{agent.letta_id}/core-memory/blocks/attach/{mine['id']}")[0] == 409


def test_it_is_older_than_what_was_there_before_it_was_made(claude: Caller, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    human = claude.block(label="human")
    first, second = claude.call("GET", ALL)[1]
    assert (first["created_at"], second["id"]) == ("2020-01-01T00:00:00Z", human["id"])
