"""Letta's API for blocks, answered by the hub under /v1: what its routes share, and what is not offered.

Bodies, ids and errors have the shape of Letta 0.16.8. What is the same, better or absent is listed in
docs/letta-api.md; tests/contract runs the same tests against both servers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Router
from ninja.errors import HttpError, ValidationError

from blocks.agents import NoSuchBlock
from blocks.builtin import Kept, LabelTaken, Unfit
from blocks.builtin_list import UnknownCursor
from memoryhub.api import new_api

VERSION = "0.16.8+memoryhub"  # of the Letta server whose API this is
EXAMPLE = "123e4567-e89b-42d3-8456-426614174000"
ID = re.compile(r"([a-z]+)-([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
NO_MODEL = "No model runs here: the hub keeps agents and their blocks. Send messages to a Letta server."
NOT_OFFERED = "The hub answers Letta's routes for blocks and agents only; this one it does not have."

log = logging.getLogger(__name__)
api = new_api(title="Letta's API for blocks", version="1", urls_namespace="letta", openapi_url=None)


class Malformed(Exception):
    """What should be an id is none. kind: block or agent."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(f"{place} should be {kind}-{{uuid}}, such as {kind}-{EXAMPLE}.")
        self.kind = kind


def uuid_in(id: str, kind: str, place: str = "") -> UUID:
    """The uuid in an id such as block-<uuid>. Raises `Malformed`."""
    match = ID.fullmatch(id)
    if match is None or match[1] != kind:
        raise Malformed(kind, place or f"{kind}_id")
    return UUID(match[2])


def cursor_in(id: str | None, kind: str, place: str) -> UUID | None:
    return uuid_in(id, kind, place) if id else None


# --- Errors -----------------------------------------------------------------------------------------------


def answer(request: HttpRequest, status: int, detail: str, **more: Any) -> HttpResponse:
    return api.create_response(request, {**more, "detail": detail}, status=status)


def unprocessable(request: HttpRequest, detail: str, **more: Any) -> HttpResponse:
    return answer(request, 422, detail, trace_id="", **more)


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return unprocessable(request, str([_as_letta(each) for each in error.errors]))


def _as_letta(error: dict[str, Any]) -> dict[str, Any]:
    """Without the name of our own argument in the place."""
    place, *names = error["loc"]
    return {
        "type": error["type"],
        "loc": (place, *names[1:]) if place == "body" else (place, *names),
        "msg": error["msg"],
    }


@api.exception_handler(Unfit)
def unfit(request: HttpRequest, error: Unfit) -> HttpResponse:
    return unprocessable(request, str(error))


@api.exception_handler(Malformed)
def malformed(request: HttpRequest, error: Malformed) -> HttpResponse:
    return unprocessable(request, str(error), examples=[f"{error.kind}-{EXAMPLE}"])


@api.exception_handler(Kept)
@api.exception_handler(LabelTaken)
def taken(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer(request, 409, str(error))


@api.exception_handler(UnknownCursor)
@api.exception_handler(NoSuchBlock)
def gone(request: HttpRequest, error: Exception) -> HttpResponse:
    return answer(request, 404, str(error))


@api.exception_handler(HttpError)
def unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, RequestDataTooBig):
        return answer(request, 413, "The request is larger than the hub takes.")
    if error.status_code == 400:
        return unprocessable(request, "The body is not JSON.")
    return answer(request, error.status_code, str(error))


@api.exception_handler(Exception)
def failed(request: HttpRequest, error: Exception) -> HttpResponse:
    log.exception("%s %s failed", request.method, request.path, exc_info=error)
    detail = "A database error occurred." if isinstance(error, DatabaseError) else "An unknown error occurred"
    return answer(request, 500, detail)


def not_found(kind: str, id: str) -> Http404:
    return Http404(f"{kind.title()} with id '{id}' not found")


# --- Health, and what is not offered ----------------------------------------------------------------------


def health(request: HttpRequest) -> dict[str, str]:
    return {"version": VERSION, "status": "ok"}


last = Router()


@last.api_operation(METHODS, "/{path:rest}")
def not_offered(request: HttpRequest, rest: str) -> HttpResponse:
    needs_model = re.match(r"agents/[^/]+/messages\b|conversations\b|messages\b|runs\b|steps\b", rest)
    return answer(request, 501, NO_MODEL if needs_model else NOT_OFFERED)


# --- Preconditions ----------------------------------------------------------------------------------------


def named(request: HttpRequest, header: str) -> set[str]:
    """The ETags (or *) that a condition names, without quotes; empty where it is not made."""
    said = request.headers.get(header, "")
    return {each.strip().removeprefix("W/").strip('"') for each in said.split(",")} - {""}


def any_of(tags: Iterable[str], version: str) -> bool:
    return not {"*", version}.isdisjoint(tags)
