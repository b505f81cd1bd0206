"""A Letta server with too much to do is left alone for as long as it asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from blocks.stores import patience
from blocks.stores.letta_calls import CallError, Calls
from tests.contract.letta import serving


@pytest.mark.parametrize(
    ("header", "seconds"), [("0", 0), ("7", 7), (" 2 ", 2), (None, 1), ("", 1), ("soon", 1), ("-3", 1), ("1.5", 1)]
)
def test_what_the_header_asks_for(header: str | None, seconds: float) -> None:
    assert patience.seconds_in(header) == seconds


def test_a_date_in_the_header() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < patience.seconds_in(later) <= 60
    assert patience.seconds_in("Sun, 06 Nov 1994 08:49:37 GMT") == 0


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it was waited for, at each time; nobody really waits."""
    slept: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    return slept


class Busy(BaseHTTPRequestHandler):
    """Says 429 once for each method, then answers."""

    told: set[str]
    calls: list[str]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.calls.append(self.command)
        first = self.command not in self.told
        self.told.add(self.command)
        body = json.dumps({"detail": "too many"} if first else []).encode()
        self.send_response(429 if first else 200)
        if first:
            self.send_header("Retry-After", "3600")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = answer

    def log_message(self, *arguments: Any) -> None:
        pass


def busy() -> type[Busy]:
    return type("OneBusy", (Busy,), {"told": set(), "calls": []})


def test_a_read_waits_and_is_repeated_once(slept: list[float]) -> None:
    handler = busy()
    with serving(handler) as url:
        assert Calls(url=url, api_key="", timeout=10).call("get", "/v1/blocks/") == []
    assert handler.calls == ["GET", "GET"]
    assert len(slept) == 1
    assert 9 < slept[0] <= patience.LONGEST


def test_a_write_is_not_repeated_and_the_next_call_waits(slept: list[float]) -> None:
    handler = busy()
    with serving(handler) as url:
        calls = Calls(url=url, api_key="", timeout=10)
        with pytest.raises(CallError) as caught:
            calls.call("patch", "/v1/blocks/block-1", body={"value": "x"})
        assert (caught.value.status, caught.value.permanent, slept) == (429, False, [])
        calls.call("patch", "/v1/blocks/block-1", body={"value": "x"})
    assert handler.calls == ["PATCH", "PATCH"]
    assert len(slept) == 1
