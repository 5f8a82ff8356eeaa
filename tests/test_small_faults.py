"""More of what was wrong in 0.5.2, and can't happen now."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask import states
from lovely.remotetask.task import EchoTask
from tests.support import (
    ask,
    counts,
    processing,
    provide,
    register,
    register_full,
    wait_for_status,
)


def loads(connection: Any) -> int:
    """How many objects a connection has loaded since it was last asked."""
    return int(connection.getTransferCounts(clear=True)[0])


def test_lost_on_the_first_exception(service: Any, db: Any) -> None:
    """Fault 1: a job whose task raises is not lost, it is in error."""
    jobid = service.add("fail", "alas")
    transaction.commit()
    with processing(service):
        wait_for_status(db, jobid, "error")
    transaction.begin()
    assert service.getError(jobid) == "alas"


def test_clean_stops_at_the_last(service: Any, db: Any) -> None:
    """Fault 9: clean loads no job behind the last one that it removes."""
    for _ in range(1_000):
        service.add("echo")
    service.processNext()
    transaction.commit()
    connection = db.open(transaction.TransactionManager())
    other = connection.root()["service"]
    assert other.clean() == 1
    assert loads(connection) < 50
    assert other.clean() == 0
    assert loads(connection) < 5
    connection.transaction_manager.abort()
    connection.close()


def test_echo_works(service: Any) -> None:
    """Fault 15: the echo task that ships returns its input."""
    provide("the echo", EchoTask())
    jobid = service.add("the echo", {"foo": ["bar"]})
    service.process()
    assert service.getResult(jobid) == {"foo": ["bar"]}


def test_processing_is_set(service: Any, db: Any) -> None:
    """Fault 16: a job that runs is processing, for everybody to see."""
    seen, go_on = threading.Event(), threading.Event()

    def slow(value: Any) -> None:
        seen.set()
        assert go_on.wait(20)

    register("slow", slow)
    jobid = service.add("slow")
    transaction.commit()
    with processing(service):
        try:
            assert seen.wait(20)
            assert ask(db, lambda s: s.getStatus(jobid)) == "processing"
            assert ask(db, counts) == {"processing": 1}
        finally:
            go_on.set()
        wait_for_status(db, jobid, "completed")


def test_processing_is_set_here(service: Any) -> None:
    """Fault 16: so it is in the calling thread."""
    register_full("look", lambda service, jobid, input: service.getStatus(jobid))
    jobid = service.add("look")
    service.process()
    assert service.getResult(jobid) == "processing"


@pytest.mark.parametrize("status", sorted(states.REMOVABLE))
def test_status_by_value(service: Any, path: str, status: str) -> None:
    """Fault 18: statuses are compared by value, also after a reload."""
    for task in ("echo", "fail", "echo"):
        service.add(task)
    service.cancel(3)
    service.process()
    service.add("echo", startLater=True)
    transaction.commit()
    service._p_jar.cacheMinimize()
    assert service.startJob(4) is True
    assert service.clean(["".join(list(status))]) == 1
    assert service.count("".join(list(status))) == 0


def test_started_twice(service: Any) -> None:
    """Fault 19: starting twice is one thread, and stopping ends it."""
    before = set(threading.enumerate())
    service.startProcessing()
    service.startProcessing()
    name = service._threadName()
    started = [t for t in set(threading.enumerate()) - before if t.name == name]
    assert len(started) == 1
    assert service.isProcessing()
    assert service.stopProcessing(wait=True, timeout=20)
    assert not service.isProcessing()
    assert set(threading.enumerate()) <= before


def test_a_database_is_read_without_the_task(
    service: Any, db: Any, path: str, tmp_path: Path
) -> None:
    """Fault 22: jobs can be read where an application's code is not."""
    jobid = service.add("fail", "why")
    service.process()
    transaction.commit()
    db.close()
    other = ZODB.DB(FileStorage(path, read_only=True))
    try:
        assert ask(other, lambda s: s.getError(jobid)) == "why"
    finally:
        other.close()
