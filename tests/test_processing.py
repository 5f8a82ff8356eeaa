"""Background processing at the edges: the exit, trouble with the database."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError

from lovely.remotetask import session
from lovely.remotetask.processing import make_processor
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.session import Session
from lovely.remotetask.sites import find_service
from tests.support import (
    PATIENCE,
    ask,
    in_thread,
    open_connections,
    processing,
    put_service,
    register,
    wait_for_status,
    wait_until,
)

EXIT = """
import sys, threading, time, ZODB, transaction
from lovely import remotetask

begun = threading.Event()

@remotetask.task("slow")
def slow(value):
    begun.set()
    time.sleep(0.3)
    return "finished"

db = ZODB.DB(sys.argv[1])
root = db.open().root()
root["service"] = service = remotetask.TaskService()
service.__name__, service.__parent__ = "service", root
service.add("slow")
service.add("slow")
transaction.commit()
service.startProcessing()
assert begun.wait(20)
"""


def test_exit_of_the_interpreter(path: str) -> None:
    """A program that ends lets the job that runs be finished, and no other begin."""
    subprocess.run([sys.executable, "-c", EXIT, path], check=True, timeout=60)
    db = ZODB.DB(FileStorage(path))
    assert ask(db, lambda s: s.getResult(1)) == "finished"
    assert ask(db, lambda s: s.getStatus(2)) == "queued"
    assert ask(db, lambda s: s.workers) == []
    db.close()


def test_trouble_with_the_database(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A database that fails for a while stops nothing for good."""
    monkeypatch.setattr("lovely.remotetask.crew.ERROR_WAIT", 0.01)
    monkeypatch.setattr("lovely.remotetask.processor.ERROR_WAIT", 0.01)
    healthy, calls = db.open, []

    def broken(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) < 5:
            raise StorageError("the disk is away")
        return healthy(*arguments, **options)

    service.add("echo")
    transaction.commit()
    db.open = broken
    with processing(service):
        wait_until(lambda: len(calls) > 5)
        db.open = healthy
        wait_for_status(db, 1, "completed")
    assert "the disk is away" in caplog.text
    assert "trying again" in caplog.text


