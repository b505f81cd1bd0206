"""Every address of the hub, as everybody: who gets what. An address without a row here fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse

from blocks import actions, agents
from blocks.models import Agent, Attachment
from memoryhub import tokens
from memoryhub.models import Membership, Project, Role
from syncjobs.models import Conflict, Connection, RunStatus, SyncRun
from tests.conftest import person
from tests.syncjobs.world import World

pytestmark = pytest.mark.django_db

# Who may: anybody, strangers (others are sent on), whoever is signed in, members from a role on, whoever may
# adopt; NOBODY: the method is not allowed.
ANYBODY, STRANGER, SIGNED_IN, NOBODY = "anybody", "stranger", "signed_in", "nobody"
VIEWER, EDITOR, OWNER, ADOPTER = "viewer", "editor", "owner", "adopter"
PEOPLE = ("anonymous", "outsider", "viewer", "editor", "owner", "adopter", "staff", "superuser")
MEMBERS = {
    VIEWER: {"viewer", "editor", "owner", "adopter", "superuser"},
    EDITOR: {"editor", "owner", "adopter", "superuser"},
    OWNER: {"owner", "adopter", "superuser"},
    ADOPTER: {"adopter", "superuser"},
}


@dataclass
class Row:
    """get, post: who may. ok, done: the status they then get. args: what the address is about. data: posted."""

    get: str
    post: str = NOBODY
    ok: int = 200
    done: int = 302
    args: tuple[str, ...] = ("slug",)
    data: dict[str, Any] = field(default_factory=dict)


OF_MEMORY = ("slug", "uuid")
ROWS = {
    "login": Row(STRANGER, STRANGER, done=200, args=()),
    "logout": Row(NOBODY, SIGNED_IN, args=()),
    "password_change": Row(SIGNED_IN, SIGNED_IN, done=200, args=()),
    "password_change_done": Row(SIGNED_IN, args=()),
    "password_reset": Row(ANYBODY, ANYBODY, done=200, args=()),
    "password_reset_done": Row(ANYBODY, args=()),
    "password_reset_confirm": Row(ANYBODY, ANYBODY, done=200, args=("uidb64", "token")),
    "password_reset_complete": Row(ANYBODY, args=()),
    "healthz": Row(ANYBODY, args=()),
    "home": Row(SIGNED_IN, args=()),
    "status": Row(SIGNED_IN, args=()),
    "project_new": Row(SIGNED_IN, SIGNED_IN, args=(), data={"name": "Another"}),
    "project_demo": Row(NOBODY, SIGNED_IN, args=()),
    "project_settings": Row(VIEWER, OWNER, data={"name": "Planner"}),
    "project_archive": Row(NOBODY, OWNER),
    "project_unarchive": Row(NOBODY, OWNER),
    "members": Row(VIEWER),
    "member_invite": Row(NOBODY, OWNER, data={"who": "otto", "role": "viewer"}),
    "member_role": Row(NOBODY, OWNER, args=("slug", "member"), data={"role": "viewer"}),
    "member_remove": Row(NOBODY, OWNER, args=("slug", "member")),
    "tokens": Row(VIEWER),
    "token_create": Row(NOBODY, VIEWER, done=201, data={"name": "Claude", "role": "viewer"}),
    "token_revoke": Row(NOBODY, OWNER, args=("slug", "api_token")),
    "connections": Row(VIEWER, OWNER, done=422, data={"sync_mode": "never"}),
    "connection_test": Row(NOBODY, EDITOR, done=200, args=("slug", "side")),
    "connection_confirm": Row(NOBODY, OWNER, args=("slug", "connection")),
    "others": Row(ADOPTER),
    "adopt": Row(NOBODY, ADOPTER, data={"block": "block-0"}),
    "memories": Row(VIEWER),
    "memory_new": Row(EDITOR, EDITOR, data={"title": "New", "text": "Text"}),
    "memory_preview": Row(NOBODY, VIEWER, done=200, data={"text": "*"}),
    "activity": Row(VIEWER),
    "live": Row(VIEWER),
    "memory": Row(VIEWER, EDITOR, done=422, args=OF_MEMORY, data={"label": "no label"}),
    "memory_archive": Row(NOBODY, EDITOR, args=OF_MEMORY),
    "memory_restore": Row(NOBODY, EDITOR, args=OF_MEMORY),
    "memory_delete": Row(EDITOR, EDITOR, args=OF_MEMORY),
    "memory_history": Row(VIEWER, args=OF_MEMORY),
    "memory_restore_revision": Row(NOBODY, EDITOR, args=("slug", "uuid", "number")),
    "memory_agents": Row(VIEWER, ok=204, args=OF_MEMORY),
    "memory_purge": Row(OWNER, args=OF_MEMORY),
    "memory_purge_text": Row(NOBODY, OWNER, args=OF_MEMORY, data={"secret": "Text", "sure": "on"}),
    "memory_purge_revisions": Row(NOBODY, OWNER, args=OF_MEMORY, data={"sure": "on"}),
    "memory_purge_memory": Row(NOBODY, OWNER, done=409, args=OF_MEMORY, data={"sure": "on"}),
    "sync": Row(VIEWER),
    "sync_now": Row(NOBODY, EDITOR),
    "sync_allow": Row(NOBODY, OWNER, args=("slug", "braked")),
    "sync_preview": Row(EDITOR),
    "run": Row(VIEWER, args=("slug", "run")),
    "run_stop": Row(NOBODY, EDITOR, args=("slug", "run")),
    "agents": Row(VIEWER),
    "agent_new": Row(EDITOR, EDITOR, data={"name": "Another", "model": "letta/letta-free"}),
    "agent": Row(VIEWER, args=("slug", "agent")),
    "agent_attach": Row(NOBODY, EDITOR, args=("slug", "agent"), data={"memory": "digest"}),
    "agent_detach": Row(NOBODY, EDITOR, args=("slug", "agent"), data={"memory": "digest"}),
    "conflicts": Row(VIEWER),
    "conflict": Row(VIEWER, args=("slug", "conflict")),
    "conflict_resolve": Row(
        NOBODY, EDITOR, args=("slug", "conflict"), data={"how": "hub", "seen_number": "1", "text": ""}
    ),
}
ELSEWHERE = {"admin", "api", "letta"}  # namespaces with a test of their own


def names(resolver: URLResolver) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in ELSEWHERE:
                yield from names(pattern)
        else:
            yield pattern.name or str(pattern.pattern)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World().install(monkeypatch)


@pytest.fixture
def cast(world: World) -> dict[str, User | None]:
    """A project between two fake sides, with everybody there is."""
    project = world.project
    assert project.letta_server is not None
    people: dict[str, User | None] = {
        "anonymous": None,
        "outsider": person("otto", project, None),
        "viewer": person("victor", project, Role.VIEWER),
        "editor": person("maria", project, Role.EDITOR),
        "owner": person("olga", project, Role.OWNER),
        "adopter": person("ada", project, Role.OWNER),
        "staff": User.objects.create_user("stan", is_staff=True),
        "superuser": User.objects.create_superuser("sue"),
    }
    adopter = people["adopter"]
    assert adopter is not None
    project.letta_server.adopters.add(adopter)
    return people


@pytest.fixture
def about(world: World, cast: dict[str, User | None]) -> dict[str, Any]:
    """What the addresses are about, by the names in `Row.args`."""
    project = world.project
    memory = actions.create(project, {"title": "One", "text": "Text"}, user=cast["editor"])
    connection = Connection.objects.create(project=project, side="letta", address="http://old", suspect="Another one.")
    conflict = Conflict.objects.create(
        memory=memory, connection=connection, fields=["title"], side_state={"title": "Two"}, side_hash="x"
    )
    connection.replicas.create(memory=memory, seen_fields={"title": "Two"}, seen_hash="x")
    block = world.letta.put("theirs")
    block.id = "block-0"
    world.letta.things = {"block-0": block}
    return {
        "slug": project.slug,
        "uuid": memory.uuid,
        "number": 1,
        "member": Membership.objects.create(project=project, user=User.objects.create_user("mo")).pk,
        "side": "letta",
        "connection": connection.pk,
        "conflict": conflict.pk,
        "run": SyncRun.objects.create(project=project, trigger="button", status=RunStatus.RUNNING).pk,
        "braked": SyncRun.objects.create(project=project, trigger="button", status=RunStatus.BRAKED).pk,
        "uidb64": "MQ",
        "token": "x-y",
        "agent": agents.create(project, {"name": "Sam"}, blocks=[memory.uuid], agent="Sam").letta_id,
        "api_token": tokens.issue(project, "Claude")[0].pk,
    }


@contextmanager
def undone() -> Iterator[None]:
    """What happens in here leaves no trace."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def expected(who: str, may: str, status: int, *, public: bool) -> int:
    if may == STRANGER:
        return status if who == "anonymous" else 302
    if who == "anonymous" and not public:
        return 302
    if may == NOBODY:
        return 405
    if may in (ANYBODY, SIGNED_IN) or who in MEMBERS[may]:
        return status
    return 404 if who in ("outsider", "staff") else 403


