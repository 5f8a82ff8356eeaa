"""Changing what is planned: update, reschedule, pause, resume, runNow."""

from __future__ import annotations

from typing import Any

import pytest
import transaction

from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.session import Session
from lovely.remotetask.states import DELAYED, PROCESSING, QUEUED
from tests.cron import (
    DAY,
    HOUR,
    MINUTE,
    VERBS,
    Scene,
    after,
    claim,
    end,
    outcomes,
    work,
)
from tests.support import counts, register_full


def test_update_changes_the_fields_only(scene: Scene) -> None:
    """What is planned stays so until `reschedule`; after that run the new one holds."""
    job = scene.add(hour=3)
    job.update(hour=5)
    scene.commit()
    assert (job.hour, job.scheduledFor) == ((5,), after(3 * HOUR))
    assert scene.process(3 * HOUR) == [3 * HOUR]
    assert job.scheduledFor == after(5 * HOUR)


@pytest.mark.parametrize("seen", [True, False])
def test_reschedule(scene: Scene, seen: bool) -> None:
    """A job that waits is planned anew, and does not run as it was planned before."""
    job = scene.add(hour=3)
    if seen:
        scene.process(0)
    job.update(hour=2)
    assert scene.service.reschedule(job.id) is True
    scene.commit()
    assert scene.process(1 * HOUR) == []
    assert scene.process(2 * HOUR) == [2 * HOUR]
    job.update(hour=5)
    scene.service.reschedule(job.id)
    scene.commit()
    assert scene.process(4 * HOUR) == []
    assert scene.process(5 * HOUR) == [5 * HOUR]
    assert counts(scene.service) == {"cronjob": 1}


def test_reschedule_without_a_change(scene: Scene) -> None:
    """To plan the same again does not make it run twice."""
    job = scene.add(hour=3)
    scene.process(0)
    for _ in range(3):
        scene.service.reschedule(job.id)
        scene.commit()
    assert scene.process(3 * HOUR) == [3 * HOUR]
    assert scene.process(4 * HOUR) == []


def test_intervals_begin_anew(scene: Scene) -> None:
    """`reschedule` begins an interval, or a delay, at its time; `resume` does not."""
    every = scene.add(every=HOUR)
    once = scene.add(delay=HOUR)
    scene.environment.now += 20 * MINUTE
    scene.service.pause(every.id)
    scene.service.resume(every.id)
    assert every.scheduledFor.replace(microsecond=0) == after(HOUR)
    for job in (every, once):
        scene.service.reschedule(job.id)
        assert job.scheduledFor.replace(microsecond=0) == after(80 * MINUTE)
    scene.commit()
    assert scene.process(79 * MINUTE) == []
    assert len(scene.process(81 * MINUTE)) == 2


@pytest.mark.parametrize("verb", VERBS)
def test_while_it_runs(scene: Scene, session: Session, verb: str) -> None:
    """Each verb can be used during a run, without a conflict, and holds afterwards."""
    job = scene.add(hour=(3, 4))
    jobid = claim(scene, session, 3 * HOUR)
    scene.takes = 10.0

    def meanwhile(service: Any, jobid: int, input: Any) -> None:
        scene._note(service, jobid, input)
        with service._p_jar.db().transaction() as connection:
            other = connection.root()["service"]
            other.jobs[jobid].update(hour=7)
            getattr(other, verb)(jobid)

    register_full("note", meanwhile)
    session.run(jobid, session.own_key)
    register_full("note", scene._note)
    work(session)
    transaction.begin()
    assert scene.runs == [3 * HOUR] + [3 * HOUR + 10] * (verb == "runNow")
    planned = {"reschedule": after(7 * HOUR), "resume": after(7 * HOUR), "pause": None}
    assert job.scheduledFor == planned.get(verb, after(4 * HOUR))
    assert job.paused is (verb == "pause")
    assert job.status == "cronjob"


@pytest.mark.parametrize("verb", VERBS)
def test_while_a_retry_waits(scene: Scene, verb: str) -> None:
    """A run that is to be tried again is finished, whatever is planned meanwhile."""
    job = scene.add(hour=(3, 4), retry=RetryPolicy(delay=9.5, jitter=0))
    scene.fails = 1
    scene.process(3 * HOUR)
    assert job.status == DELAYED
    getattr(scene.service, verb)(job.id)
    scene.commit()
    tried = 3 * HOUR + (0.5 if verb == "runNow" else 10)
    assert scene.process(tried) == [tried]
    assert outcomes(job) == [(3 * HOUR, "completed")]
    assert scene.process(4 * HOUR) == [4 * HOUR] * (verb != "pause")


