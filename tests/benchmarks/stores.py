"""The storages that are measured: a FileStorage, and one behind a ZEO server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ZODB
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

#: A path, or the address of a ZEO server.
Address = str | tuple[str, int]

#: Connections without a warning: one for each thread, and the library's own.
POOL_SIZE = 64

#: Its own process, as it would be.  It ends when its standard input does.
SERVER = """
import logging, sys, ZEO
logging.disable(logging.WARNING)  # it tells of each transaction that waits
address, stop = ZEO.server(path=sys.argv[1], threaded=True)
print(address[1], flush=True)
sys.stdin.read()
stop()
"""


def open_database(address: Address) -> ZODB.DB:
    """The database at an address; the caller closes it."""
    file = isinstance(address, str)
    storage = FileStorage(address) if file else ClientStorage(address, wait_timeout=30)
    return ZODB.DB(storage, pool_size=POOL_SIZE)


@contextmanager
def file_storage() -> Iterator[Address]:
    """A new FileStorage in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        yield str(Path(directory) / "data.fs")


@contextmanager
def zeo_server() -> Iterator[Address]:
    """A new FileStorage behind a ZEO server on the loopback interface."""
    with file_storage() as path:
        command = [sys.executable, "-c", SERVER, str(path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            yield ("127.0.0.1", port)
            server.communicate(timeout=30)


Store = Callable[[], AbstractContextManager[Address]]

STORES: dict[str, Store] = {"FileStorage": file_storage, "ZEO": zeo_server}


def file_size(db: Any) -> int:
    """The bytes in a FileStorage."""
    return Path(db.storage.getName()).stat().st_size
