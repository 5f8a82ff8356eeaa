"""Threads that take turns: one works at a time, until it halts or is done.

So what one worker does can be stopped in the middle, and others act meanwhile; and
still the same steps always give the same result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

import transaction

#: No thread works longer than so many seconds before it halts (seconds).
PATIENCE = 60.0


class Killed(BaseException):
    """The process that the thread is in is gone: it does nothing any more."""


class Strand:
    """A thread that does what it is told, and may be told to halt on the way.

    It can halt where it calls `halt`, and before each commit of its transactions.
    """

    def __init__(self, name: str) -> None:
        self._work: Callable[[], Any] | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        #: At which of the places where it can halt it does, and how many it has passed.
        self._halts: Collection[int] = ()
        self._passed = 0
        #: Whether it is not done; and whether it has halted on the way.
        self.busy = self.halted = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether this is the thread."""
        return threading.current_thread() is self._thread

    def begin(self, work: Callable[[], Any], halts: Collection[int] = ()) -> None:
        """Let it work until it halts or is done: then it has a result or an error."""
        assert not self.busy
        self._work, self._halts, self._passed = work, halts, 0
        self.busy, self.halted = True, False
        self.result = self.error = None
        self.go_on()

    def go_on(self) -> None:
        """Let it go on until it halts again or is done."""
        self._turn.release()
        assert self._back.acquire(timeout=PATIENCE), "a thread neither halts nor ends"

    def halt(self) -> None:
        """Halt here if that was told; called by what it does."""
        if self._killed:
            return
        self._passed += 1
        if self._passed - 1 in self._halts:
            self.halted = True
            self._yield()
            if self._killed:
                raise Killed

    def kill(self) -> None:
        """End it wherever it is; what it does must have no effect by then."""
        self._killed = True
        if self.busy:
            self.go_on()
        self._work = None
        self._turn.release()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def newTransaction(self, transaction: Any) -> None:
        """A transaction of the thread begins."""
        transaction.addBeforeCommitHook(self.halt)

    def beforeCompletion(self, transaction: Any) -> None:
        """Nothing to do."""

    afterCompletion = beforeCompletion

    def _yield(self) -> None:
        self._back.release()
        self._turn.acquire()

    def _live(self) -> None:
        transaction.manager.registerSynch(self)
        self._turn.acquire()
        while self._work is not None:
            try:
                self.result = self._work()
            except BaseException as error:
                self.error = error
            self.busy = False
            self._yield()
        transaction.abort()
