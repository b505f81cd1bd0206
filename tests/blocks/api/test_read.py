"""Agents list and read memories, their versions and what changed."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from blocks import actions
from blocks.api.paging import Place
from blocks.models import Memory, SyncState
from memoryhub.models import ApiToken, LettaServer, LocalStore, Project
from syncjobs.models import Connection, Replica
from tests.blocks.api.conftest import Api

pytestmark = pytest.mark.django_db


def titles(api: Api, **asked: object) -> list[str]:
    return [memory["title"] for memory in api.get(f"memories?{urlencode(asked, doseq=True)}").json()["items"]]


def test_a_reader_that_has_the_version_is_told_so(api: Api) -> None:
    uuid = api.make()["uuid"]
    first = api.get(f"memories/{uuid}")
    same = api.get(f"memories/{uuid}", If_None_Match=first["ETag"])
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", '"1"')
    api.patch(uuid, {"title": "y"})
    assert api.get(f"memories/{uuid}", If_None_Match=first["ETag"]).status_code == 200


def test_reading_takes_few_queries(api: Api, editor: User) -> None:
    uuid = api.make()["uuid"]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        api.get(f"memories/{uuid}")
    assert len(queries) == 2  # the token, the memory
    ApiToken.objects.update(created_by=editor)
    with CaptureQueriesContext(connection) as queries:
        api.get(f"memories/{uuid}")
    assert len(queries) == 3  # and what its maker may do by now


def test_a_list_takes_as_many_queries_however_long_it_is(api: Api) -> None:
    api.get("memories")
    counts = []
    for _ in range(2):
        for _ in range(3):
            api.make()
        with CaptureQueriesContext(connection) as queries:
            assert api.get("memories").status_code == 200
        counts.append(len(queries))
    assert counts == [2, 2]


@pytest.mark.parametrize("order", ["changed", "created", "title"])
def test_pages_show_each_memory_once_in_the_order_asked_for(api: Api, project: Project, order: str) -> None:
    for number in range(25):
        title, day = f"Ä {number % 4}", f"2024-01-{number % 7 + 1:02d}"
        actions.create(project, {"title": title, "created_at": day})
    Memory.objects.filter(pk__in=Memory.objects.order_by("pk").values("pk")[:9]).update(changed_at=timezone.now())
    whole = api.get(f"memories?order={order}&limit=200").json()
    assert (len(whole["items"]), whole["next"]) == (25, None)
    paged, cursor = [], ""
    for _ in range(9):
        reply = api.get(
            f"memories?order={order}&limit=3&cursor={cursor}" if cursor else f"memories?order={order}&limit=3"
        )
        paged += reply.json()["items"]
        cursor = reply.json()["next"]
    assert cursor is None
    assert paged == whole["items"]
    keys = [memory[{"changed": "changed_at", "created": "created_at", "title": "title"}[order]] for memory in paged]
    assert keys == sorted(keys, reverse=order != "title")


def test_a_page_stays_where_it_was_when_memories_come_and_go(api: Api) -> None:
    made = [api.make(title=str(number))["uuid"] for number in range(4)]
    page = api.get("memories?limit=2").json()
    assert [memory["title"] for memory in page["items"]] == ["3", "2"]
    api.make(title="new")
    api.delete(made[2])
    assert titles(api, limit=2, cursor=page["next"]) == ["1", "0"]


def test_the_order_of_a_cursor_counts(api: Api) -> None:
    for title in "bca":
        api.make(title=title)
    cursor = api.get("memories?order=title&limit=1").json()["next"]
    assert titles(api, cursor=cursor, order="changed") == ["b", "c"]


def test_a_cursor_with_a_long_title_of_any_characters_works(api: Api) -> None:
    for title in ("\U0001f389" * 300, "\U0001f389" * 301, "a\nb" * 100):
        api.make(title=title, label="")
    cursor, seen = "", []
    while cursor is not None:
        page = api.get(
            f"memories?order=title&limit=1&cursor={cursor}" if cursor else "memories?order=title&limit=1"
        ).json()
        seen += page["items"]
        cursor = page["next"]
    assert len({memory["uuid"] for memory in seen}) == len(seen) == 3


@pytest.mark.parametrize(
    "cursor",
    ["x", "changed-1", "changed-99999999999999999-1", "changed--1", "title-zz-1", "title-0-1", "a" * 5000, "%00", "-1"],
)
def test_a_cursor_that_is_none_is_refused(api: Api, cursor: str) -> None:
    assert api.get(f"memories?cursor={cursor}").status_code == 422


@pytest.mark.parametrize("cursor", ["changed-9999999999999999-999999999999999999", "title-00ff-1", "created--0"])
def test_any_place_can_be_begun_at(api: Api, cursor: str) -> None:
    assert Place.decode(cursor)
    assert api.get(f"memories?cursor={cursor}").status_code == 200


def test_lists_are_narrowed(api: Api) -> None:
    api.make(title="a", kind="fix", tags=["x", "y"], source="s", client="acme", label="one", status="open")
    api.make(title="b", kind="error", tags=["x"], client="acme")
    api.make(title="c", kind="gotcha")
    assert titles(api, kind="fix") == ["a"]
    assert titles(api, kind=["fix", "error"]) == ["b", "a"]
    assert titles(api, tag="x") == ["b", "a"]
    assert titles(api, tag=["x", "y"]) == ["a"]
    assert titles(api, client="acme", kind="error") == ["b"]
    assert [titles(api, **one) for one in ({"source": "s"}, {"label": "one"}, {"status": "open"})] == [["a"]] * 3
    assert titles(api, tag="none of these") == []


def test_a_list_since_a_moment(api: Api) -> None:
    uuid = api.make(title="a")["uuid"]
    api.make(title="b")
    Memory.objects.filter(uuid=uuid).update(changed_at=timezone.now() - timedelta(days=2))
    assert titles(api, since=(timezone.now() - timedelta(days=1)).isoformat()) == ["b"]
    assert titles(api, since="2020-01-01") == ["b", "a"]
    assert titles(api, since="9999-12-31T23:59:60Z") == []
    moment = api.get(f"memories/{uuid}").json()["changed_at"]
    assert titles(api, since=moment) == ["b", "a"]


def test_a_list_without_texts(api: Api) -> None:
    api.make(text="long")
    [memory] = api.get("memories?text=false").json()["items"]
    assert "text" not in memory
    assert api.get("memories?text=true").json()["items"][0]["text"] == "long"


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=1.0", "limit=+1", "limit=99999999999999999999", "limit=a", "limit="),
        *("order=x", "shelf=deleted", "text=maybe", "since=monday", "since=", "kind=%00", "tag=a%00b", "label=%00"),
        *("kind=" + "k" * 401, "&".join(["tag=a"] * 21), "colour=red", "tags=a", "client=%00"),
        *("client=a&client=b", "limit=5&limit=5", "order=title&order=title"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    reply = api.get(f"memories?{query}")
    assert reply.status_code == 422
    assert isinstance(reply.json()["detail"], str)
    assert query.split("=")[0] in reply.json()["detail"]


def test_bytes_that_are_no_text_do_no_harm(api: Api) -> None:
    assert api.get("memories?client=%ff%fe").status_code == 200


def test_versions_are_listed_newest_first(api: Api, editor: User) -> None:
    uuid = api.make(text="one")["uuid"]
    api.patch(uuid, {"text": "three"})
    actions.edit(Memory.objects.get(), {"title": "By a person"}, user=editor, based_on=2)
    history = api.get(f"memories/{uuid}/history").json()
    assert [(row["number"], row["author"], row["origin"], row["length"]) for row in history["items"]] == [
        (3, "maria", "hub", 5),
        (2, "Claude", "hub", 5),
        (1, "Claude", "hub", 3),
    ]
    assert history["next"] is None
    page = api.get(f"memories/{uuid}/history?limit=2").json()
    assert page["next"] == 2
    rest = api.get(f"memories/{uuid}/history?limit=2&before={page['next']}").json()
    assert [row["number"] for row in rest["items"]] == [1]


def test_a_version_is_the_whole_memory_as_it_was(api: Api) -> None:
    made = api.make(text="one", tags=["a"])
    api.patch(made["uuid"], {"text": "two", "tags": []})
    version = api.get(f"memories/{made['uuid']}/history/1").json()
    assert (version["number"], version["state"]["text"], version["state"]["tags"]) == (1, "one", ["a"])
    assert set(version["state"]) <= set(made)
    assert api.get(f"memories/{made['uuid']}/history/3").status_code == 404
    for number in ("0", "x", "2147483648", "9" * 30, "1.0"):
        assert api.get(f"memories/{made['uuid']}/history/{number}").status_code == 422


def test_changes_say_who_did_what(api: Api, editor: User) -> None:
    start = api.get("changes").json()
    assert (start["items"], start["more"]) == ([], False)
    made = api.make(title="A", kind="fix")
    actions.edit(Memory.objects.get(), {"title": "B"}, user=editor, based_on=1)
    api.delete(made["uuid"])
    found = api.get(f"changes?since={start['next']}").json()
    rows = [(row["title"], row["revision"], row["author"], row["note"], row["archived"]) for row in found["items"]]
    assert rows == [
        ("A", 1, "Claude", "", True),
        ("B", 2, "maria", "", True),
        ("B", 3, "Claude", "archived", True),
    ]
    assert found["items"][0]["uuid"] == made["uuid"]
    first = api.get(f"changes?since={start['next']}&limit=2").json()
    assert (len(first["items"]), first["more"]) == (2, True)
    assert api.get(f"changes?since={first['next']}").json()["items"] == found["items"][2:]
    assert api.get("changes?limit=1").json()["items"] == found["items"][2:]


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "9" * 19, "%00", ""])
def test_a_position_that_is_none_is_refused(api: Api, since: str) -> None:
    assert api.get(f"changes?since={since}").status_code == 422


def test_words_are_found(api: Api) -> None:
    api.make(title="Rotate the keys", text="every month", kind="fix")
    api.make(title="Something else")
    found = api.get("search?q=month").json()
    assert [item["title"] for item in found["items"]] == ["Rotate the keys"]
    assert (found["how"], found["items"][0]["similarity"]) == ("words", None)
    assert "month" in found["items"][0]["excerpt"]
    assert "no local store" in found["note"]
    assert api.get("search?q=month&mode=words").json()["note"] == ""
    assert api.get("search?q=month&kind=error").json()["items"] == []
    assert api.get("search?q=").json()["items"] == []


@pytest.mark.parametrize(
    "query", ["", "limit=1", "q=a&limit=51", "q=%00", "q=a&mode=magic", "q=" + "x" * 201, "q=a&q=b"]
)
def test_a_search_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    assert api.get(f"search?{query}").status_code == 422


@pytest.mark.parametrize("words", ['"', "NEAR(", "a:b*", "'; DROP", "%", "_", "&|!", "\U0001f389", "a" * 200])
def test_what_is_looked_for_is_never_query_syntax(api: Api, words: str) -> None:
    assert api.get(f"search?q={quote(words)}").status_code == 200


def test_the_project_says_what_is_in_it(api: Api, project: Project) -> None:
    for kind, client in (("fix", "acme"), ("fix", ""), ("error", "acme")):
        api.make(kind=kind, client=client)
    api.delete(api.make()["uuid"])
    Memory.objects.filter(kind="error").update(sync_state=SyncState.CONFLICT)
    Memory.objects.filter(kind="fix", client="").update(sync_state=SyncState.WAITING)
    assert api.get("project").json()["counts"] == {
        "memories": 3,
        "archived": 1,
        "by_kind": {"fix": 2, "error": 1},
        "by_client": {"acme": 2},
        "conflicts": 1,
        "waiting": 1,
    }


def test_the_project_says_how_it_is_connected(api: Api, project: Project) -> None:
    store = LocalStore.objects.create(name="Store", url="http://chroma:8001")
    project.local_store, project.local_direction = store, "to_side"
    project.save()
    now = timezone.now()
    Connection.objects.create(
        project=project, side="local", address=store.address, looked_at=now, look_error="It does not answer."
    )
    letta, local = api.get("project").json()["sides"]
    assert (letta["kind"], letta["name"], letta["looked_at"]) == ("builtin", "built-in server", None)
    assert local == {
        "side": "local",
        "kind": "server",
        "name": "Store",
        "direction": "to_side",
        "looked_at": now.isoformat(),
        "error": "It does not answer.",
    }


def test_a_memory_in_problem_says_what_it_has_for_one(api: Api, project: Project, memory: Memory) -> None:
    project.letta_server = LettaServer.objects.create(name="Letta", url="http://letta:8283")
    project.save()
    here = Connection.objects.create(project=project, side="letta", address=project.letta_server.address)
    before = Connection.objects.create(project=project, side="letta", address="http://before:8283")
    why = {"status": "problem", "reason": "The block's tags cannot be understood."}
    Replica.objects.create(memory=memory, connection=here, external_id="block-1", **why)
    Replica.objects.create(memory=memory, connection=before, external_id="block-2", status="problem", reason="old")
    assert api.get(f"memories/{memory.uuid}").json()["notice"] == ""
    Memory.objects.update(sync_state=SyncState.PROBLEM)
    said = "Letta: The block's tags cannot be understood."
    assert api.get(f"memories/{memory.uuid}").json()["notice"] == said
    (listed,) = api.get("memories").json()["items"]
    assert (listed["state"], listed["notice"]) == ("problem", said)


def test_many_in_problem_take_no_more_queries_than_one(api: Api, project: Project, memory: Memory) -> None:
    def queries() -> int:
        Memory.objects.update(sync_state=SyncState.PROBLEM)
        with CaptureQueriesContext(connection) as asked:
            api.get("memories")
        return len(asked)

    api.get("memories")  # the first use of a token in a minute is noted
    one = queries()
    for number in range(5):
        actions.create(project, {"text": f"{number}"})
    assert queries() == one
