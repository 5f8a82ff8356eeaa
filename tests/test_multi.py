"""Processors that run several jobs at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import transaction
from ZODB.POSException import StorageError

from lovely.remotetask import crew, hand, pace
from lovely.remotetask import processing as background
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import InvalidArgument, InvalidType, WorkerLost
from lovely.remotetask.outages import Outages
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.session import Claim, Session
from lovely.remotetask.wakeup import Bell
from tests.races.interleaved import check_committed
from tests.support import (
    Clocks,
    ask,
    counts,
    in_thread,
    open_connections,
    processing,
    put_service,
    register,
    wait_for_status,
    wait_until,
)


@pytest.fixture
def service(db: Any, tasks: None) -> Any:
    """A service whose jobs run two at a time."""
    service = put_service(db)
    service.processorFactory = MultiProcessor
    service.processorArguments = {"waitTime": 0.05, "maxThreads": 2}
    transaction.commit()
    return service


class Meeting:
    """A task that goes on when two run at once; it counts how many do."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, value: Any) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.barrier.wait(20)
        with self.lock:
            self.now -= 1


class Gate:
    """Where jobs of the task ``wait`` wait."""

    def __init__(self) -> None:
        self.here = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, value: Any) -> None:
        self.here.release()
        assert self.opened.wait(20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate, open at the end."""
    gate = Gate()
    register("wait", gate)
    yield gate
    gate.opened.set()


def processor_of(service: Any) -> Any:
    """What processes a service in the background."""
    found = background.of(service)
    assert found is not None
    return found._processor


def count(db: Any, status: str) -> int:
    """How many jobs have a status, as last committed."""
    return int(ask(db, lambda service: service.count(status)))


def test_two_at_once(service: Any, db: Any) -> None:
    """Two jobs run at once, and never more, each on a connection of its own."""
    meeting = Meeting()
    register("meet", meeting)
    opened = open_connections(db)
    for _ in range(8):
        service.add("meet")
    transaction.commit()
    with processing(service):
        wait_until(lambda: count(db, "completed") == 8)
    assert meeting.most == 2
    assert open_connections(db) == opened
    transaction.begin()
    assert counts(service) == {"completed": 8}
    assert service.workers == []
    check_committed(db)


def run_short_jobs(service: Any, count: int) -> list[int]:
    """Add jobs that do nothing and have them run; in which threads they are."""
    ran_by: list[int] = []
    register("short", lambda value: ran_by.append(threading.get_ident()))
    for _ in range(count):
        service.add("short")
    transaction.commit()
    wait_until(lambda: len(ran_by) == count)
    return ran_by


def test_short_jobs_need_one_thread(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has run a short job goes on, and the other threads do not mix in."""
    monkeypatch.setattr(crew, "SHORT_RUN", 5.0)
    monkeypatch.setattr(pace, "SHORT_TASK", 5.0)
    service.processorArguments = {"waitTime": 0.05, "maxThreads": 4}
    transaction.commit()
    with processing(service):
        run_short_jobs(service, 20)
        ran_by = run_short_jobs(service, 100)
    changes = sum(one != next_one for one, next_one in pairwise(ran_by))
    # Now and then another thread looks just between two runs.
    assert changes < 20


def test_a_job_that_is_not_short(service: Any, clocks: Clocks, gate: Gate) -> None:
    """After short ones, it does not hold up the other threads, whatever clocks say."""
    with processing(service):
        run_short_jobs(service, 20)
        service.add("wait")
        transaction.commit()
        assert gate.here.acquire(timeout=20)
        run_short_jobs(service, 20)
        gate.opened.set()


def test_what_can_be_seen(service: Any, gate: Gate) -> None:
    """A processor says how many jobs it may run, in which threads, and if it does."""
    service.add("wait")
    transaction.commit()
    with processing(service):
        assert gate.here.acquire(timeout=20)
        processor = processor_of(service)
        assert (processor.maxThreads, processor.running) == (2, True)
        threads = processor.threads
        assert len(threads) == 2
        assert all(thread.is_alive() and thread.daemon for thread in threads)
        transaction.begin()
        (worker,) = service.workers
        assert worker.threads == 2
        processor.stop()
        assert processor.running is False
        gate.opened.set()
    assert processor.threads == []
    assert not any(thread.is_alive() for thread in threads)


def test_before_the_start(db: Any) -> None:
    """A processor that was not started has no threads; five is the usual number."""
    assert SimpleProcessor(db, ["service"]).maxThreads == 1
    processor = MultiProcessor(db, ["service"])
    assert (processor.maxThreads, processor.threads) == (5, [])
    assert repr(processor) == "<MultiProcessor of service>"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (0, InvalidArgument),
        (-1, InvalidArgument),
        ("a", InvalidType),
        (True, InvalidType),
        (2.0, InvalidType),
        (None, InvalidType),
    ],
)
def test_bad_number(db: Any, bad: Any, error: type[Exception]) -> None:
    """The number of threads is an int from 1 on."""
    with pytest.raises(error, match=r"^maxThreads: "):
        MultiProcessor(db, ["service"], maxThreads=bad)


