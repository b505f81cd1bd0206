"""What the APIs for agents and scripts share: who calls, how often, and how errors are told.

An API is a `ninja.NinjaAPI` made by `new_api`; its routes find the caller with `caller(request)`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI, Router, Schema
from ninja.errors import AuthenticationError, HttpError
from ninja.security import HttpBearer

from memoryhub import tokens
from memoryhub.models import Role
from memoryhub.rates import Buckets
from memoryhub.tokens import Caller, TokenRefused

buckets = Buckets(settings.TOKEN_RATE)


class Limited(Exception):
    """The token called too often; `wait`: whole seconds after which it may call again."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"Too many requests: a token may make {settings.TOKEN_RATE} a minute. Wait {wait} s.")
        self.wait = wait


def admit(plain: str) -> Caller:
    """Who carries this token, if it is good and not used too often. Raises `TokenRefused` or `Limited`."""
    found = tokens.caller_of(plain)
    if wait := buckets.take(found.token.pk):
        raise Limited(wait)
    return found


class TokenAuth(HttpBearer):
    """Bearer authentication; `request.auth` becomes the `Caller`."""

    openapi_description = "A project's token: `Authorization: Bearer mhub_...`"

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        return admit(token.strip())


def caller(request: HttpRequest, need: Role = Role.VIEWER) -> Caller:
    """Who calls. Raises `PermissionDenied` where that takes a role the token does not have."""
    found: Caller = request.auth  # type: ignore[attr-defined]
    if need == Role.EDITOR and not found.may_write:
        raise PermissionDenied(found.why_not)
    return found


def new_api(**options: Any) -> NinjaAPI:
    """An API in which every route asks for a token, and every error is `{"detail": ...}`."""
    api = NinjaAPI(auth=TokenAuth(), docs_url=None, **options)

    def answer(request: HttpRequest, status: int, detail: str, **headers: str) -> HttpResponse:
        response = api.create_response(request, {"detail": detail}, status=status)
        for name, value in headers.items():
            response[name.replace("_", "-")] = value
        return response

    @api.exception_handler(TokenRefused)
    @api.exception_handler(AuthenticationError)
    def refused(request: HttpRequest, error: Exception) -> HttpResponse:
        missing = "Send a token: Authorization: Bearer mhub_..."
        detail = str(error) if isinstance(error, TokenRefused) else missing
        return answer(request, 401, detail, WWW_Authenticate='Bearer realm="Memory Hub"')

    @api.exception_handler(Limited)
    def limited(request: HttpRequest, error: Limited) -> HttpResponse:
        return answer(request, 429, str(error), Retry_After=str(error.wait))

    @api.exception_handler(PermissionDenied)
    def denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
        return answer(request, 403, str(error) or "Not allowed.")

    @api.exception_handler(Http404)
    def missing(request: HttpRequest, error: Http404) -> HttpResponse:
        return answer(request, 404, str(error) or "Not found.")

    @api.exception_handler(HttpError)
    def failed(request: HttpRequest, error: HttpError) -> HttpResponse:
        return answer(request, error.status_code, str(error))

    return api


def open_urls(api: NinjaAPI) -> list[URLPattern | URLResolver]:
    """The addresses of an API, which ask for a token where pages ask people to sign in."""
    patterns: list[URLPattern | URLResolver] = api.urls[0]
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            pattern.callback = login_not_required(pattern.callback)
    return patterns


router = Router(tags=["project"])


class ProjectOut(Schema):
    """The token's project. role: what the token may do there. agent: the name it writes under."""

    slug: str
    name: str
    description: str
    role: str
    agent: str
    archived: bool


@router.get("/project", response=ProjectOut, summary="The token's project")
def project(request: HttpRequest) -> dict[str, Any]:
    who = caller(request)
    return {
        "slug": who.project.slug,
        "name": who.project.name,
        "description": who.project.description,
        "role": who.role.value,
        "agent": who.name,
        "archived": who.project.archived_at is not None,
    }
