"""What the jobs of these tests do, and how one tells that they did it once."""

from __future__ import annotations

from typing import Any

import zope.event
from persistent import Persistent

from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.errors import TaskError
from lovely.remotetask.interfaces import IJobCancelled, IJobCompleted, IJobFailed
from lovely.remotetask.job import CronJob
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.states import CANCELLED, COMPLETED, CRONJOB, ERROR
from tests.support import FullTask, provide

#: How a job of each task may end, if it is not cancelled.
ENDS = {
    "count": {COMPLETED},
    "fail": {ERROR},
    "fail once": {COMPLETED},
    "fail until asked": {ERROR, COMPLETED},
}

#: A run that is due may have waited for so long, while others did (microseconds).
LATE = 60_000_000


class Effect(Persistent):
    """What a job writes to the database, and what its end does."""

    #: How often it was done.
    done = 0
    #: How often the job ended: in the transaction of its end.
    ended = 0
    #: Of a cron job: what its runs were for that went well, and that did not.
    runs: tuple[int | None, ...] = ()
    failed: tuple[int | None, ...] = ()


def count(service: Any, jobid: int, effect: Effect) -> None:
    """Do it."""
    effect.done += 1


def fail(service: Any, jobid: int, effect: Effect) -> None:
    """Do it, which is not kept."""
    effect.done += 1
    raise TaskError("as told")


def fail_once(service: Any, jobid: int, effect: Effect) -> None:
    """Do it, but the first time it is not kept."""
    effect.done += 1
    if not service.jobs[jobid].failed:
        raise RuntimeError("as told")


def fail_until_asked(service: Any, jobid: int, effect: Effect) -> None:
    """Do it, but it is not kept before somebody wants it to be tried again."""
    effect.done += 1
    if not effect.ended:
        raise TaskError("as told")


def register_tasks() -> None:
    """Make these the tasks, and let each end of a job be noted with it."""
    for task in (count, fail, fail_once, fail_until_asked):
        full = FullTask(task)
        full.retry = RetryPolicy(1, delay=3600)
        provide(task.__name__.replace("_", " "), full)
    zope.event.subscribers.append(note_end)


def new_cron_job(service: Any, task: str, every: float) -> int:
    """Add a cron job of which no run is ever left out; its id."""
    jobid: int = service.addCronJob(
        task, Effect(), every=every, missed="all", overlap="queue"
    )
    return jobid


def note_end(event: Any) -> None:
    """If a job has ended, or a run of it, its transaction says so."""
    if any(end.providedBy(event) for end in (IJobCompleted, IJobFailed, IJobCancelled)):
        job, effect = event.object, event.object.input
        effect.ended += 1
        if isinstance(job, CronJob) and IJobCompleted.providedBy(event):
            effect.runs = (*effect.runs, job.plan.run_for)
        elif isinstance(job, CronJob) and IJobFailed.providedBy(event):
            effect.failed = (*effect.failed, job.plan.run_for)


def check_ends(service: Any) -> None:
    """Every job has ended, once, as its task does; its effect is there once."""
    for job in service.jobs.values():
        if isinstance(job, CronJob):
            check_runs(job, service.environment.stamp())
            continue
        found = f"job {job.id} {job.task!r} is {job.status}: {vars(job.input)}"
        lost = job.crashes >= MOST_CRASHES
        ends = {ERROR} if lost else ENDS[job.task]
        assert job.status in {CANCELLED, *ends}, found
        assert job.input.done == (job.status == COMPLETED), found
        assert job.input.ended == 1 + was_asked(job), found
        least = attempts(job)
        # Crashes before an attempt that failed in the usual way are forgotten.
        most = least + (MOST_CRASHES - 1 if job.failed else 0)
        assert least <= job.attempt <= most, f"{found}, attempt {job.attempt}"


def check_runs(job: CronJob, now: int) -> None:
    """Each planned run of a cron job has come once, in turn; none is left that is due.

    Nobody asked for a run at once more than once.
    """
    effect, plan = job.input, job.plan
    found = f"job {job.id} {job.task!r} is {job.status}: {vars(effect)}"
    came = [*effect.runs, *effect.failed]
    planned = sorted(moment for moment in came if moment is not None)
    first, interval = plan.schedule.anchor, plan.schedule.interval
    wanted = [first + (number + 1) * interval for number in range(len(planned))]
    assert planned == wanted, found
    assert len(came) - len(planned) <= 1, found
    assert effect.done == len(effect.runs), found
    assert effect.ended - len(came) in {0, job.status == CANCELLED}, found
    assert job.attempt >= len(came), found
    if job.status != CANCELLED:
        assert (job.status, job.crashes, plan.asked) == (CRONJOB, 0, None), found
        assert plan.next == first + (len(planned) + 1) * interval, found
        assert plan.next > now - LATE, found


def was_asked(job: Any) -> bool:
    """Whether somebody wanted a job to be tried again that was over."""
    return job.task == "fail until asked" and job.status == COMPLETED


def attempts(job: Any) -> int:
    """How often a job that is over has been begun."""
    if job.status == CANCELLED:
        return job.attempt
    ran = job.crashes < MOST_CRASHES
    return job.crashes + ran + was_asked(job) + (ran and job.task == "fail once")