def test_jobs_that_fail(service: Any, db: Any) -> None:
    """Jobs that fail stop neither the others nor their threads."""
    ids = [service.add("fail" if n % 3 else "echo", n) for n in range(60)]
    transaction.commit()
    with processing(service):
        wait_until(lambda: count(db, "completed") + count(db, "error") == 60)
        assert all(thread.is_alive() for thread in processor_of(service).threads)
    transaction.begin()
    assert counts(service) == {"completed": 20, "error": 40}
    assert [service.jobs[jobid].attempt for jobid in ids] == [1] * 60
    check_committed(db)


def add_behind(service: Any, gate: Gate) -> tuple[list[int], list[int]]:
    """Quick jobs, two that wait, and quick ones behind them, processed till there.

    So quick that many are claimed at a time: the ids of the two, and of those
    behind.
    """
    for _ in range(60):
        service.add("echo")
    long = [service.add("wait"), service.add("wait")]
    behind = [service.add("echo") for _ in range(10)]
    transaction.commit()
    service.startProcessing()
    assert all(gate.here.acquire(timeout=20) for _ in long)
    return long, behind


@pytest.fixture
def at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims take a hundred jobs, however long those have taken."""
    monkeypatch.setattr(pace.Pace, "in_hand", lambda self, busy: 100)


@pytest.mark.usefixtures("at_a_time")
def test_stop(service: Any, db: Any, gate: Gate) -> None:
    """Who stops waits for the jobs that run; what was only claimed goes back."""
    long, behind = add_behind(service, gate)
    assert count(db, "processing") == 12
    assert service.stopProcessing(wait=True, timeout=0.05) is False
    wait_until(lambda: count(db, "queued") == 10)
    gate.opened.set()
    assert service.stopProcessing(wait=True, timeout=20) is True
    transaction.begin()
    assert counts(service) == {"completed": 62, "queued": 10}
    assert [service.jobs[jobid].attempt for jobid in (long[0], behind[0])] == [1, 0]
    check_committed(db)
    service.process()
    assert counts(service) == {"completed": 72}


@pytest.mark.usefixtures("at_a_time")
def test_behind_long_ones(
    service: Any, db: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has waited for too long for a thread goes back, and others run it."""
    monkeypatch.setattr(hand, "PATIENCE", 0.01)
    long, behind = add_behind(service, gate)
    wait_until(lambda: count(db, "queued") == 10)
    assert count(db, "processing") == 2
    check_committed(db)
    other = SimpleProcessor(db, ["service"])
    in_thread(lambda: [other.processNext() for _ in behind])
    for jobid in behind:
        wait_for_status(db, jobid, "completed")
    gate.opened.set()
    for jobid in long:
        wait_for_status(db, jobid, "completed")
    assert service.stopProcessing(wait=True, timeout=20)
    assert ask(db, lambda s: {s.jobs[jobid].attempt for jobid in behind}) == {1}
    check_committed(db)


def test_one_long_job_holds_nobody_up(service: Any, db: Any, gate: Gate) -> None:
    """While one thread is busy for long, the other runs what comes."""
    long = service.add("wait")
    transaction.commit()
    with processing(service):
        assert gate.here.acquire(timeout=20)
        ids = [service.add("echo", number) for number in range(30)]
        transaction.commit()
        for jobid in ids:
            wait_for_status(db, jobid, "completed")
        assert ask(db, lambda s: s.getStatus(long)) == "processing"
        gate.opened.set()
        wait_for_status(db, long, "completed")
    check_committed(db)


def test_pace_at_first() -> None:
    """What the first jobs take is believed at once, but followed step by step."""
    new = pace.Pace(1)
    assert [new.in_hand(1), new.in_hand(1)] == [1, 1]
    new.took(0.001)
    assert [new.in_hand(1), new.in_hand(1)] == [2, 4]
    new.took(0.999)
    assert new.in_hand(1) == 1


def test_pace_in_a_crowd() -> None:
    """Where workers reach for the same short jobs, each takes more at a time."""
    held, seconds = pace.Pace(1), 1 / 64
    ahead = int(pace.CLAIM_SECONDS / seconds)
    for _ in range(60):
        held.took(seconds)
    assert [held.in_hand(1) for _ in range(9)][-1] == 1 + ahead
    for _ in range(9):
        held.claimed(crowded=True)
    assert [held.in_hand(1) for _ in range(9)][-1] == 1 + pace.CROWD_MOST * ahead
    for _ in range(9):
        held.claimed(crowded=False)
    assert held.in_hand(1) == 1 + ahead
    held.claimed(crowded=True)
    held.took(60.0)
    assert held.in_hand(1) == 1  # what takes long waits for whoever is free