def test_every_address_has_a_row() -> None:
    found = list(names(get_resolver()))
    assert len(found) == len(set(found))
    assert set(found) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_who_may_look(name: str, cast: dict[str, User | None], about: dict[str, Any]) -> None:
    row = ROWS[name]
    url = reverse(name, args=[about[arg] for arg in row.args])
    assert _statuses("get", url, cast, {}) == {
        who: expected(who, row.get, row.ok, public=ANYBODY in (row.get, row.post)) for who in PEOPLE
    }


@pytest.mark.parametrize("name", ROWS)
def test_who_may_write(name: str, cast: dict[str, User | None], about: dict[str, Any]) -> None:
    row = ROWS[name]
    url = reverse(name, args=[about[arg] for arg in row.args])
    assert _statuses("post", url, cast, row.data) == {
        who: expected(who, row.post, row.done, public=ANYBODY in (row.get, row.post)) for who in PEOPLE
    }


def _statuses(method: str, url: str, cast: dict[str, User | None], data: dict[str, Any]) -> dict[str, int]:
    result = {}
    for who in PEOPLE:
        client, user = Client(), cast[who]
        with undone():
            if user:
                client.force_login(user)
            reply = getattr(client, method)(url, data)
            result[who] = reply.status_code
            if not user and reply.status_code == 302 and not url.startswith("/accounts/"):
                assert reply["Location"].startswith(("/accounts/login/", "/admin/login/"))
    return result


