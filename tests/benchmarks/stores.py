"""The storages that are measured: a FileStorage, and one behind a ZEO server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ZODB

from tests import storages
from tests.storages import Address

#: Connections without a warning: one for each thread, and the library's own.
POOL_SIZE = 64


def open_database(address: Address) -> ZODB.DB:
    """The database at an address; the caller closes it."""
    return storages.open_database(address, pool_size=POOL_SIZE)


@contextmanager
def new_store(kind: str) -> Iterator[Address]:
    """A new store, as safe as it is by default, in a temporary directory."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        storages.store(kind, directory, durable=True) as address,
    ):
        yield address


Store = Callable[[], AbstractContextManager[Address]]

STORES: dict[str, Store] = {
    kind: partial(new_store, kind) for kind in ("FileStorage", "ZEO")
}

file_storage = STORES["FileStorage"]


def file_size(db: Any) -> int:
    """The bytes in a FileStorage."""
    return Path(db.storage.getName()).stat().st_size
