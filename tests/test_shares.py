"""Several workers share a queue: who takes a new job, and who leaves it to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import transaction

from lovely.remotetask import times
from lovely.remotetask.blocks import SLOTS, number_of
from lovely.remotetask.queue import (
    FOREIGN_LATER,
    NEVER,
    STEP_BACK,
    STEP_BACK_READY,
    LaneCursor,
    QueueReader,
    Share,
    places_of,
)
from lovely.remotetask.session import Claim, Session
from lovely.remotetask.workers import CLAIMED_JUST_NOW, Lease
from tests.support import ask, in_thread

WORKERS = 3


@pytest.fixture
def sessions(db: Any, service: Any, environment: Any) -> Iterator[list[Session]]:
    """Workers of one thread each, those closest to the lane of the next job first."""
    jobid = service.add("echo")
    transaction.commit()
    with ExitStack() as stack:
        found = [
            stack.enter_context(closing(Session(db, ["service"])))
            for _ in range(WORKERS)
        ]
        for session in found:
            session.register(1, Lease())
        shares = ask(db, lambda s: [s._workers.share(s, f.own_key) for f in found])
        place = ask(db, lambda s: place_of(s, jobid))
        assert found[0].claim(found[0].own_key, 1).jobs == [jobid]
        found[0].run(jobid, found[0].own_key)
        yield sorted(found, key=lambda f: shares[found.index(f)].distance(place))


def place_of(service: Any, jobid: int) -> int:
    """The place of the lane that a job is in."""
    lanes = list(service._lanes)
    cursors = [LaneCursor(service._lanes, lane) for lane in lanes]
    keys = [lane.key for lane in lanes]
    return places_of(cursors)[keys.index(service.jobs.block(number_of(jobid)).lane)]


def add(service: Any) -> int:
    """Commit a new job."""
    jobid: int = service.add("echo")
    transaction.commit()
    return jobid


def look(session: Session) -> Claim:
    """What a worker takes that leaves to others what is theirs."""
    return session.claim(session.own_key, 1, shy=True)


def wait(environment: Any, microseconds: int) -> None:
    """Time goes by."""
    environment.now += microseconds / times.from_seconds(1)


def test_the_own_worker_takes_a_new_job(service: Any, sessions: list[Session]) -> None:
    """A new job is taken at once by the worker whose lane it is in."""
    jobid = add(service)
    assert look(sessions[0]).jobs == [jobid]


def test_a_new_job_is_left_to_who_is_free(
    service: Any, sessions: list[Session], environment: Any
) -> None:
    """The others leave it to those who are closer, and know when to look again."""
    jobid = add(service)
    added = service.jobs[jobid]._created
    for place in (2, 1):
        claim = look(sessions[place])
        assert claim.jobs == []
        assert claim.due == added + place * STEP_BACK_READY
    wait(environment, STEP_BACK_READY - 1000)
    assert look(sessions[1]).jobs == []
    wait(environment, 2000)
    assert look(sessions[2]).jobs == []
    assert look(sessions[1]).jobs == [jobid]


def test_who_is_busy_is_not_waited_for(
    service: Any, sessions: list[Session], environment: Any
) -> None:
    """A worker whose threads all run jobs gets a short head start only."""
    first = add(service)
    assert look(sessions[0]).jobs == [first]
    second = add(service)
    added = service.jobs[second]._created
    assert look(sessions[1]).due == added + STEP_BACK
    assert look(sessions[2]).due == added + STEP_BACK + STEP_BACK_READY
    wait(environment, STEP_BACK + 1000)
    assert look(sessions[1]).jobs == [second]
    # What the first has finished, it need not have counted to be free again.
    sessions[0].run(first, sessions[0].own_key)
    third = add(service)
    assert look(sessions[2]).jobs == []
    assert look(sessions[0]).jobs == [third]


def test_callers_have_no_lanes(
    db: Any, service: Any, sessions: list[Session], environment: Any
) -> None:
    """A call that claims a job by hand has no share: it does not wait for others."""
    service.add("echo")
    transaction.commit()
    with closing(Session(db, ["service"])) as caller:
        caller.register(0, Lease())
        asked = [session.own_key for session in sessions]
        shares = ask(db, lambda s: [s._workers.share(s, key) for key in asked])
        assert {share.of for share in shares} == {WORKERS}
        caller.leave()


def test_lanes_are_shared_out() -> None:
    """Each lane is one worker's own, and has an order of all workers."""
    for of in range(1, 6):
        for key in range(12):
            distances = [Share(rank, of).distance(key) for rank in range(of)]
            assert sorted(distances) == list(range(of))


def test_each_closer_worker_counts() -> None:
    """The head start is the sum over those who are closer, busy or ready."""
    ready = {0: NEVER, 1: 0, 2: NEVER, 3: 0}
    # The lane 5 is that of rank 1, then of 0, of 3, and last of 2.
    starts = [
        Share(rank, 4, ready.__getitem__).left_until(5, came=100, now=100) - 100
        for rank in (1, 0, 3, 2)
    ]
    assert starts == [
        0,
        STEP_BACK,
        STEP_BACK + STEP_BACK_READY,
        STEP_BACK + STEP_BACK_READY + STEP_BACK,
    ]
    assert max(starts) < FOREIGN_LATER


