"""Signals over PostgreSQL, for databases that RelStorage keeps there.

Each database has one thread in a process, with one connection of its own: it sends
with NOTIFY and hears with LISTEN.  Whoever commits a job leaves the service's object
id to it and goes on, so a commit takes no longer and can't fail because of it, and
many jobs in a row make few messages.  There is no thread before there is something
to send or somebody who listens.

Nothing is imported: who has such a database has the libraries, and who has another
one need not load them.  As RelStorage opens the connections, it alone knows how, and
no password comes near the log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import ref

from lovely.remotetask.postgresql.line import Line, Waker
from lovely.remotetask.signals import Ring
from lovely.remotetask.sites import is_closed

log = logging.getLogger("lovely.remotetask")

#: How often to look whether the database has been closed (seconds).
TICK = 0.5
#: The pause between messages (seconds): what is committed meanwhile goes together.
PAUSE = 0.01
#: The pause after a lost connection, at first and at most (seconds).
RETRY_FIRST, RETRY_MOST = 1.0, 30.0
#: How often to see whether the server answers: no news may be a cut line (seconds).
CHECK = 60.0
#: How long the end of the interpreter waits for the last messages (seconds).
CLOSE = 2.0


def signals(db: Any) -> PostgreSQLSignals | None:
    """Signals for a ZODB.DB, if it is kept in PostgreSQL."""
    adapter = getattr(_innermost(db.storage), "_adapter", None)
    if getattr(getattr(adapter, "driver", None), "__name__", None) != "psycopg2":
        return None
    assert adapter is not None
    return PostgreSQLSignals(db, adapter.connmanager.open)


def _innermost(storage: Any) -> Any:
    """The storage within those that compress or encrypt.

    Not within one with changes of its own, as DemoStorage: it shares none of them.
    """
    while hasattr(storage, "base") and not hasattr(storage, "changes"):
        storage = storage.base
    return storage


class PostgreSQLSignals:
    """The signals of one database, as `lovely.remotetask.signals.Signals` has them."""

    def __init__(self, db: Any, connect: Callable[..., tuple[Any, Any]]) -> None:
        """``connect`` opens a connection, and a cursor of it."""
        self._db = ref(db)
        self._connect = connect
        #: Protects what follows.
        self._lock = threading.Lock()
        self._unsent: set[bytes] = set()
        self._thread: threading.Thread | None = None
        self._waker: Waker | None = None
        self._closing = threading.Event()
        # The thread's own:
        self._ring: Ring | None = None
        self._sent = self._checked = 0.0
        self._retry = RETRY_FIRST

    def send(self, oid: bytes) -> None:
        with self._lock:
            self._unsent.add(oid)
            self._wake()

    def listen(self, ring: Ring) -> None:
        with self._lock:
            self._ring = ring
            self._wake()

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            thread = self._thread
            if self._waker is not None:
                self._waker.wake()
        if thread is not None:
            thread.join(CLOSE)

    def forget(self) -> None:
        """This is a forked child: free what it has of its parent's."""
        if self._waker is not None:
            self._waker.close()

    def _wake(self) -> None:
        """Let the thread look; begin with it if there is none yet."""
        if not self._goes_on():
            return
        if self._waker is None:
            self._begin()
        else:
            self._waker.wake()

    def _begin(self) -> None:
        name = "remotetasks-signals"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        waker = Waker()
        try:
            thread.start()
        except BaseException:
            waker.close()
            raise
        self._waker, self._thread = waker, thread
        _running.add(self)

    def _goes_on(self) -> bool:
        """Whether the database is in use."""
        db = self._db()
        return db is not None and not is_closed(db) and not self._closing.is_set()

    def _run(self) -> None:
        """What the thread does."""
        try:
            while not self._served():
                pass
        finally:
            self._closing.set()
            with self._lock:
                waker, self._waker = self._waker, None
            if waker is not None:
                waker.close()
            _running.discard(self)

    def _served(self) -> bool:
        """Serve on a connection until it is lost; whether that was all."""
        line: Line | None = None
        try:
            line = Line(self._connect)
            self._serve(line)
        except Exception as error:
            return not self._is_to_try_again(error)
        finally:
            if line is not None:
                line.close()
        return True

    def _is_to_try_again(self, error: Exception) -> bool:
        """After a while, if the database is still in use then."""
        if self._goes_on():
            # Its kind alone: a message may hold what is nobody's business.
            log.warning(
                "no signals over PostgreSQL, trying again in %g seconds: %s",
                self._retry,
                type(error).__name__,
            )
        end = time.monotonic() + self._retry
        self._retry = min(2 * self._retry, RETRY_MOST)
        while self._goes_on() and time.monotonic() < end:
            self._closing.wait(TICK)
        return self._goes_on()

    def _serve(self, line: Line) -> None:
        """Send and hear until the database is closed."""
        self._checked, self._sent, listens = time.monotonic(), 0.0, False
        goes_on = True
        while goes_on:
            goes_on = self._goes_on()
            ring = self._ring
            if ring is not None and not listens:
                line.listen()
                ring(None)
                listens = True
            self._send(line)
            self._hear(line)
            self._retry = RETRY_FIRST
            if goes_on:
                self._wait(line)

    def _send(self, line: Line) -> None:
        """Send what there is to send; if that fails, the next connection will."""
        with self._lock:
            if self._waker is not None:
                self._waker.clear()
            oids, self._unsent = self._unsent, set()
        if oids:
            try:
                line.send(oids)
            except BaseException:
                with self._lock:
                    self._unsent |= oids
                raise
            self._sent = time.monotonic()

    def _hear(self, line: Line) -> None:
        for oid in line.heard():
            if self._ring is not None:
                self._ring(oid)

    def _wait(self, line: Line) -> None:
        """Wait until there may be something to do."""
        now = time.monotonic()
        if now - self._checked > CHECK:
            self._checked = now
            line.check()
        pause = self._sent + PAUSE - now
        if pause > 0:
            line.wait(pause)
        else:
            line.wait(TICK, self._waker)


#: Those with a thread: kept, so that a child can free what it has of them.
_running: set[PostgreSQLSignals] = set()


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    for parents in list(_running):
        parents.forget()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork)
