"""Jobs that run in the caller's transaction, which may end in many ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import transaction
from ZODB.POSException import ConflictError

from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed
from tests.support import Clocks, ask, counts, in_thread, register, register_full

#: What a caller's claim is good for, and a bit more (seconds).
LONGER = Lease().seconds + 1


@pytest.fixture
def committing(service: Any) -> list[int]:
    """A task ``commit``, which commits before it is over; the jobs that it ran."""
    runs: list[int] = []

    def commit(service: Any, jobid: int, input: Any) -> Any:
        runs.append(jobid)
        transaction.commit()
        return input

    register_full("commit", commit)
    return runs


@pytest.fixture
def stopping(service: Any) -> None:
    """A task ``stop``, which ends the call."""

    def stop(value: Any) -> None:
        raise KeyboardInterrupt

    register("stop", stop)


@pytest.fixture
def worker(db: Any, service: Any, clocks: Clocks) -> Iterator[Session]:
    """A processor's worker in this process, with transactions of its own."""
    with closing(in_thread(lambda: Session(db, ["service"]))) as session:
        session.register(1, Lease())
        session.rescue()
        yield session


def add(service: Any, *tasks: str) -> list[int]:
    """Commit new jobs; their ids."""
    ids = [service.add(task) for task in tasks]
    transaction.commit()
    return ids


def abort_after(service: Any) -> None:
    """Process in a transaction that the caller aborts."""
    service.process()
    transaction.abort()


def committed(db: Any) -> dict[str, int]:
    """How many jobs there are of each status, in a sound database."""
    check_committed(db)
    return ask(db, counts)


def test_the_caller_aborts(service: Any, db: Any, committing: list[int]) -> None:
    """What a task has committed of its own job is taken back by the next call."""
    (first, second) = add(service, "commit", "echo")
    abort_after(service)
    assert committing == [first]
    assert committed(db) == {"processing": 1, "queued": 1}
    service.process()
    transaction.commit()
    assert committed(db) == {"completed": 2}
    assert committing == [first, first]
    assert [service.jobs[jobid].attempt for jobid in (first, second)] == [1, 1]
    assert service.workers == []


def test_the_order_stays(service: Any, db: Any, committing: list[int]) -> None:
    """It is taken back to its place."""
    first, second, third = add(service, "commit", "echo", "echo")
    abort_after(service)
    for jobid in (first, second, third):
        assert service.processNext()
        assert service.getStatus(jobid) == "completed"
    transaction.commit()
    assert committed(db) == {"completed": 3}


def test_another_task_stops_it(
    service: Any, db: Any, committing: list[int], stopping: None
) -> None:
    """So it is if the call has not come to its end."""
    first, second = add(service, "commit", "stop")
    with pytest.raises(KeyboardInterrupt):
        service.process()
    transaction.abort()
    assert committed(db) == {"processing": 1, "queued": 1}
    assert service.processNext()
    transaction.commit()
    assert committing == [first, first]
    assert service.getStatus(second) == "queued"
    assert committed(db) == {"completed": 1, "queued": 1}


def test_the_next_task_commits(service: Any, db: Any, committing: list[int]) -> None:
    """With the commit of another task's, its end is committed too."""
    ids = add(service, "commit", "commit", "commit")
    abort_after(service)
    assert committing == ids
    assert committed(db) == {"completed": 2, "processing": 1}
    service.process()
    transaction.commit()
    assert committing == [*ids, ids[-1]]
    assert committed(db) == {"completed": 3}


def test_a_processor_takes_it_back(
    service: Any, db: Any, committing: list[int], worker: Session
) -> None:
    """A processor of the process does so at once."""
    (jobid,) = add(service, "commit")
    abort_after(service)
    worker.rescue()
    assert committed(db) == {"queued": 1}
    assert worker.claim_next() == [jobid]
    assert ask(db, lambda s: s.jobs[jobid].attempt) == 1


def test_what_runs_is_left_alone(
    service: Any, db: Any, committing: list[int], worker: Session
) -> None:
    """Meanwhile the job is nobody else's, and shows as being processed."""
    seen: list[Any] = []

    def look() -> str:
        worker.rescue()
        seen.append(worker.claim(worker.own_key, 1).jobs)
        seen.append(committed(db))
        return "well"

    committing_look(look)
    (jobid,) = add(service, "commit")
    service.process()
    worker.rescue()
    assert seen == [[], {"processing": 1}]
    transaction.commit()
    worker.rescue()
    assert committed(db) == {"completed": 1}
    assert service.getResult(jobid) == "well"
    assert [info.threads for info in service.workers] == [1]


