"""What the APIs for agents and scripts share: who calls, how often, and how errors are told.

An API is a `ninja.NinjaAPI` made by `new_api`; its routes find the caller with `caller(request)`.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_origin

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.urls import URLPattern, URLResolver, re_path
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer
from pydantic import BaseModel, BeforeValidator, Field

from memoryhub import tokens
from memoryhub.models import Role
from memoryhub.rates import Buckets
from memoryhub.tokens import Caller, TokenRefused

logger = logging.getLogger(__name__)
buckets = Buckets(settings.TOKEN_RATE, settings.DATA_DIR / "rates")


class Limited(Exception):
    """The token called too often; `wait`: whole seconds after which it may call again."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"Too many requests: a token may make {settings.TOKEN_RATE} a minute. Wait {wait} s.")
        self.wait = wait


class Unprocessable(Exception):
    """What was sent is no good. errors: by the name of the field, or '', a sentence."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {text}" if name else text for name, text in errors.items()))
        self.errors = errors


# --- Who calls ------------------------------------------------------------------------------------------


def admit(plain: str) -> Caller:
    """Who carries this token, if it is good and not used too often. Raises `TokenRefused` or `Limited`."""
    found = tokens.caller_of(plain)
    if wait := buckets.take(found.token.pk):
        raise Limited(wait)
    return found


class TokenAuth(HttpBearer):
    """Bearer authentication; `request.auth` becomes the `Caller`.

    need: the role an operation takes. A token without it is told so before anything else is looked at.
    """

    openapi_description = "A project's token: `Authorization: Bearer mhub_...`"

    def __init__(self, need: Role = Role.VIEWER) -> None:
        super().__init__()
        self.need = need

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        found = admit(token.strip())
        _permit(found, self.need)
        return found


editors = TokenAuth(Role.EDITOR)


def caller(request: HttpRequest, need: Role = Role.VIEWER) -> Caller:
    """Who calls. Raises `PermissionDenied` where that takes a role the token does not have."""
    found: Caller = request.auth  # type: ignore[attr-defined]
    _permit(found, need)
    return found


def _permit(found: Caller, need: Role) -> None:
    if need == Role.EDITOR and not found.may_write:
        raise PermissionDenied(found.why_not)


# --- What comes in --------------------------------------------------------------------------------------


class JsonParser(Parser):
    """Bodies are JSON, and say so (or say nothing)."""

    def parse_body(self, request: HttpRequest) -> Any:
        kind = request.content_type or ""
        if kind not in ("", "application/json"):
            raise HttpError(415, f"Send JSON (Content-Type: application/json), not {kind[:100]}.")
        return super().parse_body(request)


def _digits(value: Any) -> Any:
    """Only digits make a whole number: no spaces, fractions, underscores or signs."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        raise ValueError("Write a whole number.")
    return value


DIGITS = BeforeValidator(_digits)  # of a parameter that is a number: after its bounds
Number = Annotated[int, Field(ge=1, le=2**31 - 1), DIGITS]
RowId = Annotated[int, Field(ge=1, le=2**63 - 1), DIGITS]


def no_others(request: HttpRequest, *models: type[BaseModel]) -> None:
    """Refuse parameters that none of the models has, or has once: what is misspelt must not mean no filter, and of two
    values none is guessed."""
    known = {name: field for model in models for name, field in model.model_fields.items()}
    if others := sorted(set(request.GET) - set(known)):
        named = ", ".join(sorted(known)) or "none"
        raise Unprocessable({others[0][:100]: f"There is no such parameter here; there are: {named}."})
    for name, field in known.items():
        if get_origin(field.annotation) is not list and len(request.GET.getlist(name)) > 1:
            raise Unprocessable({name: "Give this once: it takes one value."})


# --- What goes out --------------------------------------------------------------------------------------


class ErrorOut(BaseModel):
    """detail: what is wrong, in a sentence. errors: of fields that are no good, by their names."""

    detail: str = Field(examples=["No such memory."])
    errors: dict[str, str] = {}


ERRORS = frozenset({400, 401, 403, 404, 409, 413, 415, 422, 429, 503})


def answers(said: dict[int, Any]) -> dict[Any, Any]:
    """The responses of an operation, by status, for its document; with them every error there may be."""
    return {**said, ERRORS - set(said): ErrorOut}


