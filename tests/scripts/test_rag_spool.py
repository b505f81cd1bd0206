"""rag_tools.py while the hub is away: nothing is lost, nothing is made twice, and the order stays."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

import rag_tools
from rag_tools import RagError
from tests.scripts.rag import Agent, agent, fresh, other_token, spooled
from tests.servers.faulty import Answer, Faulty, Rule
from tests.servers.letta_server import free_port
from tests.servers.web import WebServer

pytestmark = pytest.mark.contract
__all__ = ["agent", "fresh", "other_token"]


@pytest.fixture
def word() -> str:
    """A tag that nobody else uses."""
    return f"zq{uuid4().hex[:10]}"


@pytest.fixture
def faulty(hub_server: WebServer) -> Iterator[Faulty]:
    with Faulty(hub_server.url) as server:
        yield server


@pytest.fixture
def away(faulty: Faulty, hub_server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The agent reaches the hub through `faulty`."""
    found = Agent(monkeypatch, hub_server, faulty.url, hub_server.tokens["editor"])
    found.here()
    return found


def on_create(answer: Answer) -> Rule:
    """A rule that gives this answer to every new memory."""
    return lambda method, path: answer if (method, path) == ("POST", "/api/memories") else None


DOWN = on_create(Answer(503))


def texts(agent: Agent, word: str) -> list[str]:
    """What the hub has, in the order it was made."""
    return [one["text"] for one in agent.memories(tag=word)]


# --- queued, and delivered


def test_what_cannot_be_delivered_is_delivered_before_the_next_one(
    away: Agent, faulty: Faulty, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty.answering(DOWN):
        ids = [rag_tools.remember(f"{number}", tags=[word]) for number in range(3)]
    assert [one["uuid"] for one in spooled()] == ids
    assert capsys.readouterr().err.count("delivered later") == 1
    rag_tools.place().http.pause(0, "")

    ids.append(rag_tools.remember("3", tags=[word]))
    found = away.memories(tag=word)
    assert [one["uuid"] for one in found] == ids
    assert [one["text"] for one in found] == ["0", "1", "2", "3"]
    assert found[0]["created_at"] < found[3]["created_at"]
    assert spooled() == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502),
        Answer(503, b'{"detail": "The database is busy."}'),
        Answer(504),
        Answer(429, b'{"detail": "Too many requests."}', headers={"Retry-After": "1"}),
        Answer(500, b'{"detail": "Something went wrong."}'),
        Answer(body=b"{}", cut=0),
        Answer(body=b'{"uuid": "', done=True, cut=5),  # it was done, and the answer was lost
        Answer(body=b"{}", done=True, cut=0),
    ],
    ids=["502", "503", "504", "429", "500", "broken", "half an answer", "answer lost"],
)
def test_every_way_of_being_away(away: Agent, faulty: Faulty, word: str, answer: Answer) -> None:
    with faulty.answering(on_create(answer)):
        id = rag_tools.log_error(word, "a.py", tags=[word])
        if answer.status in (429, 503):  # it is known for a while
            assert "Try again in" in rag_tools.memory_stats()["error"]
    assert [one["uuid"] for one in spooled()] == [id]
    rag_tools.place().http.pause(0, "")

    assert rag_tools.flush() == {"delivered": 1, "rejected": 0, "waiting": 0, "for_other_places": 0}
    assert [one["uuid"] for one in away.memories(tag=word)] == [id]
    assert spooled() == []


def test_a_hub_that_does_not_answer_in_time(away: Agent, faulty: Faulty, word: str) -> None:
    away.monkeypatch.setenv("MEMORYHUB_TIMEOUT", "0.3")
    with faulty.answering(on_create(Answer(body=b"{}" * 100, pause=1.0))):
        rag_tools.remember("first", tags=[word])
        began = time.monotonic()
        for number in range(20):  # it is not waited for each time
            rag_tools.remember(f"{number}", tags=[word])
        assert time.monotonic() - began < 5
    assert len(spooled()) == 21
    away.monkeypatch.setenv("MEMORYHUB_TIMEOUT", "60")
    rag_tools.place().http.pause(0, "")
    rag_tools.flush()
    assert texts(away, word) == ["first", *map(str, range(20))]


