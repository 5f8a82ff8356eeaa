"""A service in a database that is open: what most commands work with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from transaction import TransactionManager

from lovely.remotetask.cli.database import Where, open_database
from lovely.remotetask.cli.locate import locate, shown
from lovely.remotetask.cli.problems import Unusable
from lovely.remotetask.cli.registration import prepare_path, register_tasks
from lovely.remotetask.own import close_connection, commit_retrying
from lovely.remotetask.sites import find_service

if TYPE_CHECKING:
    from ZODB import DB

    from lovely.remotetask.service import TaskService

T = TypeVar("T")


class Wanted(NamedTuple):
    """What the options of a command name."""

    where: Where
    service: str | None = None
    setup: Sequence[str] = ()
    zcml: str | None = None


class Access:
    """A service, for short transactions beside each other."""

    def __init__(self, wanted: Wanted, db: DB, *, reopen: bool = False) -> None:
        """``reopen``: the storage does not see what others write.

        Raise Unusable.
        """
        self.wanted, self.db = wanted, db
        self._reopen = reopen
        self._manager = TransactionManager()
        with self._root() as root:
            self.path = locate(root, wanted.service)

    def __str__(self) -> str:
        return f"{shown(self.path)} in {self.wanted.where}"

    @contextmanager
    def read(self) -> Iterator[TaskService]:
        """The service as it is now; what is changed is forgotten."""
        with self._root() as root:
            yield find_service(root, self.path)

    def write(self, work: Callable[[TaskService], T]) -> T:
        """Call ``work`` with the service in a transaction, and commit.

        Conflicts are tried again: it may be called several times.
        """
        with self._root() as root:
            environment = find_service(root, self.path).environment
            return commit_retrying(
                self._manager,
                environment,
                lambda: work(find_service(root, self.path)),
            )

    def beside(self, service: str) -> Access:
        """Another service in the same database.  Raise Unusable."""
        return Access(self.wanted._replace(service=service), self.db)

    def renew(self) -> None:
        """See what has been written meanwhile, with any storage."""
        if self._reopen:
            self.db.close()
            self.db = open_database(self.wanted.where, read_only=True)

    def _check_connected(self) -> None:
        """A client without its server tells what it remembers, as if it were so."""
        is_connected = getattr(self.db.storage, "is_connected", None)
        if is_connected is not None and not is_connected():
            raise Unusable(
                f"The server of {self.wanted.where} is lost: does it run? It is tried "
                "again by itself."
            )

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    @contextmanager
    def _root(self) -> Iterator[Any]:
        self._check_connected()
        connection = self.db.open(transaction_manager=self._manager)
        try:
            yield connection.root()
        finally:
            self._manager.abort()
            close_connection(connection)


@contextmanager
def opened(
    wanted: Wanted,
    *,
    write: bool,
    tasks: bool = False,
    pool_size: int | None = None,
) -> Iterator[Access]:
    """Within, the service is there.  Raise Problem or Unusable.

    ``tasks``: whether those of the application are needed.
    """
    if wanted.setup or wanted.zcml:
        prepare_path()
    db = open_database(wanted.where, read_only=not write, pool_size=pool_size)
    with ExitStack() as stack:
        undo = stack.enter_context(ExitStack())
        undo.callback(db.close)
        if tasks:
            register_tasks(db, wanted.setup, wanted.zcml)
        access = Access(wanted, db, reopen=not write and _is_stale(db))
        undo.pop_all()
        stack.callback(access.close)
        yield access


def _is_stale(db: DB) -> bool:
    """Whether a storage has the state of when it was opened, for ever."""
    return bool(db.storage.isReadOnly() and Path(db.storage.getName()).exists())