def test_who_has_just_claimed_is_asked_again() -> None:
    """As long as that is so, a job is left to it; then it is either ready or busy."""
    share = Share(0, 2, lambda rank: 30_000)
    assert share.left_until(1, came=10_000, now=20_000) == 30_000
    assert share.left_until(1, came=10_000, now=30_000) == 10_000 + STEP_BACK


def test_who_has_just_claimed_is_left_its_jobs(
    service: Any, sessions: list[Session], environment: Any
) -> None:
    """Whose jobs may be short, as it has claimed a moment ago, is soon ready again."""
    first = add(service)
    assert look(sessions[0]).jobs == [first]
    transaction.begin()
    claimed = service._workers.get(sessions[0].own_key)._p_mtime
    environment.now = claimed + CLAIMED_JUST_NOW / 2
    second = add(service)
    claim = look(sessions[1])
    assert claim.jobs == []
    assert claim.due == times.from_seconds(claimed + CLAIMED_JUST_NOW)
    environment.now = claimed + CLAIMED_JUST_NOW
    wait(environment, 1000)
    assert look(sessions[1]).jobs == [second]


def test_whose_heart_stands_still_is_not_waited_for(
    service: Any, sessions: list[Session]
) -> None:
    """A worker that has missed heartbeats gets a short head start only."""
    sessions[0].beat()
    sessions[1].beat()
    add(service)
    added = look(sessions[1]).due - STEP_BACK_READY
    worker = service._workers.get(sessions[0].own_key)
    worker._lease = (1e-9, 60.0)
    transaction.commit()
    assert look(sessions[1]).due == added + STEP_BACK


def test_who_has_something_to_do_leaves_the_rest(
    db: Any, service: Any, sessions: list[Session], environment: Any
) -> None:
    """With a job of its own, a worker takes none of another's, however many fit."""
    theirs = add(service)
    own = in_thread(lambda: ask(db, lambda s: s.add("echo")))
    wait(environment, WORKERS * STEP_BACK_READY)
    place = ask(db, lambda s: place_of(s, own))
    [worker] = [
        session
        for session in sessions
        if ask(db, lambda s, k=session.own_key: s._workers.share(s, k)).is_own(place)
    ]
    assert worker is not sessions[0]
    assert worker.claim(worker.own_key, 5, shy=True).jobs == [own]
    assert worker.claim(worker.own_key, 5, [own], shy=True).jobs == [theirs]


def test_places_count_lanes_that_give_ids(db: Any, service: Any) -> None:
    """Lanes that workers write to, or nobody yet, do not make the shares unequal."""
    with closing(Session(db, ["service"])) as session:
        key = session.register(1, Lease())
        ids = [add(service), in_thread(lambda: ask(db, lambda s: s.add("echo")))]
        for jobid in ids:
            assert session.claim(key, 1).jobs == [jobid]
            session.run(jobid, key)
        transaction.begin()
        found = list(service._lanes)
        places = places_of(LaneCursor(service._lanes, lane) for lane in found)
        given = {lane.key: place for lane, place in zip(found, places, strict=True)}
        used = sorted(service.jobs.block(number_of(jobid)).lane for jobid in ids)
        assert used[0] < used[1]
        assert len(found) > 2
        assert [given[key] for key in used] == [0, 1]
        assert all(given[key] == key for key in given if key not in used)
        session.leave()


def test_a_claim_tells_of_a_crowd(
    db: Any, service: Any, sessions: list[Session], monkeypatch: Any
) -> None:
    """If another one reached for the same jobs at the same time, that is said."""
    first, second = add(service), add(service)
    claims: list[Claim] = []
    rivals: list[Callable[[], Claim]] = []

    def take() -> Claim:
        with closing(Session(db, ["service"])) as rival:
            return rival.claim(rival.register(1, Lease()), 1)

    class Slow(QueueReader):
        """Others come in between."""

        def save(self) -> None:
            super().save()
            if not rivals:
                rivals.append(take)
                claims.append(in_thread(take))

    monkeypatch.setattr("lovely.remotetask.session.QueueReader", Slow)
    claims.append(sessions[0].claim(sessions[0].own_key, 1))
    assert [claim.jobs for claim in claims] == [[first], [second]]
    assert [claim.crowded for claim in claims] == [False, True]


def test_what_is_claimed_is_asked_for_together(db: Any, service: Any) -> None:
    """A claim asks the storage for jobs, and for what leads to them, many at a time."""
    ids = [service.add("echo") for _ in range(5 * SLOTS)]
    transaction.commit()
    asked: list[set[bytes]] = []
    alone: list[bytes] = []
    storage, load = db.storage, db.storage.loadBefore
    storage.prefetch = lambda oids, _: asked.append(set(oids))
    with closing(Session(db, ["service"])) as session:
        key = session.register(1, Lease())
        jobs = {service.jobs[jobid]._p_oid for jobid in ids}

        def load_before(oid: bytes, tid: bytes) -> Any:
            if not any(oid in oids for oids in asked):
                alone.append(oid)
            return load(oid, tid)

        storage.loadBefore = load_before
        assert session.claim(key, len(ids)).jobs == ids
        session.leave()
    assert len(asked) < 12
    assert jobs <= set().union(*asked)
    assert not jobs & set(alone)
    blocks = {service.jobs.block(number_of(jobid))._p_oid for jobid in ids}
    assert not blocks & set(alone)