def test_a_refused_write_changes_nothing(cast: dict[str, User | None], about: dict[str, Any]) -> None:
    for name, row in ROWS.items():
        if "slug" not in row.args or row.post == NOBODY:
            continue
        for who in {"outsider", "viewer", "staff"} - MEMBERS[row.post]:
            client, user = Client(), cast[who]
            assert user is not None
            client.force_login(user)
            before = _everything()
            client.post(reverse(name, args=[about[arg] for arg in row.args]), row.data)
            assert _everything() == before, (name, who)


def _everything() -> list[list[dict[str, Any]]]:
    kinds: tuple[Any, ...] = (
        Project,
        Membership,
        SyncRun,
        Connection,
        Conflict,
        actions.Memory,
        actions.Revision,
        Agent,
        Attachment,
    )
    return [list(kind.objects.order_by("pk").values()) for kind in kinds]


def test_a_write_from_another_site_is_refused(cast: dict[str, User | None], about: dict[str, Any]) -> None:
    owner = cast["owner"]
    assert owner is not None
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    for name, row in ROWS.items():
        if "slug" in row.args and row.post != NOBODY:
            assert client.post(reverse(name, args=[about[arg] for arg in row.args]), row.data).status_code == 403, name


def test_an_archived_project_is_written_by_owners_only(cast: dict[str, User | None], about: dict[str, Any]) -> None:
    url = reverse("memory_archive", args=[about["slug"], about["uuid"]])
    owner = Client()
    owner.force_login(cast["owner"])  # type: ignore[arg-type]
    owner.post(reverse("project_archive", args=[about["slug"]]))
    statuses = _statuses("post", url, cast, {})
    assert (statuses["viewer"], statuses["editor"], statuses["owner"]) == (403, 403, 302)


@pytest.mark.parametrize("page", ["index", "memoryhub_lettaserver_changelist", "memoryhub_project_changelist"])
def test_the_administration_is_for_staff(page: str, cast: dict[str, User | None]) -> None:
    statuses = _statuses("get", reverse(f"admin:{page}"), cast, {})
    staff = statuses.pop("staff")
    assert staff == (200 if page == "index" else 403)  # staff without permissions see an empty index
    assert statuses.pop("superuser") == 200
    assert set(statuses.values()) == {302}
