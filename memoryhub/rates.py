"""How often a token may call: a bucket of permits for each, filled evenly.

It lives in the memory of one process: with WEB_WORKERS of them a token may call that many times as often.
"""

from __future__ import annotations

import math
import time
from threading import Lock

MINUTE = 60.0
MOST = 10_000  # buckets that are remembered


class Buckets:
    """size: permits a minute, and how many can be used at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._left: dict[int, tuple[float, float]] = {}  # by key: permits, and when that was
        self._lock = Lock()

    def take(self, key: int) -> int:
        """Use a permit: 0, or the whole seconds after which there is one again."""
        with self._lock:
            now = time.monotonic()
            left, then = self._left.pop(key, (float(self.size), now))
            left = min(self.size, left + (now - then) * self.size / MINUTE)
            wait = 0 if left >= 1 else math.ceil((1 - left) * MINUTE / self.size)
            self._left[key] = (left if wait else left - 1, now)
            if len(self._left) > MOST:
                self._left.pop(next(iter(self._left)))  # the one unused for longest
            return wait
