"""The storages that a service may live in: each kind, new and empty.

An address is a string, ``KIND:WHERE``, so that other processes can be told it::

    FileStorage:/path/data.fs       ZEO:127.0.0.1:1234
    SQLite:/directory               PostgreSQL:dbname=... host=...
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import ZODB
from relstorage.adapters.postgresql import PostgreSQLAdapter
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

from tests.postgresql import Cluster, binaries
from tests.programs import PATIENCE, Program

Address = str

KINDS = ("FileStorage", "ZEO", "SQLite", "PostgreSQL")
#: Those that several processes may use at a time.
SHARED = ("ZEO", "SQLite", "PostgreSQL")

#: It ends when its standard input does.
SERVER = """
import logging, sys, ZEO
# What is usual here: transactions that wait (ten of them are critical to it), and
# clients that go.
usual = lambda text: "transactions waiting" in text or text.startswith("Disconnected")
for name in ("ZEO.StorageServer", "ZEO.asyncio.server"):
    logging.getLogger(name).addFilter(lambda record: not usual(record.getMessage()))
path, port, read_only = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "read-only"
conf = {"read_only": read_only}
address, stop = ZEO.server(path=path, port=port, threaded=True, zeo_conf=conf)
print(address[1], flush=True)
sys.stdin.read()
stop()
"""


class ZeoServer:
    """A ZEO server of a FileStorage, in a process of its own, on this host."""

    def __init__(self, path: str, port: int = 0, *, read_only: bool = False) -> None:
        """With no port, any that is free; it is kept from start to start."""
        self.path, self.port = path, port
        self._mode = "read-only" if read_only else "read and write"
        self._program: Program | None = None

    @property
    def address(self) -> Address:
        """Where it can be reached, from its first start on."""
        return f"ZEO:127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it can be reached."""
        self._program = Program("-c", SERVER, self.path, str(self.port), self._mode)
        self.port = int(self._program.line())

    def kill(self) -> None:
        """End it at once, as no process can prevent."""
        assert self._program is not None
        self._program.kill()
        self._program.close()
        self._program = None

    def stop(self) -> None:
        """Let it end, if it runs."""
        if self._program is not None:
            program, self._program = self._program, None
            program.close()
            assert program.process.returncode == 0


@contextmanager
def zeo_server(
    path: str, port: int = 0, *, read_only: bool = False
) -> Iterator[ZeoServer]:
    """A server that runs as long as the block; meanwhile it may be killed."""
    server = ZeoServer(path, port, read_only=read_only)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def open_storage(address: Address, **options: Any) -> Any:
    """The storage at an address, with options of its kind; the caller closes it."""
    kind, _, where = address.partition(":")
    return _OPEN[kind](where, **options)


def open_database(address: Address, **options: Any) -> ZODB.DB:
    """The database at an address, with options of ZODB.DB; the caller closes it."""
    return ZODB.DB(open_storage(address), **options)


def missing(kind: str) -> str | None:
    """Why a kind of storage can't be had here; None if it can."""
    if kind == "PostgreSQL" and binaries() is None:
        return "the PostgreSQL server is needed (Debian package postgresql)"
    return None


def need(kind: str) -> None:
    """Skip the test that runs if it can't be here; but all can be where CI is set."""
    reason = missing(kind)
    if reason is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def store(
    kind: str, directory: str | Path, *, durable: bool = False
) -> AbstractContextManager[Address]:
    """A new, empty store, and the server that it needs, as long as the block.

    With ``durable``, PostgreSQL waits for the disk, as it does by default.
    """
    need(kind)
    if kind == "PostgreSQL":
        return _database(durable)
    return _IN_DIRECTORY[kind](Path(directory))


class Stores:
    """A store of each kind that is asked for, for tests that follow each other.

    To make a new one for each test would cost more than most tests.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = ExitStack()
        self._addresses: dict[str, Address] = {}

    def database(self, kind: str) -> ZODB.DB:
        """A database; what earlier tests have left in it is no longer needed."""
        return open_database(self.address(kind))

    def address(self, kind: str) -> Address:
        """Where the store of a kind is."""
        if kind not in self._addresses:
            opened = store(kind, self._directory)
            self._addresses[kind] = self._open.enter_context(opened)
        return self._addresses[kind]

    def close(self) -> None:
        """End them all."""
        self._open.close()


@contextmanager
def _file(directory: Path) -> Iterator[Address]:
    yield f"FileStorage:{directory / 'Data.fs'}"


@contextmanager
def _zeo(directory: Path) -> Iterator[Address]:
    with zeo_server(str(directory / "server.fs")) as server:
        yield server.address


@contextmanager
def _sqlite(directory: Path) -> Iterator[Address]:
    folder = directory / "sqlite"
    folder.mkdir()
    yield f"SQLite:{folder}"


@contextmanager
def _database(durable: bool) -> Iterator[Address]:
    server = _cluster(durable)
    dsn = server.create()
    try:
        yield f"PostgreSQL:{dsn}"
    finally:
        server.drop(dsn)


@functools.cache
def _cluster(durable: bool) -> Cluster:
    """One server for all that this process does: to start one costs seconds."""
    server = Cluster(durable=durable)
    atexit.register(server.close)
    return server


def _open_zeo(where: str, **options: Any) -> ClientStorage:
    host, _, port = where.rpartition(":")
    return ClientStorage((host, int(port)), **{"wait_timeout": PATIENCE, **options})


def _open_sqlite(where: str, **options: Any) -> RelStorage:
    """RelStorage keeps a history or not: here it does not, in PostgreSQL it does."""
    settings = Options(**{"keep_history": False, **options})
    return RelStorage(Sqlite3Adapter(where, {}, settings), options=settings)


def _open_postgresql(where: str, **options: Any) -> RelStorage:
    settings = Options(**options)
    return RelStorage(PostgreSQLAdapter(where, settings), options=settings)


_OPEN: dict[str, Callable[..., Any]] = {
    "FileStorage": FileStorage,
    "ZEO": _open_zeo,
    "SQLite": _open_sqlite,
    "PostgreSQL": _open_postgresql,
}

_IN_DIRECTORY: dict[str, Callable[[Path], AbstractContextManager[Address]]] = {
    "FileStorage": _file,
    "ZEO": _zeo,
    "SQLite": _sqlite,
}
