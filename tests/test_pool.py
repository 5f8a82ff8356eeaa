"""Connections that nobody uses, in a process that works on jobs."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import transaction
import ZODB
from transaction import TransactionManager
from ZODB.FileStorage import FileStorage

from lovely.remotetask import processor
from tests.support import processing, put_service, wait_until


def remembered(db: Any) -> list[int]:
    """How many ids of changed objects each connection remembers that is idle."""
    idle = [connection for connection in db.pool.all if not connection.opened]
    return [len(connection._storage._invalidations) for connection in idle]


def run_a_job(service: Any) -> None:
    """Have a job run in the background."""
    jobid = service.add("echo")
    transaction.commit()

    def completed() -> bool:
        transaction.begin()
        return bool(service.getStatus(jobid) == "completed")

    wait_until(completed)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a processor does now and then, it does often."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.02)
    monkeypatch.setattr(processor, "TIDY_SECONDS", 0.05)


def test_what_was_last_in_use_forgets(service: Any, db: Any) -> None:
    """The connection that started the processor does not remember all that happens."""
    db.open(TransactionManager()).close()
    with processing(service):
        run_a_job(service)
        wait_until(lambda: min(remembered(db), default=1) == 0)


def test_the_pools_timeout_holds(path: str, tasks: None) -> None:
    """Connections that were idle for longer than the database allows are dropped."""
    with closing(ZODB.DB(FileStorage(path), pool_timeout=0.2)) as db:
        service = put_service(db)
        with processing(service):
            run_a_job(service)
            for connection in [db.open(TransactionManager()) for _ in range(4)]:
                connection.close()
            wait_until(lambda: len(remembered(db)) <= 1)
        transaction.abort()
