"""A ZEO server that is killed, at a point of its file's commits or at any instant.

It is forked, so it is there again within some milliseconds, on its file and port.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ZEO.asyncio.client
from ZEO.StorageServer import StorageServer
from ZODB.FileStorage import FileStorage

from tests.crash.forks import KILLED, Child, Pipe
from tests.crash.points import Points


class Server:
    """A server of the file at a path, which is started again and again."""

    def __init__(self, path: str) -> None:
        self.path, self.port = path, 0
        self._process: Child | None = None

    @property
    def address(self) -> str:
        """Where it can be reached, from its first start on."""
        return f"ZEO:127.0.0.1:{self.port}"

    @property
    def process(self) -> Child:
        """The process that serves."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it, and wait until it can be reached."""
        self._process = Child(self._serve)
        self.port = int(self.process.pipe.line() or 0)

    def await_death(self) -> None:
        """It is killed, by itself; start it again."""
        lines = self.process.lines()
        assert self.process.end() == KILLED, lines
        self.restart()

    def restart(self) -> None:
        """Kill it if it lives, and start it again."""
        self.process.close()
        self.start()

    def arm(self, last: int | None = None) -> None:
        """Let it count points from now on; the last is deadly."""
        self.process.pipe.tell(last or "")
        self.process.expect("armed")

    def passed(self) -> list[str]:
        """The points that it has passed since it was armed."""
        self.process.pipe.tell("passed")
        return (self.process.pipe.line() or "").split(",")

    def _serve(self, pipe: Pipe) -> None:
        points = Points()
        storage = FileStorage(self.path)
        points.watch(storage)
        server: Any = StorageServer(("127.0.0.1", self.port), {"1": storage})
        pipe.tell(server.acceptor.addr[1])
        threading.Thread(target=server.loop, daemon=True).start()
        while (word := pipe.line()) is not None:
            if word == "passed":
                pipe.tell(",".join(points.passed))
            else:
                points.open(int(word) if word else None)
                pipe.tell("armed")


@contextmanager
def server(path: str) -> Iterator[Server]:
    """A server that runs as long as the block."""
    found = Server(path)
    found.start()
    try:
        yield found
    finally:
        found.process.close()


class NoChance:
    """Stands in for chance where a client waits at random for its server."""

    @staticmethod
    def random() -> float:
        return 0.0


def reconnect_soon(storage: Any) -> None:
    """Let a client, of a process of its own, look for its server all the time."""
    ZEO.asyncio.client.local_random = NoChance
    storage._server.client.connect_poll = 0.01
    connected = storage.notify_connected

    def notify_connected(*args: Any) -> None:
        storage._oids = []
        connected(*args)

    storage.notify_connected = notify_connected
