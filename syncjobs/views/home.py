"""The first page: the projects of a person, and how to make one."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from memoryhub import projects
from memoryhub.forms import NewProjectForm
from memoryhub.http import Request, respond
from syncjobs import connect, demo, overview


@require_safe
def home(request: Request) -> HttpResponse:
    cards = overview.cards_of(request.user)
    used = [card for card in cards if not card.project.archived_at]
    archived = [card for card in cards if card.project.archived_at]
    return respond(request, "syncjobs/home.html", {"cards": used, "archived": archived})


@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: Request) -> HttpResponse:
    form = NewProjectForm(request.POST or None, initial=NewProjectForm.proposal())
    if request.method == "POST" and form.is_valid():
        project = projects.create(request.user, **form.cleaned_data)
        follows = connect.follow(project, user=request.user)
        messages.success(request, f"“{project}” was made; its address is {project.get_absolute_url()}")
        return redirect({"plan": "sync_preview", "run": "sync", "": "memories"}[follows], project.slug)
    return respond(request, "syncjobs/project_new.html", {"form": form}, status=422 if form.errors else 200)


@require_POST
def project_demo(request: Request) -> HttpResponse:
    project = demo.make(request.user)
    messages.success(request, f"“{project}” is yours to try things in. Archive it in its settings when you are done.")
    return redirect(project)
