"""Every address of the hub."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from memoryhub.health import healthz

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("accounts/", include("memoryhub.account_urls")),
    path("healthz", healthz, name="healthz"),
    path("", include("blocks.urls")),
]
