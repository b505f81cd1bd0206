"""The hub's web server in a process of its own, as production runs it, on a new SQLite file with one project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from memoryhub.settings import BASE_DIR
from tests.servers.letta_server import free_port

START_SECONDS = 180  # 5 on a machine that does nothing else
SET_UP = """
import django, json
django.setup()
from django.core.management import call_command
from memoryhub import tokens
from memoryhub.models import Project, Role
call_command("migrate", verbosity=0)
made = {}
WHO = ("planner", "editor", "editor"), ("planner", "viewer", "viewer"), ("other", "other", "editor")
for slug, name, role in WHO:
    project = Project.objects.get_or_create(slug=slug, defaults={"name": slug.title()})[0]
    made[name] = tokens.issue(project, f"Agent {name}", role=Role(role))[1]
print(json.dumps(made))
"""


class WebServer:
    """Running: `url`. tokens: `editor` and `viewer` of the project planner, and `other`, of another project."""

    def __init__(self, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="memoryhub-web-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "web.log"
        self.tokens: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = environment

    def environment(self) -> dict[str, str]:
        ours = ("DJANGO_", "MEMORYHUB_", "DEBUG", "HTTPS", "CHROMA_", "EMAIL_URL", "ALLOWED_HOSTS", "LOG_LEVEL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "DJANGO_SETTINGS_MODULE": "memoryhub.settings",
            "MEMORYHUB_ENV_FILE": os.devnull,
            "MEMORYHUB_DATA": str(self.folder),
            "DATABASE_URL": f"sqlite:///{self.folder}/hub.sqlite3",
            "SECRET_KEY": "only-for-tests",
            "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
            "PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
            "TOKEN_RATE": "1000000",
            **self._environment,
        }

    def start(self) -> WebServer:
        try:
            made = subprocess.run(
                [sys.executable, "-c", SET_UP], cwd=BASE_DIR, env=self.environment(), capture_output=True, text=True
            )
            assert made.returncode == 0, made.stderr[-3000:]
            self.tokens = json.loads(made.stdout)
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, "manage.py", "serve"]
            self.process = subprocess.Popen(command, cwd=BASE_DIR, env=self.environment(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the hub did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/v1/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)
