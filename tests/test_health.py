"""What someone who watches over a service is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from typing import Any

import pytest
import transaction
from zope.interface.verify import verifyObject

from lovely.remotetask import processor, upkeep
from lovely.remotetask.callers import next_job
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.health import BUSY, IDLE, SILENT, STALLED, WORKING
from lovely.remotetask.interfaces import COMPLETED, ITaskService
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.support import (
    Clocks,
    FakeEnvironment,
    ask,
    processing,
    put_service,
    register,
    wait_until,
)

#: Longer than the service's ``stalledAfter``.
LONG = 61.0


@pytest.fixture
def sessions(db: Any, service: Any, clocks: Clocks) -> Iterator[list[Session]]:
    """Two workers of two threads each, whose lease is long."""
    clocks.now = clocks.storage
    with ExitStack() as stack:
        found = [stack.enter_context(closing(Session(db, ["service"]))) for _ in "12"]
        for session in found:
            session.register(2, Lease(5.0, 600.0))
        yield found


def wait(clocks: Clocks, sessions: list[Session], seconds: float = LONG) -> None:
    """Time passes, and the workers' hearts beat."""
    clocks.advance(seconds)
    clocks.now += seconds
    for session in sessions:
        session.beat()


def add(service: Any, *tasks: str) -> list[int]:
    """Commit new jobs; their ids."""
    jobids = [service.add(task) for task in tasks]
    transaction.commit()
    return jobids


def look(db: Any) -> Any:
    """What is said now, as it was committed."""
    return ask(db, lambda service: service.processing)


def states(db: Any) -> list[str]:
    """What each worker is doing."""
    return [state for _, state in look(db).workers]


def claim(session: Session, limit: int = 1, *in_hand: int) -> list[int]:
    """The jobs that a worker claims."""
    return session.claim(session.own_key, limit, in_hand).jobs


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def test_nothing_to_do(service: Any, environment: FakeEnvironment) -> None:
    """A service without jobs and workers is not stalled; nothing can be set."""
    found = service.processing
    assert found == (0, None, (), False)
    with pytest.raises(AttributeError):
        found.stalled = True
    with pytest.raises(AttributeError):
        service.processing = found
    assert verifyObject(ITaskService, service)
    transaction.abort()


def test_before_the_service_is_committed(tasks: None) -> None:
    """It can be asked without a database."""
    from lovely.remotetask import TaskService

    service = TaskService()
    service.add("echo")
    service.add("echo", startLater=True)
    assert service.processing.waiting == 1


def test_nobody_is_there(service: Any, environment: FakeEnvironment) -> None:
    """Jobs that wait without any worker are a stall, after a while."""
    began = environment.now
    add(service, "echo", "echo")
    environment.now += 59
    assert service.processing == (2, moment(began), (), False)
    environment.now += 2
    assert service.processing == (2, moment(began), (), True)
    service.process()
    assert service.processing == (0, None, (), False)
    transaction.abort()


def test_delayed_jobs(service: Any, environment: FakeEnvironment) -> None:
    """A job that waits for a time counts from then on, also in the schedule."""
    began = environment.now
    service.add("echo", delay=100)
    transaction.commit()
    for _ in range(2):
        environment.now = began + 99
        assert service.processing == (0, None, (), False)
        service.processNext()  # puts it into the schedule
        transaction.commit()
        environment.now = began + 159
        assert service.processing == (0, moment(began + 100), (), False)
        environment.now = began + 161
        assert service.processing.stalled
    transaction.abort()


@pytest.mark.parametrize("jobs", [0, 1, 2])
def test_how_busy(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session], jobs: int
) -> None:
    """A worker is idle, at work with a thread that is free, or busy."""
    add(service, *["echo"] * jobs)
    assert len(claim(sessions[0], 2)) == jobs
    assert states(db) == [[IDLE, WORKING, BUSY][jobs], IDLE]
    wait(clocks, sessions, 10 * LONG)
    assert states(db) == [[IDLE, WORKING, BUSY][jobs], IDLE]
    (worker, _), _ = look(db).workers
    assert worker == ask(db, lambda s: s.workers[0])
    assert worker.lastClaim < worker.heartbeat