def test_a_proxy_that_hangs_up_on_a_secure_connection(away: Agent) -> None:
    """Such as one that is being restarted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            call = listener.accept()[0]
            call.recv(65536)
            call.close()

        Thread(target=hang_up, daemon=True).start()
        away.monkeypatch.setenv("MEMORYHUB_URL", f"https://127.0.0.1:{listener.getsockname()[1]}")
        id = rag_tools.remember("text")
    assert [one["uuid"] for one in spooled()] == [id]


def test_nobody_there_at_all(away: Agent, word: str) -> None:
    away.monkeypatch.setenv("MEMORYHUB_URL", f"http://127.0.0.1:{free_port()}")
    rag_tools.remember("text", project="planner")  # whether that is right cannot be known yet
    with pytest.raises(RagError, match=r"nothing listens at .* 1 wait"):
        rag_tools.flush()
    assert len(spooled()) == 1
    done = away.shell("remember", "more", MEMORYHUB_URL=os.environ["MEMORYHUB_URL"])
    assert (done.returncode, done.stderr.count("delivered later")) == (0, 1)
    assert [one["uuid"] for one in spooled()][1] == done.stdout.strip()
    assert away.shell("flush", MEMORYHUB_URL=os.environ["MEMORYHUB_URL"]).returncode == 1


def test_what_was_delivered_already_is_not_made_again(away: Agent, faulty: Faulty, word: str) -> None:
    """Also where it was changed since: the hub knows its uuid."""
    with faulty.answering(on_create(Answer(body=b"{}", done=True, cut=0))):
        id = rag_tools.remember("text", tags=[word])
    memory = away.memories(tag=word)[0]
    import httpx

    sign = {"Authorization": f"Bearer {away.token}"}
    url = f"{away.hub.url}/api/memories/{id}"
    httpx.patch(url, json={"text": "by a person"}, headers=sign, trust_env=False, timeout=60).raise_for_status()
    rag_tools.flush()
    assert memory["text"] == "text"
    assert texts(away, word) == ["by a person"]


def test_what_was_delivered_and_archived_since_is_done(away: Agent, faulty: Faulty, word: str) -> None:
    """It is not brought back, not tried for ever, and no refusal."""
    with faulty.answering(on_create(Answer(body=b"{}", done=True, cut=0))):
        id = rag_tools.remember("text", tags=[word])
    import httpx

    sign = {"Authorization": f"Bearer {away.token}"}
    url = f"{away.hub.url}/api/memories/{id}"
    httpx.delete(url, headers=sign, trust_env=False, timeout=60).raise_for_status()
    assert rag_tools.flush() == {"delivered": 1, "rejected": 0, "waiting": 0, "for_other_places": 0}
    assert (away.memories(tag=word), spooled()) == ([], [])


def test_before_something_is_read_it_is_delivered(away: Agent, faulty: Faulty, word: str) -> None:
    with faulty.answering(DOWN):
        rag_tools.remember(f"the {word} is fixed", tags=[word])
    rag_tools.place().http.pause(0, "")
    (found,) = rag_tools.recall(word)
    assert found["delivered"] is True


def test_what_waits_is_recalled_while_the_hub_is_away(away: Agent, faulty: Faulty, word: str) -> None:
    with faulty.answering(lambda method, path: Answer(503)):
        rag_tools.log_fix(f"{word} breaks", "restart", client="Acme")
        rag_tools.remember("something else")
        found = rag_tools.recall(f"why does {word} break")
        assert [one["title"] for one in found] == [f"[GOTCHA] {word} breaks"]
        assert found[0]["delivered"] is False
        assert "not delivered yet" in str(found)
        assert "The rest cannot be read now" in str(found)
        assert json.dumps(found)
        done = away.shell("recall", word, "--json")
        assert [one["delivered"] for one in json.loads(done.stdout)] == [False]
        assert "The rest cannot be read now" in done.stderr
        others: tuple[dict[str, Any], ...] = ({"client": "Zenith"}, {"kind": "fix"}, {"tags": "x"})
        for wanted in others:
            with pytest.raises(RagError, match="takes no more calls"):
                rag_tools.recall(word, **wanted)
        assert rag_tools.memory_stats()["waiting"] == 2
    rag_tools.place().http.pause(0, "")
    rag_tools.flush()


def test_messages_that_wait_are_shown_while_the_hub_is_away(
    away: Agent, faulty: Faulty, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty.answering(lambda method, path: Answer(503)):
        rag_tools.send("first", topic=word, priority="high")
        rag_tools.send("second", topic=word)
        rag_tools.send("elsewhere", topic=f"{word}-other")
        rag_tools.remember("no message", tags=[word])
        found = rag_tools.inbox(word)
        assert [(one["text"], one["delivered"]) for one in found] == [("second", False), ("first", False)]
        printed = capsys.readouterr().out
        assert f" claude on {word}, high, not delivered yet:\n  first\n" in printed
        assert "The rest cannot be read now" in printed
        assert len(rag_tools.inbox(limit=2, render=False)) == 2
        done = away.shell("messages", "--topic", word)
        assert (done.returncode, "The rest cannot be read now" in done.stdout) == (0, True)
        with pytest.raises(RagError, match="takes no more calls"):
            rag_tools.inbox(f"{word}-nobody")
    rag_tools.place().http.pause(0, "")
    rag_tools.flush()
    assert [one["delivered"] for one in rag_tools.inbox(word, render=False)] == [True, True]


# --- refused


def test_what_a_bad_token_could_not_write_is_kept(away: Agent, word: str) -> None:
    away.monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_" + "x" * 40)
    with pytest.raises(RagError, match=r"Unauthorized.* is kept in .*rejected\.jsonl\..*flush --rejected"):
        rag_tools.remember("dear text", tags=[word])
    assert (spooled(), rag_tools.memory_stats()["rejected"]) == ([], 1)
    away.here()
    assert rag_tools.flush(rejected=True)["delivered"] == 1
    assert texts(away, word) == ["dear text"]


def test_what_is_refused_does_not_block_the_rest(
    away: Agent, faulty: Faulty, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty.answering(DOWN):
        rag_tools.remember("one", tags=[word])
        bad = rag_tools.remember("two", tags=[word, "memhub:mine"])  # the hub's own mark
        rag_tools.remember("three", tags=[word])
    rag_tools.place().http.pause(0, "")

    assert rag_tools.flush()["rejected"] == 1
    assert texts(away, word) == ["one", "three"]
    aside = Path(os.environ["MEMORYHUB_SPOOL"].removesuffix(".jsonl") + ".rejected.jsonl")
    (kept,) = map(json.loads, aside.read_text().splitlines())
    assert (kept["uuid"], kept["memory"]["text"]) == (bad, "two")
    assert "memhub:" in kept["reason"]
    assert "refused" in capsys.readouterr().err
    assert rag_tools.memory_stats()["rejected"] == 1


def test_after_a_new_token_what_was_refused_is_delivered(away: Agent, faulty: Faulty, word: str) -> None:
    away.monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_" + "x" * 40)
    with faulty.answering(DOWN):
        ids = [rag_tools.remember(f"{number}", tags=[word]) for number in range(3)]
    rag_tools.place().http.pause(0, "")
    assert rag_tools.flush()["rejected"] == 3
    away.here()

    done = away.shell("flush", "--rejected", "--json")
    assert json.loads(done.stdout)["delivered"] == 3
    assert [one["uuid"] for one in away.memories(tag=word)] == ids
    assert rag_tools.memory_stats()["rejected"] == 0


def test_a_memory_the_hub_fails_on_is_put_aside_in_the_end(away: Agent, faulty: Faulty, word: str) -> None:
    bad = rag_tools.TRIES

    def rule(method: str, path: str) -> Answer | None:
        nonlocal bad
        if method == "POST" and bad:
            bad -= 1
            return Answer(500, b'{"detail": "no"}')
        return None

    with faulty.answering(DOWN):
        rag_tools.remember("bad", tags=[word])
        rag_tools.remember("good", tags=[word])
    rag_tools.place().http.pause(0, "")
    with faulty.answering(rule):
        for _ in range(rag_tools.TRIES - 1):
            with pytest.raises(RagError, match=r"failed \(500\)"):
                rag_tools.flush()
        assert rag_tools.flush()["rejected"] == 1
    assert texts(away, word) == ["good"]


def test_a_hub_that_fails_on_everything_loses_nothing(away: Agent, faulty: Faulty, word: str) -> None:
    calls = 4 * rag_tools.TRIES
    with faulty.answering(on_create(Answer(500, b'{"detail": "Something went wrong in the hub."}'))):
        ids = [rag_tools.remember(f"{number}", tags=[word]) for number in range(calls)]
        assert len(faulty.asked) < 2 * calls  # it is not asked for each that waits each time
    assert [one["uuid"] for one in spooled()] == ids

    assert rag_tools.flush() == {"delivered": calls, "rejected": 0, "waiting": 0, "for_other_places": 0}
    assert [one["uuid"] for one in away.memories(tag=word)] == ids


def test_two_memories_the_hub_fails_on_do_not_block_the_rest(away: Agent, faulty: Faulty, word: str) -> None:
    with faulty.answering(DOWN):
        bad = [rag_tools.remember("bad", tags=[word]) for _ in range(2)]
        good = rag_tools.remember("good", tags=[word])
    rag_tools.place().http.pause(0, "")
    write = rag_tools.Hub.write

    def failing(hub: rag_tools.Hub, entry: rag_tools.Entry) -> None:
        if entry["memory"]["text"] == "bad":
            raise rag_tools.Failed("failed (500)")
        write(hub, entry)

    away.monkeypatch.setattr(rag_tools.Hub, "write", failing)
    for _ in range(rag_tools.TRIES**2 - 1):
        with pytest.raises(RagError, match=r"failed \(500\).* 3 wait"):
            rag_tools.flush()
    assert rag_tools.flush() == {"delivered": 1, "rejected": 2, "waiting": 0, "for_other_places": 0}
    assert [one["uuid"] for one in away.memories(tag=word)] == [good]
    aside = Path(rag_tools.spool().rejected).read_text().splitlines()
    assert [json.loads(line)["uuid"] for line in aside] == bad


def test_nothing_overtakes_a_memory_that_has_to_wait(away: Agent, faulty: Faulty, word: str) -> None:
    with faulty.answering(DOWN):
        rag_tools.remember("first", tags=[word])
    rag_tools.place().http.pause(0, "")
    once = [Answer(500, b'{"detail": "no"}')]
    with faulty.answering(lambda method, path: once.pop() if method == "POST" and once else None):
        rag_tools.remember("second", tags=[word])
        assert texts(away, word) == []
        rag_tools.remember("third", tags=[word])
    assert texts(away, word) == ["first", "second", "third"]


def test_another_project_is_known_as_soon_as_the_hub_is_there(away: Agent, faulty: Faulty, word: str) -> None:
    with faulty.answering(lambda method, path: Answer(503)):
        rag_tools.remember(word, project="website", tags=[word])
    rag_tools.place().http.pause(0, "")
    assert rag_tools.flush()["rejected"] == 1
    assert texts(away, word) == []
    with pytest.raises(RagError, match="belongs to"):
        rag_tools.remember(word, project="website", tags=[word])
    assert spooled() == []


def test_what_is_for_another_place_is_kept_for_it(away: Agent, faulty: Faulty, word: str, other_token: str) -> None:
    with faulty.answering(DOWN):
        mine = rag_tools.remember("mine", tags=[word])
        away.monkeypatch.setenv("MEMORYHUB_TOKEN", other_token)
        theirs = rag_tools.remember("theirs", tags=[word])
    assert other_token not in Path(os.environ["MEMORYHUB_SPOOL"]).read_text()
    assert away.token not in Path(os.environ["MEMORYHUB_SPOOL"]).read_text()

    rag_tools.place().http.pause(0, "")
    assert rag_tools.flush() == {"delivered": 1, "rejected": 0, "waiting": 0, "for_other_places": 1}
    (found,) = away.memories(tag=word)
    assert (found["uuid"], found["author"]) == (theirs, "Agent B")
    away.here()
    rag_tools.place().http.pause(0, "")
    rag_tools.remember("next", tags=[word])
    assert [one["uuid"] for one in away.memories(tag=word)][1] == mine
    assert [one["author"] for one in away.memories(tag=word)] == ["Agent B", "Agent editor", "Agent editor"]


def test_what_waits_for_a_token_that_is_no_more_is_brought_to_the_new_one(
    away: Agent, faulty: Faulty, word: str, other_token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    away.monkeypatch.setenv("MEMORYHUB_TOKEN", "mhub_" + "x" * 40)
    with faulty.answering(DOWN):
        ids = [rag_tools.remember(f"{number}", tags=[word]) for number in range(3)]
    with Path(os.environ["MEMORYHUB_SPOOL"]).open("a") as file:
        file.write('{"uuid": "half')
    away.monkeypatch.setenv("MEMORYHUB_TOKEN", other_token)
    ids.append(rag_tools.remember("new", tags=[word]))
    assert [one["uuid"] for one in away.memories(tag=word)] == ids[3:]
    assert rag_tools.flush()["for_other_places"] == 3
    assert "--others" in capsys.readouterr().err

    done = away.shell("flush", "--others", "--json", MEMORYHUB_TOKEN=other_token)
    assert json.loads(done.stdout) == {"delivered": 3, "rejected": 0, "waiting": 0, "for_other_places": 0}
    assert [one["uuid"] for one in away.memories(tag=word)] == [ids[3], *ids[:3]]
    assert "half" in Path(rag_tools.spool().rejected).read_text()
    assert rag_tools.flush(others=True)["delivered"] == 0


# --- the file


def test_only_the_owner_reads_the_file(away: Agent, faulty: Faulty, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "queue.jsonl"
    away.monkeypatch.setenv("MEMORYHUB_SPOOL", str(path))
    with faulty.answering(DOWN):
        rag_tools.remember("secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEMORYHUB_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert rag_tools.spool().path == f"{tmp_path}/memoryhub/spool.jsonl"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rag_tools.spool().path == f"{tmp_path}/.local/state/memoryhub/spool.jsonl"


def test_a_torn_line(away: Agent, faulty: Faulty, word: str) -> None:
    """What a process was writing when the machine lost power."""
    with faulty.answering(DOWN):
        first = rag_tools.remember("first", tags=[word])
        path = Path(os.environ["MEMORYHUB_SPOOL"])
        with path.open("ab") as file:
            file.write(b'{"uuid": "0000", "memory": {"text": "hal\xc3')
        rag_tools.place().http.pause(0, "")
        second = rag_tools.remember("second", tags=[word])
    rag_tools.place().http.pause(0, "")

    assert rag_tools.flush()["delivered"] == 2
    assert [one["uuid"] for one in away.memories(tag=word)] == [first, second]
    aside = Path(rag_tools.spool().rejected).read_text()
    assert json.loads(aside)["line"].startswith('{"uuid": "0000"')
    assert path.read_bytes() == b""


def test_what_comes_after_a_torn_line_is_whole(tmp_path: Path) -> None:
    spool = rag_tools.Spool(str(tmp_path / "spool.jsonl"))
    Path(spool.path).write_bytes(b'{"uuid": "0000", "mem')
    spool.add({"uuid": "1", "target": "here", "memory": {"text": "second"}})
    assert [one["uuid"] for one in spool.queue().of("here")] == ["1"]
    assert spool.queue().torn == ['{"uuid": "0000", "mem']


def test_a_full_disk_is_told(away: Agent, faulty: Faulty, word: str) -> None:
    write = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 100:
            return write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with faulty.answering(DOWN):
        first = rag_tools.remember("first", tags=[word])
        before = Path(os.environ["MEMORYHUB_SPOOL"]).read_bytes()
        away.monkeypatch.setattr(os, "write", full)
        with pytest.raises(RagError, match="No space left on device"):
            rag_tools.remember("second", tags=[word])
    assert Path(os.environ["MEMORYHUB_SPOOL"]).read_bytes() == before
    rag_tools.place().http.pause(0, "")
    assert rag_tools.flush()["delivered"] == 1  # for this there is no need of space
    assert [one["uuid"] for one in away.memories(tag=word)] == [first]
    assert spooled() == []


def test_on_a_full_disk_nothing_is_left_that_takes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = rag_tools.Spool(str(tmp_path / "spool.jsonl"))
    for number in range(3):
        spool.add({"uuid": f"{number}", "target": "here", "memory": {"text": "x" * 200}})
    before, write = Path(spool.path).read_bytes(), os.write

    def full(file: int, data: bytes) -> int:
        if len(data) > 300:
            return write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        spool.compact({"0"})
    assert Path(spool.path).read_bytes() == before
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == len(before)
    spool.compact({"0"})
    assert [one["uuid"] for one in spool.queue().of("here")] == ["1", "2"]


def test_a_file_that_cannot_be_used_is_told(away: Agent, faulty: Faulty, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away.monkeypatch.setenv("MEMORYHUB_SPOOL", str(tmp_path / "file" / "spool.jsonl"))
    with faulty.answering(DOWN), pytest.raises(RagError, match=r"spool file .* cannot be used: Not a directory"):
        rag_tools.remember("text")


def test_a_folder_that_may_not_be_looked_into(away: Agent, faulty: Faulty, word: str) -> None:
    """Such as another user's home, after sudo: that is no reason not to deliver."""
    stat, path = os.stat, os.environ["MEMORYHUB_SPOOL"]

    def denied(where: Any, **options: Any) -> os.stat_result:
        if os.fspath(where).startswith(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(where, **options)

    def closed(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    away.monkeypatch.setattr(os, "stat", denied)
    away.monkeypatch.setattr(os, "makedirs", closed)
    id = rag_tools.remember(word, tags=[word])
    assert [one["uuid"] for one in away.memories(tag=word)] == [id]
    assert rag_tools.recall(word, tags=[word])[0]["id"] == id
    with faulty.answering(DOWN), pytest.raises(RagError, match=r"takes no more calls now\. The spool .*: Permission"):
        rag_tools.remember("text")


# --- killed, and many at once

WRITE = """
import rag_tools, sys
for number in range(400):
    print(rag_tools.remember(f"{sys.argv[1]} {number}", tags=[sys.argv[2]]), flush=True)
""".replace("sys.argv[1]", "'{0}'").replace("sys.argv[2]", "'{1}'")
FLUSH = "import rag_tools; rag_tools.flush()"


def writer(name: object, word: str) -> str:
    return WRITE.replace("{0}", str(name)).replace("{1}", word)


def kill_after(process: Any, seconds: float) -> list[str]:
    """The ids that a process was given until then."""
    time.sleep(seconds)
    process.kill()
    return [line for line in process.communicate()[0].splitlines() if len(line) == 36]


def test_processes_killed_while_they_queue(away: Agent, faulty: Faulty, word: str) -> None:
    dice, ids = random.Random(word), list[str]()
    with faulty.answering(lambda method, path: Answer(503)):
        for name in range(5):
            ids += kill_after(away.python(writer(name, word)), 0.4 + dice.random())
    assert ids  # else nothing was tried

    rag_tools.flush()
    found = [one["uuid"] for one in away.memories(tag=word)]
    assert len(set(found)) == len(found)
    assert [id for id in found if id in set(ids)] == ids  # at most what a process did not live to be told is more
    assert len(found) <= len(ids) + 5


def test_processes_killed_while_they_deliver(away: Agent, faulty: Faulty, word: str) -> None:
    dice = random.Random(word)
    with faulty.answering(lambda method, path: Answer(503)):
        ids = [rag_tools.remember(f"{number}", tags=[word]) for number in range(120)]
    assert len(spooled()) == 120

    for _ in range(6):
        kill_after(away.python(FLUSH), 0.3 + dice.random())
    rag_tools.place().http.pause(0, "")
    rag_tools.flush()
    assert [one["uuid"] for one in away.memories(tag=word)] == ids
    assert spooled() == []


def test_many_processes_at_once(away: Agent, faulty: Faulty, word: str) -> None:
    """The hub goes away and comes back while they write: each memory is there once, each process's in their order."""
    code = """
import rag_tools, time
for number in range(12):
    print(rag_tools.remember(f"NAME {number}", tags=["WORD"]), flush=True)
    time.sleep(0.05)
"""
    dice = random.Random(word)
    with faulty.answering(lambda method, path: Answer(503) if dice.random() < 0.4 else None):
        processes = [away.python(code.replace("NAME", str(name)).replace("WORD", word)) for name in range(5)]
        ids = [process.communicate()[0].split() for process in processes]
    rag_tools.place().http.pause(0, "")
    rag_tools.flush()

    found = [one["uuid"] for one in away.memories(tag=word)]
    assert sorted(found) == sorted(id for some in ids for id in some)
    assert [len(some) for some in ids] == [12] * 5
    for some in ids:
        assert [id for id in found if id in some] == some
