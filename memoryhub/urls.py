"""Every address of the hub."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

import blocks.api.history
import blocks.api.memories
import blocks.api.project
import blocks.api.search
import syncjobs.api
from memoryhub import api
from memoryhub.health import healthz

rest = api.new_api(
    title="Memory Hub", version="1", urls_namespace="api", description="Memories, for agents and scripts."
)
for part in (blocks.api.project, blocks.api.memories, blocks.api.search, blocks.api.history, syncjobs.api):
    rest.add_router("", part.router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("accounts/", include("memoryhub.account_urls")),
    path("healthz", healthz, name="healthz"),
    path("api/", include((api.open_urls(rest), "api"))),
    path("", include("blocks.api.letta_urls")),
    path("p/<slug:slug>/", include("memoryhub.project_urls")),
    path("", include("blocks.urls")),
    path("", include("syncjobs.urls")),
]
