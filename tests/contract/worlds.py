"""Where a task service may live; all of them keep the same contract.

``settle`` is called between the steps of a test: it does what an application of
that kind does between two requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.service import TaskService
from lovely.remotetask.testing import TaskServiceStub
from tests.support import put_service


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


WORLDS = {
    "no database": lambda db: World(),
    "stub": lambda db: World(TaskServiceStub),
    "not committed": NotCommitted,
    "first savepoints": FirstSavepoints,
    "one transaction": InOneTransaction,
    "MappingStorage": Committing,
    "FileStorage": Committing,
    "FileStorage, new connections": Wandering,
    "stub in a database": lambda db: Committing(db, TaskServiceStub),
}


@contextmanager
def world(name: str, folder: Path) -> Iterator[World]:
    """One of the worlds, open."""
    in_file = name.startswith("FileStorage")
    db = ZODB.DB(FileStorage(str(folder / "Data.fs")) if in_file else MappingStorage())
    try:
        yield WORLDS[name](db)
    finally:
        transaction.abort()
        db.close()