def test_trouble_at_the_commit(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose end can't be committed at first is finished later, once."""
    monkeypatch.setattr("lovely.remotetask.crew.ERROR_WAIT", 0.01)
    runs: list[int] = []
    vote, failures = db.storage.tpc_vote, iter([True] * 3)

    def broken(trans: Any) -> Any:
        if runs and next(failures, False):
            raise StorageError("the disk is full")
        return vote(trans)

    register("note", runs.append)
    jobid = service.add("note", 1)
    transaction.commit()
    db.storage.tpc_vote = broken
    with processing(service):
        wait_until(
            lambda: ask(db, lambda s: s.getStatus(jobid)) in ("completed", "error")
        )
        del db.storage.tpc_vote
    assert next(failures, None) is None
    assert ask(db, lambda s: s.count("processing")) == 0


def test_trouble_at_the_stop(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database fails after it was told to stop, it waits for its job still."""
    monkeypatch.setattr("lovely.remotetask.processor.RESCUE_SECONDS", 0.02)
    begun, go_on = threading.Event(), threading.Event()

    def work(value: Any) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "done"

    register("work", work)
    jobid = service.add("work")
    transaction.commit()
    service.startProcessing()
    assert begun.wait(PATIENCE)
    troubles: list[int] = []

    def broken(session: Session) -> Any:
        troubles.append(1)
        raise StorageError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "requests", broken)
        assert not service.stopProcessing()
        wait_until(lambda: len(troubles) > 2)
    go_on.set()
    assert service.waitProcessing(PATIENCE)
    assert ask(db, lambda s: s.getResult(jobid)) == "done"
    assert ask(db, lambda s: s.workers) == []


def test_a_read_only_database(path: str, tasks: None, caplog: Any) -> None:
    """A database that can't be written to is tried again, and the processor stops."""
    db = ZODB.DB(FileStorage(path))
    put_service(db).add("echo")
    transaction.commit()
    transaction.abort()
    db.close()
    db = ZODB.DB(FileStorage(path, read_only=True))
    service = db.open().root()["service"]
    with processing(service):
        wait_until(lambda: "ReadOnlyError" in caplog.text)
        assert service.isProcessing()
    transaction.begin()
    assert service.getStatus(1) == "queued"
    transaction.abort()
    db.close()


def test_a_service_that_is_removed(db: Any, service: Any, caplog: Any) -> None:
    """Its jobs are not run any more; another service in its place is processed."""
    service.processorArguments = {"waitTime": 0.01, "heartbeat": 0.05}
    first = service.add("echo")
    transaction.commit()
    root = db.open().root()
    processor = make_processor(service, db, ["service"])
    thread = threading.Thread(target=processor)
    thread.start()
    try:
        wait_until(lambda: ask(db, lambda s: s.getStatus(first)) == "completed")
        transaction.begin()
        root["other"] = root.pop("service")
        transaction.commit()
        wait_until(lambda: "no task service at 'service'" in caplog.text)
        transaction.begin()
        assert (root["other"].workers, processor.threads) == ([], [])
        jobid = root["other"].add("echo", 1)
        transaction.commit()
        second = put_service(db).add("echo", 2)
        transaction.commit()
        wait_until(lambda: ask(db, lambda s: s.getStatus(second)) == "completed")
        assert ask(db, lambda s: s.getStatus(jobid), "other") == "queued"
    finally:
        processor.stop()
        thread.join(20)


def test_no_service_at_the_path(
    db: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without a service says so, once, and looks until it is there."""
    looks: list[Any] = []

    def look(root: Any, path: Any) -> Any:
        looks.append(path)
        return find_service(root, path)

    monkeypatch.setattr(session, "find_service", look)
    processor = SimpleProcessor(db, ["later"], waitTime=0.01)
    thread = threading.Thread(target=processor)
    thread.start()
    try:
        wait_until(lambda: len(looks) > 3)
        assert caplog.text.count("no task service at 'later'") == 1
        register("echo", str)
        service = put_service(db, "later")
        jobid = service.add("echo", 5)
        transaction.commit()
        wait_until(
            lambda: ask(db, lambda s: s.getStatus(jobid), "later") == "completed"
        )
    finally:
        processor.stop()
        thread.join(20)
    assert not processor.running


def test_single_calls(service: Any, db: Any) -> None:
    """A processor may be asked to do one thing, without a loop."""
    processor = SimpleProcessor(db, ["service"])
    assert repr(processor) == "<SimpleProcessor of service>"
    assert processor.running
    assert processor.threads == []
    assert processor.processNext() is False
    assert processor.claimNextJob() is None
    for name in ("echo", "fail", "echo"):
        service.add(name)
    transaction.commit()
    assert processor.hasJobsWaiting() is True
    assert processor.claimNextJob() == 1
    assert processor.processNext(1) is True
    assert processor.processNext(1) is False
    assert processor.processNext() is True
    assert processor.processNext(3) is True
    assert open_connections(db) == 1
    transaction.begin()
    assert [job.status for job in service.jobs.values()] == [
        "completed",
        "error",
        "completed",
    ]
    assert service.workers == []


@pytest.mark.parametrize("factory", [SimpleProcessor, MultiProcessor])
def test_wait_time_of_nothing(service: Any, db: Any, factory: Any) -> None:
    """A processor that always looks finds jobs, and can be stopped."""
    service.processorFactory = factory
    service.processorArguments = {"waitTime": 0}
    service.add("echo", delay=0.05)
    transaction.commit()
    with processing(service):
        wait_for_status(db, 1, "completed")


def test_wait_time_without_end(service: Any, db: Any) -> None:
    """A processor may wait for longer than threads can: it hears of what comes."""
    service.processorArguments, service.stalledAfter = {"waitTime": 1e12}, 1e13
    transaction.commit()
    with processing(service):
        wait_until(lambda: ask(db, lambda s: s.workers))
        jobid = service.add("echo")
        transaction.commit()
        wait_for_status(db, jobid, "completed")


def test_delayed_jobs_wake_it(service: Any, db: Any) -> None:
    """A processor that looks rarely is on time for a delayed job."""
    service.processorArguments, service.stalledAfter = {"waitTime": 1000}, 2000
    transaction.commit()
    with processing(service):
        wait_until(lambda: ask(db, lambda s: s.workers))
        service.add("echo", delay=0.2)
        transaction.commit()
        wait_for_status(db, 1, "completed")
    created, started = ask(db, lambda s: (s.jobs[1].created, s.jobs[1].started))
    assert 0.2 <= (started - created).total_seconds() < 15


def test_jobs_in_order(service: Any, db: Any) -> None:
    """A single thread runs hundreds of jobs in the order they were added."""
    order: list[int] = []
    register("note", order.append)
    with processing(service):
        for number in range(300):
            service.add("note", number)
            if number % 30 == 0:
                transaction.commit()
        transaction.commit()
        wait_until(lambda: ask(db, lambda s: s.count("completed")) == 300)
    assert order == list(range(300))


def test_errors_do_not_flood(service: Any, db: Any, caplog: Any) -> None:
    """A processor logs a line for each job, and nothing while there is none."""
    caplog.set_level(logging.INFO, "lovely.remotetask")
    with processing(service):
        service.add("echo")
        transaction.commit()
        wait_for_status(db, 1, "completed")
    (line,) = caplog.messages
    assert line.startswith("service: job 1 of task 'echo' completed in ")


def test_other_processors(service: Any, db: Any) -> None:
    """A processor of the application's own need not have a ``stop``."""

    class Own:
        """Runs until its thread is told to stop."""

        def __init__(self, db: Any, path: list[str]) -> None:
            self.path = path

        def __call__(self) -> None:
            thread = threading.current_thread()
            wait_until(lambda: not thread.running)  # type: ignore[attr-defined]

    service.processorFactory, service.processorArguments = Own, {}
    service.startProcessing()
    assert service.isProcessing()
    assert service.stopProcessing(wait=True, timeout=20)
    transaction.abort()


def test_a_stopped_processor_stays_so(service: Any, db: Any) -> None:
    """A processor that was stopped does not begin again by itself."""
    processor = SimpleProcessor(db, ["service"])
    processor.stop()
    in_thread(processor)
    assert not processor.running
