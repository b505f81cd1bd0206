"""Agents make, change and archive memories."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from blocks import actions
from blocks.api.writing import title_from
from blocks.models import Memory
from memoryhub.models import Project
from tests.blocks.api.conftest import Api, api_for

pytestmark = pytest.mark.django_db
EVERYTHING: dict[str, Any] = {
    "title": "Deployment",
    "text": "1. Test\r\n2. Tag\n",
    "kind": "gotcha",
    "tags": ["b", "a"],
    "label": "deploy/checklist",
    "description": "How we deploy",
    "source": "deploy.sh",
    "file_path": "ops/deploy.md",
    "client": "acme",
    "priority": "high",
    "status": "open",
    "created_at": "2024-05-01T12:00:00.123456",
    "limit": 5000,
    "read_only": True,
    "shared": False,
}


def test_every_field_comes_back_as_it_was_sent(api: Api) -> None:
    reply = api.post("memories", EVERYTHING)
    made = reply.json()
    assert reply.status_code == 201
    assert reply["Location"] == f"/api/memories/{made['uuid']}"
    assert reply["ETag"] == '"1"'
    assert {name: made[name] for name in EVERYTHING} == EVERYTHING | {"tags": ["a", "b"]}
    assert (made["author"], made["revision"], made["archived"], made["state"]) == ("Claude", 1, False, "in sync")
    assert made["url"] == f"http://testserver/p/planner/m/{made['uuid']}/"
    assert api.get(f"memories/{made['uuid']}").json() == made


def test_what_is_missing_is_made_up(api: Api) -> None:
    made = api.post("memories", {"text": "\n## Rotate the keys\nevery month"}).json()
    assert (made["title"], made["label"], made["kind"]) == ("Rotate the keys", "rotate-the-keys", "project_details")
    assert made["created_at"]
    assert api.make(title="Rotate the keys")["label"].startswith("rotate-the-keys-")


@pytest.mark.parametrize(
    ("text", "title"),
    [("", ""), ("a\nb", "a"), ("\n \n# A b\n", "A b"), ("###\nx", "###"), ("x" * 61, "x" * 59 + "…")],
)
def test_a_title_is_the_first_line(text: str, title: str) -> None:
    assert title_from(text) == title


def test_a_call_that_is_repeated_makes_one_memory(api: Api, stranger: Api) -> None:
    body = {"title": "Once", "uuid": str(uuid4()).upper()}
    first, second = api.post("memories", body), api.post("memories", {**body, "title": "Twice"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert (second["Location"], second["ETag"]) == (first["Location"], '"1"')
    uuid = first.json()["uuid"]
    api.patch(uuid, {"title": "Edited"})
    assert api.post("memories", body).json()["title"] == "Edited"
    api.delete(uuid)
    archived = api.post("memories", body)
    assert (archived.status_code, archived.json()["archived"]) == (409, True)
    assert "archived since" in archived.json()["detail"]
    elsewhere = stranger.post("memories", body)
    assert elsewhere.status_code == 409
    assert "planner" not in elsewhere.content.decode().lower()
    assert Memory.objects.count() == 1


def test_a_repeated_call_tells_nothing_of_what_people_deleted(api: Api, editor: User) -> None:
    body = {"title": "Once", "text": "secret", "uuid": str(uuid4())}
    api.post("memories", body)
    actions.delete([Memory.objects.get()], user=editor)
    again = api.post("memories", body)
    assert (again.status_code, again.json()["archived"]) == (409, True)
    assert "secret" not in again.content.decode()


@pytest.mark.parametrize("body", [{"source": "a\0b"}, {"tags": ["memhub:x"]}, {"label": "a b"}, {"title": ""}])
def test_what_is_no_good_is_none_the_second_time_either(api: Api, body: dict[str, Any]) -> None:
    once = {"title": "Once", "label": "once", "shared": True, "uuid": str(uuid4())}
    assert [api.post("memories", once).status_code for _ in range(2)] == [201, 200]
    assert api.post("memories", once | body).status_code == 422


@pytest.mark.parametrize("uuid", ["", "x", "{" + str(uuid4()) + "}", uuid4().hex])
def test_a_uuid_that_is_none_is_refused(api: Api, uuid: str) -> None:
    assert api.post("memories", {"title": "x", "uuid": uuid}).status_code == 422


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({}, "text", "Write a title or a text."),
        ({"title": "x", "titel": "y"}, "titel", "not permitted"),
        ({"title": 5}, "title", "valid string"),
        ({"title": "a\0b"}, "title", "NUL"),
        ({"title": "x", "source": "\ud800"}, "source", "surrogate"),
        ({"title": "x", "label": "no spaces"}, "label", "1 to 50 of letters"),
        ({"title": "x", "label": "persona"}, "label", "private block"),
        ({"title": "x", "kind": "k" * 401}, "kind", "at most 400"),
        ({"title": "x", "tags": ["a", "memhub:memory:1"]}, "tags", "kept for the hub"),
        ({"title": "x", "tags": [" memhub:x"]}, "tags", "kept for the hub"),
        ({"title": "x", "tags": [f"{n}" for n in range(201)]}, "tags", "At most 200 tags"),
        ({"title": "x", "tags": ["t" * 101]}, "tags", "at most 100 characters"),
        ({"title": "x", "tags": ["a\0"]}, "tags", "NUL"),
        ({"title": "x", "tags": "a, b"}, "tags", "valid list"),
        ({"title": "x", "limit": 0}, "limit", "between 1 and"),
        ({"title": "x", "limit": 2**31}, "limit", "between 1 and"),
        ({"title": "x", "limit": 10**30}, "limit", "between 1 and"),
        ({"text": "abcd", "limit": 3, "kind": "k" * 401}, "text", "1 more than the limit of 3"),
        ({"title": "x", "read_only": "true"}, "read_only", "valid boolean"),
        ({"title": "x", "created_at": "yesterday"}, "created_at", "Write a date"),
        ({"title": None}, "title", "valid string"),
    ],
)
def test_what_is_no_good_is_refused_with_a_sentence(api: Api, body: Any, field: str, sentence: str) -> None:
    reply = api.post("memories", body)
    assert reply.status_code == 422
    assert sentence in reply.json()["errors"][field]
    assert sentence in reply.json()["detail"]
    assert not Memory.objects.exists()


def test_a_label_that_another_memory_has_is_a_clash(api: Api) -> None:
    api.make(label="mine")
    other = api.make(label="other")
    for reply in (api.post("memories", {"title": "x", "label": "mine"}), api.patch(other["uuid"], {"label": "mine"})):
        assert (reply.status_code, "has this label" in reply.json()["detail"]) == (409, True)
    assert api.patch(other["uuid"], {"label": "other", "title": "same label"}).status_code == 200
    api.patch(other["uuid"], {"text": "two"})
    both = api.patch(other["uuid"], {"label": "mine", "limit": 1})  # each does not fit what is there
    assert (both.status_code, both.json()["detail"].count(": ")) == (409, 2)


def test_the_label_of_the_digest_is_taken(api: Api) -> None:
    reply = api.post("memories", {"title": "x", "label": "shared_memory_planner"})
    assert (reply.status_code, "digest block has this label" in reply.json()["detail"]) == (409, True)
    assert api.make(label="shared_memory_other")["label"] == "shared_memory_other"


def test_only_what_is_sent_changes(api: Api, project: Project) -> None:
    made = api.make(text="Text", tags=["a"], status="open")
    other = api_for(project, "GPT")
    changed = other.patch(made["uuid"], {"status": "closed"})
    now = changed.json()
    assert (changed.status_code, changed["ETag"], now["status"], now["revision"]) == (200, '"2"', "closed", 2)
    different = {name for name in made if made[name] != now[name]}
    assert different == {"status", "revision", "changed_at", "author"}
    assert now["author"] == "GPT"


def test_a_change_that_changes_nothing_leaves_no_version(api: Api) -> None:
    made = api.make(text="Text")
    assert api.patch(made["uuid"], {"text": "Text"})["ETag"] == '"1"'
    assert api.patch(made["uuid"], {})["ETag"] == '"1"'


def test_a_field_a_side_filled_oddly_is_left_alone(api: Api, project: Project) -> None:
    odd = actions.create(project, {"label": "not a label!", "title": "x", "tags": ["t" * 300]})
    same = {"label": "not a label!", "tags": ["t" * 300], "title": "y"}
    assert api.patch(odd, same).json()["title"] == "y"
    assert api.patch(odd, {"label": "also not!"}).status_code == 422


@pytest.mark.parametrize("sent", ['"2"', 'W/"2"', "2", '"1", "2"', "*"])
def test_a_change_meant_for_the_present_version_is_made(api: Api, sent: str) -> None:
    uuid = api.make()["uuid"]
    api.patch(uuid, {"title": "two"})
    assert api.patch(uuid, {"title": "three"}, If_Match=sent).json()["revision"] == 3


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ('"1"', "Revision 2 is newer than"),
        ('"3"', "There is no revision 3 yet: the present one is 2."),
        ("nonsense", "another revision than the present one, which is 2."),
        ("", "another revision than the present one, which is 2."),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_change_meant_for_another_version_is_not_made(api: Api, sent: str, why: str, method: str) -> None:
    uuid = api.make()["uuid"]
    current = api.patch(uuid, {"title": "two"}).json()
    body = {"title": "three"} if method == "PATCH" else None
    reply = api.call(method, f"memories/{uuid}", body, If_Match=sent)
    assert (reply.status_code, reply["ETag"], reply.json()["current"]) == (412, '"2"', current)
    assert why in reply.json()["detail"]
    assert api.get(f"memories/{uuid}").json() == current


def test_text_is_appended_on_a_line_of_its_own(api: Api) -> None:
    uuid = api.make(text="one")["uuid"]
    for added in ("two\n", "three"):
        api.patch(uuid, {"append": added})
    assert api.get(f"memories/{uuid}").json()["text"] == "one\ntwo\nthree"
    assert api.patch(uuid, {"text": "new", "append": "end"}).json()["text"] == "new\nend"
    assert api.patch(api.make()["uuid"], {"append": "first"}).json()["text"] == "first"


def test_what_does_not_fit_the_present_limit_is_a_clash(api: Api) -> None:
    uuid = api.make(text="abc", limit=5)["uuid"]
    for body in ({"append": "de"}, {"text": "abcdef"}, {"limit": 2}):
        reply = api.patch(uuid, body)
        assert (reply.status_code, "more than the limit" in reply.json()["detail"]) == (409, True)
    assert api.patch(uuid, {"append": "d"}).json()["text"] == "abc\nd"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"text": "abcd", "limit": 3}, "1 more than the limit of 3"),
        ({"text": "a" * 100_001}, "1 more than the limit of 100,000"),
        ({"text": "a" * 1_000_001, "limit": 2_000_000}, "at most 1,000,000 characters"),
    ],
)
def test_a_text_that_is_too_long_is_a_clash_of_a_new_memory_and_of_a_change(api: Api, body: Any, sentence: str) -> None:
    uuid = api.make(text="abc")["uuid"]
    for reply in (api.post("memories", body), api.patch(uuid, body)):
        assert (reply.status_code, sentence in reply.json()["detail"]) == (409, True)
    assert Memory.objects.get().text == "abc"


def test_agents_cannot_change_what_is_read_only(api: Api, editor: User) -> None:
    made = api.make(read_only=True)
    for reply in (api.patch(made["uuid"], {"read_only": False}), api.delete(made["uuid"])):
        assert (reply.status_code, "read-only for agents" in reply.json()["detail"]) == (403, True)
    memory = Memory.objects.get()
    assert memory.number == 1
    actions.edit(memory, {"read_only": False}, user=editor, based_on=1)
    assert api.patch(made["uuid"], {"title": "y"}).status_code == 200


def test_deleting_archives(api: Api) -> None:
    uuid = api.make()["uuid"]
    reply = api.delete(uuid, If_Match='"1"')
    assert (reply.status_code, reply["ETag"], reply.json()["archived"], reply.json()["state"]) == (
        200,
        '"2"',
        True,
        "archived",
    )
    assert api.get("memories").json()["items"] == []
    (kept,) = api.get("memories?shelf=archived").json()["items"]
    assert (kept["uuid"], kept["text"], kept["revision"]) == (uuid, Memory.objects.get().text, 2)


def test_what_is_archived_is_not_there_any_more(api: Api) -> None:
    uuid = api.make()["uuid"]
    api.delete(uuid)
    paths = (f"memories/{uuid}", f"memories/{uuid}/history", f"memories/{uuid}/history/1")
    for reply in (*map(api.get, paths), api.patch(uuid, {"title": "x"}), api.delete(uuid)):
        assert (reply.status_code, "archived" in reply.json()["detail"]) == (404, True)
    assert Memory.objects.get().number == 2


def test_what_people_deleted_is_not_there(api: Api, editor: User) -> None:
    uuid = api.make()["uuid"]
    actions.delete([Memory.objects.get()], user=editor)
    assert {api.get(f"memories/{uuid}").status_code, api.patch(uuid, {}).status_code} == {404}
    assert api.delete(uuid).status_code == 404
    assert api.get("memories?shelf=archived").json()["items"] == []


def test_nothing_is_written_to_an_archived_project(api: Api, project: Project) -> None:
    uuid = api.make()["uuid"]
    project.archived_at = timezone.now()
    project.save(update_fields=["archived_at"])
    for reply in (api.post("memories", {"title": "x"}), api.patch(uuid, {"title": "x"}), api.delete(uuid)):
        assert (reply.status_code, "archived" in reply.json()["detail"]) == (403, True)
    assert api.get(f"memories/{uuid}").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' SQLite database is for one thread")
def test_two_that_append_at_once_lose_nothing() -> None:
    api = api_for(Project.objects.create(slug="planner", name="Planner"))
    uuid, start = api.make(text="begin")["uuid"], Barrier(4)

    def append(name: int) -> None:
        start.wait(30)
        for number in range(5):
            assert api.patch(uuid, {"append": f"{name}-{number}"}).status_code == 200
        connection.close()

    together(append, 4)
    lines = api.get(f"memories/{uuid}").json()["text"].split("\n")
    assert sorted(lines[1:]) == sorted(f"{name}-{number}" for name in range(4) for number in range(5))


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' SQLite database is for one thread")
def test_the_same_call_many_times_at_once_makes_one_memory() -> None:
    api = api_for(Project.objects.create(slug="planner", name="Planner"))
    body, start, replies = {"title": "x", "uuid": str(uuid4())}, Barrier(4), []

    def make(name: int) -> None:
        start.wait(30)
        replies.append(api.post("memories", body))
        connection.close()

    together(make, 4)
    assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 201]
    assert Memory.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' SQLite database is for one thread")
def test_of_many_that_want_a_label_at_once_one_gets_it() -> None:
    api, start, replies = api_for(Project.objects.create(slug="planner", name="Planner")), Barrier(6), []
    other = api.make(title="other")["uuid"]

    def take(name: int) -> None:
        start.wait(30)
        body = {"label": "wanted"}
        replies.append(api.post("memories", {"title": "x", **body}) if name else api.patch(other, body))
        connection.close()

    together(take, 6)
    assert sorted(reply.status_code for reply in replies)[1:] == [409] * 5
    assert Memory.objects.filter(label="wanted").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' SQLite database is for one thread")
def test_labels_made_from_a_title_at_once_differ() -> None:
    api, start = api_for(Project.objects.create(slug="planner", name="Planner")), Barrier(6)

    def make(name: int) -> None:
        start.wait(30)
        api.make(title="The same")
        connection.close()

    together(make, 6)
    assert len(set(Memory.objects.values_list("label", flat=True))) == 6


def together(work: Any, count: int) -> None:
    threads = [Thread(target=work, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
