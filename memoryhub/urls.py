"""Every address of the hub."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from memoryhub.health import healthz

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("accounts/", include("memoryhub.account_urls")),
    path("healthz", healthz, name="healthz"),
    path("p/<slug:slug>/", include("memoryhub.project_urls")),
    path("", include("blocks.urls")),
    path("", include("syncjobs.urls")),
]
