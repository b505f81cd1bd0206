"""The API's document keeps its word: schemathesis, with every check, finds nothing.

MEMORYHUB_TEST_API_EXAMPLES says how many examples it tries of each operation, and MEMORYHUB_TEST_API_SEEDS with which
seeds: one run after the other, against the same database. With the same seed it comes back with what it made before.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from memoryhub.models import LettaServer, Project
from memoryhub.urls import rest
from tests.blocks.api.conftest import Api, api_for

EXAMPLES = os.environ.get("MEMORYHUB_TEST_API_EXAMPLES", "12")
SEEDS = os.environ.get("MEMORYHUB_TEST_API_SEEDS", "5 5").split()


@pytest.fixture
def api(transactional_db: None) -> Api:
    """Of a project in which every operation can succeed."""
    server = LettaServer.objects.create(name="Letta", url="http://127.0.0.1:9")  # nobody asks it: no worker runs
    return api_for(Project.objects.create(slug="planner", name="Planner", letta_server=server))


def schemathesis(url: str, token: str, folder: Path, *options: str) -> tuple[int, str]:
    """The exit code, and what it said."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--no-color",
        "run",
        url,
        "--header",
        f"Authorization: Bearer {token}",
        "--checks",
        "all",
    ]
    command += ["--generation-database", "none", "--warnings", "off", "--request-timeout", "120", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000)
    return done.returncode, done.stdout + done.stderr


def test_schemathesis_finds_nothing(live_server: Any, api: Api, tmp_path: Path) -> None:
    api.make(text="So that there is something from the start")
    url = f"{live_server.url}/api/openapi.json"
    phases = ["examples", "coverage", "fuzzing", "stateful"]
    for seed in SEEDS:
        options = ("--max-examples", EXAMPLES, "--seed", seed, "--phases", ",".join(phases))
        code, said = schemathesis(url, api.plain, tmp_path, *options)
        print(said)
        assert code == 0, said
        done = re.findall(r"✅ (Examples|Coverage|Fuzzing|Stateful)$", said, re.MULTILINE)
        assert ([one.lower() for one in done], re.findall(r"Tested: (\d+)", said)) == (phases, ["13"])
        phases = ["fuzzing", "stateful"]  # the others try the same each time


def test_the_document_does_not_refuse_what_the_hub_takes(api: Api) -> None:
    body = {"text": "hello world", "limit": 500}
    schemas = rest.get_openapi_schema()["components"]["schemas"]
    for name in ("NewMemory", "MemoryChanges"):
        assert Draft202012Validator(schemas[name]).is_valid(body)
    made = api.make(**body)
    assert api.patch(made["uuid"], body | {"append": "more"}).status_code == 200


def test_schemathesis_would_find_something(
    live_server: Any, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that does not do what its document says."""
    monkeypatch.setattr("blocks.api.search.recall.search", lambda *args, **kwargs: 1 / 0)
    url = f"{live_server.url}/api/openapi.json"
    code, said = schemathesis(url, api.plain, tmp_path, "--include-path", "/api/search", "--phases", "coverage")
    assert (code, "Server error" in said) == (1, True), said


def test_every_operation_says_what_it_does() -> None:
    document = rest.get_openapi_schema()
    operations = [one for path in document["paths"].values() for one in path.values()]
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        assert operation["security"]
        assert {400, 401, 403, 404, 409, 413, 415, 422, 429, 503} <= set(operation["responses"])
    parameters = [(each["name"], each) for one in operations for each in one["parameters"]]
    assert all(each["schema"] for _, each in parameters)
    assert "NewMemory" in document["components"]["schemas"]
