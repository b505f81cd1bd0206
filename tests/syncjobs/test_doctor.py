from io import StringIO

import pytest
from django.core.management import call_command
from django_tasks_db.models import DBTaskResult

from memoryhub.models import LettaServer, LocalStore, Project
from syncjobs import leases
from syncjobs.models import Connection
from tests.servers.letta_server import free_port

pytestmark = pytest.mark.django_db


def examine() -> tuple[int, dict[str, str]]:
    """The exit code, and what is said of each thing."""
    out, code = StringIO(), 0
    try:
        call_command("doctor", "--wait", "0.3", stdout=out)
    except SystemExit as stop:
        code = int(stop.code or 0)
    lines = (line.partition("  ")[::2] for line in out.getvalue().splitlines())
    return code, {rest.strip().partition(": ")[0]: f"{mark.strip()} {rest}" for mark, rest in lines}


def test_without_worker_and_watch_it_says_how_to_start_them():
    code, found = examine()
    assert code == 1
    assert "manage.py db_worker --queue-name push" in found["worker for push"]
    assert "manage.py watch" in found["watch"]
    assert found["database"].startswith("ok")
    assert found["migrations"].startswith("ok")
    assert not DBTaskResult.objects.filter(status="READY").exists()


def test_all_is_well(monkeypatch, chroma_server):
    LocalStore.objects.create(name="Chroma", url=chroma_server)
    leases.acquire(["watch"], leases.new_holder())
    monkeypatch.setattr("syncjobs.doctor.time.sleep", lambda seconds: DBTaskResult.objects.update(status="SUCCESSFUL"))
    code, found = examine()
    assert (code, {line[:2] for line in found.values()}) == (0, {"ok"})


def test_servers_that_are_down_and_suspect_connections_are_named():
    LettaServer.objects.create(name="ours", url=f"http://127.0.0.1:{free_port()}")
    project = Project.objects.create(slug="planner", name="Planner")
    Connection.objects.create(project=project, side="letta", address="a", suspect="it was wiped")
    _, found = examine()
    assert found["Letta server ours"].startswith("WRONG")
    assert "letta server" in found["Letta server ours"]
    assert "it was wiped" in found["connection Planner on a"]
