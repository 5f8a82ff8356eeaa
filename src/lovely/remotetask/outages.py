"""Whether a storage has failed, and not the job that met it.

A server that is restarted, a connection that is lost, a lock that was not to be
had in time: each storage has errors of its own for that, and RelStorage passes on
those of the database's library.  What they have in common is where they come from.
"""

from __future__ import annotations

import logging
import threading
import traceback

from ZODB.POSException import POSError, ReadOnlyError, StorageError
from ZODB.POSException import TransactionTooLargeError as TooLarge

log = logging.getLogger("lovely.remotetask")

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
    """What is said of the outages that a worker's threads meet.  Any may use it."""

    def __init__(self, name: str) -> None:
        """``name``: of the service."""
        self._name = name
        self._lock = threading.Lock()
        self._lasts = False

    def failed(self, what: object, error: BaseException) -> None:
        """Something has failed, in the storage or else, and is tried again."""
        if not is_outage(error):
            log.error("%s: trying again", what, exc_info=error)
            return
        log.warning("%s: the storage fails, trying again: %r", what, error)
        with self._lock:
            self._lasts = True

    def over(self) -> None:
        """The storage has answered: say so, once, if it had failed."""
        with self._lock:
            over, self._lasts = self._lasts, False
        if over:
            log.warning("%s: the storage answers again", self._name)
