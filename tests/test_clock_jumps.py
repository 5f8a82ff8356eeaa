"""Clocks that jump: no storm of runs, and no long silence."""

from __future__ import annotations

from typing import Any

import pytest
import transaction

from lovely.remotetask import timetable
from tests.cron import DAY, HOUR, MINUTE, Scene, after, work
from tests.support import FakeEnvironment

YEAR = 365 * DAY


@pytest.mark.parametrize("jump", [HOUR, DAY, 3 * YEAR])
@pytest.mark.parametrize("schedule", [{"minute": 0}, {"every": HOUR}])
def test_forward_and_back(scene: Scene, schedule: Any, jump: float) -> None:
    """A clock that is wrong for a while makes one run, and then all goes on."""
    job = scene.add(**schedule)
    scene.process(0)
    assert len(scene.process(jump + MINUTE)) == 1
    assert scene.process(2 * MINUTE) == []
    assert job.scheduledFor.replace(microsecond=0) == after(HOUR)
    assert [len(scene.process(n * HOUR + 1)) for n in (1, 2, 3)] == [1, 1, 1]


def test_a_small_step_back_doubles_nothing(scene: Scene) -> None:
    """A clock that is set back a little waits for what was planned."""
    job = scene.add(every=MINUTE)
    scene.process(0)
    assert len(scene.process(10 * MINUTE + 1)) == 1
    found = [len(scene.process(minutes * MINUTE + 1)) for minutes in range(7, 11)]
    assert found == [0, 0, 0, 0]
    assert len(scene.process(11 * MINUTE + 1)) == 1
    assert job.attempt == 2


def test_forward_makes_no_storm(scene: Scene) -> None:
    """A clock that jumps forward makes up for what was missed as it does else."""
    for missed in ("latest", "skip", "all"):
        scene.add(every=1, missed=missed)
    scene.process(0)
    assert len(scene.process(YEAR + 0.5)) == 1 + 1 + 100


def test_what_was_planned_while_the_clock_was_ahead(scene: Scene) -> None:
    """What was added while the clock was ahead is planned anew, delays too."""
    scene.environment.now += YEAR
    job = scene.add(minute=0)
    delayed = scene.service.add("note", delay=HOUR / 2)
    transaction.commit()
    scene.process(YEAR)
    assert scene.process(0) == []
    found = [scene.process(passed + 1) for passed in (HOUR / 2, HOUR)]
    assert [len(runs) for runs in found] == [1, 1]
    assert scene.service.getStatus(delayed) == "completed"
    assert job.scheduledFor == after(2 * HOUR)


def test_a_date_stays_a_date(scene: Scene) -> None:
    """What is to be done at a moment waits for it, whatever the clock did before."""
    job = scene.add(at=after(YEAR))
    jobid = scene.service.add("note", at=after(YEAR))
    transaction.commit()
    for passed in (0, YEAR - 1, DAY, 2 * DAY):
        assert scene.process(passed) == []
    assert len(scene.process(YEAR)) == 2
    assert [job.status, scene.service.getStatus(jobid)] == ["completed"] * 2


def test_set_back_while_it_runs(scene: Scene) -> None:
    """A clock that is set back during a run does not silence the job."""
    job = scene.add(minute=0)
    scene.process(0)
    scene.takes = -2 * DAY
    assert len(scene.process(3 * DAY)) == 1
    scene.takes = 0
    assert scene.process(DAY + MINUTE) == []
    assert job.scheduledFor == after(DAY + HOUR)
    assert len(scene.process(DAY + HOUR)) == 1


def test_set_forward_while_it_runs(scene: Scene) -> None:
    """A clock that is set forward during a run leaves out what it jumped over."""
    job = scene.add(minute=0)
    scene.process(0)
    scene.takes = YEAR
    assert len(scene.process(HOUR)) == 1
    assert job.scheduledFor == after(YEAR + 2 * HOUR)


def test_many_are_followed_bit_by_bit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is planned anew in small transactions, all of it."""
    monkeypatch.setattr(timetable, "MOST_FOLLOWED", 10)
    for _ in range(45):
        scene.service.addCronJob("note", minute=0)
    scene.commit()
    scene.process(0)
    assert len(scene.process(YEAR)) == 45
    scene.environment.now = after(MINUTE).timestamp()
    with scene.worker() as session:
        claims = [session.claim(session.own_key, 1) for _ in range(5)]
        assert [claim.due == 0 for claim in claims] == [True] * 4 + [False]
        scene.environment.now = after(HOUR).timestamp()
        assert work(session) == 45


def test_stale_entries_are_let_be(scene: Scene) -> None:
    """What was cancelled or planned anew stays so when the clock is set back."""
    gone, moved = scene.add(minute=0), scene.add(minute=0)
    scene.process(YEAR)
    scene.service.cancel(gone.id)
    scene.service.clean()
    moved.update(at=after(YEAR + HOUR))
    scene.service.reschedule(moved.id)
    scene.commit()
    assert scene.process(0) == []
    assert moved.scheduledFor == after(YEAR + HOUR)
    assert scene.process(2 * HOUR) == []


@pytest.mark.parametrize("start", [0.0, 2.0**31 - 10, 32_503_680_000.0])
def test_given_times(service: Any, environment: FakeEnvironment, start: float) -> None:
    """`process(now)` follows the times that it is given, in this century or not."""
    jobid = service.addCronJob("echo", "hello", every=MINUTE)
    service.process(start)
    job = service.jobs[jobid]
    first = job.scheduledFor.timestamp()
    assert start < first <= start + MINUTE
    service.process(first)
    assert service.getResult(jobid) == "hello"
    assert job.scheduledFor.timestamp() == first + MINUTE
