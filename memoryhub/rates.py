"""How often a token may call: a bucket of permits for each, filled evenly.

The buckets are in a file, in which all web processes of a machine count together: that takes some microseconds, where
counting in the database would make each read a write. With web processes on several machines each machine counts.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

MINUTE = 60.0
BUCKET = struct.Struct("<dd")  # the permits that are left, and when that was (since the machine was started)

logger = logging.getLogger(__name__)


class Buckets:
    """size: permits a minute, and how many can be used at once. path: of the file; made at the first use."""

    def __init__(self, size: int, path: Path) -> None:
        self.size = size
        self._path = path
        self._file = -1
        self._broken = False
        self._lock = Lock()  # between threads: the file's locks are between processes

    def take(self, key: int) -> int:
        """Use a permit: 0, or the whole seconds after which there is one again."""
        try:
            with self._lock, self._held(key * BUCKET.size) as place:
                return self._take(place)
        except OSError as error:  # a full disk is no reason to let nobody in
            if not self._broken:
                logger.warning("Calls are not counted, and so not limited: %s", error)
            self._broken = True
            return 0

    @contextmanager
    def _held(self, place: int) -> Iterator[int]:
        """Nobody else changes the bucket at this place."""
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._file, fcntl.LOCK_EX, BUCKET.size, place)
        try:
            yield place
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, BUCKET.size, place)

    def _take(self, place: int) -> int:
        now = time.monotonic()
        left, then = self._read(place, now)
        left = min(self.size, left + max(0.0, now - then) * self.size / MINUTE)
        wait = 0 if left >= 1 else math.ceil((1 - left) * MINUTE / self.size)
        os.pwrite(self._file, BUCKET.pack(left if wait else left - 1, now), place)
        return wait

    def _read(self, place: int, now: float) -> tuple[float, float]:
        """A bucket that nobody used yet is full."""
        said = os.pread(self._file, BUCKET.size, place)
        left, then = BUCKET.unpack(said) if len(said) == BUCKET.size else (0.0, 0.0)
        return (left, then) if then > 0 and left >= 0 else (float(self.size), now)
