"""Short transactions of the library's own; what connections are told."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import transaction
from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask.environment import Environment

log = logging.getLogger("lovely.remotetask")

T = TypeVar("T")

#: How often a conflict is tried again, and the longest pause (seconds) before.
TRIES = 30
LONGEST_PAUSE = 0.25


_met = 0
_lock = threading.Lock()


def conflicts() -> int:
    """How many conflicts this process has met that were, or are, tried again."""
    return _met


def pause(environment: Environment, tried: int) -> None:
    """Wait before a conflict is tried again: at random, longer each time."""
    global _met  # noqa: PLW0603 - there is one process
    with _lock:
        _met += 1
    most = min(LONGEST_PAUSE, 0.002 * 2**tried)
    environment.sleep(most * environment.random())


def _after_fork() -> None:
    """A child has met none, and a thread of its parent may have had the lock."""
    global _met, _lock
    _met, _lock = 0, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def commit_retrying(manager: Any, environment: Environment, work: Callable[[], T]) -> T:
    """Call ``work`` in a transaction of ``manager`` and commit; its result.

    Conflicts are tried again; ``work`` may thus be called several times.  Raise
    the last conflict after `TRIES`, and whatever else goes wrong at once.
    """
    tried = 0
    while True:
        manager.begin()
        try:
            result = work()
            manager.commit()
            return result
        except TransientError:
            manager.abort()
            tried += 1
            if tried == TRIES:
                raise
            log.debug("conflict in a transaction of the library", exc_info=True)
        except BaseException:
            manager.abort()
            raise
        pause(environment, tried)


def open_connection(db: Any) -> Any:
    """Open a connection that takes part in the transactions of this thread.

    It does not look at the storage before a transaction begins.  If it did, and
    the storage failed, ZODB would lose it, and could not close the database.
    """
    manager = transaction.manager.manager
    explicit, manager.explicit = manager.explicit, True
    try:
        connection = db.open(transaction_manager=manager)
    finally:
        manager.explicit = explicit
    connection.explicit_transactions = explicit
    return connection


@contextmanager
def connected(db: Any) -> Iterator[Any]:
    """Lend a connection with a transaction manager of its own.

    As with `open_connection`, a transaction must be begun before anything is looked
    at; and it must be over before the block ends.
    """
    connection = db.open(transaction_manager=TransactionManager(explicit=True))
    try:
        yield connection
    finally:
        close_connection(connection)


@contextmanager
def reading(db: Any) -> Iterator[Any]:
    """Lend a connection within a transaction, whose changes are dropped."""
    with connected(db) as connection:
        connection.transaction_manager.begin()
        try:
            yield connection
        finally:
            connection.transaction_manager.abort()


def close_connection(connection: Any) -> None:
    """Give a connection back to its pool."""
    try:
        connection.close()
    except Exception:
        # A storage may say only now, and once, that its server is lost: the pool
        # would miss the connection, and the database could not be closed.
        connection.close()


def fetch(objects: Iterable[Any]) -> list[Any]:
    """Ask the storage for objects at once, and not for one after the other.

    Return those that were needed: they will be there soon.
    """
    ghosts = [obj for obj in objects if obj._p_changed is None]
    if ghosts:
        ghosts[0]._p_jar.prefetch(ghosts)
    return ghosts


def forget(connection: Any) -> None:
    """Let a connection load everything anew, after a commit that went wrong.

    Where a new object got the id of another one, ZODB takes the other away from the
    connection: it looks like a new one then, with nothing in it.  (A ZEO client may
    be given such ids after its server was started anew.)
    """
    connection.cacheMinimize()


@contextmanager
def forgetting(connection: Any) -> Iterator[None]:
    """Within, after an error: whoever has the connection next loads everything anew."""
    try:
        yield
    except BaseException:
        forget(connection)
        raise


def transact(
    db: Any, oid: bytes, work: Callable[[Any], T], environment: Environment
) -> T:
    """Call ``work`` with a service in a transaction beside the caller's.

    ``oid`` is the service's object id.  As `commit_retrying`.
    """
    with connected(db) as connection, forgetting(connection):
        manager = connection.transaction_manager
        return commit_retrying(manager, environment, lambda: work(connection.get(oid)))


def tidy_pool(db: Any) -> None:
    """Have ZODB look after connections that nobody uses.

    Each of them remembers the ids of all objects that are written meanwhile.  The
    one that begins a transaction forgets them; and only when one is opened does ZODB
    drop those that have been idle for longer than the database's ``pool_timeout``.
    """
    if any(info["opened"] is None for info in db.connectionDebugInfo()):
        with reading(db):
            pass
