import pytest

from tests.syncjobs.world import World


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project between an empty Letta server and an empty local store."""
    return World().install(monkeypatch)
