"""Two transactions at a time, step by step in one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transaction import TransactionManager

from tests.stateful.invariants import check


class Client:
    """A connection with a transaction manager of its own."""

    def __init__(self, db: Any, name: str = "service") -> None:
        self.manager = TransactionManager()
        self.connection = db.open(self.manager)
        self._name = name

    @property
    def service(self) -> Any:
        """The service as this transaction sees it."""
        return self.connection.root()[self._name]

    def commit(self) -> None:
        """Commit, and see what others have committed."""
        self.manager.commit()

    def abort(self) -> None:
        """Abort, and see what others have committed."""
        self.manager.abort()

    def close(self) -> None:
        """Give the connection back."""
        self.manager.abort()
        self.connection.close()


@contextmanager
def clients(db: Any, count: int) -> Iterator[list[Client]]:
    """So many clients of a database, each with a transaction that has begun."""
    found = [Client(db) for _ in range(count)]
    try:
        yield found
    finally:
        for client in found:
            client.close()


def check_committed(db: Any, name: str = "service") -> None:
    """Check all that was committed to a service."""
    with db.transaction() as connection:
        check(connection.root()[name])


class Uncertain:
    """Makes commits go through, but be reported as failed when told to."""

    def __init__(self, db: Any, *, after: bool = True) -> None:
        """Begin before the connections are opened that are meant.

        Not ``after``: make them fail, when they would begin.
        """
        self._what = "tpc_finish" if after else "tpc_begin"
        #: What to raise, once.
        self.error: BaseException | None = None
        #: Which commits: told by a function of no arguments.
        self.when: Callable[[], bool] = lambda: True
        storage = db._mvcc_storage
        if storage is db.storage:
            # Each connection has a storage of its own (RelStorage).
            self._new_instance = storage.new_instance
            storage.new_instance = lambda: self._wrap(self._new_instance())
        else:
            self._wrap(db.storage)

    def _wrap(self, storage: Any) -> Any:
        step = getattr(storage, self._what)

        def take(*args: Any) -> Any:
            result = step(*args)
            if self.error is not None and self.when():
                error, self.error = self.error, None
                raise error
            return result

        setattr(storage, self._what, take)
        return storage
