"""Addresses of the pages about projects, their connections, syncs and conflicts."""

from __future__ import annotations

from django.urls import include, path, re_path

from syncjobs.views import agents, conflicts, connections, home, purge, status, sync

of_project = [
    path("sync/", sync.sync, name="sync"),
    path("sync/now/", sync.sync_now, name="sync_now"),
    path("sync/runs/<int:pk>/allow/", sync.sync_allow, name="sync_allow"),
    path("sync/preview/", sync.sync_preview, name="sync_preview"),
    path("sync/runs/<int:pk>/", sync.run, name="run"),
    path("sync/runs/<int:pk>/stop/", sync.run_stop, name="run_stop"),
    path("m/<uuid:uuid>/purge/", purge.show, name="memory_purge"),
    path("m/<uuid:uuid>/purge/text/", purge.text, name="memory_purge_text"),
    path("m/<uuid:uuid>/purge/revisions/", purge.revisions, name="memory_purge_revisions"),
    path("m/<uuid:uuid>/purge/memory/", purge.memory, name="memory_purge_memory"),
    path("m/<uuid:uuid>/agents/", agents.of_memory, name="memory_agents"),
    path("agents/", agents.agents, name="agents"),
    path("agents/new/", agents.new, name="agent_new"),
    path("agents/<slug:id>/", agents.agent, name="agent"),
    path("agents/<slug:id>/attach/", agents.attach, name="agent_attach"),
    path("agents/<slug:id>/detach/", agents.detach, name="agent_detach"),
    path("conflicts/", conflicts.conflicts, name="conflicts"),
    path("conflicts/<int:pk>/", conflicts.conflict, name="conflict"),
    path("conflicts/<int:pk>/resolve/", conflicts.conflict_resolve, name="conflict_resolve"),
    path("settings/connections/", connections.connections, name="connections"),
    re_path(r"^settings/connections/test/(?P<side>letta|local)/$", connections.connection_test, name="connection_test"),
    path("settings/connections/<int:pk>/confirm/", connections.connection_confirm, name="connection_confirm"),
    path("settings/others/", connections.others, name="others"),
    path("settings/others/adopt/", connections.adopt, name="adopt"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("projects/new/", home.project_new, name="project_new"),
    path("projects/demo/", home.project_demo, name="project_demo"),
    path("status/", status.status, name="status"),
    path("p/<slug:slug>/", include(of_project)),
]
