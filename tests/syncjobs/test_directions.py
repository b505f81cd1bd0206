"""What follows when the direction of a side changes."""

from __future__ import annotations

import pytest

from tests.syncjobs.world import World, quiet


@pytest.mark.parametrize("without", ["from_side", "off"])
@pytest.mark.parametrize("side", ["letta", "local"])
def test_an_edit_goes_out_when_its_side_is_written_to_again(
    db: None, monkeypatch: pytest.MonkeyPatch, without: str, side: str
) -> None:
    world = World().install(monkeypatch)
    memory = world.create("old")
    world.synced()
    set_direction(world, side, without)
    world.edit(memory, text="new")
    world.synced()
    assert world.servers[side].texts() == ["old"]
    assert quiet(world.run())
    set_direction(world, side, "two_way")
    assert world.run().counters["pushed"] == 1
    world.everywhere("new")


def set_direction(world: World, side: str, direction: str) -> None:
    setattr(world.project, f"{side}_direction", direction)
    world.project.save(update_fields=[f"{side}_direction"])
