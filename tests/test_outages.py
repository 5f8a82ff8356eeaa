"""Storages that fail, which is no fault of the job that meets it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import transaction
import ZODB
from relstorage.adapters.interfaces import UnableToAcquireCommitLockError
from relstorage.storage import RelStorage
from relstorage.storage.interfaces import StorageDisconnectedDuringCommit
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import (
    ConflictError,
    POSKeyError,
    ReadOnlyError,
    TransactionTooLargeError,
)

from lovely.remotetask import crew
from lovely.remotetask.outages import Outages, is_outage
from lovely.remotetask.session import Session
from lovely.remotetask.states import COMPLETED
from tests.races.interleaved import Uncertain
from tests.storages import Stores, open_storage
from tests.support import (
    ask,
    fails_alone,
    open_connections,
    processing,
    put_service,
    register,
    register_full,
    wait_for_status,
)

Lose = Callable[[Any], None]

#: The server ends all connections to its database but this one.
TERMINATE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def db(stores: Stores) -> Iterator[Any]:
    """A database in PostgreSQL; what is not in an object's cache must be asked for."""
    address = stores.address("PostgreSQL")
    database = ZODB.DB(open_storage(address, cache_local_mb=0))
    yield database
    transaction.abort()
    database.close()


@pytest.fixture
def lose(stores: Stores) -> Callable[[Any], None]:
    """Something to do with a service: lose its connection to the server, and ask."""

    def lose(service: Any) -> None:
        where = stores.address("PostgreSQL").partition(":")[2]
        with closing(psycopg2.connect(where)) as connection:
            connection.cursor().execute(TERMINATE)
        service._p_jar.cacheMinimize()
        service.count()

    return lose


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ClientDisconnected(), True),
        (StorageDisconnectedDuringCommit(), True),
        (UnableToAcquireCommitLockError(), True),
        (ConflictError(), False),
        (POSKeyError(b"\0" * 8), False),
        (ReadOnlyError(), False),
        (TransactionTooLargeError(), False),
        (psycopg2.OperationalError("of the task's own"), False),
        (OSError(), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_an_outage(error: BaseException, expected: bool) -> None:
    """It is one if the storage failed; not what a job can bring about."""
    assert is_outage(error) is expected


def test_code_without_a_module() -> None:
    """What a script raises that says nothing sensible of itself is none."""
    with pytest.raises(ZeroDivisionError) as caught:
        exec("1 / 0", {"__name__": None})
    assert not is_outage(caught.value)


def test_what_is_said_of_an_outage(caplog: Any) -> None:
    """Its begin, now and then that it lasts, and its end: not each try."""
    caplog.set_level(logging.INFO)
    now = 1000.0
    told = Outages("site/tasks", lambda: now)
    told.over()
    for _ in range(125):
        told.failed("a thread", ClientDisconnected())
        now += 1.0
    told.over()
    told.over()
    still = "site/tasks: the storage still fails, for %d seconds now: %r"
    told.failed("another", ClientDisconnected())
    told.over()
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert [record.getMessage() for record in caplog.records] == [
        "a thread: the storage fails, trying again: ClientDisconnected()",
        still % (60, ClientDisconnected()),
        still % (120, ClientDisconnected()),
        "site/tasks: the storage answers again, after 125 seconds",
        "another: the storage fails, trying again: ClientDisconnected()",
        "site/tasks: the storage answers again, after 0 seconds",
    ]


def test_what_is_said_of_other_troubles(caplog: Any) -> None:
    """With its traceback, what is new, and now and then that it is still so."""
    now = 1000.0
    told = Outages("site/tasks", lambda: now)
    for _ in range(65):
        told.failed("a thread", KeyError("of the library's own"))
        told.over()
        now += 1.0
    told.failed("a thread", KeyError("another"))
    assert [record.getMessage() for record in caplog.records] == [
        "a thread: trying again"
    ] * 3
    assert all(record.exc_info for record in caplog.records)


def test_a_lost_connection_is_an_outage(service: Any, lose: Lose) -> None:
    """So is what the database's own library raises, through the storage."""
    with pytest.raises(psycopg2.Error) as caught:
        lose(service)
    assert is_outage(caught.value)


def test_an_outage_is_not_charged(
    service: Any, db: Any, lose: Lose, caplog: Any
) -> None:
    """A job that meets an outage runs again, as if nothing had been; both is said."""
    runs: list[int] = []

    def once(service: Any, jobid: int, value: Any) -> None:
        runs.append(value)
        if len(runs) == 1:
            lose(service)

    register_full("once", once)
    jobid = service.add("once", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, jobid, COMPLETED)
    job = ask(db, lambda s: (s.jobs[jobid].attempt, s.jobs[jobid].failed))
    assert job == (1, 0)
    assert runs == [1, 1]
    said = [r.getMessage() for r in caplog.records if r.name == "lovely.remotetask"]
    assert any(": the storage fails, trying again: " in text for text in said)
    assert said[-1].startswith("service: the storage answers again")


@pytest.mark.parametrize(
    "error", [UnableToAcquireCommitLockError(), ClientDisconnected()], ids=repr
)
def test_a_failed_commit_is_not_charged(
    stores: Stores, tasks: None, error: Exception
) -> None:
    """Neither is a commit for which the storage had no time, or no server."""
    db = stores.database("SQLite")
    uncertain = Uncertain(db, after=False)
    service = put_service(db)

    def once(value: Any) -> int:
        runs.append(value)
        thread = threading.current_thread()
        uncertain.when = lambda: threading.current_thread() is thread
        uncertain.error = error if len(runs) == 1 else None
        return value

    runs: list[int] = []
    register("once", once)
    jobid = service.add("once", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, jobid, COMPLETED)
    assert ask(db, lambda s: s.jobs[jobid].failed) == 0
    assert runs == [1, 1]
    transaction.abort()
    db.close()


def test_a_job_that_brings_outages_fails(
    service: Any, db: Any, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job with which the connection is lost each time is given up; others run."""
    monkeypatch.setattr(crew, "ERROR_WAIT", 0.01)
    runs: list[int] = []

    def always(service: Any, jobid: int, value: Any) -> None:
        runs.append(jobid)
        lose(service)

    register_full("always", always)
    poison = fails_alone(db, service, "always")
    assert len(runs) == crew.MOST_OUTAGES
    assert ask(db, lambda s: s.jobs[poison].failed) == 1


def test_connections_that_fail_at_once(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it does one whose storage fails when it is opened."""

    def fail(storage: Any) -> None:
        raise psycopg2.OperationalError("connection refused")

    monkeypatch.setattr(RelStorage, "poll_invalidations", fail)
    with pytest.raises(psycopg2.OperationalError):
        Session(db, ["service"])
    assert open_connections(db) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_connections_go_back(service: Any, db: Any, number: int) -> None:
    """The pool gets back a connection whose storage fails only at its end."""
    session = Session(db, ["service"])
    storage = session.connection._storage
    after_completion, calls = storage.afterCompletion, []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == number:
            raise psycopg2.DatabaseError("server closed the connection unexpectedly")
        after_completion()

    storage.afterCompletion = fail_once
    assert open_connections(db) == 2
    crew.close(session)
    assert len(calls) > number
    assert open_connections(db) == 1