def test_a_worker_that_takes_nothing(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker that lives and does not claim what is due is stalled."""
    add(service, "echo", "echo", "echo")
    wait(clocks, sessions, 50)
    assert (states(db), look(db).stalled) == ([IDLE, IDLE], False)
    wait(clocks, sessions, 11)
    assert (states(db), look(db).stalled) == ([STALLED, STALLED], True)
    assert claim(sessions[0]) == [1]
    assert (states(db), look(db).stalled) == ([WORKING, STALLED], False)
    assert claim(sessions[1]) == [2]
    wait(clocks, sessions)
    assert (states(db), look(db).stalled) == ([STALLED, STALLED], True)
    assert claim(sessions[1], 1, 2) == [3]
    assert (states(db), look(db).stalled) == ([WORKING, BUSY], False)
    wait(clocks, sessions)
    assert (states(db), look(db).stalled) == ([WORKING, BUSY], False)


def test_too_much_to_do_is_no_stall(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """Where all threads are busy, jobs wait for long without anything being wrong."""
    add(service, *["echo"] * 10)
    for session in sessions:
        claim(session, 2)
    wait(clocks, sessions, 10 * LONG)
    found = look(db)
    assert [state for _, state in found.workers] == [BUSY, BUSY]
    assert (found.waiting, found.stalled) == (6, False)
    assert clocks.now - found.oldest.timestamp() > 10 * LONG - 1


def test_a_new_worker_is_given_time(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker that has begun just now is not stalled, however long jobs waited."""
    add(service, "echo")
    wait(clocks, sessions, 10 * LONG)
    assert look(db).stalled
    with closing(Session(db, ["service"])) as third:
        third.register(1, Lease())
        assert states(db) == [STALLED, STALLED, IDLE]
        assert not look(db).stalled


def test_a_silent_worker(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker whose heart does not beat is silent, and takes nothing any more."""
    add(service, "echo", "echo")
    claim(sessions[0], 2)
    for session in sessions:
        session.beat()
    wait(clocks, sessions[1:], 19)
    assert states(db) == [BUSY, IDLE]
    wait(clocks, sessions[1:], 2)
    assert states(db) == [SILENT, IDLE]
    add(service, "echo")
    wait(clocks, sessions[1:])
    assert (states(db), look(db).stalled) == ([SILENT, STALLED], True)
    wait(clocks, [])
    assert (states(db), look(db).stalled) == ([SILENT, SILENT], True)


def test_clocks_that_differ(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """Who watches with a clock that is slow still sees who is silent."""
    for session in sessions:
        session.beat()
    clocks.advance(100)
    sessions[1].beat()
    clocks.now -= 1000
    assert states(db) == [SILENT, IDLE]


@pytest.mark.parametrize("ahead", [-1000, 1000])
def test_the_clock_of_a_machine_differs(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session], ahead: int
) -> None:
    """Who watches on a machine with workers goes by the storage's clock all the same.

    However far its own is ahead or behind.
    """
    clocks.now = clocks.storage + ahead
    for _ in range(2):
        wait(clocks, sessions, 5)
    assert [session.ahead for session in sessions] == [ahead, ahead]
    assert states(db) == [IDLE, IDLE]
    wait(clocks, sessions[1:], 15)
    assert states(db) == [IDLE, IDLE]
    wait(clocks, sessions[1:], 15)
    assert states(db) == [SILENT, IDLE]
    wait(clocks, [], 100)
    assert states(db) == [SILENT, SILENT]
    clocks.now -= ahead
    for _ in range(2):
        wait(clocks, sessions, 5)
    assert [session.ahead for session in sessions] == [0, 0]
    assert ask(db, lambda s: {worker.pulse.ahead for worker in s._workers}) == {0}


def test_the_time_of_each_storage(everywhere: Any, tasks: None) -> None:
    """A worker knows the storage's time when its heartbeat is committed."""
    put_service(everywhere)
    with closing(Session(everywhere, ["service"])) as session:
        session.register(1, Lease())
        session.beat()
        session.ahead = 1000
        session.beat()
        assert session.ahead == 0
        assert ask(everywhere, lambda s: [w.pulse.ahead for w in s._workers]) == [1000]
        session.leave()


def test_a_slow_commit_is_no_other_clock(
    service: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """Between the two looks at the clock, a commit may take its time."""
    clocks.now = clocks.storage
    session = sessions[0]
    commit = session.manager.commit

    def slow() -> None:
        clocks.advance(50)
        clocks.now += 50
        commit()
        clocks.advance(50)
        clocks.now += 50

    session.manager.commit = slow
    session.beat()
    assert session.ahead == 0


def test_a_clock_that_differs_is_told(
    service: Any, sessions: list[Session], clocks: Clocks, caplog: Any
) -> None:
    """A worker says so, once, if its machine's clock is wrong, or the storage's is."""
    clocks.now = clocks.storage + 400
    with processing(service):
        wait_until(lambda: "differ by 400 seconds" in caplog.text)
    caplog.clear()
    keeper = upkeep.Upkeep("service")
    for ahead in (-400, -401, 0, 299, 500):
        sessions[0].ahead = ahead
        keeper.notice_clock(sessions[0])
    first, second = [record.getMessage() for record in caplog.records]
    assert "differ by 400 seconds" in first
    assert "differ by 500 seconds" in second


def test_claims_by_hand(service: Any, db: Any, environment: FakeEnvironment) -> None:
    """A job that a caller has claimed makes nobody a worker."""
    add(service, "echo", "echo")
    service.claimNextJob()
    transaction.commit()
    environment.now += LONG
    assert look(db)[0] == 1
    assert look(db).workers == ()
    assert look(db).stalled


def test_suspects_wait_rightly(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """What waits while another job that a worker was lost with runs is no stall."""
    add(service, "echo", "echo")
    lost, other = sessions
    claim(lost, 2)
    lost.beat()
    other.rescue()
    for _ in range(3):
        wait(clocks, [other], 201)
        other.rescue()
    assert ask(db, lambda s: [job.crashes for job in s.jobs.values()]) == [1, 1]
    assert len(claim(other, 2)) == 1
    wait(clocks, [other])
    assert look(db).oldest is None
    assert (states(db), look(db).stalled) == ([WORKING], False)
    other.run(1, other.own_key)
    assert look(db).oldest is not None
    wait(clocks, [other])
    assert (states(db), look(db).stalled) == ([STALLED], True)


def cancel_many(service: Any, number: int) -> None:
    """Commit jobs that are cancelled where they wait."""
    for _ in range(number):
        service.cancel(service.add("echo"))
    transaction.commit()


def test_many_cancelled_jobs(
    service: Any, db: Any, environment: FakeEnvironment
) -> None:
    """Where more cancelled jobs lie in front than it looks at, it is as for them."""
    cancel_many(service, 1100)
    environment.now += LONG
    assert service.processing == (0, None, (), False)
    add(service, "echo")
    found = service.processing
    assert (found.waiting, found.stalled) == (1, True)
    # A worker that looks passes them, and the job is on time then.
    while not service.hasJobsWaiting():
        pass
    assert next_job(service) is not None
    transaction.abort()


@pytest.mark.parametrize("jobs", [10, 1000])
def test_the_backlog_costs_nothing(service: Any, db: Any, jobs: int) -> None:
    """It loads a few records and writes nothing, however many jobs wait."""
    add(service, *["echo"] * jobs)
    connection = db.open(transaction.TransactionManager())
    other = connection.root()["service"]
    connection.getTransferCounts(clear=True)
    assert other.processing.waiting == jobs
    assert connection.getTransferCounts()[0] < 30
    assert connection._registered_objects == []
    connection.transaction_manager.abort()
    connection.close()


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, InvalidArgument), ("60", InvalidType), (None, InvalidType)],
)
def test_bad_bound(service: Any, value: Any, error: type[Exception]) -> None:
    """A bound that makes no sense is told, by a start too."""
    service.stalledAfter = value
    with pytest.raises(error, match=r"^stalledAfter: "):
        assert service.processing
    with pytest.raises(error, match=r"^stalledAfter: "):
        service.startProcessing()
    assert not service.isProcessing()
    transaction.abort()


class Hanging:
    """Claims hang from now on, until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hangs, self.goes = threading.Event(), threading.Event()
        claim = Session.claim

        def hang(session: Session, *args: Any, **options: Any) -> Any:
            self.hangs.set()
            assert self.goes.wait(20)
            return claim(session, *args, **options)

        monkeypatch.setattr(Session, "claim", hang)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_lookout_that_hangs(
    service: Any,
    db: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    threads: int,
) -> None:
    """A crew that looks for nothing, while its worker lives, is seen and told once."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "STALL_SECONDS", 0.05)
    service.processorFactory, service.stalledAfter = MultiProcessor, 0.05
    service.processorArguments = {
        "waitTime": 0.01,
        "maxThreads": threads,
        "heartbeat": 0.05,
    }
    add(service, "echo")
    hanging = Hanging(monkeypatch)
    with processing(service):
        try:
            assert hanging.hangs.wait(20)
            wait_until(lambda: states(db) == [STALLED])
            assert look(db).stalled
            wait_until(lambda: "nobody has looked for jobs" in caplog.text)
            beat = ask(db, lambda s: s.workers[0].heartbeat)
            wait_until(lambda: ask(db, lambda s: s.workers[0].heartbeat) > beat)
        finally:
            hanging.goes.set()
        wait_until(lambda: ask(db, lambda s: s.count(COMPLETED)) == 1)
        wait_until(lambda: states(db) == [IDLE])
        assert not look(db).stalled
    told = [record for record in caplog.records if "nobody has" in record.message]
    assert [record.levelname for record in told] == ["ERROR"]


def test_a_long_job_is_no_stall(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A worker whose only thread has a job need not look for others."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "STALL_SECONDS", 0.05)
    goes = threading.Event()
    register("long", lambda value: goes.wait(20))
    service.processorArguments = {"waitTime": 0.01, "heartbeat": 0.05}
    service.stalledAfter = 0.1
    add(service, "long", "echo")
    with processing(service):
        wait_until(lambda: states(db) == [BUSY])
        began = ask(db, lambda s: s.workers[0].heartbeat)
        wait_until(
            lambda: (ask(db, lambda s: s.workers[0].heartbeat) - began).seconds >= 1
        )
        assert states(db) == [BUSY]
        goes.set()
        wait_until(lambda: ask(db, lambda s: s.count(COMPLETED)) == 2)
    assert caplog.records == []
