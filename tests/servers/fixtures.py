"""Real servers, each started once a session by the first test that asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.letta_server import LettaServer
from tests.servers.web import WebServer


@pytest.fixture(scope="session")
def letta_server() -> Iterator[str]:
    """The base URL of a real Letta server without a password. Shared: a test works under a slug of its own.

    MEMORYHUB_TEST_LETTA_URL names one that runs already, to save its start while working on a test.
    """
    running = os.environ.get("MEMORYHUB_TEST_LETTA_URL")
    if running:
        yield running
        return
    server = LettaServer().start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def secure_letta_server() -> Iterator[tuple[str, str]]:
    """(base URL, password) of a real Letta server that wants a password."""
    server = LettaServer(password="correct-horse").start()
    yield server.url, server.password
    server.stop()


@pytest.fixture(scope="session")
def hub_server() -> Iterator[WebServer]:
    """The hub's web server in a process of its own, with a project and tokens. Shared, as `letta_server` is."""
    server = WebServer().start()
    yield server
    server.stop()
