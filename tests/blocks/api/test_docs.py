"""The examples of docs/api.md, typed in as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest

from memoryhub.models import LettaServer, Project
from memoryhub.settings import BASE_DIR
from tests.blocks.api.conftest import Api, api_for

pytestmark = pytest.mark.django_db(transaction=True)


def examples() -> list[str]:
    text = (BASE_DIR / "docs/api.md").read_text()
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line.strip() for line in lines if line.startswith("    curl ")]


@pytest.fixture
def api() -> Api:
    server = LettaServer.objects.create(name="Letta", url="http://127.0.0.1:9")
    return api_for(Project.objects.create(slug="planner", name="Planner", letta_server=server))


def test_the_examples_work(live_server: Any, api: Api) -> None:
    uuid = api.make(text="1")["uuid"]
    for text in ("2", "3"):
        api.patch(uuid, {"text": text})  # so that it is revision 3 that is changed
    known = {"HUB": f"{live_server.url}/api", "TOKEN": api.plain, "UUID": uuid, "NEXT": "0"}
    known["ID"] = str(api.post("sync").json()["id"])
    assert len(examples()) >= 12
    for example in examples():
        command = example.replace("curl -s", "curl -s -o /dev/null -w '%{http_code}'")
        done = subprocess.run(
            ["bash", "-c", command], env=os.environ | known, capture_output=True, text=True, timeout=60
        )
        assert done.stdout[:1] == "2", (example, done.stdout, done.stderr)
