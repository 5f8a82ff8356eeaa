"""Commits that meet at the worst moment; each of these was thought out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from transaction.interfaces import TransientError

from lovely.remotetask.blocks import LOG_SIZE, SLOTS
from lovely.remotetask.callers import next_job
from lovely.remotetask.errors import WorkerLost
from lovely.remotetask.session import Session
from lovely.remotetask.states import COMPLETED, PROCESSING, QUEUED
from lovely.remotetask.table import SHARDS
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed, clients
from tests.support import FakeEnvironment, ask, register


def claim_with(client: Any, key: int) -> Any:
    """In a client's transaction: the next job, claimed for a worker."""
    job = next_job(client.service)
    client.service._workers.claim(client.service, key, [job])
    return job


def test_a_claim_that_meets_a_rescue_is_not_lost(
    db: Any, service: Any, environment: FakeEnvironment
) -> None:
    """A worker that is taken for dead while it claims does not keep the job."""
    with clients(db, 2) as (slow, rescuer):
        first, second = slow.service.add("echo"), slow.service.add("echo")
        key = slow.service._workers.register(slow.service)
        slow.commit()
        claim_with(slow, key)
        slow.commit()
        rescuer.abort()
        claim_with(slow, key)
        rescuer.service._workers.rescue(rescuer.service, lambda worker: True)
        rescuer.commit()
        with pytest.raises(TransientError):
            slow.commit()
        slow.abort()
        statuses = [slow.service.getStatus(jobid) for jobid in (first, second)]
        assert statuses == [QUEUED, QUEUED]
    check_committed(db)


def test_a_claim_that_meets_a_leave_is_not_lost(db: Any, service: Any) -> None:
    """A worker's record is not removed while the worker claims with it."""
    with clients(db, 2) as (claimer, leaver):
        claimer.service.add("echo")
        key = claimer.service._workers.register(claimer.service)
        claimer.commit()
        leaver.abort()
        claim_with(claimer, key)
        leaver.service._workers.leave(leaver.service, key)
        leaver.commit()
        with pytest.raises(TransientError):
            claimer.commit()
    check_committed(db)


def test_a_place_in_the_queue_is_one_of_a_kind(db: Any, service: Any) -> None:
    """A job that is taken out of turn and goes back waits in one place only."""

    def interrupt(value: Any) -> None:
        raise KeyboardInterrupt

    register("interrupt", interrupt)
    with clients(db, 1) as (client,):
        jobid = client.service.add("interrupt", startLater=True)
        client.commit()
        assert client.service.startJob(jobid)
        client.commit()
        with pytest.raises(KeyboardInterrupt):
            client.service.processNext(jobid=jobid)
        client.commit()
        assert client.service.getStatus(jobid) == QUEUED
    check_committed(db)
    session = Session(db, ["service"])
    key = session.register(1, Lease())
    assert session.claim(key, 10).jobs == [jobid]
    session.leave()
    session.close()
    check_committed(db)


def test_a_job_that_a_worker_took_out_of_turn_can_be_rescued(
    db: Any, service: Any, environment: FakeEnvironment
) -> None:
    """So it is if a worker took it and left."""
    jobid = service.add("echo", startLater=True)
    service._p_jar.transaction_manager.commit()
    service.startJob(jobid)
    service._p_jar.transaction_manager.commit()
    session = Session(db, ["service"])
    key = session.register(1, Lease())
    assert session.claim_job(jobid) == [jobid]
    check_committed(db)
    session.leave()
    check_committed(db)
    key = session.register(1, Lease())
    assert session.claim(key, 10).jobs == [jobid]
    session.run(jobid, key)
    session.leave()
    session.close()
    assert ask(db, lambda found: found.getStatus(jobid)) == COMPLETED
    check_committed(db)


def test_a_rescued_job_is_not_finished_twice(db: Any, service: Any) -> None:
    """A worker that comes back after it was taken for dead writes nothing."""
    effects: list[str] = []
    sessions = [Session(db, ["service"]), Session(db, ["service"])]

    def work(value: Any) -> None:
        effects.append("run")
        if len(effects) == 1:
            rescue(db)

    register("work", work)
    jobid = service.add("work")
    service._p_jar.transaction_manager.commit()
    slow, quick = sessions
    key = slow.register(1, Lease())
    assert slow.claim(key, 1).jobs == [jobid]
    slow.run(jobid, key)
    assert ask(db, lambda found: found.getStatus(jobid)) == QUEUED
    with pytest.raises(WorkerLost):
        slow.beat()
    key = quick.register(1, Lease())
    assert quick.claim(key, 1).jobs == [jobid]
    assert ask(db, lambda found: found.getStatus(jobid)) == PROCESSING
    quick.run(jobid, key)
    quick.leave()
    for session in sessions:
        session.close()
    assert ask(db, lambda found: found.jobs[jobid].attempt) == 2
    assert effects == ["run", "run"]
    check_committed(db)


def rescue(db: Any) -> None:
    """Somebody else takes every worker for dead."""
    with clients(db, 1) as (client,):
        client.service._workers.rescue(client.service, lambda worker: True)
        client.commit()


