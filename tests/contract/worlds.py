"""Where a task service may live; all of them keep the same contract.

``settle`` is called between the steps of a test: it does what an application of
that kind does between two requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transaction
import ZODB
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.service import TaskService
from lovely.remotetask.testing import TaskServiceStub
from tests.storages import Stores
from tests.support import put_service

MEMORY = "MappingStorage"


class World:
    """No database at all."""

    def __init__(self, factory: Any = TaskService) -> None:
        self.service = factory()

    def settle(self) -> None:
        """Nothing to do without a database."""


class NotCommitted(World):
    """In a database, but nothing is ever committed."""

    def __init__(self, db: Any) -> None:
        super().__init__()
        db.open().root()["service"] = self.service


class FirstSavepoints(NotCommitted):
    """Never committed, with savepoints: so it has a database and an object id."""

    def settle(self) -> None:
        transaction.savepoint()


class InOneTransaction(World):
    """Committed once; then all in one transaction, with savepoints."""

    def __init__(self, db: Any) -> None:
        self.service = put_service(db)

    def settle(self) -> None:
        transaction.savepoint()


class Committing(World):
    """Every step is a transaction."""

    def __init__(self, db: Any, factory: Any = TaskService) -> None:
        self.service = put_service(db, factory=factory)

    def settle(self) -> None:
        transaction.commit()


class Wandering(World):
    """Every step is a transaction on a connection with nothing in its cache."""

    def __init__(self, db: Any) -> None:
        self._db = db
        put_service(db)._p_jar.close()
        self._open()

    def _open(self) -> None:
        self._connection = self._db.open()
        self._connection.cacheMinimize()
        self.service = self._connection.root()["service"]

    def settle(self) -> None:
        transaction.commit()
        self._connection.close()
        self._open()


#: Where a world lies, and what it is.
WORLDS: dict[str, tuple[str, Callable[[Any], World]]] = {
    "no database": (MEMORY, lambda db: World()),
    "stub": (MEMORY, lambda db: World(TaskServiceStub)),
    "not committed": (MEMORY, NotCommitted),
    "first savepoints": (MEMORY, FirstSavepoints),
    "one transaction": (MEMORY, InOneTransaction),
    "MappingStorage": (MEMORY, Committing),
    "stub in a database": (MEMORY, lambda db: Committing(db, TaskServiceStub)),
    "FileStorage": ("FileStorage", Committing),
    "FileStorage, new connections": ("FileStorage", Wandering),
    "ZEO, new connections": ("ZEO", Wandering),
    "SQLite, new connections": ("SQLite", Wandering),
    "PostgreSQL": ("PostgreSQL", Committing),
}


@contextmanager
def world(name: str, stores: Stores) -> Iterator[World]:
    """One of the worlds, open."""
    kind, factory = WORLDS[name]
    db = ZODB.DB(MappingStorage()) if kind == MEMORY else stores.database(kind)
    try:
        yield factory(db)
    finally:
        transaction.abort()
        db.close()
