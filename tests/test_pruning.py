"""Jobs that need not be kept are removed by a worker, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
import transaction
from ZEO.Exceptions import ClientDisconnected

from lovely.remotetask import processor, pruning
from lovely.remotetask.interfaces import COMPLETED, ERROR, QUEUED
from lovely.remotetask.pruning import (
    MOST_LOOKED_AT,
    MOST_REMOVED,
    PRUNE_SECONDS,
    QUIET_SECONDS,
)
from lovely.remotetask.retention import Keep
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import check_committed, clients
from tests.support import Clocks, ask, counts, in_thread, processing, wait_until

#: Long enough for what was written before to be left alone.
LATER = 1000.0


@pytest.fixture
def session(db: Any, service: Any, clocks: Clocks) -> Iterator[Session]:
    """The first worker."""
    with closing(Session(db, ["service"])) as session:
        session.register(1, Lease())
        yield session


def wait(clocks: Clocks, seconds: float = LATER) -> None:
    """Time passes, by all clocks."""
    clocks.advance(seconds)
    clocks.now += seconds


def fill(service: Any, *tasks: str) -> None:
    """Commit jobs, and run them."""
    for task in tasks:
        service.add(task)
    service.process()
    transaction.commit()


def keep(service: Any, **retention: Keep) -> None:
    """Set the service's retention."""
    service.retention = retention
    transaction.commit()


def prune(session: Session, db: Any) -> list[int]:
    """One pass; how many jobs are left after each transaction."""
    session.beat()
    left = []
    while not left or session._pruner._pass is not None:
        session.prune()
        left.append(ask(db, len_of_jobs))
        assert len(left) < 100
        check_committed(db)
    return left


def len_of_jobs(service: Any) -> int:
    return len(service.jobs)


def ids(db: Any) -> list[int]:
    """The jobs that there are."""
    return ask(db, lambda service: list(service.jobs))


def loads(session: Session) -> int:
    """How many records the session's connection has loaded since the last time."""
    loaded, _ = session.connection.getTransferCounts(clear=True)
    return int(loaded)


def written(db: Any, since: bytes) -> list[int]:
    """How many records each transaction since then wrote."""
    return [len(list(found)) for found in db.storage.iterator(since)][1:]


def test_by_age(service: Any, db: Any, session: Session, clocks: Clocks) -> None:
    """What was over for longer than asked for is removed, and nothing else."""
    keep(service, completed=Keep(age=3 * LATER))
    fill(service, *["echo"] * 20)
    wait(clocks, 2 * LATER)
    fill(service, *["echo"] * 20)
    wait(clocks, LATER - 1)
    assert prune(session, db) == [40]
    wait(clocks, 61)
    assert prune(session, db) == [20]
    assert ids(db) == list(range(21, 41))
    wait(clocks, 4 * LATER)
    assert prune(session, db) == [0]
    transaction.begin()
    assert counts(service) == {}