@pytest.mark.parametrize("verb", VERBS)
def test_while_it_is_queued(scene: Scene, verb: str) -> None:
    """A run that was rescued is made; what is planned holds afterwards."""
    job = scene.add(hour=(3, 4))
    with scene.worker() as dead, scene.worker() as other:
        claim(scene, dead, 3 * HOUR)
        key, dead.key = dead.own_key, None
        other._commit(
            lambda service: service._workers.rescue(service, lambda w: w.key == key)
        )
    transaction.begin()
    assert job.status == QUEUED
    getattr(scene.service, verb)(job.id)
    scene.commit()
    assert len(scene.process(3 * HOUR + 1)) == 1 + (verb == "runNow")
    assert scene.process(4 * HOUR) == [4 * HOUR] * (verb != "pause")


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_over(scene: Scene, verb: str) -> None:
    """A job that is over is left alone."""
    jobs = [scene.add(hour=3), scene.add(at=after(0))]
    scene.service.cancel(jobs[0].id)
    scene.commit()
    scene.process(0)
    assert [job.status for job in jobs] == ["cancelled", "completed"]
    assert [(job.scheduledFor, job.upcoming(2)) for job in jobs] == [(None, [])] * 2
    assert [getattr(scene.service, verb)(job.id) for job in jobs] == [False, False]
    scene.commit()
    assert scene.process(DAY) == []


@pytest.mark.parametrize("seen", [True, False])
def test_pause_and_resume(scene: Scene, seen: bool) -> None:
    """A paused job waits, in no schedule; it goes on with what comes next."""
    job = scene.add(minute=0)
    if seen:
        scene.process(0)
    assert scene.service.pause(job.id) is True
    scene.commit()
    assert (job.paused, job.status) == (True, "cronjob")
    assert (job.scheduledFor, job.upcoming(2)) == (None, [])
    assert scene.process(DAY) == []
    assert scene.service.hasJobsWaiting() is False
    assert len(scene.service._schedule) == 0
    assert scene.service.resume(job.id) is True
    scene.commit()
    assert scene.process(DAY) == []
    assert scene.process(DAY + HOUR) == [DAY + HOUR]


def test_a_paused_job_is_planned_anew(scene: Scene) -> None:
    """A paused job that is rescheduled stays paused; then it goes on as it is now."""
    job = scene.add(hour=3)
    scene.service.pause(job.id)
    job.update(hour=5)
    scene.service.reschedule(job.id)
    scene.commit()
    assert (job.paused, job.scheduledFor) == (True, None)
    assert scene.process(5 * HOUR) == []
    scene.service.resume(job.id)
    scene.commit()
    assert scene.process(DAY + 5 * HOUR) == [DAY + 5 * HOUR]


def test_a_date_can_be_paused(scene: Scene) -> None:
    """A single date that is paused waits; one that has passed meanwhile runs then."""
    job = scene.add(at=after(HOUR))
    scene.service.pause(job.id)
    scene.commit()
    assert scene.process(2 * HOUR) == []
    assert job.status == DELAYED
    scene.service.resume(job.id)
    scene.commit()
    assert scene.process(2 * HOUR) == [2 * HOUR]
    assert job.status == "completed"


@pytest.mark.parametrize("paused", [True, False])
def test_run_now(scene: Scene, paused: bool) -> None:
    """A run that is asked for comes at once, once; what is planned stays, or pauses."""
    job = scene.add(hour=3)
    scene.process(0)
    if paused:
        scene.service.pause(job.id)
    assert scene.service.runNow(job.id) is True
    scene.commit()
    assert scene.service.hasJobsWaiting() is True
    assert scene.process(HOUR) == [HOUR]
    assert (job.paused, job.runFor) == (paused, None)
    assert outcomes(job) == [(None, "completed")]
    assert scene.process(3 * HOUR) == [3 * HOUR] * (not paused)


def test_run_now_of_a_date(scene: Scene) -> None:
    """A single date that is run before its time runs at its time, too."""
    job = scene.add(at=after(3 * HOUR))
    scene.service.runNow(job.id)
    scene.commit()
    assert scene.process(HOUR) == [HOUR]
    assert (job.status, job.scheduledFor) == (DELAYED, after(3 * HOUR))
    assert scene.process(3 * HOUR) == [3 * HOUR]
    assert job.status == "completed"


def test_a_date_becomes_a_schedule_while_it_runs(
    scene: Scene, session: Session
) -> None:
    """A single date that is given a schedule during its run is not over."""
    job = scene.add(at=after(HOUR))
    jobid = claim(scene, session, HOUR)
    assert job.status == PROCESSING
    job.update(hour=3)
    scene.service.reschedule(job.id)
    scene.commit()
    end(session, jobid)
    assert (job.status, job.scheduledFor) == ("cronjob", after(3 * HOUR))


def test_a_schedule_becomes_a_date(scene: Scene) -> None:
    """A cron job that is given a single date runs then, and is over."""
    job = scene.add(hour=3)
    job.update(at=after(HOUR))
    scene.service.reschedule(job.id)
    scene.commit()
    assert scene.process(HOUR) == [HOUR]
    assert job.status == "completed"


def test_a_refused_plan_changes_nothing(scene: Scene) -> None:
    """To plan what can't be is refused, and what was planned stays."""
    job = scene.add(hour=3)
    job.update(at=after(-DAY), missed="skip")
    with pytest.raises(InvalidArgument, match="has passed"):
        scene.service.reschedule(job.id)
    scene.commit()
    assert job.scheduledFor == after(3 * HOUR)
