"""Tasks that break the connection that they run on."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transaction
from persistent import Persistent
from transaction import TransactionManager
from ZODB.POSException import ConnectionStateError

from lovely.remotetask import crew
from lovely.remotetask.current import Run
from lovely.remotetask.session import Session
from lovely.remotetask.states import COMPLETED, ERROR
from lovely.remotetask.workers import Lease
from tests.stateful.invariants import check
from tests.storages import open_database, store
from tests.support import (
    NoSavepoints,
    ask,
    fails_alone,
    processing,
    put_service,
    register_full,
    wait_for_status,
)


def close_connection(service: Any, jobid: int, input: Any) -> None:
    """A task that closes the processor's connection."""
    connection = service._p_jar
    connection.transaction_manager.abort()
    connection.close()


class Leaves(NoSavepoints):
    """A data manager that ends the thread when it is told to undo."""

    def abort(self, transaction: Any) -> None:
        raise SystemExit

    tpc_abort = abort


def leave(service: Any, jobid: int, input: Any) -> None:
    """A task that fails, and would take its thread with it."""
    service._p_jar.transaction_manager.get().join(Leaves())
    raise RuntimeError("as told")


def test_a_thread_does_not_end_with_its_job(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a job does to its thread, the thread goes on with the next."""
    monkeypatch.setattr(crew, "ERROR_WAIT", 0.01)
    register_full("leave", leave)
    fails_alone(db, service, "leave")


def test_a_closed_connection_fails_the_job(db: Any, service: Any) -> None:
    """A task that closes its connection fails, and the next job runs."""
    register_full("close", close_connection)
    broken = fails_alone(db, service, "close")
    assert ask(db, lambda service: service.jobs[broken].attempt) == 1


@pytest.mark.parametrize("group", [False, True])
def test_a_closed_connection_that_is_another_threads(
    db: Any, service: Any, *, group: bool
) -> None:
    """If another thread has opened it by then, its transactions are left alone."""
    opened = []

    def hand_over(service: Any, jobid: int, input: Any) -> None:
        close_connection(service, jobid, input)
        opened.append(db.open(transaction_manager=TransactionManager()))
        assert opened[0] is service._p_jar

    register_full("hand over", hand_over)
    jobid = service.add("hand over")
    transaction.commit()
    with closing(Session(db, ["service"])) as session:
        key = session.register(1, Lease())
        (claimed,) = session.claim(key, 1).jobs
        runs = {claimed: Run(session.environment)}
        run = partial(session.run_group, runs, key, bool)
        if not group:
            run = partial(session.run, claimed, key)
        with pytest.raises(ConnectionStateError, match="was closed"):
            run()
        (other,) = opened
        assert other._registered_objects == []
        other.transaction_manager.begin()
        assert other.root()["service"].getStatus(jobid) == "processing"
        other.transaction_manager.abort()
        # It was handed over, so it is closed once.
        session.connection = other


class Note(Persistent):
    """What a job stores."""


@pytest.mark.zeo
def test_an_object_id_that_is_given_twice(tmp_path: Path, tasks: None) -> None:
    """A job fails whose new object gets the id of another one; others are done.

    A ZEO server that was started anew gives ids that its clients have got before and
    not used yet.  ZODB then takes the other object away from its connection.
    """

    def store_note(service: Any, jobid: int, other: int) -> Note:
        service._p_jar.db().storage._oids.append(service.jobs[other]._p_oid)
        return Note()

    register_full("store", store_note)
    with store("ZEO", tmp_path) as address:
        db = open_database(address)
        service = put_service(db)
        first, other = service.add("store", 2), service.add("echo", 1)
        transaction.commit()
        with processing(service):
            wait_for_status(db, first, ERROR)
            wait_for_status(db, other, COMPLETED)
        assert "same oid" in ask(db, lambda service: service.getError(first))
        ask(db, check)
        transaction.abort()
        db.close()