def test_cancel_and_claim_exclude_each_other(db: Any, service: Any) -> None:
    """A job is cancelled, or a worker has it: never both."""
    with clients(db, 2) as (caller, worker):
        jobid = caller.service.add("echo")
        key = caller.service._workers.register(caller.service)
        caller.commit()
        worker.abort()
        caller.service.cancel(jobid)
        claim_with(worker, key)
        worker.commit()
        with pytest.raises(TransientError):
            caller.commit()
        caller.abort()
        caller.service.cancel(jobid)
        caller.commit()
        assert caller.service.getStatus(jobid) == PROCESSING
    check_committed(db)


def test_start_and_clean_keep_out_of_each_others_way(db: Any, service: Any) -> None:
    """A cancelled job is cleaned while a waiting one is started: both hold."""
    with clients(db, 2) as (starter, cleaner):
        waiting = starter.service.add("echo", startLater=True)
        over = starter.service.add("echo", startLater=True)
        starter.service.cancel(over)
        starter.commit()
        cleaner.abort()
        assert starter.service.startJob(waiting)
        assert cleaner.service.clean() == 1
        starter.commit()
        try:
            cleaner.commit()
        except TransientError:
            cleaner.abort()
            assert cleaner.service.clean() == 1
            cleaner.commit()
        assert dict(cleaner.service.jobs) == {waiting: cleaner.service.jobs[waiting]}
        assert cleaner.service.getStatus(waiting) == QUEUED
    check_committed(db)


def test_an_old_request_is_not_hidden_by_a_new_job(db: Any, service: Any) -> None:
    """Jobs of two lanes are run by the time when they were asked for.

    So they are where the log of a lane's block is full, and the block's free ids
    are given to jobs that wait behind it.
    """
    with clients(db, 2) as (first, second):
        waiting = [first.service.add("echo", startLater=True) for _ in range(LOG_SIZE)]
        waiting += [first.service.add("echo", startLater=True) for _ in range(5)]
        for jobid in waiting:
            first.service.startJob(jobid)
        between = second.service.add("echo")
        last = first.service.add("echo")
        first.commit()
        second.commit()
        assert [job.id for job in second.service._queue] == [*waiting, between, last]
        taken = [second.service.claimNextJob() for _ in range(len(waiting) + 2)]
        assert taken == [*waiting, between, last]
        second.commit()
    check_committed(db)


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_job_is_not_removed_and_retried_at_a_time(
    db: Any, service: Any, cancelled: bool, order: tuple[int, int]
) -> None:
    """Of two that remove a job and queue it again, one has a conflict."""
    jobid = service.add("fail")
    if cancelled:
        service.cancel(jobid)
    service.process()
    transaction.commit()
    with clients(db, 2) as found:
        remover, retrier = found
        assert remover.service.clean() == 1
        assert retrier.service.retry(jobid)
        found[order[0]].commit()
        with pytest.raises(TransientError):
            found[order[1]].commit()
        check_committed(db)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_block_is_not_dropped_and_used_at_a_time(
    db: Any, service: Any, order: tuple[int, int]
) -> None:
    """Of two that drop a block without jobs and add one to it, one has a conflict."""
    waiting = [service.add("echo", startLater=True) for _ in range(2 * LOG_SIZE + 1)]
    transaction.commit()
    with clients(db, 2) as found:
        reader, adder = found
        reader.service.add("echo")
        for jobid in waiting:
            adder.service.startJob(jobid)
        adder.commit()
        reader.commit()
        reader.service.process()
        adder.service.add("echo")
        found[order[0]].commit()
        with pytest.raises(TransientError):
            found[order[1]].commit()


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_old_request_is_not_hidden_by_a_job_that_waits_for_none(
    db: Any, service: Any, cancelled: bool
) -> None:
    """So they are where such ids are given to jobs that are to be started later."""
    with clients(db, 2) as (first, second):
        waiting = [
            first.service.add("echo", startLater=True) for _ in range(LOG_SIZE + 5)
        ]
        for jobid in waiting:
            first.service.startJob(jobid)
        between = second.service.add("echo")
        later = first.service.add("echo", startLater=True)
        if cancelled:
            first.service.cancel(later)
        first.commit()
        second.commit()
        taken = [second.service.claimNextJob() for _ in range(len(waiting) + 1)]
        assert taken == [*waiting, between]
        second.commit()
    check_committed(db)


def test_a_lane_is_read_while_another_block_is_added(db: Any, service: Any) -> None:
    """To read past a lane's first block is nothing that an add conflicts with.

    Both are in one bucket of the directory, if the lane has gone once round.
    """
    with clients(db, 2) as (reader, adder):
        for _ in range((SHARDS - 1) * SLOTS):
            adder.service.add("echo")
        adder.commit()
        reader.abort()
        for _ in range(SLOTS):
            adder.service.add("echo")
        reader.service.process()
        reader.commit()
        adder.commit()
    check_committed(db)
    assert ask(db, lambda found: len(found.jobs)) == SHARDS * SLOTS


def test_what_was_rolled_back_conflicts_with_nothing(db: Any, service: Any) -> None:
    """Jobs that were added and rolled back do not get in the way of those that stay."""
    with clients(db, 2) as (undoer, adder):
        savepoint = undoer.manager.savepoint()
        for _ in range(SHARDS * SLOTS):
            undoer.service.add("echo", "undone")
        savepoint.rollback()
        adder.service.add("echo")
        adder.commit()
        undoer.service.add("echo", "kept")
        undoer.commit()
    check_committed(db)
    assert ask(db, lambda found: len(found.jobs)) == 2
