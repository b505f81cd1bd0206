"""The lines of docs/agents.md for the end of a shell and for cron, in a real bash and as cron runs them."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoryhub.settings import BASE_DIR
from syncjobs.views.sync import cron_line
from tests.contract.letta import Server, serving
from tests.original_store import fill, memories, open_server
from tests.scripts.bridge import bridge, environment, fake_hub
from tests.scripts.shell import (
    HOOK,
    IN_FRONT,
    TOKEN,
    Silent,
    filled,
    home_with_bridge,
    manage,
    section,
    shell_environment,
    token,
)
from tests.servers.letta_server import free_port
from tests.servers.web import WebServer

pytestmark = pytest.mark.contract
LONGEST = 2.0  # seconds that a shell may take longer to end
PATIENCE = 120  # seconds, on a busy machine


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_with_bridge(tmp_path)


class Terminal:
    """An interactive bash with the guide's lines in its ~/.bashrc."""

    def __init__(self, home: Path, url: str, lines: str, script: str = "") -> None:
        lines = filled(lines, url)
        (home / ".bashrc").write_text(f"PS1='ready> '\n{lines}")
        arguments = ["-c", lines + script] if script else ["-i"]
        environment = shell_environment(home)
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.chdir(home)
            os.execve("/bin/bash", ["bash", *arguments], environment)
        self.output = ""
        if not script:
            self.read(lambda: self.output.endswith("ready> "))

    def read(self, enough: Callable[[], bool] = lambda: False) -> None:
        while not enough():
            try:
                self.output += os.read(self.terminal, 65536).decode()
            except OSError:  # nobody is there any more
                return

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def close(self) -> None:
        os.close(self.terminal)

    def ended(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def seconds_to_end(home: Path, url: str, lines: str) -> float:
    """Until `exit 7` is done, and nothing has been shown by then."""
    shell = Terminal(home, url, lines)
    shell.output = ""
    began = time.monotonic()
    shell.type("exit 7\n")
    code = shell.ended()
    took = time.monotonic() - began
    shell.read()
    shell.close()
    assert (code, shell.output.split()) == (7, ["exit", "7", "exit"])
    return took


def test_the_lines_are_found() -> None:
    assert HOOK.splitlines()[1:] == section("When a shell ends").splitlines()[1:-1]
    assert IN_FRONT.startswith("trap 'timeout 1.8 python3")


@pytest.mark.parametrize("hub", ["silent", "down", "no such host"])
@pytest.mark.parametrize("lines", [HOOK, IN_FRONT], ids=["behind", "in front"])
def test_a_shell_ends_at_once_whatever_the_hub_does(home: Path, silent: Silent, hub: str, lines: str) -> None:
    url = {"silent": silent.url, "down": f"http://127.0.0.1:{free_port()}", "no such host": "http://hub.invalid:8000"}
    lines = lines if lines == HOOK else f"{HOOK.splitlines()[0]}\n{lines}\n"
    times: list[float] = []
    while not times or (min(times) > LONGEST and len(times) < 5):
        times.append(seconds_to_end(home, url[hub], lines))
    assert min(times) < LONGEST
    if hub == "silent":
        assert silent.asked.get(timeout=PATIENCE) == b"GET /api/project HTTP/1.1"


@pytest.mark.parametrize("end", ["exit", "Ctrl-D", "window", "script", "failing script"])
def test_the_hub_is_asked_when_a_shell_ends(home: Path, end: str) -> None:
    with fake_hub({"status": "done"}) as (url, asked):
        if "script" in end:
            end_script(home, url, "set -eu\nfalse" if "failing" in end else "exit 3", 1 if "failing" in end else 3)
        else:
            shell = Terminal(home, url, HOOK)
            shell.close() if end == "window" else shell.type("\x04" if end == "Ctrl-D" else "exit\n")
            assert shell.ended() == (-signal.SIGHUP if end == "window" else 0)
        wait_until(lambda: len(asked) == 2)
    assert asked[1] == f"POST /api/sync Bearer {TOKEN}"


def test_the_window_of_a_script_may_close_at_once(home: Path) -> None:
    """Its end is the end of the terminal, which hangs up on whatever the script has started."""
    with fake_hub({"status": "done"}) as (url, asked):
        shell = Terminal(home, url, HOOK, script="exit 3")
        assert shell.ended() == 3
        shell.close()
        wait_until(lambda: len(asked) == 2)


def end_script(home: Path, url: str, ending: str, code: int) -> None:
    command = ["bash", "-c", f"set -o pipefail\n{filled(HOOK, url)}\necho said\n{ending}"]
    done = subprocess.run(command, env=shell_environment(home), capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\n", "")


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_name_that_is_looked_up_for_ever_is_given_up(home: Path, silent: Silent) -> None:
    (home / "sitecustomize.py").write_text(
        "import socket, time\nsocket.getaddrinfo = lambda *a, **k: time.sleep(600)\n"
    )
    environment = shell_environment(home) | {
        "PYTHONPATH": str(home),
        "MEMORYHUB_URL": "http://hub.example:8000",
        "LETTA_API_KEY": TOKEN,
    }
    command = ["python3", str(home / "letta_memory_bridge.py"), "sync", "--no-wait", "--timeout", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    said = "Error: http://hub.example:8000 did not answer in 1 seconds.\n"
    assert (done.returncode, done.stdout, done.stderr.splitlines(True)[-1]) == (1, "", said)
    assert TOKEN not in done.stderr


def test_the_token_does_not_follow_to_another_address(home: Path) -> None:
    """Such as from http:// to https://: it is said, for every command, and for no reason does it look unauthorized."""
    with fake_hub({"status": "done"}) as (elsewhere, asked):

        class Moved(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(301)
                self.send_header("Location", elsewhere + self.path)
                self.end_headers()

            do_POST = do_GET

        with serving(Moved) as url:
            for command in (("sync", "--no-wait"), ("list",), ("create-block", "x", "y", "--tag", "z"), ("agents",)):
                done = bridge(*command, MEMORYHUB_URL=url, LETTA_API_KEY=TOKEN)
                assert (done.returncode, done.stdout, asked) == (1, "", [])
                assert f"Error: {url} sends on to {elsewhere}.\nHint: Give that address as --url.\n" in done.stderr
            for arguments in (("recall", "x"), ("remember", "x"), ("blocks",)):
                variables = environment(MEMORYHUB_URL=url, MEMORYHUB_TOKEN=TOKEN, HOME=str(home))
                line = [sys.executable, str(BASE_DIR / "rag_tools.py"), *arguments]
                told = subprocess.run(line, env=variables, capture_output=True, text=True, timeout=PATIENCE)
                assert (told.returncode, told.stdout, asked) == (1, "", [])
                assert told.stderr == f"rag_tools: {url} sends on to {elsewhere}. Give that address: MEMORYHUB_URL.\n"


# --- cron


def as_cron(home: Path, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a line of a crontab does: its command, with cron's few variables and its way with per cent signs."""
    schedule, command = re.fullmatch(r"((?:\S+ ){5})(.+)", line).groups()  # type: ignore[union-attr]
    assert schedule == "0 * * * * "
    command, *stdin = re.split(r"(?<!\\)%", command)
    environment = {"HOME": str(home), "LOGNAME": "somebody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"} | variables
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        cwd=home,
        env=environment,
        input="\n".join(stdin),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def env_file(hub_server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hub's settings in a file, as an operator has them."""
    file = tmp_path_factory.mktemp("hub") / "env"
    names = ("MEMORYHUB_DATA", "DATABASE_URL", "SECRET_KEY", "FIELD_KEYS")
    file.write_text("".join(f"{name}={hub_server.environment()[name]}\n" for name in names))
    return str(file)


def project(hub: WebServer, slug: str, *sides: str) -> str:
    """A new project; a token for it."""
    manage(hub, "setup_project", slug, *sides)
    return token(hub, slug, "Laptop")


def line_of(slug: str) -> str:
    return cron_line(SimpleNamespace(slug=slug))  # type: ignore[arg-type]


def test_the_sync_pages_line_syncs_and_speaks_up_when_it_failed(
    hub_server: WebServer, env_file: str, tmp_path: Path, chroma_server: str, collection: str
) -> None:
    fill(open_server(chroma_server), memories(3, projects=("nightly",)), collection)
    plain = project(hub_server, "nightly", "--chroma-url", chroma_server, "--collection", collection)
    done = as_cron(tmp_path, line_of("nightly"), MEMORYHUB_ENV_FILE=env_file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    assert Server(hub_server.url, plain).call("GET", "/api/project")[1]["counts"]["memories"] == 3

    project(hub_server, "broken", "--chroma-url", f"http://127.0.0.1:{free_port()}")
    done = as_cron(tmp_path, line_of("broken"), MEMORYHUB_ENV_FILE=env_file)
    assert (done.returncode, done.stdout) == (1, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("broken: local: Nothing listens at that address. Nothing there was changed")


def test_a_folder_with_a_per_cent_sign_survives_cron(tmp_path: Path, settings: Any) -> None:
    folder = tmp_path / "100% ours"
    folder.mkdir()
    (folder / "manage.py").write_text("import pathlib, sys; pathlib.Path('done').write_text(' '.join(sys.argv[1:]))")
    settings.BASE_DIR = folder
    done = as_cron(tmp_path, line_of("planner"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "done").read_text() == "sync_memory --project planner"


def test_the_guides_line_for_all_projects_is_that_of_the_page() -> None:
    folder, python = shlex.quote(str(BASE_DIR)), shlex.quote(sys.executable)
    ours = section("From cron").splitlines()[0].replace("/srv/memoryhub", folder).replace(".venv/bin/python", python)
    assert ours.replace("sync_memory", "sync_memory --project planner") == line_of("planner")


def test_the_guides_line_for_another_machine(home: Path) -> None:
    keep, line = section("From cron").splitlines()[1:]
    for run, code, said in (
        ({"status": "done", "counters": {"pushed": 3}}, 0, ""),
        ({"status": "failed"}, 1, "Error: Blocks not syncing: the sync of planner ended as 'failed'.\n"),
    ):
        with fake_hub(run) as (url, asked):
            kept = filled(keep, url)
            subprocess.run(["bash", "-c", kept], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, check=True)
            assert (home / ".memoryhub").stat().st_mode & 0o777 == 0o600
            done = as_cron(home, line, PATH=f"{home}/bin:/usr/bin:/bin")
            assert asked[-1].startswith("GET /api/sync/12")
        assert (done.returncode, done.stdout, done.stderr.partition("Hint")[0]) == (code, "", said)


def test_a_shell_that_ends_makes_the_hub_run(home: Path, hub_server: WebServer) -> None:
    plain = project(hub_server, "shell", "--letta-url", "http://127.0.0.1:9")
    lines = filled(HOOK, hub_server.url, plain)
    done = subprocess.run(["bash", "-c", lines], env=shell_environment(home), timeout=PATIENCE)
    assert done.returncode == 0
    runs = [sys.executable, str(home / "runs.py")]
    (home / "runs.py").write_text(
        "import json, sys, urllib.request as u\n"
        f"call = u.Request('{hub_server.url}/api/sync', headers={{'Authorization': 'Bearer {plain}'}})\n"
        "print(len(json.load(u.build_opener(u.ProxyHandler({})).open(call))['items']))\n"
    )
    wait_until(lambda: subprocess.run(runs, capture_output=True, text=True).stdout == "1\n")
