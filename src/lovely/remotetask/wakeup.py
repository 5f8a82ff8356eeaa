"""Commit notifications: processors sleep until there is something to do.

A processor waits on the bell of its service.  Whoever commits a job to that
service in this process rings it.  So does what other processes commit, where the
storage tells its clients what others have changed, as ZEO does, or where there are
`signals`.  A lost notification costs time, never a job: processors look for
themselves now and then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from lovely.remotetask import signals

_lock = threading.Lock()
_events: WeakKeyDictionary[Any, dict[bytes, WeakSet[Bell]]] = WeakKeyDictionary()


class Bell:
    """What a processor waits on."""

    def __init__(self, db: Any, oid: bytes) -> None:
        self._event = threading.Event()
        #: The object ids whose change in another process may mean a job.
        self.interest: frozenset[bytes] = frozenset()
        with _lock:
            bells = _events.setdefault(db, {})
            first = not bells
            bells.setdefault(oid, WeakSet()).add(self)
        if first:
            _listen(db)

    def ring(self) -> None:
        """There may be something to do."""
        self._event.set()

    def clear(self) -> None:
        """Forget what has rung so far; call it before looking."""
        self._event.clear()

    def wait(self, timeout: float) -> bool:
        """Wait until it rings, or for so many seconds; whether it rang."""
        return self._event.wait(timeout)


def notify(db: Any, oid: bytes) -> None:
    """A job of the service with this object id was committed: wake processors."""
    if db in _events:
        _ring(db, oid)
    signals.send(db, oid)


def _bells_of(db: Any, oid: bytes | None = None) -> list[Bell]:
    """The bells of a service, or of all in a database."""
    with _lock:
        services = _events.get(db, {})
        found = services.values() if oid is None else [services.get(oid, ())]
        return [bell for bells in found for bell in bells]


def _ring(db: Any, oid: bytes | None) -> None:
    for bell in _bells_of(db, oid):
        bell.ring()


class Listener:
    """Stands between a storage and a database's adapter, and rings bells.

    It passes on all that the storage says.
    """

    def __init__(self, db: Any, adapter: Any) -> None:
        self._db = ref(db)
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def invalidate(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Others have changed these objects."""
        oids = list(oids)
        self._adapter.invalidate(tid, oids)
        self._ring(frozenset(oids))

    def invalidateCache(self) -> None:
        """Others may have changed anything."""
        self._adapter.invalidateCache()
        self._ring(None)

    def _ring(self, changed: frozenset[bytes] | None) -> None:
        db = self._db()
        for bell in () if db is None else _bells_of(db):
            if changed is None or not bell.interest.isdisjoint(changed):
                bell.ring()


def _listen(db: Any) -> None:
    """Hear what other processes change, if the storage says."""
    storage, adapter = db.storage, getattr(db, "_mvcc_storage", None)
    # A storage with snapshots of its own (RelStorage) has no adapter, and no news.
    if adapter is not storage and hasattr(storage, "registerDB"):
        storage.registerDB(Listener(db, adapter))
    known = ref(db)

    def ring(oid: bytes | None) -> None:
        db = known()
        if db is not None:
            _ring(db, oid)

    signals.listen(db, ring)


def _after_fork() -> None:
    """A child has none of its parent's threads, and maybe a lock they held."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    _events.clear()


os.register_at_fork(after_in_child=_after_fork)
