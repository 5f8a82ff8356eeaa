"""Tasks that break the connection that they run on."""

from __future__ import annotations

from typing import Any

import pytest
import transaction

from lovely.remotetask import crew
from lovely.remotetask.states import COMPLETED, ERROR
from tests.support import (
    NoSavepoints,
    ask,
    processing,
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
    broken, fine = service.add("leave"), service.add("echo", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, broken, ERROR)
        wait_for_status(db, fine, COMPLETED)


def test_a_closed_connection_fails_the_job(db: Any, service: Any) -> None:
    """A task that closes its connection fails, and the next job runs."""
    register_full("close", close_connection)
    broken, fine = service.add("close"), service.add("echo", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, broken, ERROR)
        wait_for_status(db, fine, COMPLETED)
    assert ask(db, lambda service: service.jobs[broken].attempt) == 1
