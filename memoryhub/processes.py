"""Keeps the processes of the Procfile running, and takes all of them down together.

honcho starts them, each in a process group of its own, and relays what they print. Added here: a process
that dies is started again, one that keeps dying brings the rest down, and none outlives the start, not even
where that was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import honcho.manager
from honcho.process import Process

PAUSE = 1.0  # seconds before a process that died is started again
TRIES, WITHIN = 5, 60.0  # one that dies so often in so many seconds is given up
KILL_WAIT = 10  # seconds that processes have to end what they are doing

honcho.manager.KILL_WAIT = KILL_WAIT
honcho.manager.SIGNALS[signal.SIGHUP] = {"name": "SIGHUP", "rc": 129}


class KeptProcess(Process):
    """One line of the Procfile. `run` is the body of a small process that stands between it and honcho."""

    stopping: Any = None  # a multiprocessing.Event, set by the manager when it takes everything down

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        self._events = events
        # Handlers, not SIG_IGN: that would be inherited by what is started here.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self.follow_parent, daemon=True).start()
        code = 0
        deaths: list[float] = []
        while not self.stopping.is_set():
            code = self.run_once()
            deaths = [*(then for then in deaths if then > time.monotonic() - WITHIN), time.monotonic()]
            if self.stopping.is_set() or len(deaths) >= TRIES:
                break
            self._send_message(f"ended with code {code}; starting it again\n", type="line")
            self.stopping.wait(PAUSE)
        if not deaths:  # stopped before it began: the manager waits for both messages
            self._send_message({"pid": os.getpid()}, type="start")
        if len(deaths) >= TRIES and not self.stopping.is_set():
            self._send_message(f"ended {TRIES} times within {WITHIN:.0f} seconds; stopping everything\n", type="line")
            code = code or 1
        self._send_message({"returncode": code}, type="stop")

    def run_once(self) -> int:
        self._child = self._child_ctor(self.cmd, env=self.env, cwd=self.cwd)
        self._send_message({"pid": self._child.pid}, type="start")
        if self.stopping.is_set():  # since `while` looked: the manager may not know this pid yet
            self.signal_group(signal.SIGTERM)
        for line in iter(self._child.stdout.readline, b""):
            self._send_message(line)
        self._child.stdout.close()
        return int(self._child.wait())

    def follow_parent(self) -> None:
        """When the start itself is gone (killed), end with it."""
        parent = multiprocessing.parent_process()
        if parent is None:
            return
        parent.join()
        self.stopping.set()
        self.signal_group(signal.SIGTERM)
        time.sleep(KILL_WAIT)
        self.signal_group(signal.SIGKILL)
        os._exit(1)

    def signal_group(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)


class Manager(honcho.manager.Manager):
    """`begun` is called in a thread of its own as soon as the processes were started."""

    def __init__(self, begun: Callable[[], None]) -> None:
        super().__init__()
        self._process_ctor = KeptProcess
        self.begun = begun
        self.stopping = multiprocessing.Event()

    def add_process(self, name: str, cmd: str, **kwargs: Any) -> KeptProcess:
        process: KeptProcess = super().add_process(name, cmd, **kwargs)
        process.stopping = self.stopping
        return process

    def loop(self) -> None:
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self.hang_up)
        super().loop()

    def _start(self) -> None:
        super()._start()
        threading.Thread(target=self.begun, daemon=True).start()  # not before: forks and threads do not mix

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        self.returncode = honcho.manager.SIGNALS[signal.SIGHUP]["rc"]
        self.terminate()

    def terminate(self) -> None:
        self.stopping.set()
        super().terminate()

    def _killall(self, force: bool = False) -> None:
        """As honcho's, which does not expect a process that has not begun."""
        for process in self._processes.values():
            if "pid" in process and "returncode" not in process:
                (self._procmgr.kill if force else self._procmgr.terminate)(process["pid"])
