"""Workers that are lost: who notices, and what becomes of their jobs."""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import transaction
import zope.event

from lovely.remotetask import processor
from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import InvalidArgument, InvalidType, WorkerLost
from lovely.remotetask.events import JobFailed, JobsRescued, RunEnded
from lovely.remotetask.listing import find
from lovely.remotetask.own import transact
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from lovely.remotetask.session import Session
from lovely.remotetask.task import SimpleTask
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed
from tests.support import (
    Clocks,
    ask,
    counts,
    fail,
    processing,
    provide,
    register,
    wait_for_status,
    wait_until,
)

#: Beats every 5 seconds; silent for longer than 60, a worker is lost.
LEASE = Lease(5.0, 60.0)


@pytest.fixture
def sessions(db: Any, service: Any) -> Iterator[list[Session]]:
    """Two workers."""
    with ExitStack() as stack:
        found = [stack.enter_context(closing(Session(db, ["service"]))) for _ in "12"]
        for session in found:
            session.register(1, LEASE)
        yield found


def look(session: Session) -> None:
    """A worker does what it does now and then."""
    session.beat()
    session.rescue()


def watch(session: Session, clocks: Clocks, seconds: float = 61) -> None:
    """Time passes, and a worker looks now and then."""
    for _ in range(4):
        clocks.advance(seconds / 4)
        look(session)


def add(service: Any, *tasks: str) -> list[int]:
    """Commit new jobs; their ids."""
    ids = [service.add(task) for task in tasks]
    transaction.commit()
    return ids


def claim(session: Session, limit: int = 1, **options: Any) -> list[int]:
    """The jobs that a worker claims."""
    return session.claim(session.own_key, limit, **options).jobs


def status(db: Any, jobid: int) -> str:
    """A job's status, as last committed."""
    return str(ask(db, lambda service: service.getStatus(jobid)))


@pytest.mark.parametrize(
    ("lease", "error", "name"),
    [
        ((0, 60), InvalidArgument, "heartbeat"),
        ((-1, 60), InvalidArgument, "heartbeat"),
        (("5", 60), InvalidType, "heartbeat"),
        ((True, 60), InvalidType, "heartbeat"),
        ((5, 9.9), InvalidArgument, "lease"),
        ((5, math.inf), InvalidArgument, "lease"),
        ((5, math.nan), InvalidArgument, "lease"),
        ((5, None), InvalidType, "lease"),
    ],
)
@pytest.mark.parametrize("factory", [SimpleProcessor, MultiProcessor])
def test_bad_leases(
    db: Any, factory: Any, lease: Any, error: type[Exception], name: str
) -> None:
    """A heart beats now and then, at least twice in a lease."""
    with pytest.raises(error, match=f"^{name}: "):
        factory(db, ["service"], heartbeat=lease[0], lease=lease[1])


def test_good_leases() -> None:
    """A lease may be just twice as long as the time between two heartbeats."""
    assert Lease.checked(5, 10) == (5, 10)
    assert Lease.checked(*Lease()) == Lease()


def test_what_is_known(service: Any, sessions: list[Session]) -> None:
    """A service tells who its workers are, and what they hold."""
    ids = add(service, "echo", "echo", "echo")
    before = datetime.now(timezone.utc) - timedelta(minutes=1)
    assert claim(sessions[0], 2) == ids[:2]
    sessions[0].run(ids[0], sessions[0].own_key)
    transaction.begin()
    first, second = service.workers
    assert first.identity != second.identity
    assert (first.host, first.pid) == (socket.gethostname(), os.getpid())
    assert (first.threads, first.lease) == (1, LEASE)
    assert (first.held, second.held) == ((ids[1],), ())
    assert first.started > before
    assert first.heartbeat > before
    for session in sessions:
        session.leave()
    transaction.begin()
    assert service.workers == []
    assert counts(service) == {"completed": 1, "queued": 2}


def test_before_the_commit(service: Any) -> None:
    """A claim by hand shows as a worker without threads, whose heart has not beaten."""
    jobid = service.add("echo")
    assert service.claimNextJob() == jobid
    (worker,) = service.workers
    assert (worker.threads, worker.held, worker.heartbeat) == (0, (jobid,), None)
    service.processNext(jobid=jobid)
    assert service.workers == []


