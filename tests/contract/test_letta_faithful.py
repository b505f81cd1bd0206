"""The server in memory that stands for Letta in long runs answers like the real one: the same contract tests, again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.test_letta_contract import *  # noqa: F403
from tests.contract.test_letta_store import *  # noqa: F403
from tests.servers.letta_faithful import faithful_letta

# About the client, or another server than the shared one.
for _name in (
    "test_the_client_takes_key_and_address_from_the_environment",
    "test_health_ignores_the_key_and_blocks_do_not",
    "test_probe_with_a_wrong_key",
    "test_probe_where_nothing_answers",
    "test_probe_where_the_answer_does_not_come",
    "test_probe_of_something_else",
):
    del globals()[_name]


@pytest.fixture(scope="module")
def letta_server() -> Iterator[str]:
    with faithful_letta() as (url, _):
        yield url
