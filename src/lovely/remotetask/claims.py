"""Claims, as far as the job is concerned: taken, put back, or taken back.

Who holds a job is noted in the records of `lovely.remotetask.workers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask.endings import end
from lovely.remotetask.job import Failure, Job
from lovely.remotetask.states import ERROR, PROCESSING, QUEUED
from lovely.remotetask.times import Clock

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: So many workers may die while they hold a job; then the job is in error.
MOST_CRASHES = 3


class Rescued(NamedTuple):
    """A job that was taken back from a worker that is lost."""

    jobid: int
    task: str
    #: The number of the attempt that came to nothing.
    attempt: int
    #: How many workers in a row were lost with it.
    crashes: int
    #: Which process the last one was in.
    process: str

    @property
    def failed(self) -> bool:
        """Whether it is given up; otherwise it is queued again."""
        return self.crashes >= MOST_CRASHES

    @property
    def reason(self) -> str:
        """What happened, and if it is given up, what to do."""
        if not self.failed:
            return f"The worker in {self.process} was lost while it held the job."
        return (
            f"{self.crashes} workers in a row were lost while they held the job, the "
            f"last one in {self.process}. If it is to be tried again, find out first "
            "whether it made them crash."
        )


def start_attempts(
    service: TaskService,
    jobs: Sequence[Job],
    key: int | None,
    clock: Clock | None = None,
) -> None:
    """Claim jobs: the attempt is counted now, before anything runs.

    What a job is run for, and what is planned next, is noted in the same commit.
    """
    clock = clock or Clock.of(service.environment.time())
    for job in jobs:
        if job.claimant is not None:
            # A cron job may still be on the record of the worker that ran it last.
            service._workers.settle(service, job)
        job.claimed(clock)
    service._writer().move_all(jobs, PROCESSING)
    for job in jobs:
        job.attempt += 1
        if job.claimant != key:
            job.claimant = key


def put_back(service: TaskService, job: Job) -> None:
    """Queue a claimed job that has not begun, where it was.

    The attempt is not counted.
    """
    job.attempt -= 1
    _queue(service, job, job.stamp, job.unclaimed())


def take_back(
    service: TaskService, job: Job, process: str = "a process that is not known"
) -> Rescued:
    """Queue a job anew whose worker is lost; if that happened too often, it failed.

    ``process`` is what to call that worker's.
    """
    now = service.environment.stamp()
    job.crashes += 1
    rescued = Rescued(job.id, job.task, job.attempt, job.crashes, process)
    if job.crashes < MOST_CRASHES:
        job.note_crash(Failure("WorkerLost", rescued.reason, ""), now)
        _queue(service, job, now)
    else:
        job.fail(Failure("WorkerLost", rescued.reason, ""), now, now)
        job.claimant = None
        end(service, job, ERROR)
    return rescued


def _queue(service: TaskService, job: Job, moment: int, status: str = QUEUED) -> None:
    """Queue a claimed job: in a lane, or, if a worker was lost with it, apart.

    So it holds up nothing while another suspect runs, and claims find it at once.
    """
    job.queue_at(moment)
    job.claimant = None
    writer = service._writer()
    if job.crashes:
        writer.move(job, QUEUED)
        service._suspects.insert((moment, job.id))
        writer.appended = True
    else:
        writer.enqueue(job, status)
