"""More of what was wrong in 0.5.2, and can't happen now."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask import states
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.job import KEPT_RUNS
from lovely.remotetask.task import EchoTask
from tests.support import (
    FakeEnvironment,
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


def test_never_due(service: Any) -> None:
    """Fault 5: what never matches is refused, and blocks nothing."""
    with pytest.raises(InvalidArgument, match="never comes in month"):
        service.addCronJob("echo", dayOfMonth=31, month=(2, 4))
    job = service.jobs[service.addCronJob("echo", dayOfMonth=29, month=2)]
    with pytest.raises(InvalidArgument, match="never comes in month"):
        job.update(dayOfMonth=30, month=2)
    jobid = service.add("echo", "behind")
    service.process(0)
    assert service.getResult(jobid) == "behind"
    assert (job.status, job.scheduledFor.year) == ("cronjob", 1972)


def test_far_dates(service: Any, environment: FakeEnvironment) -> None:
    """Fault 6: dates past 2038 block nothing, to the year 9999."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    once = service.addCronJob("echo", "last", at=last)
    environment.now = datetime(9999, 12, 31, tzinfo=timezone.utc).timestamp()
    hourly = service.addCronJob("echo", "hourly", minute=0, missed="all")
    yearly = service.addCronJob("echo", dayOfMonth=31, month=12, hour=12)
    service.process()
    service.process(last.timestamp())
    assert [service.getStatus(jobid) for jobid in (once, hourly)] == ["completed"] * 2
    assert len(service.jobs[hourly].runs) == KEPT_RUNS
    assert service.getStatus(yearly) == "completed"
    assert service.jobs[yearly].upcoming(1) == []


def test_what_is_due_is_found_at_once(service: Any, db: Any) -> None:
    """Fault 11: what is due is found without a look at all that is scheduled."""
    for _ in range(500):
        service.addCronJob("echo", dayOfMonth=1, minute=7)
    due = service.addCronJob("echo", "due", delay=1)
    service.process(0)
    transaction.commit()
    connection = db.open(transaction.TransactionManager())
    other = connection.root()["service"]
    other.processNext(1)
    assert other.getResult(due) == "due"
    assert loads(connection) < 35
    connection.transaction_manager.abort()
    connection.close()


def test_times_are_aligned(service: Any, environment: FakeEnvironment) -> None:
    """Fault 12: a time is that of a clock, in its zone, whenever the job was added."""
    environment.now = datetime(2026, 7, 1, 14, 37, 12, tzinfo=timezone.utc).timestamp()
    plain = service.addCronJob("echo", hour=3)
    local = service.addCronJob("echo", hour=3, timezone="Europe/Vienna")
    found = [str(service.jobs[jobid].scheduledFor) for jobid in (plain, local)]
    assert found == ["2026-07-02 03:00:00+00:00", "2026-07-02 01:00:00+00:00"]


def test_december_and_the_31st(service: Any) -> None:
    """Fault 13: months are 1 to 12 and days 1 to 31, and others are refused."""
    job = service.jobs[service.addCronJob("echo", dayOfMonth=31, month=12)]
    assert job.timeOfNextCall(0) == 364 * 24 * 3600
    for field in ("month", "dayOfMonth"):
        with pytest.raises(InvalidArgument, match=f"{field}: from 1 to"):
            service.addCronJob("echo", **{field: range(12)})


def test_missed_runs_are_told(service: Any, environment: FakeEnvironment) -> None:
    """Fault 14: runs that were missed are made up for, or noted as left out."""
    jobids = [service.addCronJob("echo", every=60, missed=m) for m in ("all", "latest")]
    environment.now += 185
    service.process()
    found = [[run.outcome for run in service.jobs[i].runs] for i in jobids]
    assert found == [["completed"] * 3, ["skipped", "completed"]]


def test_the_first_and_large_ids(service: Any) -> None:
    """Fault 17: cron jobs, too, have ids from 1 on, and past 2**31."""
    assert service.addCronJob("echo", minute=0) == 1
    transaction.commit()
    service._lanes._sequence.number = 2**32
    transaction.commit()
    for _ in range(200):
        jobid = service.addCronJob("echo", "large", minute=0)
    assert jobid > 2**32
    service.process(0)
    service.process(3600)
    assert service.getResult(1) is None
    assert service.getResult(jobid) == "large"
