"""Putting right what `lovely.remotetask.checks` has found, where that is safe.

Each repair is made only if the job is as it was found, and writes what whoever changes
it at the same time writes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovely.remotetask.blocks import add_up
from lovely.remotetask.checks import (
    CLAIM,
    COUNTS,
    HELD,
    INDEX,
    NOW,
    PLACE,
    Problem,
    seen_of,
)
from lovely.remotetask.claims import take_back
from lovely.remotetask.job import Job
from lovely.remotetask.states import ERROR, PROCESSING, QUEUED, SCHEDULED, STATUSES

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: What `repair` may be able to put right.  The rest needs a backup, or its author.
REPAIRABLE = frozenset({CLAIM, COUNTS, HELD, INDEX, PLACE})


def repair(service: TaskService, problem: Problem) -> bool:
    """Put it right, in the caller's transaction; False if it is not as it was."""
    if problem.kind == COUNTS:
        return _recount(service, problem)
    if problem.kind == HELD:
        return _let_go(service, problem.jobid)
    if problem.jobid is None:
        return False
    if problem.kind == INDEX:
        return _index_anew(service, problem.jobid)
    job = service.jobs.get(problem.jobid)
    if job is None or seen_of(job) != problem.seen:
        return False
    if problem.kind == PLACE:
        _queue_anew(service, job)
    else:
        _free(service, job)
    return True


def _recount(service: TaskService, problem: Problem) -> bool:
    """Add what the counts were wrong by, where those of former lanes are kept.

    Others go on counting meanwhile: by how much it was wrong does not change, unless
    somebody else has corrected it.
    """
    found, retired = problem.seen
    if service._lanes._retired != retired:
        return False
    wrong = tuple(found[status] for status in STATUSES)
    service._lanes._retired = add_up([retired, wrong])
    return True


def _let_go(service: TaskService, jobid: int | None) -> bool:
    """Take a job that is gone from the records of workers."""
    found = [worker for worker in service._workers if jobid in worker.held]
    for worker in found:
        worker.held = tuple(held for held in worker.held if held != jobid)
    return bool(found) and jobid not in service.jobs


def _index_anew(service: TaskService, jobid: int) -> bool:
    """Have the index of errors say what is so, unless the job's worker will."""
    index, job = service._lanes.failed, service.jobs.get(jobid)
    if index is None:
        return False
    index.drop(jobid)
    held = any(jobid in worker.held for worker in service._workers)
    if job is not None and job.status == ERROR and not held:
        # Written, so that whoever queues it again at the same time conflicts.
        job._p_changed = True
        index.add([job])
    return True


def _queue_anew(service: TaskService, job: Job) -> None:
    """Give a job that waits a place; those that it had count no more."""
    if job.status in SCHEDULED and job.due_at(NOW) is None:
        job.wait_in_schedule(None)  # it is paused
        return
    job.queue_at(service.environment.stamp())
    writer = service._writer()
    if job.status == QUEUED and job.crashes:
        service._suspects.insert((job.stamp, job.id))
        writer.appended = True
    else:
        writer.note(job)


def _free(service: TaskService, job: Job) -> None:
    """Take a job from workers that do not run it; queue it, if nobody does."""
    for worker in service._workers:
        if job.id in worker.held and (
            job.status != PROCESSING or worker.key != job.claimant
        ):
            worker.held = tuple(held for held in worker.held if held != job.id)
    claimant = None if job.claimant is None else service._workers.get(job.claimant)
    if job.status != PROCESSING:
        if job.claimant is not None and job.status == QUEUED:
            job.claimant = None
    elif claimant is None or job.id not in claimant.held:
        take_back(service, job)
