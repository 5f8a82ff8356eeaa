"""Short transactions of the library's own."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from transaction import TransactionManager
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError, StorageError

from lovely.remotetask.own import (
    LONGEST_PAUSE,
    TRIES,
    commit_retrying,
    reading,
    tidy_pool,
    transact,
)
from tests.support import FakeEnvironment, open_connections


def test_conflicts_are_tried_again(environment: FakeEnvironment) -> None:
    """A conflict is tried again after a pause that grows, up to a bound."""
    tries = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 15:
            raise ConflictError
        return "done"

    manager = TransactionManager(explicit=True)
    assert commit_retrying(manager, environment, work) == "done"
    assert len(environment.slept) == len(tries) - 1 == 14
    assert max(environment.slept) <= LONGEST_PAUSE


def test_conflicts_for_ever(environment: FakeEnvironment) -> None:
    """Conflicts that do not end are raised in the end."""
    tries = []

    def work() -> None:
        tries.append(1)
        raise TransientError("busy")

    manager = TransactionManager(explicit=True)
    with pytest.raises(TransientError, match="busy"):
        commit_retrying(manager, environment, work)
    assert len(tries) == TRIES


def test_other_errors_at_once(environment: FakeEnvironment) -> None:
    """Whatever else is wrong is raised at once, and the transaction is over."""

    def work() -> None:
        raise KeyboardInterrupt

    manager = TransactionManager()
    with pytest.raises(KeyboardInterrupt):
        commit_retrying(manager, environment, work)
    assert environment.slept == []


def test_beside_the_caller(service: Any, db: Any, environment: FakeEnvironment) -> None:
    """The caller's transaction goes on, whatever becomes of the other one."""
    root = service._p_jar.root()
    root["mine"] = 1

    def work(other: Any) -> None:
        other._p_jar.root()["service"].note = "theirs"
        if fails:
            raise RuntimeError("no")

    for fails in (True, False):
        if fails:
            with pytest.raises(RuntimeError):
                transact(db, service._p_oid, work, environment)
        else:
            transact(db, service._p_oid, work, environment)
        assert open_connections(db) == 1
    assert root["mine"] == 1
    transaction.commit()
    assert (root["mine"], service.note) == (1, "theirs")


def test_reading_leaves_nothing_behind(db: Any) -> None:
    """What is written meanwhile is dropped, and the connection is given back."""
    before = open_connections(db)
    with reading(db) as connection:
        connection.root()["written"] = True
    with pytest.raises(ZeroDivisionError), reading(db):
        _ = 1 / 0
    with reading(db) as connection:
        assert "written" not in connection.root()
    assert open_connections(db) == before


def test_the_pool_of_a_storage_that_fails(
    db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that met a failure is back in its pool; the database can close."""
    connection = db.open(transaction_manager=TransactionManager())
    connection.close()

    def fail(storage: Any) -> None:
        raise StorageError("no server")

    with monkeypatch.context() as patch:
        patch.setattr(type(connection._storage), "poll_invalidations", fail)
        with pytest.raises(StorageError):
            tidy_pool(db)
    assert open_connections(db) == 0
    db.close()