def test_silent_for_too_long(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker that is silent for longer than its lease is lost, no sooner."""
    silent, other = sessions
    (jobid,) = add(service, "echo")
    assert claim(silent) == [jobid]
    look(silent)
    look(other)
    watch(other, clocks, 59)
    assert status(db, jobid) == "processing"
    clocks.advance(2)
    look(other)
    assert status(db, jobid) == "queued"
    assert len(ask(db, lambda s: s.workers)) == 1
    assert claim(other) == [jobid]
    other.run(jobid, other.own_key)
    assert status(db, jobid) == "completed"
    check_committed(db)


def test_nobody_could_look(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """After an outage of the storage, or a stall of its own, nobody calls others lost.

    They have to be silent while one looks: their hearts could not beat, either.
    """
    silent, other = sessions
    (jobid,) = add(service, "echo")
    assert claim(silent) == [jobid]
    look(silent)
    look(other)
    clocks.advance(1000)
    look(other)
    clocks.advance(2 * LEASE.heartbeat)
    look(other)
    assert status(db, jobid) == "processing"
    clocks.advance(1)
    look(other)
    assert status(db, jobid) == "queued"


def test_a_short_lease(service: Any, db: Any, clocks: Clocks) -> None:
    """Who looks as rarely as a whole heartbeat, or more so, still sees who is lost."""
    with closing(Session(db, ["service"])) as lost:
        lost.register(1, Lease(0.5, 2.0))
        (jobid,) = add(service, "echo")
        assert claim(lost) == [jobid]
        with closing(Session(db, ["service"])) as other:
            other.register(1, Lease(0.5, 2.0))
            for _ in range(4):
                look(other)
                clocks.advance(1.1)
            assert status(db, jobid) == "queued"


def test_who_beats_lives(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker that beats keeps its jobs for ever, even one that looks alone."""
    (jobid,) = add(service, "echo")
    assert claim(sessions[0]) == [jobid]
    for _ in range(5):
        clocks.advance(50)
        for session in sessions:
            look(session)
    clocks.advance(1000)
    look(sessions[0])
    assert status(db, jobid) == "processing"
    check_committed(db)


def test_a_jump_of_the_storages_clock(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A jump alone makes nobody lost; one must have been silent since, too."""
    silent, other = sessions
    (jobid,) = add(service, "echo")
    assert claim(silent) == [jobid]
    look(silent)
    look(other)
    clocks.storage += 100_000
    look(other)
    for seconds in (5, 4):
        clocks.advance(seconds)
        look(other)
    assert status(db, jobid) == "processing"
    clocks.advance(2)
    look(other)
    assert status(db, jobid) == "queued"


def test_a_clock_that_stands_still(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """Nobody is lost by the watcher's own clock alone."""
    (jobid,) = add(service, "echo")
    assert claim(sessions[0]) == [jobid]
    look(sessions[1])
    clocks.passed += 100_000
    look(sessions[1])
    assert status(db, jobid) == "processing"


def test_who_comes_back(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A worker that was lost meanwhile is told so, and overwrites nothing."""
    slow, other = sessions
    runs: list[int] = []

    def work(value: Any) -> str:
        runs.append(len(runs))
        if len(runs) == 1:
            look(other)
            watch(other, clocks)
            assert claim(other) == [jobid]
            other.run(jobid, other.own_key)
            return "too late"
        return "in time"

    register("work", work)
    (jobid,) = add(service, "work")
    look(slow)
    assert claim(slow) == [jobid]
    slow.run(jobid, slow.own_key)
    assert runs == [0, 1]
    assert ask(db, lambda s: s.getResult(jobid)) == "in time"
    for verb in (slow.beat, lambda: slow.show({}), lambda: claim(slow)):
        with pytest.raises(WorkerLost, match="jobs have been taken back"):
            verb()
    slow.give_back([jobid])
    slow.leave()
    assert status(db, jobid) == "completed"
    check_committed(db)


def fall_silent(lost: Session, other: Session, clocks: Clocks) -> None:
    """A worker is not heard of for longer than its lease; another one notices."""
    look(lost)
    look(other)
    watch(other, clocks)


def lose(db: Any) -> None:
    """Every worker is taken for lost; a claim at the same time is a conflict."""
    oid = ask(db, lambda service: service._p_oid)
    transact(
        db,
        oid,
        lambda service: service._workers.rescue(service, lambda worker: True),
        Environment(),
    )


def test_suspects_come_alone(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """A job that a worker was lost with is claimed alone, one at a time."""
    lost, other = sessions
    ids = add(service, "echo", "echo")
    assert claim(lost, 2) == ids
    look(lost)
    look(other)
    clocks.now += 1
    (fresh,) = add(service, "echo")
    clocks.now += 1
    watch(other, clocks)
    assert claim(other, 10) == [fresh]
    assert claim(other, 10, in_hand=[fresh], suspects=False) == []
    found = other.claim(other.own_key, 10, [fresh])
    assert (found.jobs, found.suspect) == (ids[:1], True)
    check_committed(db)
    # The other one waits, and holds up nothing.
    in_hand = [fresh, ids[0]]
    (behind,) = add(service, "echo")
    assert claim(other, 10, in_hand=in_hand, suspects=False) == [behind]
    other.give_back([ids[0]])
    assert [job.id for job in ask(db, lambda s: list(s._queue))] == ids
    check_committed(db)


def test_a_suspect_that_fails_in_the_usual_way(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """An attempt that ends, ends the row of crashes: the job is no suspect then."""
    lost, other = sessions
    provide("retried", SimpleTask(fail, retry=1))
    (jobid,) = add(service, "retried")
    assert claim(lost) == [jobid]
    fall_silent(lost, other, clocks)
    assert ask(db, lambda s: s.jobs[jobid].crashes) == 1
    assert claim(other) == [jobid]
    other.run(jobid, other.own_key)
    assert ask(db, lambda s: s.jobs[jobid].crashes) == 0
    assert status(db, jobid) == "delayed"
    check_committed(db)


def test_a_suspect_whose_claim_went_unheard(
    service: Any, db: Any, clocks: Clocks, sessions: list[Session]
) -> None:
    """It is a suspect all the same: the worker takes no second one beside it."""
    lost, other = sessions
    ids = add(service, "echo", "echo")
    assert claim(lost, 2) == ids
    fall_silent(lost, other, clocks)
    assert claim(other) == ids[:1]
    found = other.claim(other.own_key, 10, in_hand=[])
    assert (found.jobs, found.suspect) == (ids[:1], True)
    check_committed(db)


def crash_too_often(db: Any, clocks: Clocks, jobid: int) -> None:
    """Several workers are lost with a job, one after the other."""
    with closing(Session(db, ["service"])) as watcher:
        watcher.register(1, LEASE)
        for crash in range(1, MOST_CRASHES + 1):
            with closing(Session(db, ["service"])) as lost:
                lost.register(1, LEASE)
                assert lost.claim_job(jobid) == [jobid]
            look(watcher)
            watch(watcher, clocks)
            assert ask(db, lambda s: s.jobs[jobid].crashes) == crash


def test_crashes_are_told(service: Any, db: Any, clocks: Clocks, caplog: Any) -> None:
    """Each crash is logged, and is among the job's attempts."""
    (jobid,) = add(service, "echo")
    crash_too_often(db, clocks, jobid)
    about = f"service: job {jobid} of task 'echo' is"
    assert caplog.text.count(f"{about} queued again: The worker in process") == 2
    (error,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert error.getMessage().startswith(f"{about} given up: 3 workers in a row were")
    attempts = ask(db, lambda s: s.jobs[jobid].attempts)
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert {attempt.failure.type for attempt in attempts} == {"WorkerLost"}
    assert attempts[0].started is None
    assert attempts[0].ended is not None


def test_too_many_crashes(service: Any, db: Any, clocks: Clocks) -> None:
    """After several workers were lost with it, a job is in error, and says why."""
    heard: list[Any] = []
    zope.event.subscribers.append(heard.append)
    jobid, other = add(service, "echo", "echo")
    crash_too_often(db, clocks, jobid)
    assert status(db, jobid) == "error"
    assert "3 workers in a row were lost" in ask(db, lambda s: s.getError(jobid))
    assert [e.object.id for e in heard if isinstance(e, JobFailed)] == [jobid]
    check_committed(db)
    transaction.begin()
    assert service.retry(jobid)
    assert service.jobs[jobid].crashes == 0
    service.process()
    transaction.commit()
    assert (status(db, jobid), status(db, other)) == ("completed", "completed")


def test_a_processor_rescues(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor beats, and runs the jobs of a worker that does not."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.02)
    service.processorArguments = {"waitTime": 0.02, "heartbeat": 0.05, "lease": 0.2}
    (jobid,) = add(service, "echo")
    with closing(Session(db, ["service"])) as silent:
        silent.register(1, Lease(0.05, 0.1))
        assert claim(silent) == [jobid]
    with processing(service):
        wait_for_status(db, jobid, "completed")
        (worker,) = ask(db, lambda s: s.workers)
        assert worker.lease == (0.05, 0.2)
        seen = {worker.heartbeat}
        wait_until(lambda: len(seen | beats(db, seen)) > 3)
    assert ask(db, lambda s: (s.jobs[jobid].attempt, s.jobs[jobid].crashes)) == (2, 1)
    check_committed(db)


def test_a_subscriber_that_raises_anything(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that calls sys.exit ends no processor."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.02)
    service.processorArguments = {"waitTime": 0.02, "heartbeat": 0.05, "lease": 0.2}
    (jobid,) = add(service, "echo")
    heard: list[Any] = []

    def leave(event: Any) -> None:
        if isinstance(event, (JobsRescued, RunEnded)):
            heard.append(type(event))
            sys.exit()

    with closing(Session(db, ["service"])) as silent:
        silent.register(1, Lease(0.05, 0.1))
        assert claim(silent) == [jobid]
    zope.event.subscribers.append(leave)
    with processing(service):
        wait_for_status(db, jobid, "completed")
        (jobid,) = add(service, "echo")
        wait_for_status(db, jobid, "completed")
        wait_until(lambda: len(heard) == 3)
        assert service.isProcessing()
    assert heard == [JobsRescued, RunEnded, RunEnded]
    check_committed(db)


def beats(db: Any, seen: set[Any]) -> set[Any]:
    """The heartbeats seen so far, and those of now."""
    seen.update(worker.heartbeat for worker in ask(db, lambda s: s.workers))
    return seen


@pytest.mark.parametrize("factory", [SimpleProcessor, MultiProcessor])
def test_a_processor_that_was_lost(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any, factory: Any
) -> None:
    """A processor that was taken for lost goes on as a new worker by itself."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.02)
    reached, opened, runs = threading.Event(), threading.Event(), iter((1, 2, 3))

    def work(value: Any) -> int:
        number = next(runs)
        reached.set()
        assert number > 1 or opened.wait(20)
        return number

    register("work", work)
    service.processorFactory = factory
    service.processorArguments = {"waitTime": 0.02, "heartbeat": 0.02}
    jobid, behind = add(service, "work", "echo")
    with processing(service):
        assert reached.wait(20)
        (before,) = ask(db, lambda s: s.workers)
        lose(db)
        wait_until(lambda: "Going on as a new worker" in caplog.text)
        (after,) = wait_until(lambda: ask(db, lambda s: s.workers))
        opened.set()
        wait_for_status(db, jobid, "completed")
        wait_for_status(db, behind, "completed")
    assert before.identity != after.identity
    assert ask(db, lambda s: (s.getResult(jobid), s.jobs[jobid].attempt)) == (2, 2)
    assert ask(db, lambda s: s.workers) == []
    check_committed(db)


def test_a_held_job_that_is_gone_stops_nobody(
    db: Any, service: Any, sessions: list[Session], monkeypatch: Any
) -> None:
    """That is a damage: workers go on, are seen and are rescued all the same."""
    register("echo", lambda value: value)
    [jobid, other] = add(service, "echo", "echo")
    assert claim(sessions[0]) == [jobid]
    record = service._workers.get(sessions[0].own_key)
    record.held = (*record.held, 999)
    transaction.commit()
    assert [worker.held for worker in service.workers] == [(jobid,), ()]
    assert len(service.processing.workers) == 2
    assert service.count("processing") == 1
    assert [job.id for job in find(service, status="processing").jobs] == [jobid]
    assert not find(service, status="error").jobs
    assert claim(sessions[0], in_hand=[jobid]) == [other]
    sessions[0].run(other, sessions[0].own_key)
    record = service._workers.get(sessions[0].own_key)
    record.held = (*record.held, 999)
    transaction.commit()
    monkeypatch.setattr(Environment, "is_gone", lambda self, process: True)
    sessions[1].rescue()
    transaction.begin()
    assert [service.getStatus(i) for i in (jobid, other)] == ["queued", "completed"]
