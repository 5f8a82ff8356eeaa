"""Commit notifications: processors sleep until there is something to do.

A processor waits on an event of its service; whoever commits a job to that
service in this process sets it.  A lost notification costs time, never a job:
processors look for themselves now and then.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

_lock = threading.Lock()
_events: WeakKeyDictionary[Any, dict[bytes, WeakSet[Bell]]] = WeakKeyDictionary()


class Bell:
    """What a processor waits on."""

    def __init__(self, db: Any, oid: bytes) -> None:
        self._event = threading.Event()
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


def _after_fork() -> None:
    """A child has none of its parent's threads, and maybe a lock they held."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    _events.clear()


os.register_at_fork(after_in_child=_after_fork)
