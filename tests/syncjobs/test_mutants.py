"""The stories have teeth: code that is broken on purpose is caught. All mutants: `python -m tests.mutants`."""

from __future__ import annotations

import os

import pytest

from tests.mutants import check_places, chosen, try_all, verdict


def test_each_mutant_breaks_a_place_that_is_there() -> None:
    check_places()


@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="they are tried on SQLite, whatever database the tests are on")
def test_the_quick_ones_are_caught() -> None:
    mutants = chosen([], quick=True)
    assert verdict(try_all(mutants, os.cpu_count() or 1, unbroken=20)) == []
