"""Cron jobs and workers that are lost, or stop, between claim and end."""

from __future__ import annotations

import transaction

from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.states import QUEUED
from tests.cron import HOUR, Scene, after, outcomes
from tests.support import counts


def test_a_lost_worker(scene: Scene) -> None:
    """A run whose worker was lost is run by another, and what is planned stays."""
    job = scene.add(minute=0)
    for crash in range(1, MOST_CRASHES):
        _crash(scene, HOUR)
        transaction.begin()
        assert (job.status, job.crashes) == (QUEUED, crash)
    assert scene.process(HOUR + 3) == [HOUR + 3]
    assert (job.status, job.crashes) == ("cronjob", 0)
    assert outcomes(job) == [(HOUR, "completed")]
    assert job.scheduledFor == after(2 * HOUR)


def test_a_run_that_crashes_too_often_is_given_up(scene: Scene) -> None:
    """A run that several workers were lost with has failed; the job goes on."""
    job = scene.add(minute=0)
    for _ in range(MOST_CRASHES):
        _crash(scene, HOUR)
    transaction.begin()
    assert (job.status, job.crashes) == ("cronjob", 0)
    assert "workers in a row were lost" in scene.service.getError(job.id)
    assert outcomes(job) == [(HOUR, "error")]
    assert scene.process(2 * HOUR) == [2 * HOUR]
    assert counts(scene.service) == {"cronjob": 1}


def _crash(scene: Scene, passed: float) -> None:
    """A worker claims what is due and dies; another one finds out."""
    scene.environment.now = after(passed).timestamp()
    with scene.worker() as dead, scene.worker() as other:
        assert len(dead.claim(dead.own_key, 5).jobs) == 1
        key, dead.key = dead.own_key, None
        other._commit(
            lambda service: service._workers.rescue(service, lambda w: w.key == key)
        )


def test_what_was_claimed_and_not_begun_is_planned_as_before(scene: Scene) -> None:
    """A worker that stops gives back the run, and another one makes it."""
    job = scene.add(minute=0)
    scene.environment.now += HOUR
    with scene.worker() as session:
        assert session.claim(session.own_key, 1).jobs == [job.id]
    transaction.begin()
    assert (job.status, job.attempt) == ("cronjob", 0)
    assert job.scheduledFor == after(HOUR)
    assert scene.process(HOUR + 1) == [HOUR + 1]
    assert outcomes(job) == [(HOUR, "completed")]
