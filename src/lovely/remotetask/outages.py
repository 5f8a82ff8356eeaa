"""Whether a storage has failed, and not the job that met it.

A server that is restarted, a connection that is lost, a lock that was not to be
had in time: each storage has errors of its own for that, and RelStorage passes on
those of the database's library.  What they have in common is where they come from.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable

from ZODB.POSException import POSError, ReadOnlyError, StorageError
from ZODB.POSException import TransactionTooLargeError as TooLarge

log = logging.getLogger("lovely.remotetask")

#: How often to say that something still fails (seconds).
REMIND = 60.0

#: Packages of storages that have a server, or behave as if they had one.
STORAGES = frozenset({"ZEO", "relstorage", "neo"})


def is_outage(error: BaseException) -> bool:
    """Whether it is the storage that failed."""
    if isinstance(error, POSError):
        # Others are what a job may bring about: conflicts, broken references.
        return isinstance(error, StorageError) and not isinstance(
            error, (ReadOnlyError, TooLarge)
        )
    return isinstance(error, Exception) and any(
        # Code that is made while the program runs may have anything as its name.
        str(frame.f_globals.get("__name__")).partition(".")[0] in STORAGES
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


class Outages:
    """What is said of the outages that a worker's threads meet.  Any may use it.

    However often it is tried again: once when one begins, now and then while it
    lasts, and at its end.
    """

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        """``name``: of the service."""
        self._name = name
        self._now = now
        self._lock = threading.Lock()
        #: Since when the storage fails, and when that was said last.
        self._since = self._said = 0.0
        self._lasts = False
        #: What else was wrong, and when that was said last.
        self._trouble, self._trouble_said = "", 0.0

    def failed(self, what: object, error: BaseException) -> None:
        """Something has failed, in the storage or else, and is tried again."""
        if not is_outage(error):
            if self._is_news(repr(error)):
                log.error("%s: trying again", what, exc_info=error)
            return
        with self._lock:
            now = self._now()
            begins, self._lasts = not self._lasts, True
            if begins:
                self._since = self._said = now
            elif now < self._said + REMIND:
                return
            self._said = now
            seconds = now - self._since
        if begins:
            log.warning("%s: the storage fails, trying again: %r", what, error)
        else:
            still = "%s: the storage still fails, for %.0f seconds now: %r"
            log.warning(still, self._name, seconds, error)

    def over(self) -> None:
        """The storage has answered: say so, once, if it had failed."""
        with self._lock:
            over, self._lasts = self._lasts, False
            seconds = self._now() - self._since
        if over:
            again = "%s: the storage answers again, after %.0f seconds"
            log.warning(again, self._name, seconds)

    def _is_news(self, trouble: str) -> bool:
        """Whether it is something else than was said just now."""
        with self._lock:
            now = self._now()
            if trouble == self._trouble and now < self._trouble_said + REMIND:
                return False
            self._trouble, self._trouble_said = trouble, now
            return True