def test_pace() -> None:
    """More and more quick jobs are in hand, and at once fewer when one takes long."""
    quick = pace.Pace(2)
    assert quick.in_hand(2) == 2
    for _ in range(60):
        quick.took(0.001)
    growing = [quick.in_hand(2) for _ in range(12)]
    assert growing[:3] == [4, 8, 16]
    assert growing == sorted(growing)
    assert growing[-1] == 2 * (1 + pace.CLAIM_MOST)
    assert quick.in_hand(1) == 1 + pace.CLAIM_MOST
    quick.took(60.0)
    assert quick.in_hand(2) == quick.in_hand(1) == 2


def crew_of(size: int, bell: Bell, open_session: Any) -> Any:
    """A crew that looks only when the bell rings, with the sessions of a test."""
    return crew.Crew(
        size,
        1,
        open_session=open_session,
        bell=bell,
        waitTime=600,
        groupFinish=False,
        environment=Environment(),
        outages=Outages("service"),
    )


class Late:
    """A session that hears it is lost when there is a new worker already, or not."""

    def __init__(self, crew: Any, key: int) -> None:
        self.crew, self.key = crew, key

    def claim(self, *arguments: Any, **options: Any) -> Any:
        self.crew.key = self.key
        raise WorkerLost


@pytest.mark.parametrize(("found", "left"), [(1, None), (2, 2)])
def test_old_news(db: Any, found: int, left: int | None) -> None:
    """That a worker was lost says nothing of the one that has followed it."""
    idle = crew_of(0, Bell(db, b"\0" * 8), Late)
    with pytest.raises(WorkerLost):
        idle._claim(Late(idle, found))
    assert idle.key == left


class Quiet:
    """A session with nothing to do."""

    def claim(self, *arguments: Any, **options: Any) -> Claim:
        return Claim([])

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


class StoppedBell(Bell):
    """It rings because its crew was stopped, just before it is cleared."""

    crew: Any = None

    def clear(self) -> None:
        self.crew.stop()
        super().clear()


def test_a_stop_before_a_look(db: Any) -> None:
    """The ring of a stop is heard, also by a thread that is about to look."""
    bell = StoppedBell(db, b"\0" * 8)
    bell.crew = stopped = crew_of(2, bell, Quiet)
    stopped.start()
    assert stopped.has_ended(20)


def test_what_waits_again_after_an_error(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken soon, by whoever is free, though nobody rings for it."""
    monkeypatch.setattr(crew, "ERROR_WAIT", 0.05)
    monkeypatch.setattr(hand, "PATIENCE", 600.0)
    service.processorArguments = {"waitTime": 600, "maxThreads": 2}
    service.stalledAfter = 700
    transaction.commit()
    failed, resting = threading.Event(), threading.Event()
    run, wait = Session.run, Bell.wait

    def wait_and_tell(self: Bell, timeout: float) -> bool:
        resting.set()
        return wait(self, timeout)

    def run_or_fail(self: Session, *arguments: Any) -> None:
        if not failed.is_set():
            # Not before the other thread has looked for jobs and found none.
            resting.clear()
            assert resting.wait(20)
            failed.set()
            raise StorageError("The storage fails just now.")
        run(self, *arguments)

    monkeypatch.setattr(Bell, "wait", wait_and_tell)
    monkeypatch.setattr(Session, "run", run_or_fail)
    with processing(service):
        jobid = service.add("echo", 1)
        transaction.commit()
        wait_for_status(db, jobid, "completed")
    assert failed.is_set()


def test_calls_while_the_loop_runs(service: Any, db: Any) -> None:
    """A call to a processor that runs takes no job which its threads have."""
    opened, runs = threading.Event(), []

    def wait(value: Any) -> None:
        runs.append(value)
        assert opened.wait(20)

    register("wait", wait)
    for number in range(2):
        service.add("wait", number)
    transaction.commit()
    processor = MultiProcessor(db, ["service"], 0.05, maxThreads=2)
    thread = threading.Thread(target=processor)
    thread.start()
    try:
        wait_until(lambda: len(runs) == 2)
        assert not processor.processNext()
        assert processor.claimNextJob() is None
        assert len(ask(db, lambda s: s.workers)) == 1
    finally:
        opened.set()
        processor.stop()
        thread.join(20)
    assert sorted(runs) == [0, 1]
    assert ask(db, lambda s: s.count("completed")) == 2
