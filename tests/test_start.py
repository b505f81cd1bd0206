"""`make setup` and `make run` in a copy of the checkout: what a person sees, and that nothing is left behind."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from memoryhub.settings import BASE_DIR

pytestmark = pytest.mark.start
SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", ".env", "var", "__pycache__", ".*_cache", ".hypothesis", "node_modules"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Checkout:
    """A fresh copy of the project that shares this test run's packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.chroma_port = free_port(), free_port()
        shutil.copytree(BASE_DIR, folder, ignore=SKIPPED)
        self.starts: list[subprocess.Popen[str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        base |= {"VENV": sys.prefix, "PORT": str(self.port), "CHROMA_PORT": str(self.chroma_port)}
        return base | more

    def make(self, target: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment(**more)
        command = ["make", target]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=90)

    def run(self) -> tuple[subprocess.Popen[str], float]:
        """`make run` in a process group of its own, as a terminal would; and the seconds until it was ready."""
        began = time.monotonic()
        with open(self.folder / "run.log", "w") as log:
            start = subprocess.Popen(
                ["make", "run"],
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.starts.append(start)
        wait(lambda: "Sign in" in self.log() or start.poll() is not None, 90)
        assert start.poll() is None, self.log()
        return start, time.monotonic() - began

    def log(self) -> str:
        return (self.folder / "run.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in or for this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) or str(self.folder) in " ".join(process.cmdline()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def find(self, words: str) -> psutil.Process:
        [process] = [process for process in self.processes() if words in " ".join(process.cmdline())]
        return process

    def interrupt(self, start: subprocess.Popen[str]) -> None:
        """Ctrl-C."""
        os.killpg(start.pid, signal.SIGINT)
        start.wait(20)


def wait(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path_factory.mktemp("start") / "a hub")
    yield checkout
    for process in checkout.processes():
        process.kill()
    for start in checkout.starts:
        start.wait(10)


@pytest.fixture(scope="module")
def password(checkout: Checkout) -> str:
    """The one that `make setup` prints."""
    done = checkout.make("setup")
    assert done.returncode == 0, done.stderr
    [password] = re.findall(r"account admin, password: (\S+) ", done.stdout)
    return str(password)


def test_setup_prepares_everything_and_says_the_password_once(checkout: Checkout, password: str) -> None:
    assert stat.S_IMODE((checkout.folder / ".env").stat().st_mode) == 0o600
    assert (checkout.folder / "var" / "memoryhub.sqlite3").exists()
    assert (checkout.folder / "var" / "static" / "staticfiles.json").exists()
    again = checkout.make("setup")
    assert (again.returncode, again.stdout) == (0, "")
    assert not checkout.processes()


def test_run_serves_restarts_and_ends(checkout: Checkout, password: str) -> None:
    start, seconds = checkout.run()
    assert seconds < 30  # 3 on a machine that does nothing else
    assert f"Memory Hub is at {checkout.url}/" in checkout.log()
    assert password not in checkout.log()
    sign_in(checkout.url, password)
    wait(lambda: listens(checkout.chroma_port), 30)
    assert requests.get(f"http://127.0.0.1:{checkout.chroma_port}/api/v2/heartbeat", timeout=5).ok

    second = checkout.make("run", PORT=str(free_port()), CHROMA_PORT=str(free_port()))
    assert second.returncode != 0
    assert "Memory Hub is running already" in second.stderr

    checkout.find("--queue-name push").kill()
    wait(lambda: "ended with code -9; starting it again" in checkout.log(), 20)
    wait(lambda: checkout.log().count("push started") == 2, 20)

    checkout.interrupt(start)
    assert not checkout.processes()
    assert "Traceback" not in checkout.log()


def sign_in(url: str, password: str) -> None:
    with requests.Session() as session:
        page = session.get(f"{url}/accounts/login/", timeout=10)
        [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        fields = {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/healthz"}
        reply = session.post(f"{url}/accounts/login/", fields, timeout=10)
        assert reply.text == "ok"
        assert session.get(f"{url}/admin/", timeout=10, allow_redirects=False).status_code == 200


def test_nothing_is_left_when_the_start_is_killed(checkout: Checkout, password: str) -> None:
    checkout.run()
    [lead] = [process for process in checkout.processes() if "make" in process.name()]
    lead.children()[0].kill()
    wait(lambda: not checkout.processes(), 30)


def test_one_chroma_folder_is_served_once(checkout: Checkout, password: str) -> None:
    checkout.run()
    manage = [sys.executable, "manage.py", "chroma"]
    environment = checkout.environment(CHROMA_PORT=str(free_port()))
    other = subprocess.run(manage, cwd=checkout.folder, env=environment, capture_output=True, text=True, timeout=20)
    assert other.returncode == 1
    assert "is served already" in other.stderr
    checkout.interrupt(checkout.starts[-1])


@pytest.mark.parametrize("name", ["PORT", "CHROMA_PORT"])
def test_a_port_in_use_is_named_before_anything_starts(checkout: Checkout, password: str, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = checkout.make("run", **{name: str(port)})
    assert done.returncode != 0
    assert f"Port {port} is in use" in done.stderr
    assert f"set {name} to a free port" in done.stderr
    assert "started" not in done.stdout


def test_one_port_for_both_is_refused(checkout: Checkout, password: str) -> None:
    done = checkout.make("run", CHROMA_PORT=str(checkout.port))
    assert f"PORT and CHROMA_PORT are both {checkout.port}" in done.stderr


def test_a_wrong_setting_is_one_sentence(checkout: Checkout, password: str) -> None:
    done = checkout.make("run", PORT="abc")
    assert done.stderr.startswith("PORT must be a whole number")
    assert "Traceback" not in done.stderr


def test_without_a_python_that_is_new_enough(checkout: Checkout) -> None:
    done = checkout.make("run", PYTHON="/bin/false")
    assert done.returncode != 0
    assert done.stderr.startswith("Memory Hub needs Python 3.11 or newer")


def test_without_the_venv_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memoryhub import install

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="install its venv module"):
        install.ensure_venv(tmp_path / "venv")


def test_in_a_folder_that_is_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    from memoryhub import install

    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SystemExit, match="is not writable by this account"):
        install.check_folder()