def look_on(worker: Session, clocks: Clocks) -> None:
    """A worker looks now and then, for longer than a lease."""
    for _ in range(4):
        worker.beat()
        worker.rescue()
        clocks.advance(LONGER / 3)


def committing_look(look: Any) -> None:
    """The task ``commit`` looks around once it has committed."""

    def commit(value: Any) -> Any:
        transaction.commit()
        return look()

    register("commit", commit)


def test_a_lost_call(
    service: Any, db: Any, clocks: Clocks, worker: Session, committing: list[int]
) -> None:
    """A call that takes too long is taken for lost, and overwrites nothing then."""

    def be_late() -> str:
        look_on(worker, clocks)
        assert worker.claim_next() == [jobid]
        register("commit", lambda value: "in time")
        worker.run(jobid, worker.own_key)
        return "too late"

    committing_look(be_late)
    (jobid,) = add(service, "commit")
    service.process()
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    assert committed(db) == {"completed": 1}
    assert service.getResult(jobid) == "in time"
    assert service.jobs[jobid].crashes == 1


def test_another_worker_has_it(
    service: Any, db: Any, clocks: Clocks, worker: Session, committing: list[int]
) -> None:
    """Neither does it end what another worker runs meanwhile."""

    def be_late() -> str:
        look_on(worker, clocks)
        assert worker.claim_next() == [jobid]
        transaction.begin()
        return "too late"

    committing_look(be_late)
    (jobid,) = add(service, "commit")
    service.process()
    transaction.commit()
    assert committed(db) == {"processing": 1}
    register("commit", lambda value: "in time")
    worker.run(jobid, worker.own_key)
    assert ask(db, lambda s: s.getResult(jobid)) == "in time"
    assert committed(db) == {"completed": 1}


def test_a_process_that_died(
    service: Any, db: Any, clocks: Clocks, committing: list[int]
) -> None:
    """The next call takes back what a process that is gone has left, as a crash."""
    clocks.name = "here/1/1"
    (jobid,) = add(service, "commit")
    abort_after(service)
    clocks.name = "here/2/2"
    service.process()
    transaction.commit()
    assert committed(db) == {"processing": 1}
    clocks.gone.add("here/1/1")
    service.process()
    transaction.commit()
    assert committed(db) == {"completed": 1}
    job = service.jobs[jobid]
    assert (job.attempt, job.crashes) == (2, 1)


def test_interrupted_after_its_commit(
    service: Any, db: Any, committing: list[int], clocks: Clocks
) -> None:
    """Ctrl-C in a job that has committed queues it as before."""

    def press() -> None:
        raise KeyboardInterrupt

    committing_look(press)
    (jobid,) = add(service, "commit")
    with pytest.raises(KeyboardInterrupt):
        service.process()
    transaction.commit()
    assert committed(db) == {"queued": 1}
    assert (service.jobs[jobid].attempt, service.workers) == (0, [])


def test_interrupted_after_a_claim_by_hand(
    service: Any, db: Any, stopping: None
) -> None:
    """So it does one that was claimed by itself, which is counted once."""
    add(service, "stop")
    jobid = service.claimNextJob()
    transaction.commit()
    with pytest.raises(KeyboardInterrupt):
        service.processNext(jobid=jobid)
    transaction.commit()
    assert committed(db) == {"queued": 1}
    assert service.workers == []


def test_a_conflict_after_an_abort(service: Any, db: Any, worker: Session) -> None:
    """A job that runs again after its task has ended the transaction is claimed."""
    seen: list[Any] = []

    def conflict(value: Any) -> str:
        if not seen:
            transaction.abort()
            seen.append(service.getStatus(jobid))
            raise transaction.interfaces.TransientError
        transaction.commit()
        seen.append(ask(db, lambda s: s.getStatus(jobid)))
        return "well"

    register("conflict", conflict)
    (jobid,) = add(service, "conflict")
    service.process()
    transaction.commit()
    assert seen == ["queued", "processing"]
    assert service.getResult(jobid) == "well"
    assert service.jobs[jobid].attempt == 1
    assert committed(db) == {"completed": 1}
