"""What the jobs of these tests do, and how one tells that they did it once."""

from __future__ import annotations

from typing import Any

import zope.event
from persistent import Persistent

from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.errors import TaskError
from lovely.remotetask.interfaces import IJobCancelled, IJobCompleted, IJobFailed
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.states import CANCELLED, COMPLETED, ERROR
from tests.support import FullTask, provide

#: How a job of each task may end, if it is not cancelled.
ENDS = {
    "count": {COMPLETED},
    "fail": {ERROR},
    "fail once": {COMPLETED},
    "fail until asked": {ERROR, COMPLETED},
}


class Effect(Persistent):
    """What a job writes to the database, and what its end does."""

    #: How often it was done.
    done = 0
    #: How often the job ended: in the transaction of its end.
    ended = 0


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


def note_end(event: Any) -> None:
    """If a job has ended, its transaction says so."""
    if any(end.providedBy(event) for end in (IJobCompleted, IJobFailed, IJobCancelled)):
        event.object.input.ended += 1


def check_ends(service: Any) -> None:
    """Every job has ended, once, as its task does; its effect is there once."""
    for job in service.jobs.values():
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


def was_asked(job: Any) -> bool:
    """Whether somebody wanted a job to be tried again that was over."""
    return job.task == "fail until asked" and job.status == COMPLETED


def attempts(job: Any) -> int:
    """How often a job that is over has been begun."""
    if job.status == CANCELLED:
        return job.attempt
    ran = job.crashes < MOST_CRASHES
    return job.crashes + ran + was_asked(job) + (ran and job.task == "fail once")