def fault(status: int, detail: str, errors: dict[str, str] | None = None, **headers: str) -> JsonResponse:
    """An error as every API tells it."""
    said: dict[str, Any] = {"detail": detail} | ({"errors": errors} if errors else {})
    return JsonResponse(said, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def no_such_address(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    return fault(404, "There is nothing at this address.")


def new_api(**options: Any) -> NinjaAPI:
    """An API in which every route asks for a token, and every error is `{"detail": ...}`."""
    api = NinjaAPI(auth=TokenAuth(), docs_url=None, docs_decorator=_for_readers, parser=JsonParser(), **options)

    @api.exception_handler(TokenRefused)
    @api.exception_handler(AuthenticationError)
    def refused(request: HttpRequest, error: Exception) -> HttpResponse:
        missing = "Send a token: Authorization: Bearer mhub_..."
        detail = str(error) if isinstance(error, TokenRefused) else missing
        return fault(401, detail, WWW_Authenticate='Bearer realm="Memory Hub"')

    @api.exception_handler(Limited)
    def limited(request: HttpRequest, error: Limited) -> HttpResponse:
        return fault(429, str(error), Retry_After=str(error.wait))

    @api.exception_handler(PermissionDenied)
    def denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
        return fault(403, str(error) or "Not allowed.")

    @api.exception_handler(Http404)
    def missing(request: HttpRequest, error: Http404) -> HttpResponse:
        return fault(404, str(error) or "Not found.")

    @api.exception_handler(HttpError)
    def failed(request: HttpRequest, error: HttpError) -> HttpResponse:
        if isinstance(error.__cause__, HttpError):  # what the parser raised
            error = error.__cause__
        return fault(error.status_code, str(error))

    @api.exception_handler(ValidationError)
    def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
        return unprocessable(request, Unprocessable(_sentences(error.errors)))

    @api.exception_handler(Unprocessable)
    def unprocessable(request: HttpRequest, error: Unprocessable) -> HttpResponse:
        return fault(422, str(error), error.errors)

    @api.exception_handler(RequestDataTooBig)
    def too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
        return fault(413, f"A request has at most {most} MB.")

    @api.exception_handler(UnreadablePostError)
    def broken_off(request: HttpRequest, error: UnreadablePostError) -> HttpResponse:
        return fault(400, "The request broke off before its end.")

    @api.exception_handler(Exception)
    def broken(request: HttpRequest, error: Exception) -> HttpResponse:
        logger.exception("%s %s failed", request.method, request.path, exc_info=error)
        return fault(500, "Something went wrong in the hub. Its log says what.")

    @api.exception_handler(OperationalError)
    def database(request: HttpRequest, error: OperationalError) -> HttpResponse:
        if not _passes(error):
            return broken(request, error)
        logger.warning("%s %s: %s", request.method, request.path, error)
        return fault(503, "The database is busy. Nothing was changed; try again in a moment.", Retry_After="2")

    return api


def _sentences(errors: list[dict[str, Any]]) -> dict[str, str]:
    """What pydantic found, by the names of fields."""
    said: dict[str, str] = {}
    for error in errors:
        inner = [str(part) for part in error["loc"][2:]]  # after body|query|path and the argument's own name
        name = ".".join(inner or [str(error["loc"][-1])])[:100]
        text = str(error["msg"]).removeprefix("Value error, ")
        said.setdefault(name, text if text.endswith(".") else f"{text}.")
    return said


# Classes of PostgreSQL's SQLSTATE: connection, transaction rollback, resources, operator intervention; lock not there.
PASSING = ("08", "40", "53", "57", "55P03")


def _passes(error: OperationalError) -> bool:
    """Whether the database may do it the next time: locked, overloaded, or not there at the moment."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state = getattr(cause, "sqlstate", None)  # none where there is no connection at all
    return state is None or state.startswith(PASSING)


# --- Addresses ------------------------------------------------------------------------------------------


def open_urls(api: NinjaAPI) -> list[URLPattern | URLResolver]:
    """The addresses of an API, which ask for a token where pages ask people to sign in. What is none of them is told
    in JSON."""
    patterns: list[URLPattern | URLResolver] = api.urls[0]
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            view = no_such_address if pattern.name == "api-root" else pattern.callback
            pattern.callback = login_not_required(_in_json(view))
    return [*patterns, re_path("", _in_json(login_not_required(no_such_address)))]


def _in_json(view: Callable[..., Any]) -> Callable[..., Any]:
    """HEAD is answered as GET is, and a wrong method in JSON."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        asked, request.method = request.method, "GET" if request.method == "HEAD" else request.method
        try:
            response: HttpResponse = view(request, *args, **kwargs)
        finally:
            request.method = asked
        if response.status_code == 405:
            return fault(405, f"{asked} is not possible here.", Allow=response["Allow"])
        return response

    answer.csrf_exempt = True  # type: ignore[attr-defined]
    return answer


def _for_readers(view: Callable[..., Any]) -> Callable[..., Any]:
    """The document of an API is for whoever has a token or is signed in."""

    api: NinjaAPI = view.keywords["api"]  # type: ignore[attr-defined]

    def answer(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if request.method != "GET":
            return fault(405, f"{request.method} is not possible here.", Allow="GET, HEAD")
        try:
            if not request.user.is_authenticated and not TokenAuth()(request):
                raise AuthenticationError
        except Exception as error:
            return api.on_exception(request, error)
        response: HttpResponse = view(request, **kwargs)
        return response

    return answer
