"""Addresses of a project's settings and members."""

from django.urls import path

from memoryhub import views, views_tokens

urlpatterns = [
    path("settings/", views.project_settings, name="project_settings"),
    path("settings/archive/", views.project_archive, name="project_archive"),
    path("settings/unarchive/", views.project_unarchive, name="project_unarchive"),
    path("settings/members/", views.members, name="members"),
    path("settings/members/invite/", views.member_invite, name="member_invite"),
    path("settings/members/<int:pk>/role/", views.member_role, name="member_role"),
    path("settings/members/<int:pk>/remove/", views.member_remove, name="member_remove"),
    path("settings/tokens/", views_tokens.show, name="tokens"),
    path("settings/tokens/create/", views_tokens.create, name="token_create"),
    path("settings/tokens/<int:pk>/revoke/", views_tokens.revoke, name="token_revoke"),
]
