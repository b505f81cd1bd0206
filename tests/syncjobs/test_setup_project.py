from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from memoryhub.access import role_of
from memoryhub.models import LETTA_CLOUD_URL, LettaServer, LocalStore, Project, Role

pytestmark = pytest.mark.django_db


def setup(*arguments: str) -> str:
    out = StringIO()
    call_command("setup_project", *arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        setup(*arguments)
    assert error.value.returncode == 2
    return str(error.value)


def test_a_new_project_has_the_builtin_server_and_the_hubs_own_store():
    assert "created" in setup("planner", "--name", "Planner")
    project = Project.objects.get(slug="planner")
    assert (project.name, project.letta_server) == ("Planner", None)
    assert project.local_store == LocalStore.objects.ensure_builtin()
    assert project.record_project == "planner"


def test_running_it_again_changes_nothing():
    arguments = ("planner", "--letta-url", "http://letta:8283", "--chroma-url", "http://chroma:8001")
    setup(*arguments)
    assert "unchanged" in setup(*arguments)
    assert "unchanged" in setup("planner", "--letta-url", "http://letta:8283/")
    assert LettaServer.objects.count() == LocalStore.objects.count() == Project.objects.count() == 1


def test_only_what_is_named_changes():
    setup("planner", "--letta-url", "http://letta:8283", "--letta-blocks", "label:team/", "--local-project", "web")
    setup("planner", "--name", "Plans")
    project = Project.objects.get(slug="planner")
    assert project.letta_server is not None
    assert project.letta_server.url == "http://letta:8283"
    assert (project.letta_rule, project.record_project, project.name) == ("label:team/", "web", "Plans")
    setup("planner", "--letta-url", "builtin")
    project.refresh_from_db()
    assert project.letta_server is None


def test_the_key_comes_from_the_environment_and_is_stored_encrypted(monkeypatch):
    monkeypatch.setenv("TEAM_KEY", "sk-very-secret")
    said = setup("planner", "--letta-url", "cloud", "--letta-key-env", "TEAM_KEY")
    server = LettaServer.objects.get()
    assert (server.url, server.api_key) == (LETTA_CLOUD_URL, "sk-very-secret")
    assert "sk-very-secret" not in server.api_key_token + said


def test_an_owner_is_made():
    user = User.objects.create_user("olga")
    setup("planner", "--owner", "olga")
    assert role_of(user, Project.objects.get()) == Role.OWNER


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["Bad Slug"], "Use 1 to 50"),
        (["planner", "--letta-url", "nonsense"], "valid URL"),
        (["planner", "--letta-url", "cloud"], "needs a key"),
        (["planner", "--letta-url", "http://a:1", "--letta-key-env", "UNSET_VARIABLE"], "UNSET_VARIABLE"),
        (["planner", "--letta-blocks", "everything"], "tag:NAME"),
        (["planner", "--collection", "a b"], "3 to 512"),
        (["planner", "--owner", "nobody"], "no account nobody"),
    ],
)
def test_wrong_use_is_said_and_leaves_nothing(arguments, reason):
    assert reason in refused(*arguments)
    assert not Project.objects.exists()
    assert not LettaServer.objects.exists()


def test_two_projects_cannot_have_the_same_records():
    setup("website")
    assert "already takes the records" in refused("shop", "--local-project", "website")
