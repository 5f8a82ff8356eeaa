"""Signals: how other processes hear of a commit, where the database can tell them.

ZEO tells its clients what others have changed; `wakeup` listens to that.  Other
databases have ways of their own to send a message to all who use them.  The core
knows none of them: a plug-in gives `Signals` to the databases that it knows.  It
names a callable of a ZODB.DB, which answers None for a database that it does not
know, as an entry point of the group `GROUP`.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from lovely.remotetask import plugins

log = logging.getLogger("lovely.remotetask")

#: The entry points of plug-ins.
GROUP = "lovely.remotetask.signals"

#: Told the object id of a service with new jobs; None if it may be any.
Ring = Callable[[bytes | None], None]


class Signals(Protocol):
    """Messages between the processes that use one database.

    They end when the database is closed or nobody refers to it any more; to look
    for that is up to them, and they must not keep it alive.  A forked child never
    uses those of its parent.
    """

    def send(self, oid: bytes) -> None:
        """Tell others that the service with this object id has a new job.

        Called after the commit, by the thread that committed: it does not wait.
        """

    def listen(self, ring: Ring) -> None:
        """Call this from now on for what others send; called once at most.

        Whenever something may have been missed, it is called with None.
        """

    def close(self) -> None:
        """Send what is left, and end: called at the end of the interpreter."""


_lock = threading.Lock()
_known: WeakKeyDictionary[Any, Signals | None] = WeakKeyDictionary()


def send(db: Any, oid: bytes) -> None:
    """Tell other processes, if that is possible; nothing is raised."""
    try:
        signals = _signals_of(db)
        if signals is not None:
            signals.send(oid)
    except Exception:
        log.warning("other processes were not told of a job", exc_info=True)


def listen(db: Any, ring: Ring) -> None:
    """Hear of other processes, if that is possible; nothing is raised."""
    try:
        signals = _signals_of(db)
        if signals is not None:
            signals.listen(ring)
    except Exception:
        log.warning("other processes will not be heard", exc_info=True)


def _signals_of(db: Any) -> Signals | None:
    """The signals of a database, or None if it has none."""
    if db in _known:
        return _known[db]
    with _lock:
        if db not in _known:
            # Not again and again, if a plug-in fails.
            _known[db] = None
            _known[db] = _first_answer(db)
        return _known[db]


def _first_answer(db: Any) -> Signals | None:
    answers = (plugin(db) for plugin in plugins.load(GROUP))
    return next((signals for signals in answers if signals is not None), None)


def _close_all() -> None:
    """At the end of the interpreter; processors have been stopped before."""
    for signals in list(_known.values()):
        try:
            if signals is not None:
                signals.close()
        except Exception:
            log.warning("other processes may not have been told", exc_info=True)


def _after_fork() -> None:
    """A child has signals of its own, and maybe a lock of its parent's threads."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    _known.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
