"""Addresses of a project's settings and members."""

from django.urls import path

from memoryhub import views

urlpatterns = [
    path("settings/", views.project_settings, name="project_settings"),
    path("settings/archive/", views.project_archive, name="project_archive"),
    path("settings/unarchive/", views.project_unarchive, name="project_unarchive"),
    path("settings/members/", views.members, name="members"),
    path("settings/members/invite/", views.member_invite, name="member_invite"),
    path("settings/members/<int:pk>/role/", views.member_role, name="member_role"),
    path("settings/members/<int:pk>/remove/", views.member_remove, name="member_remove"),
]
