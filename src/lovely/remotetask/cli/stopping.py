"""Signals that tell a worker to stop, noted until it asks for them."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, final

#: How often to look whether a thread has ended (seconds).
LOOK = 0.1


@final
class Orders:
    """Within, signals are orders to stop; a second SIGINT, to leave at once.

    SIGTERM and SIGINT are, and SIGHUP, which a terminal sends that is closed, unless
    nohup has it ignored.  A handler must not take a lock that its own thread may hold,
    so it writes to a pipe.
    """

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self._interrupts = self._orders = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Orders:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        for signum in self.signals:
            ignored = signal.getsignal(signum) == signal.SIG_IGN
            if not (ignored and signum == signal.SIGHUP):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, seconds: float) -> bool:
        """Wait for an order to stop, at most so long; whether there has been one."""
        if not self._orders:
            select.select([self._reading], [], [], seconds)
        return self._orders > 0

    def join(self, threads: Sequence[threading.Thread], seconds: float) -> bool:
        """Wait for threads to end, at most so long; True if it is to be at once.

        The first Ctrl-C may have been the order to stop; another one is meant so.
        """
        end = time.monotonic() + seconds
        for thread in threads:
            while thread.is_alive() and time.monotonic() < end:
                if self._interrupts > 1:
                    return True
                thread.join(LOOK)
        return False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._orders += 1
        if signum == signal.SIGINT:
            self._interrupts += 1
        os.write(self._writing, b"!")
