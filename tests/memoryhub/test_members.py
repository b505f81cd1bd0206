"""Who is in a project, and who says so."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from memoryhub.models import Membership, Project, Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def by_owner(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


def role_of(project: Project, user: User) -> str | None:
    return Membership.objects.filter(project=project, user=user).values_list("role", flat=True).first()


def of(project: Project, user: User) -> list[object]:
    return [project.slug, Membership.objects.get(project=project, user=user).pk]


@pytest.mark.parametrize("who", ["otto", "otto@example.com", "OTTO@example.com"])
def test_invite_by_username_or_address(by_owner: Client, project: Project, outsider: User, who: str) -> None:
    User.objects.filter(pk=outsider.pk).update(email="otto@example.com")
    reply = by_owner.post(reverse("member_invite", args=[project.slug]), {"who": who, "role": "editor"}, follow=True)
    assert "otto is now editor" in reply.text
    assert role_of(project, outsider) == Role.EDITOR


def test_an_address_of_two_accounts_invites_nobody(by_owner: Client, project: Project, outsider: User) -> None:
    User.objects.create_user("twin", "same@example.com")
    User.objects.filter(pk=outsider.pk).update(email="same@example.com")
    url = reverse("member_invite", args=[project.slug])
    reply = by_owner.post(url, {"who": "same@example.com", "role": "editor"})
    assert reply.status_code == 422
    assert project.memberships.count() == 1


@pytest.mark.parametrize(("who", "said"), [("nobody", "No account has"), ("maria", "is a member already")])
def test_who_cannot_be_invited_is_said_at_the_field(
    by_owner: Client, project: Project, editor: User, who: str, said: str
) -> None:
    reply = by_owner.post(reverse("member_invite", args=[project.slug]), {"who": who, "role": "owner"})
    assert reply.status_code == 422
    assert said in reply.text
    assert f'value="{who}"' in reply.text
    assert role_of(project, editor) == Role.EDITOR


def test_a_closed_account_is_not_invited(by_owner: Client, project: Project, outsider: User) -> None:
    User.objects.filter(pk=outsider.pk).update(is_active=False)
    url = reverse("member_invite", args=[project.slug])
    assert by_owner.post(url, {"who": "otto", "role": "editor"}).status_code == 422


def test_change_a_role_and_remove(by_owner: Client, project: Project, editor: User) -> None:
    by_owner.post(reverse("member_role", args=of(project, editor)), {"role": "owner"})
    assert role_of(project, editor) == Role.OWNER
    by_owner.post(reverse("member_remove", args=of(project, editor)))
    assert role_of(project, editor) is None


def test_the_last_owner_stays(by_owner: Client, project: Project, owner: User, editor: User) -> None:
    demoted = by_owner.post(reverse("member_role", args=of(project, owner)), {"role": "editor"}, follow=True)
    left = by_owner.post(reverse("member_remove", args=of(project, owner)), follow=True)
    assert "only owner" in demoted.text
    assert "only owner" in left.text
    assert role_of(project, owner) == Role.OWNER


def test_an_owner_leaves_where_another_stays(by_owner: Client, project: Project, owner: User, editor: User) -> None:
    Membership.objects.filter(user=editor).update(role=Role.OWNER)
    reply = by_owner.post(reverse("member_remove", args=of(project, owner)))
    assert reply["Location"] == reverse("home")
    assert role_of(project, owner) is None


def test_a_viewer_leaves_and_removes_nobody_else(client: Client, project: Project, viewer: User, editor: User) -> None:
    client.force_login(viewer)
    assert client.post(reverse("member_remove", args=of(project, editor))).status_code == 403
    assert client.post(reverse("member_remove", args=of(project, viewer))).status_code == 302
    assert role_of(project, viewer) is None


def test_a_member_of_another_project_is_out_of_reach(by_owner: Client, project: Project, outsider: User) -> None:
    other = Project.objects.create(slug="other", name="Other")
    theirs = Membership.objects.create(project=other, user=outsider, role=Role.OWNER)
    url = reverse("member_remove", args=[project.slug, theirs.pk])
    assert by_owner.post(url).status_code == 404


def test_viewers_see_who_is_in_it_and_no_controls(client: Client, project: Project, owner: User, viewer: User) -> None:
    User.objects.filter(pk=owner.pk).update(email="olga@example.com")
    client.force_login(viewer)
    page = client.get(reverse("members", args=[project.slug])).text
    assert "olga" in page
    assert "olga@example.com" not in page
    assert reverse("member_invite", args=[project.slug]) not in page
