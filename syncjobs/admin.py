"""The administration: servers with their keys, projects with their members, and what ran."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from blocks.stores.base import Probe
from memoryhub.forms import KeyedForm, ProjectAdminForm
from memoryhub.models import LettaServer, LocalStore, Membership, Project
from memoryhub.secrets import UnreadableSecret
from syncjobs.connect import FOLLOWED, bring_in_step
from syncjobs.models import Conflict, SyncRun
from syncjobs.sides import probe_letta, probe_local


class ServerAdmin(admin.ModelAdmin):
    """A server or a store. bound: what a connection is bound to; a change of it makes other connections."""

    form = KeyedForm
    filter_horizontal = ("adopters",)
    actions = ("test_connection",)
    bound: frozenset[str] = frozenset({"url"})

    @admin.display(boolean=True, description="key stored")
    def has_key(self, server: LettaServer | LocalStore) -> bool:
        return bool(server.api_key_token)

    @admin.action(description="Test connection", permissions=["change"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for server in queryset[:20]:
            try:
                probe = self.probe(server)
            except UnreadableSecret as error:
                probe = Probe("unauthorized", f"{error}.")
            level = messages.SUCCESS if probe.kind == "ok" else messages.ERROR
            self.message_user(request, f"{server}: {probe.message} {probe.help}".strip(), level)

    def probe(self, server: Any) -> Probe:
        raise NotImplementedError

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and self.bound & set(form.changed_data):
            for project in obj.projects.filter(archived_at=None):
                bring_in_step(project, user=request.user)  # type: ignore[arg-type]


@admin.register(LettaServer)
class LettaServerAdmin(ServerAdmin):
    list_display = ("name", "url", "has_key")
    search_fields = ("name", "url")
    fields = ("name", "url", "new_api_key", "clear_api_key", "adopters")

    def probe(self, server: LettaServer) -> Probe:
        return probe_letta(server)


@admin.register(LocalStore)
class LocalStoreAdmin(ServerAdmin):
    list_display = ("name", "url", "collection", "has_key")
    search_fields = ("name", "url", "collection")
    fields = ("name", "url", "tenant", "database", "collection", "new_api_key", "clear_api_key", "adopters")
    bound = frozenset({"url", "tenant", "database", "collection"})

    def probe(self, server: LocalStore) -> Probe:
        return probe_local(server)


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 1
    autocomplete_fields = ("user",)


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):
    """Projects are archived, never deleted here: with a project every version of its memories would go."""

    form = ProjectAdminForm
    list_display = ("name", "slug", "letta_server", "local_store", "sync_mode", "archived_at")
    list_filter = ("letta_server", "local_store", "sync_mode")
    search_fields = ("name", "slug")
    inlines: ClassVar = [MembershipInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        return ("slug", "created_at", "archived_at") if obj else ("created_at", "archived_at")

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change or FOLLOWED & set(form.changed_data):
            bring_in_step(obj, user=request.user)  # type: ignore[arg-type]


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    list_display = ("project", "status", "trigger", "user", "created_at", "finished_at")
    list_filter = ("status", "trigger", "project")


@admin.register(Conflict)
class ConflictAdmin(ReadOnlyAdmin):
    list_display = ("memory", "connection", "opened_at", "closed_at", "resolution")
    list_filter = ("connection__side", "resolution")
    list_select_related = ("memory", "connection__project")
    fields = ("memory", "connection", "fields", "opened_at", "closed_at", "resolution", "resolved_by")
