"""Cron jobs and several workers: one commit for a claim, nothing lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import transaction
from transaction import TransactionManager
from ZODB.utils import get_pickle_metadata, p64, u64

from lovely.remotetask.callers import next_job
from lovely.remotetask.current import Run
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.session import Session
from tests.cron import HOUR, Scene, after, outcomes, work
from tests.races.interleaved import check_committed, clients
from tests.stateful.invariants import check
from tests.support import (
    PATIENCE,
    counts,
    register,
    register_full,
    wait_until,
)


class Records:
    """The classes of the records of each transaction since it was last asked."""

    def __init__(self, db: Any) -> None:
        self._storage = db.storage
        self()

    def __call__(self) -> list[list[str]]:
        seen = getattr(self, "_seen", self._storage.lastTransaction())
        found = self._storage.iterator(p64(u64(seen) + 1))
        result = [sorted(get_pickle_metadata(r.data)[1] for r in t) for t in found]
        self._seen = self._storage.lastTransaction()
        return result


@pytest.fixture
def sessions(scene: Scene) -> Iterator[list[Session]]:
    """Two workers."""
    with ExitStack() as stack:
        yield [stack.enter_context(scene.worker()) for _ in "12"]


def test_claim_and_plan_are_one_commit(
    scene: Scene, sessions: list[Session], db: Any
) -> None:
    """To take a run and plan the next is one commit; its end writes no schedule."""
    job = scene.add(minute=0)
    session = sessions[0]
    work(session)
    records = Records(db)
    scene.environment.now += HOUR
    assert session.claim(session.own_key, 5).jobs == [job.id]
    (claim,) = records()
    assert {"CronJob", "OOTreeSet", "Plan", "Worker"} <= set(claim)
    transaction.begin()
    assert (job.runFor, job.scheduledFor) == (after(HOUR), after(2 * HOUR))
    session.run(job.id, session.own_key)
    assert records() == [["Block", "CronJob"]]
    assert session.claim(session.own_key, 5).jobs == []
    (moved,) = records()
    assert {"Head", "OOTreeSet", "Plan"} <= set(moved)
    check_committed(db)


def test_the_end_of_a_long_run_is_no_conflict(
    scene: Scene, sessions: list[Session], db: Any
) -> None:
    """A run that ends meets no claim that its worker made meanwhile: it runs once."""
    job = scene.add(minute=0)
    session = sessions[0]

    def slow(service: Any, jobid: int, input: Any) -> None:
        scene.runs.append(scene.passed)
        with clients(db, 1) as (client,):
            client.service.add("echo")
            client.commit()
            worker = Session(db, ["service"], session.key)
            worker.connection.close()
            worker.connection = db.open(TransactionManager())
            worker.manager = worker.connection.transaction_manager
            worker.jar = worker.connection
            with closing(worker):
                assert len(worker.claim(worker.own_key, 5, [jobid]).jobs) == 1

    register_full("note", slow)
    scene.environment.now += HOUR
    session.claim(session.own_key, 5)
    session.run(job.id, session.own_key)
    assert scene.runs == [HOUR]
    check_committed(db)


def test_a_job_that_another_worker_ran(
    scene: Scene, sessions: list[Session], db: Any
) -> None:
    """What one worker has run, another may take, cancel or count at any time."""
    job = scene.add(minute=0)
    one, other = sessions
    for hour, session in enumerate([one, other, other, one], 1):
        scene.environment.now = after(hour * HOUR).timestamp()
        assert work(session) == 1
        transaction.begin()
        assert counts(scene.service) == {"cronjob": 1}
        check(scene.service)
    scene.service.cancel(job.id)
    scene.commit()
    assert counts(scene.service) == {"cancelled": 1}


def test_two_workers_claim_at_a_time(
    scene: Scene, sessions: list[Session], db: Any
) -> None:
    """Two claims that meet take each run once."""
    for _ in range(20):
        scene.service.addCronJob("note", minute=0)
    scene.commit()
    work(sessions[0])
    scene.environment.now += HOUR
    with clients(db, 2) as both:
        for client in both:
            client.abort()
        taken = []
        for client in both:
            key = client.service._workers.register(client.service)
            jobs = [next_job(client.service) for _ in range(3)]
            client.service._workers.claim(client.service, key, jobs)
            taken.append({job.id for job in jobs})
        both[0].commit()
        with pytest.raises(transaction.interfaces.TransientError):
            both[1].commit()
    check_committed(db)


def test_many_that_are_due_at_once(scene: Scene, sessions: list[Session]) -> None:
    """10,000 that fall due in one second delay no claim, and disturb no producer."""
    number = 10_000
    for _ in range(number):
        scene.service.addCronJob("note", hour=3)
    transaction.commit()
    session = sessions[0]
    work(session)
    assert len(scene.service._schedule) == number
    scene.environment.now += 3 * HOUR
    transaction.begin()
    jobid = scene.service.add("echo")
    records = Records(scene.service._p_jar.db())
    with clients(scene.service._p_jar.db(), 1) as (producer,):
        producer.service.add("echo")
        claim = session.claim(session.own_key, 5)
        assert len(claim.jobs) == 5
        producer.commit()  # no conflict
    # A claim writes what it takes, and what they were in.
    assert len(records()[0]) < 5 * 2 + 10
    assert jobid > number


def test_in_the_background(service: Any, db: Any) -> None:
    """A processor with threads runs a cron job again and again, by the real clock."""
    register("count", lambda value: None)
    jobid = service.addCronJob("count", every=1)
    transaction.commit()
    processor = MultiProcessor(db, ["service"], waitTime=0.1, maxThreads=3)
    thread = threading.Thread(target=processor)
    thread.start()
    try:
        wait_until(lambda: _runs(db, jobid) >= 2, pause=0.05)
    finally:
        processor.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    transaction.begin()
    check(service)
    planned = [run.planned for run in service.jobs[jobid].runs]
    assert len(set(planned)) == len(planned)


def _runs(db: Any, jobid: int) -> int:
    with db.transaction() as connection:
        return len(connection.root()["service"].jobs[jobid].runs)


def test_a_group(scene: Scene, sessions: list[Session]) -> None:
    """In a group, too, each cron job waits for its next run, whatever its run did."""
    jobs = [scene.add(minute=0, retry=retry) for retry in (0, 0, 3)]
    scene.fails = 2
    session = sessions[0]
    scene.environment.now += HOUR
    claimed = session.claim(session.own_key, 5).jobs
    runs = {jobid: Run(scene.environment) for jobid in claimed}
    assert session.run_group(runs, session.own_key, lambda: True) == claimed
    work(session)
    transaction.begin()
    check(scene.service)
    assert [outcomes(job)[0][1] for job in jobs] == ["error", "error", "completed"]
    assert [job.scheduledFor for job in jobs] == [after(2 * HOUR)] * 3


def test_given_back_by_a_worker_that_stops(
    scene: Scene, sessions: list[Session]
) -> None:
    """What a worker gives back is run by another one, for the same moment."""
    job = scene.add(minute=0)
    one, other = sessions
    scene.environment.now += HOUR
    (jobid,) = one.claim(one.own_key, 1).jobs
    one.give_back([jobid])
    assert work(other) == 1
    transaction.begin()
    assert outcomes(job) == [(HOUR, "completed")]
