"""Files that say "in use" for as long as the process that holds them lives, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Locked(Exception):
    """Somebody else holds it; the message is the note they left."""


def hold(path: Path, note: str = "", *, inheritable: bool = False) -> int:
    """Hold the lock file `path` until this process (and, if `inheritable`, what it executes) has ended.

    Raises Locked, with the holder's note, or OSError where the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held_by = os.read(descriptor, 1000).decode(errors="replace")
        os.close(descriptor)
        raise Locked(held_by) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, note.encode())
    os.set_inheritable(descriptor, inheritable)
    return descriptor
