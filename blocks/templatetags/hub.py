"""What pages of every app share: navigation, times, addresses with a filter changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.db.models import Count, Q

from blocks.forms import join_tags
from blocks.listing import NO_FILTERS, Filters
from blocks.live import pulse
from blocks.models import Memory, SyncState
from blocks.times import ago
from memoryhub.models import Project

register = template.Library()

register.filter(ago)


@register.filter
def plain(value: Any) -> str:
    """A field of a memory as one text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return join_tags(value)
    return f"{value:,}" if isinstance(value, int) else str(value or "")


@register.inclusion_tag("_time.html")
def moment(when: datetime | None) -> dict[str, Any]:
    """A <time> that says how long ago, and when exactly on hover."""
    return {"when": when}


@register.inclusion_tag("_project_nav.html", takes_context=True)
def project_nav(context: dict[str, Any]) -> dict[str, Any]:
    """The navigation of the project in the context, with counts: `totals` where the page has counted already."""
    project: Project = context["project"]
    counts = context.get("totals") or _counts(project)
    match = context["request"].resolver_match
    return {"project": project, "here": match.url_name if match else "", **counts}


def _counts(project: Project) -> dict[str, int]:
    memories = Memory.objects.live().filter(project=project)
    return memories.aggregate(memories=Count("pk"), conflicts=Count("pk", filter=Q(sync_state=SyncState.CONFLICT)))


@register.inclusion_tag("_live.html", takes_context=True)
def live(context: dict[str, Any], target: str, others: str = "") -> dict[str, Any]:
    """Draws a part of the page anew when something changes in the project. target, others: selectors."""
    project: Project = context["project"]
    return {"project": project, "pulse": pulse(project.pk), "target": target, "others": others}


@register.inclusion_tag("_project_menu.html", takes_context=True)
def project_menu(context: dict[str, Any]) -> dict[str, Any]:
    """The name of the project in the context, and the way to the others."""
    project: Project = context["project"]
    others = Project.objects.visible_to(context["request"].user).active().exclude(pk=project.pk)
    return {"project": project, "others": others[:12]}


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> str:
    """'light' or 'dark' where the person chose one, else ''."""
    chosen = context["request"].COOKIES.get("theme", "") if "request" in context else ""
    return chosen if chosen in ("light", "dark") else ""


@register.simple_tag
def query(filters: Filters, **changes: Any) -> str:
    """The address of a list under these filters with some changed; '' clears one."""
    fresh = {name: getattr(NO_FILTERS, name) if value == "" else value for name, value in changes.items()}
    return filters.as_query(**fresh)
