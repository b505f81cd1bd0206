"""The hub's own Chroma server, as the Procfile starts it."""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from memoryhub.locks import Locked, hold

LOCK = ".memoryhub.lock"


class Command(BaseCommand):
    help = "Serve CHROMA_PATH on 127.0.0.1:CHROMA_PORT; no two processes may serve one folder"
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = settings.CHROMA_PATH
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The lock goes over to the Chroma server, and is let go when that ends.
            hold(path / LOCK, f"process {os.getpid()}", inheritable=True)
        except Locked as held:
            raise CommandError(f"{path} is served already (by {held}): two servers would ruin its index.") from held
        except OSError as error:
            raise CommandError(f"CHROMA_PATH {path} cannot be used ({error.strerror}).") from error
        chroma = str(Path(sys.executable).with_name("chroma"))
        where = ["--path", str(path), "--host", "127.0.0.1", "--port", str(settings.CHROMA_PORT)]
        # On stdout it prints an advertisement and every request; what goes wrong is on stderr.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.execve(chroma, [chroma, "run", *where], os.environ | {"RUST_LOG": "warn"})  # noqa: S606 - no shell
