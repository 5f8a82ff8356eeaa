"""How a run ends: with the job, or with another wait for its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovely.remotetask.states import SCHEDULED

if TYPE_CHECKING:
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService


def end(service: TaskService, job: Job, status: str) -> None:
    """No other attempt follows: the job is over, or waits for its next run.

    What a worker holds is counted when it is settled: its record is not written,
    or this would conflict with its next claim.  And the schedule is not written
    either, but a lane: whoever reads that looks what is planned.
    """
    status = job.after(status, cancelled=job.id in service._requests)
    if status in SCHEDULED:
        job.queue_at(service.environment.stamp())
    if job.claimant is None:
        service._writer().move(job, status)
    else:
        job.enter(status)
    if status in SCHEDULED:
        service._writer().note(job)
