"""The agents of a project: which there are, what each sees, and changes to that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from blocks.models import Memory
from blocks.search import clean
from blocks.stores.base import StoreError
from memoryhub.access import get_project, may_adopt, may_write
from memoryhub.http import Request, respond
from memoryhub.models import Project, Role
from memoryhub.secrets import UnreadableSecret
from syncjobs import roster
from syncjobs.agent_homes import LIGHT, Entry, Home, NotDone
from syncjobs.forms import AgentForm

ON_PAGE = 25
MOST_CHOSEN = 100  # memories that a new agent is made with

Change = Callable[[Home, Entry, Memory | None], None]


@require_safe
def agents(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug)
    reach = may_adopt(request.user, project)
    everybody = reach and "all" in request.GET
    query = clean(request.GET.get("q", ""))
    found = roster.look(project)
    known = [entry for entry in found.entries if entry.of_project or everybody]
    page = Paginator([entry for entry in known if entry.has_word(query)], ON_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "roster": replace(found, entries=known),
        "page": page,
        "q": query,
        "reach": reach,
        "everybody": everybody,
        "may_edit": may_write(project),
        "on_letta": roster.uses_letta(project),
    }
    return respond(request, "syncjobs/agents.html", context, fragment="list")


@require_safe
def agent(request: Request, slug: str, id: str) -> HttpResponse:
    project = get_project(request, slug)
    context = {"project": project, "may_edit": may_write(project), "q": clean(request.GET.get("q", ""))}
    try:
        home, entry = _find(request, project, id, roster.PATIENCE)
    except (StoreError, UnreadableSecret) as error:
        return _last_seen(request, project, id, error, context)
    context["agent"] = entry
    if context["may_edit"]:
        seen = [memory.uuid for memory in entry.memories]
        context["offers"] = home.offers(roster.search(project, str(context["q"]), seen))
    return respond(request, "syncjobs/agent.html", context, fragment="offers")


@require_safe
def of_memory(request: Request, slug: str, uuid: UUID) -> HttpResponse:
    """Asked by a memory's page, which shows who saw it at the last look: it is drawn anew if that is no longer true."""
    project = get_project(request, slug)
    memory = get_object_or_404(Memory.objects.filter(project=project).only(*LIGHT), uuid=uuid)
    changed = roster.look_at_block(project, memory)
    return HttpResponse(status=204, headers={"HX-Trigger": "agents-changed"} if changed else {})


def _find(request: Request, project: Project, id: str, patience: float | None = None) -> tuple[Home, Entry]:
    """The agent, if the person may know of it. Raises `Http404`, `StoreError`, `UnreadableSecret`."""
    found = roster.find(project, id, request.user, patience)
    if found is None or not (found[1].of_project or may_adopt(request.user, project)):
        raise Http404("No such agent.")
    return found


def _last_seen(
    request: Request, project: Project, id: str, error: StoreError | UnreadableSecret, context: dict[str, Any]
) -> HttpResponse:
    known = roster.last_seen(roster.connection_of(project))
    context["agent"] = next((entry for entry in known if entry.id == id), None)
    context |= {"trouble": roster.told(error), "may_edit": False}
    return respond(request, "syncjobs/agent.html", context, fragment="offers")


@require_POST
def attach(request: Request, slug: str, id: str) -> HttpResponse:
    return _change(request, slug, id, lambda home, entry, memory: home.attach(entry, memory), "sees", live=True)


@require_POST
def detach(request: Request, slug: str, id: str) -> HttpResponse:
    return _change(request, slug, id, lambda home, entry, memory: home.detach(entry, memory), "no longer sees")


def _change(request: Request, slug: str, id: str, change: Change, verb: str, *, live: bool = False) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    memory = _memory(project, request.POST.get("memory", ""), live=live)
    what = f"“{memory}”" if memory else "the digest block"
    try:
        home, entry = _find(request, project, id)
        change(home, entry, memory)
    except NotDone as error:
        messages.error(request, f"Nothing was changed. {error}")
    except (StoreError, UnreadableSecret) as error:
        messages.error(request, _unsure(error))
    else:
        safe = "" if live else f" Nothing was deleted: {what} is where it was."
        messages.success(request, f"{entry.name} {verb} {what}.{safe}")
        if not _still_shown(home, entry, memory, live=live) and not may_adopt(request.user, project):
            messages.warning(request, f"{entry.name} sees nothing of this project any more, so it is not listed here.")
            return redirect("agents", slug)
    return redirect("agent", slug, id)


def _memory(project: Project, given: str, *, live: bool) -> Memory | None:
    """What is to be attached or detached; None is the digest block. Raises `Http404`."""
    if given == "digest":
        return None
    memories = Memory.objects.filter(project=project)
    return get_object_or_404(memories.filter(shared=True).live() if live else memories, uuid=_uuid(given))


def _uuid(given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise Http404("No such memory.") from None


def _still_shown(home: Home, entry: Entry, memory: Memory | None, *, live: bool) -> bool:
    if live or entry.made_here or entry.registered:
        return True
    left = len(entry.memories) + entry.digest
    return left > 1


def _unsure(error: StoreError | UnreadableSecret) -> str:
    trouble = roster.told(error)
    return f"{trouble.message} {trouble.help} Look below, before you try again, whether it was done; no memory changed."


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: Request, slug: str) -> HttpResponse:
    project = get_project(request, slug, Role.EDITOR)
    on_letta = roster.uses_letta(project)
    posted = request.method == "POST"
    said = request.POST if posted else request.GET  # a search keeps what is ticked
    form = AgentForm(request.POST if posted else None, on_letta=on_letta)
    memories = _chosen(project, said.getlist("memory"))
    error = ""
    if posted and form.is_valid():
        made, error = _make(request, project, form.cleaned_data, memories)
        if made:
            return redirect("agent", slug, made.id)
    query = clean(said.get("q", ""))
    context = {
        "project": project,
        "form": form,
        "on_letta": on_letta,
        "chosen": memories,
        "q": query,
        "found": roster.search(project, query, [memory.uuid for memory in memories]),
        "error": error,
    }
    return respond(request, "syncjobs/agent_new.html", context, fragment="choices", status=422 if posted else 200)


def _chosen(project: Project, given: Sequence[str]) -> list[Memory]:
    wanted = [_uuid(one) for one in given[:MOST_CHOSEN]]
    live = Memory.objects.filter(project=project, shared=True, uuid__in=wanted).live()
    return list(live.only(*LIGHT).order_by("sort_title", "pk"))


def _make(request: Request, project: Project, said: dict[str, Any], memories: list[Memory]) -> tuple[Entry | None, str]:
    """The new agent, or why there is none."""
    try:
        home = roster.home(project, request.user)
        made = home.create(said["name"], said["model"], memories, with_digest=said["digest"])
    except NotDone as error:
        return None, f"Nothing was made. {error}"
    except (StoreError, UnreadableSecret) as error:
        trouble = roster.told(error)
        return None, f"{trouble.message} {trouble.help} Before you try again, look whether the agent is in the list."
    messages.success(request, f"The agent “{made.name}” was made.")
    missing = len({memory.pk for memory in memories} - {memory.pk for memory in made.memories})
    if missing:
        messages.warning(request, f"{missing} of the chosen memories could not be attached: try each below.")
    return made, ""
