"""Addresses of the pages about memories."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from blocks.views import activity, history, life, live, memories, memory

of_memory: list[URLPattern | URLResolver] = [
    path("", memory.memory, name="memory"),
    path("archive/", life.archive, name="memory_archive"),
    path("restore/", life.restore, name="memory_restore"),
    path("delete/", life.delete, name="memory_delete"),
    path("history/", history.history, name="memory_history"),
    path("history/<int:number>/restore/", history.restore, name="memory_restore_revision"),
]

of_project: list[URLPattern | URLResolver] = [
    path("", memories.memories, name="memories"),
    path("new/", memory.new, name="memory_new"),
    path("preview/", memory.preview, name="memory_preview"),
    path("activity/", activity.activity, name="activity"),
    path("live/", live.live, name="live"),
    path("m/<uuid:uuid>/", include(of_memory)),
]

urlpatterns = [path("p/<slug:slug>/", include(of_project))]
