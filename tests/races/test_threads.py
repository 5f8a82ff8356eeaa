"""Many threads on one database.

``REMOTETASK_EXAMPLES=1000`` in the environment makes each race as long as it says;
the default is for every day.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import transaction

from lovely.remotetask import processor, pruning
from lovely.remotetask.retention import Keep
from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    PROCESSING,
    QUEUED,
    STARTLATER,
)
from tests.races.interleaved import Client, check_committed
from tests.races.threads import Effect, Race, Racer, processors, run
from tests.support import ask, register_full, wait_until

#: How often each thread does what it does, over a FileStorage; others are slower.
TIMES = max(125, int(os.environ.get("REMOTETASK_EXAMPLES", "0")))
SHARES = {"FileStorage": 1.0, "ZEO": 0.5, "SQLite": 0.5, "PostgreSQL": 0.25}

Ran = list[tuple[Any, ...]]

pytestmark = pytest.mark.timeout(max(120, TIMES))


@pytest.fixture
def times(request: pytest.FixtureRequest, db: Any) -> int:
    """How often each thread does what it does, with this storage."""
    return round(TIMES * SHARES[request.node.callspec.params["everywhere"]])


@pytest.fixture
def ran() -> list[tuple[Any, ...]]:
    """What has been run outside the database, in its order, by the task ``count``."""
    found: list[tuple[Any, ...]] = []

    def count(service: Any, jobid: int, effect: Effect) -> None:
        found.append((jobid, *effect.words))
        effect.done += 1

    register_full("count", count)
    return found


def producer(name: int, times: int) -> Race:
    """Adds one job in each transaction."""

    def race(racer: Racer, client: Client) -> None:
        for index in range(times):
            racer.commit(client, lambda s, i=index: s.add("count", Effect(name, i)))

    return race


def wait_for_end(db: Any, jobs: int) -> None:
    """Wait until so many jobs are completed, and no other is left."""
    wait_until(lambda: ask(db, lambda s: s.count(COMPLETED)) == jobs, 20 + jobs / 20)
    assert ask(db, lambda s: len(s.jobs)) == jobs


def check_ran_once(db: Any, ran: Ran) -> None:
    """Each job was run once, outside the database and in it."""
    ids = ask(db, lambda s: list(s.jobs))
    assert Counter(jobid for jobid, *_ in ran) == dict.fromkeys(ids, 1)
    assert ask(db, lambda s: {job.input.done for job in s.jobs.values()}) == {1}
    check_committed(db)


@pytest.mark.parametrize("producers", [2, 8])
def test_producers_do_not_conflict(
    db: Any, service: Any, times: int, ran: Ran, producers: int
) -> None:
    """Adds conflict with nothing; every job runs once, a producer's in their order."""
    with processors(db, 1):
        conflicts = run(db, [producer(name, times) for name in range(producers)])
        jobs = producers * times
        wait_for_end(db, jobs)
    assert 1000 * conflicts <= 2 * jobs
    check_ran_once(db, ran)
    for name in range(producers):
        assert [i for _, who, i in ran if who == name] == list(range(times))


@pytest.mark.parametrize("workers", [2, 4])
def test_processors_share_the_jobs(
    db: Any, service: Any, times: int, ran: Ran, workers: int
) -> None:
    """Several processors of one service run no job twice."""
    run(db, [producer(name, times) for name in range(2)])
    with processors(db, workers):
        run(db, [producer(name, times) for name in range(2, 4)])
        wait_for_end(db, 4 * times)
    check_ran_once(db, ran)
    assert ask(db, lambda s: s.workers) == []


def test_callers_and_processors_share_the_jobs(
    db: Any, service: Any, times: int, ran: Ran
) -> None:
    """A job is run by a processor or in a caller's transaction, once in the end."""
    by_callers = 0

    def caller(racer: Racer, client: Client) -> None:
        nonlocal by_callers
        for _ in range(times):
            by_callers += racer.commit(client, lambda s: s.processNext())

    run(db, [producer(0, times)])
    with processors(db, 1):
        run(db, [producer(1, times), caller])
        wait_for_end(db, 2 * times)
    # What a caller did is undone when its transaction conflicts, and not outside.
    assert ask(db, lambda s: {job.input.done for job in s.jobs.values()}) == {1}
    assert {jobid for jobid, *_ in ran} == set(ask(db, lambda s: list(s.jobs)))
    check_committed(db)


def test_a_job_is_cancelled_or_run(db: Any, service: Any, times: int, ran: Ran) -> None:
    """Where jobs are cancelled while they are claimed, each is one or the other."""

    def canceller(racer: Racer, client: Client) -> None:
        for jobid in range(1, 3 * times):
            racer.commit(client, lambda s, i=jobid: s.cancel(i))

    with processors(db, 2):
        run(db, [producer(0, times), producer(1, times), canceller])
        wait_until(
            lambda: ask(db, lambda s: s.count(QUEUED) + s.count(PROCESSING)) == 0
        )
    statuses = ask(db, lambda s: {i: job.status for i, job in s.jobs.items()})
    assert set(statuses.values()) <= {COMPLETED, CANCELLED}
    completed = {jobid for jobid, status in statuses.items() if status == COMPLETED}
    assert sorted(jobid for jobid, *_ in ran) == sorted(completed)
    assert len(statuses) == 2 * times
    check_committed(db)


def test_producers_do_not_conflict_with_pruning(
    db: Any, service: Any, times: int, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adds conflict with nothing while jobs are removed; none is removed too early."""
    monkeypatch.setattr(pruning, "PRUNE_SECONDS", 0.0)
    monkeypatch.setattr(pruning, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(pruning, "QUIET_SECONDS", 2.0)
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.05)
    service.retention = {COMPLETED: Keep(number=20)}
    transaction.commit()
    with processors(db, 2, heartbeat=0.05):
        conflicts = run(db, [producer(name, times) for name in range(4)])
        wait_until(lambda: ask(db, lambda s: s.count() == s.count(COMPLETED) == 20), 60)
    assert 1000 * conflicts <= 2 * 4 * times
    assert len(ran) == 4 * times
    assert max(Counter(jobid for jobid, *_ in ran).values()) == 1
    check_committed(db)


def test_jobs_are_started_while_others_are_cleaned(
    db: Any, service: Any, times: int, ran: Ran
) -> None:
    """What is started runs once, whatever is removed meanwhile."""
    waiting: list[int] = []

    def starter(racer: Racer, client: Client) -> None:
        for index in range(times):
            effect = Effect("started", index)
            jobid = racer.commit(
                client, lambda s, e=effect: s.add("count", e, startLater=True)
            )
            waiting.append(jobid)
            assert racer.commit(client, lambda s, i=jobid: s.startJob(i))

    def cleaner(racer: Racer, client: Client) -> None:
        for _ in range(times // 2):
            racer.commit(client, lambda s: s.clean())

    with processors(db, 1):
        run(db, [starter, producer(0, times), cleaner])
        wait_until(
            lambda: ask(
                db, lambda s: sum(map(s.count, (QUEUED, PROCESSING, STARTLATER))) == 0
            )
        )
    assert [word for _, word, *_ in ran].count("started") == times
    assert max(Counter(jobid for jobid, *_ in ran).values()) == 1
    assert len(ran) == 2 * times
    assert set(ask(db, lambda s: {job.status for job in s.jobs.values()})) <= {
        COMPLETED
    }
    check_committed(db)
