"""What becomes of the runs of a cron job: failures, missed runs, runs that overlap."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import transaction

from lovely.remotetask import times
from lovely.remotetask.errors import TaskError
from lovely.remotetask.job import KEPT_RUNS
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import DELAYED, PROCESSING
from tests.cron import DAY, HOUR, MINUTE, Scene, after, outcomes, work
from tests.support import FakeEnvironment, register, register_full

#: The clock's stamps are a microsecond later each: so a little less than 10.
QUICK = RetryPolicy(retries=2, delay=9.5, factor=1, jitter=0)


def test_a_failure_does_not_end_it(scene: Scene) -> None:
    """After a failed run the job waits for the next; result and error are the last."""
    job = scene.add(minute=0, retry=0)
    scene.fails = 1
    assert scene.process(HOUR) == [HOUR]
    assert (job.status, job.scheduledFor) == ("cronjob", after(2 * HOUR))
    assert scene.service.getError(job.id) == f"failed at {HOUR}"
    assert scene.process(2 * HOUR) == [2 * HOUR]
    assert scene.service.getResult(job.id) == 2
    assert scene.service.getError(job.id) == f"failed at {HOUR}"
    assert outcomes(job) == [(HOUR, "error"), (2 * HOUR, "completed")]
    assert [run.error for run in job.runs] == [f"failed at {HOUR}", None]


def test_a_task_error_does_not_end_it(scene: Scene) -> None:
    """A task that gives up gives up the run, not the job."""

    def give_up(value: Any) -> None:
        raise TaskError("no")

    register("note", give_up)
    job = scene.add(minute=0)
    scene.process(HOUR)
    assert (job.status, scene.service.getError(job.id)) == ("cronjob", "no")


def test_a_failed_run_is_tried_again(scene: Scene) -> None:
    """Until the next run is due a failed one is tried again, as its policy says."""
    job = scene.add(minute=0, retry=QUICK)
    scene.fails = 2
    assert scene.process(HOUR) == [HOUR]
    assert job.status == DELAYED
    assert after(HOUR + 9.5) <= job.scheduledFor < after(HOUR + 10)
    assert scene.process(HOUR + 9) == []
    assert scene.process(HOUR + 10) == [HOUR + 10]
    assert scene.process(HOUR + 20) == [HOUR + 20]
    assert (job.status, job.scheduledFor) == ("cronjob", after(2 * HOUR))
    assert outcomes(job) == [(HOUR, "completed")]


def test_each_run_has_its_retries(scene: Scene) -> None:
    """A run that used up its retries takes none from the next."""
    job = scene.add(minute=0, retry=QUICK)
    scene.fails = 6
    found = [scene.process(HOUR * n + s) for n in (1, 2) for s in (0, 10, 20, 30)]
    assert [len(runs) for runs in found] == [1, 1, 1, 0] * 2
    assert outcomes(job) == [(HOUR, "error"), (2 * HOUR, "error")]


def test_no_retry_after_the_next_run(scene: Scene) -> None:
    """What would be tried again after the next run is due has failed."""
    job = scene.add(every=MINUTE, retry=RetryPolicy(delay=MINUTE, jitter=0))
    scene.fails = 1
    scene.process(MINUTE + 1)
    assert job.status == "cronjob"
    assert outcomes(job) == [(MINUTE, "error")]


def test_the_last_runs_are_kept(scene: Scene) -> None:
    """So many runs are kept, with their times; the newest is the last."""
    job = scene.add(minute=0)
    scene.takes = 2.5
    for hour in range(1, KEPT_RUNS + 4):
        scene.process(hour * HOUR + 1)
    assert len(job.runs) == KEPT_RUNS
    last = job.runs[-1]
    assert last.planned == after((KEPT_RUNS + 3) * HOUR)
    assert (last.outcome, last.error) == ("completed", None)
    assert last.duration == pytest.approx(2.5, abs=0.001)
    assert (last.started, last.ended) == (job.started, job.completed)


@pytest.mark.parametrize(
    ("policy", "runs", "noted"),
    [
        ({}, 1, [(HOUR, "skipped"), (5 * HOUR, "completed")]),
        ({"missed": "latest", "grace": 2 * HOUR}, 1, [(HOUR, "skipped")]),
        ({"missed": "latest", "grace": MINUTE}, 0, [(HOUR, "skipped")]),
        ({"missed": "skip"}, 0, [(HOUR, "skipped")]),
        ({"missed": "skip", "grace": HOUR}, 1, [(HOUR, "skipped")]),
        ({"missed": "all"}, 5, [(n * HOUR, "completed") for n in range(1, 6)]),
        ({"missed": "all", "grace": 2 * HOUR}, 2, [(HOUR, "skipped")]),
    ],
)
def test_missed_runs(scene: Scene, policy: Any, runs: int, noted: Any) -> None:
    """What was missed while nothing ran is made up for as the policy says."""
    job = scene.add(minute=0, **policy)
    scene.process(0)
    assert len(scene.process(5 * HOUR + 30 * MINUTE)) == runs
    assert outcomes(job)[: len(noted)] == noted
    assert job.scheduledFor == after(6 * HOUR)
    assert scene.process(6 * HOUR) == [6 * HOUR]


@pytest.mark.parametrize("seen", [True, False])
def test_missed_while_it_was_in_a_lane(scene: Scene, seen: bool) -> None:
    """So it is if no worker has seen the job since it was added."""
    job = scene.add(minute=0, missed="skip")
    if seen:
        scene.process(0)
    transaction.begin()
    scene.environment.now += 1.5 * HOUR
    assert scene.service.hasJobsWaiting() is False
    assert scene.process(1.5 * HOUR) == []
    assert (outcomes(job), job.scheduledFor) == ([(HOUR, "skipped")], after(2 * HOUR))


def test_no_more_than_so_many_are_made_up_for(scene: Scene) -> None:
    """After a year there are 100 runs, the latest ones, and not more."""
    scene.add(every=MINUTE, missed="all")
    scene.process(0)
    assert len(scene.process(365 * DAY)) == 100


def test_made_up_one_after_the_other(scene: Scene) -> None:
    """What is made up for does not overlap, and is not left out as if it did."""
    job = scene.add(minute=0, missed="all")
    scene.process(0)
    scene.takes = 10 * MINUTE
    minutes = [190, 200, 210]
    assert scene.process(190 * MINUTE) == [MINUTE * minute for minute in minutes]
    assert job.scheduledFor == after(4 * HOUR)


@pytest.mark.parametrize("background", [True, False])
def test_a_run_that_overlaps_is_left_out(scene: Scene, background: bool) -> None:
    """What falls due during a run is left out, and noted once."""
    job = scene.add(every=MINUTE)
    scene.process(0)
    scene.takes = 5.5 * MINUTE
    if background:
        assert scene.process(MINUTE) == [MINUTE]
    else:
        scene.environment.now += MINUTE
        assert scene.service.processNext()
        scene.commit()
    scene.takes = 0
    assert scene.process(6.6 * MINUTE) == []
    assert outcomes(job) == [(MINUTE, "completed"), (2 * MINUTE, "skipped")]
    assert scene.process(7 * MINUTE) == [7 * MINUTE]


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
def test_a_run_that_overlaps_is_queued(scene: Scene, missed: str) -> None:
    """If it is told to, one more run begins at once for what fell due during a run."""
    job = scene.add(every=MINUTE, overlap="queue", missed=missed)
    scene.process(0)
    scene.takes = 5.9 * MINUTE
    with scene.worker() as session:
        scene.environment.now += MINUTE
        (jobid,) = session.claim(session.own_key, 5).jobs
        session.run(jobid, session.own_key)
        scene.takes = 0
        extra = work(session)
    transaction.begin()
    assert extra == (5 if missed == "all" else 1)
    assert scene.runs[1:] == [pytest.approx(6.9 * MINUTE)] * extra
    assert job.runs[-1].planned == after(6 * MINUTE)
    assert job.scheduledFor == after(7 * MINUTE)


def test_a_date_runs_once(scene: Scene) -> None:
    """A single date is run once; then the job is over."""
    job = scene.add(at=after(HOUR))
    assert (job.status, job.scheduledFor) == (DELAYED, after(HOUR))
    assert scene.process(HOUR - 1) == []
    assert scene.process(HOUR) == [HOUR]
    assert (job.status, job.scheduledFor) == ("completed", None)
    assert scene.process(2 * HOUR) == []


def test_a_date_that_has_passed_runs_now(scene: Scene) -> None:
    """A date that has passed is due at once."""
    job = scene.add(at=after(-DAY))
    assert scene.process(0) == [0]
    assert job.status == "completed"


def test_a_date_that_fails_ends_in_error(scene: Scene) -> None:
    """A single date that failed as often as its policy says is in error, as others."""
    job = scene.add(at=after(HOUR), retry=QUICK)
    scene.fails = 4
    for seconds in (0, 10, 20):
        scene.process(HOUR + seconds)
    assert (job.status, job.failed) == ("error", 3)
    assert scene.service.retry(job.id)
    scene.commit()
    scene.fails = 0
    assert scene.process(DAY) == [DAY]
    assert job.status == "completed"


def test_a_date_that_is_too_late_is_an_error(scene: Scene) -> None:
    """A single date that could not be run in time says so; by hand it runs."""
    job = scene.add(at=after(HOUR), missed="skip")
    scene.process(0)
    assert scene.process(2 * HOUR) == []
    assert job.status == "error"
    assert "too late" in scene.service.getError(job.id)
    scene.service.retry(job.id)
    scene.commit()
    assert scene.process(DAY) == [DAY]
    assert job.status == "completed"


def test_cancelled_while_it_runs(scene: Scene) -> None:
    """A cron job that is cancelled during a run which takes no notice runs no more."""
    job = scene.add(minute=0)
    called: list[int] = []

    def cancelled(service: Any, jobid: int, input: Any) -> str:
        called.append(jobid)
        with service._p_jar.db().transaction() as connection:
            connection.root()["service"].cancel(jobid)
        return "all the same"

    register_full("note", cancelled)
    scene.process(HOUR)
    with scene.worker() as session:
        assert session.requests() == set()
    scene.process(2 * HOUR)
    assert (job.status, called) == ("cancelled", [job.id])
    assert scene.service.getResult(job.id) == "all the same"
    assert scene.service.retry(job.id)
    scene.commit()
    register_full("note", scene._note)
    assert scene.process(DAY) == [DAY]
    assert (job.status, job.scheduledFor) == ("cronjob", after(DAY + HOUR))


def test_a_task_that_aborts_is_planned_by_the_time_that_is_given(scene: Scene) -> None:
    """With `process(now)` a task may end the transaction; the next run is after now."""
    register("note", lambda value: transaction.abort())
    job = scene.add(minute=0)
    scene.service.process(0)
    transaction.commit()
    scene.service.process(HOUR)
    transaction.commit()
    assert job.scheduledFor.timestamp() == 2 * HOUR
    assert job.status != PROCESSING


def test_a_job_on_a_service_that_is_new(environment: FakeEnvironment) -> None:
    """A service without a database runs a cron job many times in one go."""
    register("echo", lambda value: value)
    service = TaskService()
    job = service.jobs[service.addCronJob("echo", minute=0, missed="all")]
    environment.now += 3 * HOUR
    service.process()
    assert [run.outcome for run in job.runs] == ["completed"] * 3


@pytest.mark.parametrize("grace", [1e300, sys.float_info.max, 10**300])
def test_any_grace(scene: Scene, grace: float) -> None:
    """A run may be as late as anyone can say, and holds up nothing."""
    scene.add(minute=0, grace=grace)
    scene.add(every=HOUR)
    assert scene.process(DAY) == [DAY, DAY]


def test_delays_at_the_end_of_time(service: Any) -> None:
    """A delay that counts from the last moment that there is can be shown."""
    jobs = [service.addCronJob("echo", delay=60), service.add("echo", delay=60)]
    service.process(times.LATEST.timestamp())
    for jobid in jobs:
        assert service.jobs[jobid].scheduledFor == times.LATEST
