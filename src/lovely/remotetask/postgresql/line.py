"""A connection to PostgreSQL for messages alone, and what to wait on besides."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: The schema that the storage's tables are in: a database may have several.
SCHEMA = "SELECT relnamespace FROM pg_class WHERE oid = to_regclass('object_state')"


class Waker:
    """What a thread can wait on together with a connection."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self._reading.fileno()

    def wake(self) -> None:
        """Let the thread go on; whatever is the matter, nothing is raised."""
        with suppress(OSError):  # it is full, or closed
            self._writing.send(b"!")

    def clear(self) -> None:
        """Forget that it was woken."""
        with suppress(BlockingIOError):
            while self._reading.recv(4096):
                """Take all there is."""

    def close(self) -> None:
        """Free it."""
        self._reading.close()
        self._writing.close()


class Line:
    """A connection to the server, for messages alone."""

    def __init__(self, connect: Callable[..., tuple[Any, Any]]) -> None:
        self._connection, self._cursor = connect(application_name="lovely.remotetask")
        try:
            self._connection.autocommit = True
            self._cursor.execute(SCHEMA)
            self._channel = f"lovely_remotetask_{self._cursor.fetchone()[0]}"
        except BaseException:
            self.close()
            raise

    def listen(self) -> None:
        """Hear from now on what is sent."""
        self._cursor.execute(f"LISTEN {self._channel}")

    def send(self, oids: set[bytes]) -> None:
        """Send a message for each service."""
        payloads = [oid.hex() for oid in oids]
        arguments = (self._channel, payloads)
        self._cursor.execute("SELECT pg_notify(%s, unnest(%s))", arguments)

    def check(self) -> None:
        """Raise an error if the server does not answer."""
        self._cursor.execute("SELECT 1")

    def heard(self) -> set[bytes | None]:
        """What others have sent by now."""
        self._connection.poll()
        messages, self._connection.notifies = self._connection.notifies, []
        own = self._connection.info.backend_pid
        return {_decoded(m.payload) for m in messages if m.pid != own}

    def wait(self, seconds: float, waker: Waker | None = None) -> None:
        """Wait for something to be heard, or for the waker."""
        # Not select, which knows no descriptors from 1024 on.
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            if waker is not None:
                selector.register(waker, selectors.EVENT_READ)
            selector.select(seconds)

    def close(self) -> None:
        """Close it, whatever state it is in."""
        with suppress(Exception):
            self._connection.close()


def _decoded(payload: str) -> bytes | None:
    """An object id; None for what somebody else sent, which may be anything."""
    try:
        return bytes.fromhex(payload)
    except ValueError:
        return None
