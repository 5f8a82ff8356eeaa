"""Commit notifications: processors sleep until there is something to do.

A processor waits on the bell of its service.  Whoever commits a job to that
service in this process rings it.  Where the storage tells its clients what others
have changed, as ZEO does, so does what other processes commit.  A lost
notification costs time, never a job: processors look for themselves now and then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

_lock = threading.Lock()
_events: WeakKeyDictionary[Any, dict[bytes, WeakSet[Bell]]] = WeakKeyDictionary()
#: The databases whose storages are listened to.
_heard: WeakSet[Any] = WeakSet()


class Bell:
    """What a processor waits on."""

    def __init__(self, db: Any, oid: bytes) -> None:
        self._event = threading.Event()
        #: The object ids whose change in another process may mean a job.
        self.interest: frozenset[bytes] = frozenset()
        listen(db)
        with _lock:
            _events.setdefault(db, {}).setdefault(oid, WeakSet()).add(self)

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
    if db not in _events:
        return
    with _lock:
        bells = list(_events.get(db, {}).get(oid, ()))
    for bell in bells:
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
        """Others may have changed anything: there is a connection to the server."""
        self._adapter.invalidateCache()
        db = self._db()
        if db is not None:
            _forget_oids(db)
        self._ring(None)

    def _ring(self, changed: frozenset[bytes] | None) -> None:
        with _lock:
            db = self._db()
            services = () if db is None else list(_events.get(db, {}).values())
            bells = [bell for service in services for bell in service]
        for bell in bells:
            if changed is None or not bell.interest.isdisjoint(changed):
                bell.ring()


def listen(db: Any) -> None:
    """Hear what other processes change, and of new connections, if the storage says."""
    with _lock:
        if db in _heard:
            return
        _heard.add(db)
        storage, adapter = db.storage, getattr(db, "_mvcc_storage", None)
        # One with snapshots of its own (RelStorage) has no adapter, and no news.
        if adapter is not storage and hasattr(storage, "registerDB"):
            storage.registerDB(Listener(db, adapter))


def _forget_oids(db: Any) -> None:
    """Drop the object ids that a client of a ZEO server has in stock.

    A server that was killed does not know of them and gives them again.  What is
    stored under such an id conflicts, if not worse, as often as there are some.
    """
    oids = getattr(getattr(db, "storage", None), "_oids", None)
    if isinstance(oids, list):
        oids.clear()


def _after_fork() -> None:
    """A child has none of its parent's threads, and maybe a lock they held."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    _events.clear()
    _heard.clear()


os.register_at_fork(after_in_child=_after_fork)
