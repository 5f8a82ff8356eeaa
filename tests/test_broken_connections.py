"""Tasks that break the connection that they run on."""

from __future__ import annotations

from typing import Any

import transaction

from lovely.remotetask.states import COMPLETED, ERROR
from tests.support import ask, processing, register_full, wait_for_status


def close_connection(service: Any, jobid: int, input: Any) -> None:
    """A task that closes the processor's connection."""
    connection = service._p_jar
    connection.transaction_manager.abort()
    connection.close()


def test_a_closed_connection_fails_the_job(db: Any, service: Any) -> None:
    """A task that closes its connection fails, and the next job runs."""
    register_full("close", close_connection)
    broken, fine = service.add("close"), service.add("echo", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, broken, ERROR)
        wait_for_status(db, fine, COMPLETED)
    assert ask(db, lambda service: service.jobs[broken].attempt) == 1
