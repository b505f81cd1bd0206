"""The push of memories that people changed, each by itself; a run does so with what changed while it was at work."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from blocks.models import Memory
from memoryhub.models import Project
from syncjobs import leases
from syncjobs.apply import Batch
from syncjobs.digest import update_digest
from syncjobs.observe import observe_one
from syncjobs.purge import finish_of
from syncjobs.recover import recover
from syncjobs.sides import OpenSide, look_up_sides
from syncjobs.stamps import leave_stamps
from syncjobs.tally import Tally

logger = logging.getLogger(__name__)


def sync_memory(pk: int, sides: list[OpenSide], tally: Tally, holder: str) -> bool:
    """Bring one memory in step on all sides now; False when another process is writing it."""
    with leases.held([leases.of_memory(pk)], holder) as got:
        memory = Memory.objects.select_related("project").filter(pk=pk).first()
        if memory is None:
            return True
        if not got:
            return False
        recover(sides, [pk])
        observation = observe_one(memory, sides)
        Batch(memory.project, observation, observation.items, tally, holder).run()
    return True


def push(memory_ids: Iterable[int]) -> list[int]:
    """Bring memories that people changed to every side; those that another process is writing right now."""
    busy, holder = [], leases.new_holder()
    by_project: dict[int, list[int]] = {}
    for pk, project_id in Memory.objects.filter(pk__in=list(memory_ids)).values_list("pk", "project_id"):
        by_project.setdefault(project_id, []).append(pk)
    for project_id, pks in by_project.items():
        project = Project.objects.select_related("letta_server", "local_store").get(pk=project_id)
        busy += _push_project(project, pks, holder)
    leases.release(holder)
    finish_of(by_project)
    return busy


def _push_project(project: Project, pks: list[int], holder: str) -> list[int]:
    sides, tally, busy = look_up_sides(project), Tally(), []

    def bring(pks: Iterable[int]) -> None:
        for pk in pks:
            if not sync_memory(pk, sides, tally, holder) or pk in tally.again:
                busy.append(pk)
                tally.again.discard(pk)

    bring(pks)
    bring(update_digest(project, sides, tally))
    leave_stamps(sides)
    for error in tally.errors:
        logger.warning("push to %s of %s: %s", error["side"], project.slug, error["error"])
    return busy
