"""A service in a site: its background thread, started and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from zope.site.folder import Folder

from lovely.remotetask.errors import NotInDatabase
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.service import TaskService
from tests import sites
from tests.sites import THREAD, Gate, done, status
from tests.support import (
    in_thread,
    open_connections,
    processing,
    register,
    register_full,
)


@pytest.fixture
def site(db: Any) -> Any:
    """A site in Zope's root folder."""
    return sites.make_site(db)


@pytest.fixture
def service(site: Any, tasks: None) -> Any:
    """A service in the site."""
    return sites.put_service(site)


def test_thread_name(service: Any) -> None:
    """The thread is a daemon that is called after the service's path."""
    assert service._threadName() == THREAD
    with processing(service):
        (thread,) = [t for t in threading.enumerate() if t.name == THREAD]
        assert thread.daemon
        assert service.isProcessing()
    assert THREAD not in [t.name for t in threading.enumerate()]


def test_nothing_stays_open(service: Any, db: Any) -> None:
    """A service that is stopped leaves no thread and no open connection."""
    opened, threads = open_connections(db), threading.active_count()
    for _ in range(3):
        with processing(service):
            jobid = service.add("echo")
            transaction.commit()
            assert done(service, jobid) == "completed"
        assert open_connections(db) == opened
        assert threading.active_count() == threads
    transaction.begin()
    assert service.workers == []


def test_without_a_place(caplog: Any) -> None:
    """A service without a parent ignores starting, one without a name stopping."""
    service = TaskService()
    assert service.startProcessing() is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "has no __parent__, so it is not started: put it into" in caplog.text
    assert service.isProcessing() is False
    assert service.stopProcessing() is True
    assert service.waitProcessing() is True


def test_not_in_a_database() -> None:
    """A service whose parents are in no database can't be started."""
    service = TaskService()
    service.__parent__, service.__name__ = Folder(), "service"
    with pytest.raises(NotInDatabase, match="Put it into one and commit"):
        service.startProcessing()
    assert service.isProcessing() is False
    assert service.stopProcessing(wait=True) is True


def test_started_before_the_commit(site: Any, tasks: None) -> None:
    """A service may be started in the transaction that puts it into the database."""
    folder = site.getSiteManager()["default"]
    folder["new"] = service = TaskService()
    service.processorArguments = {"waitTime": 0.05}
    with processing(service):
        jobid = service.add("echo")
        transaction.commit()
        assert done(service, jobid) == "completed"


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate, open at the end."""
    gate = Gate()
    register("wait", gate)
    yield gate
    gate.opened.set()


def test_stop_while_a_job_runs(service: Any, gate: Gate) -> None:
    """Stopping returns at once or waits, and the job that runs is finished."""
    first, second = service.add("wait"), service.add("echo")
    transaction.commit()
    service.startProcessing()
    assert gate.reached.wait(20)
    begun = time.monotonic()
    assert service.stopProcessing() is False
    assert service.stopProcessing(wait=True, timeout=0.05) is False
    assert service.waitProcessing(0.05) is False
    assert time.monotonic() - begun < 5
    assert service.isProcessing() is False
    gate.opened.set()
    assert service.waitProcessing(20) is True
    assert status(service, first) == "completed"
    assert status(service, second) == "queued"


def test_restart_while_a_job_runs(service: Any, gate: Gate) -> None:
    """A service that is started again meanwhile keeps the order of its jobs."""
    order: list[int] = []
    register("note", order.append)
    first = service.add("wait")
    ids = [service.add("note", number) for number in range(5)]
    transaction.commit()
    service.startProcessing()
    assert gate.reached.wait(20)
    service.stopProcessing()
    with processing(service):
        assert service.isProcessing()
        assert status(service, first) == "processing"
        assert order == []
        gate.opened.set()
        assert done(service, ids[-1]) == "completed"
    assert order == list(range(5))


def test_stopped_by_a_job(service: Any) -> None:
    """A job may stop its own service, even waiting, without a deadlock."""
    register_full("stop", lambda service, jobid, input: service.stopProcessing(True))
    jobid = service.add("stop")
    transaction.commit()
    service.startProcessing()
    assert done(service, jobid) == "completed"
    assert service.waitProcessing(20) is True


def test_told_by_the_thread(service: Any) -> None:
    """Whoever knows the thread may stop it by its attribute, as of old."""
    service.startProcessing()
    (thread,) = [t for t in threading.enumerate() if t.name == THREAD]
    thread.running = False  # type: ignore[attr-defined]
    thread.join(20)
    assert not thread.is_alive()
    assert service.isProcessing() is False


def test_closed_under_a_processor(db: Any, service: Any) -> None:
    """A processor whose database has been closed ends by itself."""
    processor = SimpleProcessor(db, ["site1", *THREAD.split(".")[2:]])
    assert processor.hasJobsWaiting() is False
    transaction.abort()
    db.close()
    in_thread(processor)
    assert processor.running is False


def test_other_thread_sees_it(service: Any, db: Any) -> None:
    """Any thread may ask whether the service is being processed, and stop it."""
    service.startProcessing()

    def ask_there() -> Any:
        with db.transaction() as connection:
            there = connection.root()["Application"]["site1"].getSiteManager()
            mine = there["default"]["testTaskService1"]
            return mine.isProcessing(), mine.stopProcessing(wait=True, timeout=20)

    assert in_thread(ask_there) == (True, True)
    assert service.isProcessing() is False


def test_wakes_at_the_commit(service: Any, site: Any, db: Any) -> None:
    """The commit that adds a job wakes the processor, however rarely it looks."""
    service.processorArguments, service.stalledAfter = {"waitTime": 1000}, 2000
    transaction.commit()
    with processing(service):
        for _ in range(3):
            jobid = service.add("echo", startLater=True)
            transaction.commit()
            service.startJob(jobid)
            transaction.commit()
            assert done(service, jobid) == "completed"
