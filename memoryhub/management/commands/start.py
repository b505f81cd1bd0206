"""What `make run` does once everything is installed: check, prepare, run all processes."""

import http.client
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from honcho.environ import parse_procfile

from memoryhub.locks import Locked, hold
from memoryhub.management.commands.bootstrap import ADMIN
from memoryhub.processes import Manager


class Command(BaseCommand):
    help = "Prepare what is missing, then run every process of the Procfile until Ctrl-C"
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        lock = hold_start()
        check_ports()
        check_chroma_path()
        call_command("bootstrap", stdout=self.stdout, stderr=self.stderr)
        connections.close_all()  # processes are forked from here on
        code = run_processes(self.announce)
        os.close(lock)
        sys.exit(0 if code in (130, 143) else code)

    def announce(self) -> None:
        """Say where it is as soon as it answers there."""
        while not answers():
            time.sleep(0.1)
        self.stdout.write(
            f"\n  Memory Hub is at {address()}  (Ctrl-C stops it)\n"
            f'  Sign in as "{ADMIN}"; password lost: {shlex.quote(sys.executable)} manage.py changepassword {ADMIN}\n'
        )
        self.stdout.flush()


def address() -> str:
    host = "127.0.0.1" if settings.HOST in ("0.0.0.0", "::") else settings.HOST  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}/"


def hold_start() -> int:
    """One start a data folder; the processes it starts hold the lock with it."""
    try:
        return hold(settings.DATA_DIR / "start.lock", f"{address()}, process {os.getpid()}")
    except Locked as held:
        raise CommandError(
            f"Memory Hub is running already for {settings.DATA_DIR} ({held}): stop it first with Ctrl-C there."
        ) from held


def check_ports() -> None:
    ports = {"PORT": (settings.HOST, settings.PORT)}
    if settings.CHROMA_OWN:
        ports["CHROMA_PORT"] = ("127.0.0.1", settings.CHROMA_PORT)
        if settings.PORT == settings.CHROMA_PORT:
            raise CommandError(f"PORT and CHROMA_PORT are both {settings.PORT}: give one of them another number.")
    for name, (host, port) in ports.items():
        check_port(name, host, port)


def check_port(name: str, host: str, port: int) -> None:
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror as error:
        raise CommandError(f"MEMORYHUB_HOST {host!r} is not an address of this machine.") from error
    except PermissionError as error:
        raise CommandError(f"Port {port} may not be used by this account: set {name} to one above 1023.") from error
    except OSError as error:
        raise CommandError(
            f"Port {port} is in use ({error.strerror}): stop the program that uses it, or set {name} to a free port, "
            f"as in `{name}={port + 10} make run` or in .env."
        ) from error


def check_chroma_path() -> None:
    path: Path = settings.CHROMA_PATH
    if not settings.CHROMA_OWN:
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"The folder CHROMA_PATH={path} cannot be made ({error.strerror}): set another one."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise CommandError(f"The folder CHROMA_PATH={path} is not writable by this account: set another one.")


def answers() -> bool:
    """Whether the web server answers, whatever it says."""
    parts = urlsplit(address())
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def run_processes(begun: Callable[[], None]) -> int:
    """Run the Procfile's processes until a signal, or until one of them cannot be kept running."""
    base: Path = settings.BASE_DIR
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    manager = Manager(begun)
    for name, command in parse_procfile((base / "Procfile").read_text()).processes.items():
        if name != "chroma" or settings.CHROMA_OWN:
            environment = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}
            manager.add_process(name, f"exec {command}", env=environment, cwd=str(base))
    manager.loop()
    return int(manager.returncode or 0)