def test_age_counts_from_the_end(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """A job that waited for long before it was run or cancelled is not old."""
    age = Keep(age=2 * LATER)
    keep(service, completed=age, cancelled=age)
    waiting, cancelled = service.add("echo"), service.add("echo")
    transaction.commit()
    wait(clocks, 3 * LATER)
    service.cancel(cancelled)
    service.process()
    transaction.commit()
    wait(clocks)
    assert prune(session, db) == [2]
    assert ids(db) == [waiting, cancelled]
    wait(clocks, LATER + 1)
    assert prune(session, db) == [0]


def test_by_number(service: Any, db: Any, session: Session, clocks: Clocks) -> None:
    """Of the jobs with a status the newest stay, so many as asked for."""
    keep(service, completed=Keep(number=5), cancelled=Keep(number=0))
    fill(service, *["echo", "fail"] * 20)
    cancelled = service.add("echo", startLater=True)
    waiting = service.add("echo", startLater=True)
    service.cancel(cancelled)
    transaction.commit()
    wait(clocks)
    assert prune(session, db) == [26]
    failed = list(range(2, 41, 2))
    assert ids(db) == sorted([*failed, 31, 33, 35, 37, 39, waiting])
    transaction.begin()
    assert counts(service) == {COMPLETED: 5, ERROR: 20, "start later": 1}


def test_the_newest_stay(
    service: Any,
    db: Any,
    session: Session,
    clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An old job that is over late is removed, and not a newer one instead of it."""
    monkeypatch.setattr(pruning, "LOOK_SECONDS", 100.0)
    keep(service, completed=Keep(number=2), cancelled=Keep(age=LATER))
    waiting = service.add("echo", startLater=True)
    fill(service, *["echo"] * 40)
    wait(clocks, 2 * LATER)
    assert prune(session, db) == [3]
    service.startJob(waiting)
    service.process()
    transaction.commit()
    for _ in range(3):
        wait(clocks, PRUNE_SECONDS + 1)
        prune(session, db)
        assert {40, 41} <= set(ids(db))
    wait(clocks, LATER)
    assert prune(session, db) == [2]
    assert ids(db) == [40, 41]


def test_the_newest_stay_where_older_ones_can_not_go(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """Neither are newer ones removed for those that must be left for later."""
    keep(service, completed=Keep(number=20))
    for _ in range(200):
        service.add("echo")
    transaction.commit()
    wait(clocks)
    with closing(Session(db, ["service"])) as busy:
        key = busy.register(1, Lease())
        for jobid in busy.claim(key, 16).jobs:
            busy.run(jobid, key)
        transaction.begin()
        service.process()
        transaction.commit()
        prune(session, db)
        assert ids(db) == [*range(1, 17), *range(181, 201)]
        wait(clocks)
        assert prune(session, db) == [20]
    assert ids(db) == list(range(181, 201))


def test_by_both(service: Any, db: Any, session: Session, clocks: Clocks) -> None:
    """What passes either limit is removed."""
    keep(service, completed=Keep(age=2.5 * LATER, number=15))
    for _ in range(3):
        fill(service, *["echo"] * 10)
        wait(clocks)
    assert prune(session, db) == [15]
    assert ids(db) == list(range(16, 31))
    wait(clocks)
    assert prune(session, db) == [10]
    wait(clocks)
    assert prune(session, db) == [0]


def test_errors_stay(service: Any, db: Any, session: Session, clocks: Clocks) -> None:
    """By default what is in error stays for ever, and so does what waits."""
    fill(service, "echo", "fail", "echo")
    service.add("echo", startLater=True)
    service.add("echo", delay=10**9)
    transaction.commit()
    wait(clocks, 31 * 24 * 3600)
    assert prune(session, db) == [3]
    wait(clocks, 10**8)
    assert prune(session, db) == [3]
    assert ids(db) == [2, 4, 5]


def test_nothing_to_keep_says_nothing(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """Without limits nothing is removed, and nothing is written."""
    fill(service, *["echo"] * 20)
    for retention in ({}, {COMPLETED: Keep()}):
        keep(service, **retention)
        wait(clocks, 10**8)
        session.beat()
        last = db.storage.lastTransaction()
        assert session.prune() is False
        assert db.storage.lastTransaction() == last
    assert len(ids(db)) == 20


def test_small_transactions(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """However many are removed: so many in a transaction at most, of few records."""
    keep(service, completed=Keep(age=1))
    fill(service, *["echo"] * 500)
    wait(clocks)
    session.beat()
    session.prune()  # takes a lane of its own, the first time
    since = db.storage.lastTransaction()
    left = prune(session, db)
    removed = [before - after for before, after in pairwise(left)]
    assert 90 < max(removed) <= MOST_REMOVED
    for _ in range(2):
        wait(clocks)
        left = prune(session, db)
    assert left[-1] == 0
    # The blocks, where they were in the directory, and the counts.
    assert max(written(db, since)) <= MOST_REMOVED // 16 * 2 + 2


def add_survivors(service: Any, number: int) -> None:
    """Commit cancelled jobs."""
    for _ in range(number):
        service.cancel(service.add("echo", startLater=True))
    transaction.commit()


def pass_from_disk(session: Session, db: Any) -> tuple[int, int]:
    """One pass; how many transactions it took, and how many records were loaded."""
    session.connection.cacheMinimize()
    loads(session)
    return len(prune(session, db)), loads(session)


def test_survivors_are_not_looked_at_again(
    service: Any,
    db: Any,
    session: Session,
    clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stays for ever is passed in steps, and not again before a long time."""
    monkeypatch.setattr(pruning, "LOOK_SECONDS", 10.0)
    keep(service, completed=Keep(age=LATER))
    add_survivors(service, 2500)
    fill(service, *["echo"] * 20)
    wait(clocks, 1.5 * LATER)
    fill(service, *["echo"] * 20)
    steps, loaded = pass_from_disk(session, db)
    assert steps >= 3
    assert loaded > 2500
    assert len(ids(db)) == 2520
    for seconds, left in ((PRUNE_SECONDS, 2520), (1.5 * LATER, 2500)):
        wait(clocks, seconds)
        steps, loaded = pass_from_disk(session, db)
        assert (steps, len(ids(db))) == (1, left)
        assert loaded < 200
    fill(service, "echo")
    wait(clocks, 2600 * pruning.LOOK_SECONDS)
    assert pass_from_disk(session, db)[0] >= 3


def test_a_step_is_bounded(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """A transaction looks at so many jobs, and leaves none of them in memory."""
    keep(service, completed=Keep(age=1))
    add_survivors(service, 1500)
    fill(service, "echo")
    wait(clocks)
    session.beat()
    session.connection.cacheMinimize()
    loads(session)
    session.prune()
    assert 500 < loads(session) < MOST_LOOKED_AT + 100
    jobs = session._service().jobs.values()
    assert sum(job._p_changed is not None for job in jobs) == 0
    session.rest()
    assert len(ids(db)) == 1501
    session.prune()
    assert len(ids(db)) == 1500


def test_one_worker_prunes(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """Of several workers the first one does; when it has ended, the next one."""
    keep(service, completed=Keep(age=1))
    fill(service, *["echo"] * 20)
    wait(clocks)
    with closing(Session(db, ["service"])) as second:
        second.register(1, Lease())
        assert prune(second, db) == [20]
        session.leave()
        assert prune(second, db) == [20]
        wait(clocks, PRUNE_SECONDS)
        assert prune(second, db) == [0]


def test_calls_do_not_prune(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """A claim by hand, which is noted as a worker too, hinders nobody."""
    keep(service, completed=Keep(age=1))
    session.leave()
    fill(service, *["echo"] * 2)
    service.add("echo")
    assert service.claimNextJob() == 3
    transaction.commit()
    wait(clocks)
    session.register(1, Lease())
    assert prune(session, db) == [1]


def test_a_busy_lane_is_left_alone(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """The end of a lane that is in use stays until it has been quiet for a while."""
    keep(service, completed=Keep(number=0))
    fill(service, *["echo"] * 15)
    assert prune(session, db) == [15]
    wait(clocks, PRUNE_SECONDS)
    fill(service, "echo")
    assert prune(session, db) == [16]
    wait(clocks, QUIET_SECONDS + 1)
    assert prune(session, db) == [0]


def test_a_busy_directory_is_left_alone(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """No block is dropped where one was added just now, lest that conflict."""
    keep(service, completed=Keep(age=1))
    fill(service, *["echo"] * 16 * 16)
    wait(clocks)
    fill(service, *["echo"] * 16)
    prune(session, db)
    # The new block is number 16, and beside number 0, of which all jobs stay.
    assert ids(db) == [*range(1, 17), *range(257, 273)]
    wait(clocks)
    assert prune(session, db) == [0]


def test_a_busy_worker_is_left_alone(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """What a worker has just finished stays until its record has been quiet."""
    keep(service, completed=Keep(number=0))
    jobid = service.add("echo")
    transaction.commit()
    wait(clocks)
    key = session.own_key
    assert session.claim(key, 1).jobs == [jobid]
    in_thread(lambda: session.run(jobid, key))
    assert prune(session, db) == [1]
    wait(clocks)
    assert prune(session, db) == [0]


def test_producers_do_not_conflict(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """Transactions that add jobs, open while others are removed, all commit."""
    keep(service, completed=Keep(number=3))
    with clients(db, 4) as found:
        for number in range(40):
            for client in found:
                for _ in range(5):
                    client.service.add("echo")
            # As soon as every part of the directory is in use.
            if number > 15:
                in_thread(lambda: (session.beat(), prune_once(session, clocks)))
            for client in found:
                client.commit()
            found[0].service.process()
            found[0].commit()
            for client in found:
                client.abort()
            check_committed(db)
            clocks.advance(1)
    assert len(ids(db)) < 2 * 16 * 16


def prune_once(session: Session, clocks: Clocks) -> None:
    """One pass, whether it is time for one or not."""
    session._pruner.__init__()  # type: ignore[misc]
    while session.prune():
        pass


def test_a_retry_wins_or_conflicts(
    service: Any, db: Any, session: Session, clocks: Clocks
) -> None:
    """A job that someone queues again meanwhile is not removed."""
    keep(service, error=Keep(number=0))
    fill(service, "fail")
    wait(clocks)
    session.beat()
    with clients(db, 1) as (client,):
        assert client.service.retry(1)
        client.commit()
    assert prune(session, db) == [1]
    assert ask(db, lambda s: s.getStatus(1)) == QUEUED


@pytest.mark.parametrize("commits", [True, False])
def test_a_failure_in_between(
    service: Any, db: Any, session: Session, clocks: Clocks, commits: bool
) -> None:
    """A worker that is lost half way has removed whole batches; another goes on."""
    keep(service, completed=Keep(age=1))
    fill(service, *["echo"] * 250)
    wait(clocks)
    session.beat()
    session.prune()
    left = len(ids(db))
    assert 0 < left < 250
    finish = db.storage.tpc_finish

    def lost(*arguments: Any) -> Any:
        if commits:
            finish(*arguments)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(db.storage, "tpc_finish" if commits else "store", lost)
        with pytest.raises(SystemExit):
            session.prune()
    check_committed(db)
    assert len(ids(db)) == left - commits * 96
    wait(clocks, PRUNE_SECONDS + 1)
    prune(session, db)
    session.leave()
    with closing(Session(db, ["service"])) as other:
        other.register(1, Lease())
        prune(other, db)
        wait(clocks)
        assert prune(other, db)[-1] == 0


def test_a_processor_prunes(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor keeps as few as it is told, while it runs jobs."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.02)
    monkeypatch.setattr(pruning, "PRUNE_SECONDS", 0.02)
    monkeypatch.setattr(pruning, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(pruning, "QUIET_SECONDS", 0.1)
    service.processorArguments = {"waitTime": 0.02, "heartbeat": 0.02}
    keep(service, completed=Keep(number=5))
    with processing(service):
        for _ in range(100):
            service.add("echo")
        service.add("fail")
        transaction.commit()
        wait_until(lambda: ask(db, lambda s: (s.count(), s.count(COMPLETED))) == (6, 5))
    check_committed(db)
    assert ids(db) == [96, 97, 98, 99, 100, 101]


def test_a_bad_retention_is_told_once(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A processor whose service gets a bad retention says so once, and goes on."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.01)
    monkeypatch.setattr(pruning, "PRUNE_SECONDS", 0.01)
    looks: list[int] = []
    due = pruning.Pruner.due
    monkeypatch.setattr(pruning.Pruner, "due", lambda *a: looks.append(1) or due(*a))
    service.processorArguments = {"waitTime": 0.01, "heartbeat": 0.02}
    with processing(service):
        keep(service, queued=Keep(number=5))
        wait_until(lambda: "no jobs are removed" in caplog.text)
        looks.clear()
        wait_until(lambda: len(looks) > 5)
        service.add("echo")
        transaction.commit()
        wait_until(lambda: ask(db, lambda s: s.count(COMPLETED)) == 1)
    assert caplog.text.count("no jobs are removed: retention: jobs that are") == 1
    assert "service: no jobs are removed" in caplog.text


def test_a_clock_that_is_ahead(
    service: Any, db: Any, clocks: Clocks, session: Session
) -> None:
    """A worker whose clock is ahead of the storage's removes nothing too early."""
    clocks.now = clocks.storage
    fill(service, "echo")
    keep(service, completed=Keep(age=LATER))
    wait(clocks, LATER / 2)
    clocks.now += 1_000_000
    assert prune(session, db) == [1]
    clocks.now -= 1_000_000
    wait(clocks, LATER)
    assert prune(session, db) == [0]


def test_what_fails_is_told(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Pruning that fails hinders nothing else, and is tried again later."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.01)
    monkeypatch.setattr(pruning.Step, "__call__", lambda self: 1 / 0)
    with processing(service):
        wait_until(lambda: "jobs could not be removed" in caplog.text)
        (worker,) = ask(db, lambda s: s.workers)
        service.add("echo")
        transaction.commit()
        wait_until(lambda: ask(db, lambda s: s.count(COMPLETED)) == 1)
        assert ask(db, lambda s: s.workers)[0].identity == worker.identity
    assert caplog.text.count("jobs could not be removed") == 1


def test_an_outage_is_told_by_others(
    service: Any, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Where the storage fails, the processor says so, once, and begins anew."""
    monkeypatch.setattr(processor, "RESCUE_SECONDS", 0.01)
    monkeypatch.setattr(processor, "ERROR_WAIT", 0.01)
    tried: list[int] = []

    def fail(step: Any) -> Any:
        tried.append(1)
        raise ClientDisconnected

    monkeypatch.setattr(pruning.Step, "__call__", fail)
    with processing(service):
        wait_until(lambda: len(tried) > 3)
    assert "the storage fails, trying again" in caplog.text
    assert "could not be removed" not in caplog.text
    assert "Traceback" not in caplog.text
