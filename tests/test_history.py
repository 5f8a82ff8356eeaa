"""Workers keep what became of their runs, by the minute, for a day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import transaction
import zope.event
from transaction.interfaces import TransientError
from ZODB.utils import get_pickle_metadata, p64, u64
from zope.interface.verify import verifyObject

from lovely import remotetask
from lovely.remotetask.current import Run
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.events import RunEnded
from lovely.remotetask.history import KEPT_MINUTES, Minute
from lovely.remotetask.interfaces import IRunEnded
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import Uncertain
from tests.support import (
    FakeEnvironment,
    ask,
    processing,
    provide,
    register,
    wait_until,
)

#: The beginning of a minute, and of an hour.
START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def clock(environment: FakeEnvironment) -> FakeEnvironment:
    """A clock that stands at START."""
    environment.now = START.timestamp()
    return environment


@pytest.fixture
def session(db: Any, service: Any, clock: FakeEnvironment) -> Iterator[Session]:
    """A worker."""
    with closing(Session(db, ["service"])) as session:
        session.register(1, Lease())
        yield session


def run(session: Session, count: int = 1) -> None:
    """Claim and run so many jobs, which are due."""
    key = session.own_key
    for _ in range(count):
        [jobid] = session.claim(key, 1).jobs
        session.run(jobid, key)


def history(db: Any, minutes: int = 60) -> list[Minute]:
    """What the service tells."""
    found: list[Minute] = ask(db, lambda service: service.history(minutes))
    return found


def sums(db: Any, minutes: int = 60) -> tuple[int, int, int]:
    """How many were completed, failed and retried."""
    found = history(db, minutes)
    return (
        sum(minute.completed for minute in found),
        sum(minute.failed for minute in found),
        sum(minute.retried for minute in found),
    )


def add(service: Any, *tasks: str) -> list[int]:
    """Commit jobs; their ids."""
    ids = [service.add(task) for task in tasks]
    transaction.commit()
    return ids


def test_nothing(db: Any, service: Any, clock: FakeEnvironment) -> None:
    """Where nothing ran, there is a row of zeros for each minute up to this one."""
    clock.now += 30
    found = history(db, 3)
    starts = [START - timedelta(minutes=2), START - timedelta(minutes=1), START]
    assert found == [Minute(start, 0, 0, 0, 0.0, 0.0) for start in starts]
    assert len(history(db)) == 60


def test_a_minute(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """What is completed, failed and retried is counted, with the time that it took."""

    def slow(value: Any) -> None:
        clock.now += 2

    register("slow", slow)
    again = remotetask.SimpleTask(lambda value: 1 / 0, retry=RetryPolicy(retries=1))
    provide("again", again)
    add(service, "slow", "slow", "fail", "again")
    clock.now += 10
    run(session, 4)
    session.beat()
    [minute] = history(db, 1)
    assert minute[:4] == (START, 2, 1, 1)
    assert minute.ran == pytest.approx(4, abs=0.01)
    assert minute.waited == pytest.approx(10 + 12 + 14 + 14, abs=0.01)


def test_minutes(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """Each run is in the minute in which it ended."""
    for _ in range(3):
        add(service, "echo", "echo")
        run(session, 2)
        session.beat()
        clock.now += 60
    assert [minute.completed for minute in history(db, 4)] == [2, 2, 2, 0]
    session.beat()
    assert [minute.completed for minute in history(db, 4)] == [2, 2, 2, 0]
    assert [minute.completed for minute in history(db, 2)] == [2, 0]


def test_waiting_counts_from_when_it_was_due(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """A delay is no waiting, nor is the time to the next run of a cron job."""
    service.add("echo", delay=100)
    service.addCronJob("echo", every=100)
    transaction.commit()
    session.claim(session.own_key, 2)
    clock.now += 105
    run(session, 2)
    session.beat()
    assert sum(m.waited for m in history(db)) == pytest.approx(10, abs=0.01)


def test_a_cancelled_run_is_not_counted(
    db: Any, service: Any, session: Session
) -> None:
    """A run that was cancelled has neither gone well nor failed."""
    [jobid] = add(service, "echo")
    [claimed] = session.claim(session.own_key, 1).jobs
    service.cancel(jobid)
    transaction.commit()
    session.run(claimed, session.own_key)
    session.beat()
    assert ask(db, lambda s: s.getStatus(jobid)) == "cancelled"
    assert sums(db) == (0, 0, 0)


def test_workers_are_added_up(db: Any, service: Any, session: Session) -> None:
    """All workers count, also those that have ended, and those that were lost."""
    add(service, *["echo"] * 6)
    with closing(Session(db, ["service"])) as other:
        other.register(1, Lease())
        run(session, 1)
        run(other, 2)
        session.beat()
        other.beat()
        assert sums(db) == (3, 0, 0)
        run(other, 1)
        other.leave()  # and so tells what it has not told yet
        assert sums(db) == (4, 0, 0)
        other.register(1, Lease())
        run(other, 2)
        other.beat()
        key = other.own_key
        identity = ask(db, lambda s: s._workers.get(key).identity)
    session.environment.gone = {identity}  # type: ignore[attr-defined]
    session.rescue()
    assert ask(db, lambda s: len(s.workers)) == 1
    assert sums(db) == (6, 0, 0)


def test_who_is_lost_with_a_job(db: Any, service: Any, session: Session) -> None:
    """A job that several workers were lost with has failed."""
    add(service, "echo")
    for _ in range(3):
        with closing(Session(db, ["service"])) as other:
            key = other.register(1, Lease())
            assert len(other.claim(key, 1).jobs) == 1
            identity = ask(db, lambda s, key=key: s._workers.get(key).identity)
        session.environment.gone = {identity}  # type: ignore[attr-defined]
        session.rescue()
    session.beat()
    assert sums(db) == (0, 1, 0)


def test_a_group(db: Any, service: Any, session: Session) -> None:
    """Runs in a group are counted one by one."""
    add(service, "echo", "fail", "echo")
    jobs = session.claim(session.own_key, 3).jobs
    runs = {jobid: Run(session.environment) for jobid in jobs}
    session.run_group(runs, session.own_key, lambda: True)
    session.beat()
    assert sums(db) == (2, 1, 0)


def written(db: Any, since: bytes) -> list[list[str]]:
    """The classes of the records of each transaction since then."""
    found = db.storage.iterator(p64(u64(since) + 1))
    return [sorted(get_pickle_metadata(r.data)[1] for r in t) for t in found]


def test_what_is_written(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """A heartbeat writes its record alone; once a minute one more, if anything ran."""
    add(service, *["echo"] * 3)
    run(session)
    session.beat()
    clock.now += 60
    session.beat()  # makes the history
    seen = db.storage.lastTransaction()
    for _ in range(3):
        clock.now += 60
        session.beat()
    assert written(db, seen) == [["Pulse"]] * 3
    run(session)
    seen = db.storage.lastTransaction()
    session.beat()
    session.beat()
    clock.now += 60
    session.beat()
    session.beat()
    assert written(db, seen) == [["Pulse"], ["Pulse"], ["Hour", "Pulse"], ["Pulse"]]


def test_a_day(db: Any, service: Any, clock: FakeEnvironment, session: Session) -> None:
    """A history goes back for a day, and what is older is dropped."""
    for _ in range(30):
        add(service, "echo")
        run(session)
        session.beat()
        clock.now += 3600
    session.beat()
    assert sums(db, KEPT_MINUTES) == (23, 0, 0)
    hours = ask(db, lambda s: [len(w.pulse.history._hours) for w in s._workers])
    assert hours == [25]
    sizes = [len(r.data) for t in db.storage.iterator() for r in t]
    assert max(sizes) < 3000
    session.leave()
    assert sums(db, KEPT_MINUTES) == (23, 0, 0)
    assert ask(db, lambda s: len(s._history._hours)) == 25


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps(
    db: Any, service: Any, clock: FakeEnvironment, session: Session, days: int
) -> None:
    """A clock that is wrong for a while takes away nothing of the day, and comes back.

    What it leaves behind is bounded, too.
    """
    for _ in range(24):
        add(service, "echo")
        run(session)
        session.beat()
        clock.now += 3600
    for jump in range(1, 4):
        clock.now += jump * days * 86400
        for _ in range(2):
            add(service, "echo")
            run(session)
            session.beat()
            clock.now += 3600
        session.beat()
        clock.now -= jump * days * 86400 + 2 * 3600
    add(service, "echo")
    run(session)
    session.beat()
    assert sums(db, 60) == (1, 0, 0)
    assert sums(db, KEPT_MINUTES)[0] >= 20
    for _ in range(30):
        clock.now += 3600
        add(service, "echo")
        run(session)
        session.beat()
    assert sums(db, KEPT_MINUTES) == (24, 0, 0)
    [hours] = ask(db, lambda s: [list(w.pulse.history._hours) for w in s._workers])
    assert len(hours) == 25
    session.leave()
    assert sums(db, KEPT_MINUTES) == (24, 0, 0)


def test_a_busy_hour_is_a_small_record(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """However many runs there are, the records stay small."""
    add(service, *["echo"] * 120)
    since = db.storage.lastTransaction()
    for _ in range(60):
        run(session, 2)
        session.beat()
        clock.now += 60
    session.beat()
    sizes = [
        len(r.data)
        for t in db.storage.iterator(p64(u64(since) + 1))
        for r in t
        if get_pickle_metadata(r.data)[1] in {"Hour", "Pulse"}
    ]
    assert max(sizes) < 3000
    assert [minute.completed for minute in history(db, 61)] == [*[2] * 60, 0]


def test_a_service_that_was_stored_before(
    db: Any, service: Any, session: Session
) -> None:
    """Services without a history get one."""
    del service._history
    transaction.commit()
    add(service, "echo")
    run(session)
    session.beat()
    assert sums(db) == (1, 0, 0)
    session.leave()
    assert sums(db) == (1, 0, 0)


def test_a_commit_that_fails(db: Any, service: Any, clock: FakeEnvironment) -> None:
    """What could not be written is written with the next heartbeat, once."""
    uncertain = Uncertain(db, after=False)
    with closing(Session(db, ["service"])) as session:
        session.register(1, Lease())
        add(service, "echo")
        run(session)
        uncertain.error = OSError("no space left")
        with pytest.raises(OSError, match="no space"):
            session.beat()
        assert sums(db) == (0, 0, 0)
        session.beat()
        session.beat()
        assert sums(db) == (1, 0, 0)


def test_what_is_not_committed_is_not_counted(
    db: Any, service: Any, session: Session
) -> None:
    """A run that meets conflicts is counted once, with its last outcome."""
    tried: list[int] = []

    def conflicting(value: Any) -> None:
        tried.append(1)
        if len(tried) < 3:
            raise TransientError

    register("conflicting", conflicting)
    add(service, "conflicting")
    run(session)
    session.beat()
    assert len(tried) == 3
    assert sums(db) == (1, 0, 0)


def test_a_task_that_commits(db: Any, service: Any, session: Session) -> None:
    """A run that ends its transaction by itself is counted, once."""

    def committing(value: Any) -> None:
        transaction.commit()

    register("committing", committing)
    add(service, "committing")
    run(session)
    session.beat()
    assert sums(db) == (1, 0, 0)


def test_in_the_background(db: Any, service: Any) -> None:
    """A processor keeps it, whatever its threads run, and when it is stopped."""
    add(service, *["echo"] * 5, "fail")
    with processing(service):
        wait_until(lambda: ask(db, lambda s: s.count("completed")) == 5)
        wait_until(lambda: ask(db, lambda s: s.count("error")) == 1)
    assert sums(db, 5) == (5, 1, 0)


def test_single_calls(db: Any, service: Any) -> None:
    """What a processor runs when it is called is kept, too."""
    add(service, "echo", "echo")
    processor = SimpleProcessor(db, ["service"])
    while processor.processNext():
        pass
    assert sums(db, 5) == (2, 0, 0)


@pytest.mark.parametrize(
    ("minutes", "error"),
    [
        (0, InvalidArgument),
        (-1, InvalidArgument),
        (KEPT_MINUTES + 1, InvalidArgument),
        (1.5, InvalidType),
        ("60", InvalidType),
        (True, InvalidType),
    ],
)
def test_bad_input(service: Any, minutes: Any, error: type[Exception]) -> None:
    """A history of minutes that make no sense is refused."""
    with pytest.raises(error, match=r"^minutes: "):
        service.history(minutes)


# The event


def test_an_event(
    db: Any, service: Any, clock: FakeEnvironment, session: Session
) -> None:
    """The end of each run is told when it is committed."""
    told: list[RunEnded] = []

    def note(event: Any) -> None:
        if not IRunEnded.providedBy(event):
            return
        assert ask(db, lambda s: s.getStatus(event.jobid)) == event.outcome
        told.append(event)

    zope.event.subscribers.append(note)
    ids = add(service, "echo", "fail")
    clock.now += 3
    run(session, 2)
    assert [(e.jobid, e.task, e.outcome) for e in told] == [
        (ids[0], "echo", "completed"),
        (ids[1], "fail", "error"),
    ]
    assert [(e.service, e.attempt) for e in told] == [("service", 1)] * 2
    assert [e.waited for e in told] == pytest.approx([3, 3], abs=0.01)
    assert verifyObject(IRunEnded, told[0])
    assert repr(told[0]) == f"<RunEnded {ids[0]}: completed>"


def test_a_subscriber_that_fails(
    db: Any, service: Any, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """What a subscriber raises is logged, and changes nothing."""

    def broken(event: Any) -> None:
        if IRunEnded.providedBy(event):
            raise RuntimeError("no metrics today")

    zope.event.subscribers.append(broken)
    [jobid] = add(service, "echo")
    run(session)
    assert ask(db, lambda s: s.getStatus(jobid)) == "completed"
    assert "no metrics today" in caplog.text
