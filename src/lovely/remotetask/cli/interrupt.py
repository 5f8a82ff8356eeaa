"""Ctrl-C, kept from striking in the middle of a commit."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(Exception):
    """The user asked to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        #: What a shell expects of a process that a signal has ended.
        self.exit_code = 128 + signum


class Interrupt:
    """Notes signals that ask to stop, and acts on them where it is told to.

    The second one acts at once, as it would without this.
    """

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}
        for signum in self.signals:
            before = signal.getsignal(signum)
            # A shell lets commands in its background ignore Ctrl-C: so it stays.
            if before not in (signal.SIG_IGN, None):
                self._before[signum] = before
                signal.signal(signum, self._note)

    def end(self) -> None:
        """Handle signals as before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self._received is not None:
            raise Stopped(self._received)

    def sleep(self, seconds: float) -> None:
        """Wait; raise Stopped if a signal has come."""
        # No threading.Event: a handler must not take a lock that its own thread
        # may hold.
        time.sleep(seconds)
        self.check()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        self.end()


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within, signals wait for `Interrupt.check`."""
    interrupt = Interrupt()
    try:
        yield interrupt
    finally:
        interrupt.end()
