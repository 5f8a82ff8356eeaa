"""The points of a commit at which a process can be killed.

A storage's protocol is watched, and what the storage does within: for a file, each
half of each write; for a ZEO client, each message; for RelStorage, each step of its
adapter.  It is done to the classes, in a process that is to die: nothing is undone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from relstorage.storage import RelStorage
from ZEO.asyncio.client import Protocol
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

PROTOCOL = ("tpc_begin", "tpc_vote", "tpc_finish")
#: The beginning and the end of what makes a transaction committed.
FINISH = ("> tpc_finish", "< tpc_finish")

#: What RelStorage's adapters do at the end of a transaction, by the part that does.
STEPS = {
    "lock_objects_and_detect_conflicts": None,
    "lock_database_and_choose_next_tid": None,
    "lock_database_and_move": None,
    "move_from_temp": "mover",
    "update_current": "mover",
    "commit_phase2": "txncontrol",
    "commit": "connmanager",
}


class Points:
    """Counts the points that are passed while it is open; the last is deadly."""

    def __init__(self, die: Callable[[], None] | None = None) -> None:
        self.passed: list[str] = []
        self._last: int | None = None
        self._open = False
        self._die = die or self._kill

    def open(self, last: int | None = None) -> None:
        """Count from now on; None is never the last."""
        self.passed = []
        self._open, self._last = True, last

    def close(self) -> None:
        """Count no more."""
        self._open = False

    def reach(self, name: str) -> None:
        """A point is reached."""
        if self._open:
            self.passed.append(name)
            if len(self.passed) == self._last:
                self._die()

    @staticmethod
    def _kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, storage: Any) -> None:
        """Let a database's storage reach points."""
        for name in PROTOCOL:
            self.around(type(storage), name)
        if isinstance(storage, RelStorage):
            self._watch_adapter(storage._adapter)
            return
        self._watch_stores(type(storage))
        if isinstance(storage, FileStorage):
            storage._file = TornFile(storage._file, self)
        elif isinstance(storage, ClientStorage):
            self._watch_calls()

    def around(self, owner: Any, name: str) -> None:
        """A call of a method is a point, and so is its end."""
        method = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.reach(f"> {name}")
            result = method(*args, **kwargs)
            self.reach(f"< {name}")
            return result

        setattr(owner, name, noted)

    def _watch_stores(self, storage: Any) -> None:
        """A record is to be stored: the first, and the one after it."""
        store = storage.store

        def noted(*args: Any) -> Any:
            if self.passed[-2:] != ["> store", "> store"]:
                self.reach("> store")
            return store(*args)

        storage.store = noted

    def _watch_adapter(self, adapter: Any) -> None:
        for name, part in STEPS.items():
            self.around(type(getattr(adapter, part) if part else adapter), name)

    def _watch_calls(self) -> None:
        """A message to the server has been sent, and was not answered yet."""
        call = Protocol.call_sync

        def noted(protocol: Any, method: Any, *args: Any) -> Any:
            result = call(protocol, method, *args)
            if method in PROTOCOL or method == "vote":
                self.reach(f"sent {method}")
            return result

        Protocol.call_sync = noted


class TornFile:
    """A file whose writes go out at once, half by half."""

    def __init__(self, file: Any, points: Points) -> None:
        self._file, self._points = file, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> None:
        """Write it in two pieces; each may be the last."""
        middle = (len(data) + 1) // 2
        for piece in filter(None, (data[:middle], data[middle:])):
            self._file.write(piece)
            self._file.flush()
            self._points.reach("wrote")
