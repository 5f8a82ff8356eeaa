"""What can be done to a job: the same for pages and for the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.states import (
    CANCELLABLE,
    PROCESSING,
    REMOVABLE,
    RETRIABLE,
    STARTLATER,
)

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService
    from lovely.remotetask.web.store import Store

#: So many jobs are changed in one transaction, where there are many: what conflicts
#: with a worker is soon done again.
BATCH = 25


def job_of(service: TaskService, jobid: int) -> Job:
    """The job with an id.  Raise UnknownJob."""
    job = service.jobs.get(jobid)
    if job is None:
        raise UnknownJob(jobid)
    return job


class Verb(NamedTuple):
    """Something that is done to a job."""

    #: In URLs.
    name: str
    #: On the button, and when it has been done.
    label: str
    done: str
    #: What it means, for the API.
    meaning: str
    #: Whether it makes sense, and how it is done.
    suits: Callable[[Job], bool]
    act: Callable[[TaskService, int], object]
    #: Whether what it does can't be undone.
    final: bool = False

    def apply(self, service: TaskService, jobid: int) -> bool:
        """Do it; False if it makes no sense for the job.  Raise UnknownJob."""
        if not self.suits(job_of(service, jobid)):
            return False
        self.act(service, jobid)
        return True


def _with(statuses: Iterable[str]) -> Callable[[Job], bool]:
    return lambda job: job.status in statuses


def _comes_back(job: Job) -> bool:
    return isinstance(job, CronJob) and job.status not in REMOVABLE


def _paused(job: Job) -> bool:
    return isinstance(job, CronJob) and job.paused


#: What can be done to many jobs at a time, and with which statuses.
BULK = {
    "retry": RETRIABLE,
    "cancel": CANCELLABLE | {PROCESSING},
    "remove": REMOVABLE,
}

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "start",
            "Start",
            "Started",
            "Queue a job that is to start later.",
            _with({STARTLATER}),
            lambda service, jobid: service.startJob(jobid),
        ),
        Verb(
            "run",
            "Run now",
            "Asked to run",
            "Run a cron job at once, whatever is planned.",
            _comes_back,
            lambda service, jobid: service.runNow(jobid),
        ),
        Verb(
            "pause",
            "Pause",
            "Paused",
            "Let no planned run of a cron job begin.",
            lambda job: _comes_back(job) and not _paused(job),
            lambda service, jobid: service.pause(jobid),
        ),
        Verb(
            "resume",
            "Resume",
            "Resumed",
            "Let a cron job that was paused go on.",
            lambda job: _comes_back(job) and _paused(job),
            lambda service, jobid: service.resume(jobid),
        ),
        Verb(
            "retry",
            "Retry",
            "Queued again",
            "Queue a job that failed or was cancelled, as if it were new.",
            _with(BULK["retry"]),
            lambda service, jobid: service.retry(jobid),
        ),
        Verb(
            "cancel",
            "Cancel",
            "Cancelled, or asked to stop if it runs",
            "End a job that waits; ask one that runs to stop.",
            _with(BULK["cancel"]),
            lambda service, jobid: service.cancel(jobid),
            final=True,
        ),
        Verb(
            "remove",
            "Remove",
            "Removed",
            "Remove a job that is over.",
            _with(BULK["remove"]),
            lambda service, jobid: service.remove(jobid),
            final=True,
        ),
    )
}


def possible(job: Job) -> list[Verb]:
    """What makes sense for a job now."""
    return [verb for verb in VERBS.values() if verb.suits(job)]


def apply_to_all(store: Store, verb: Verb, jobids: list[int], user: str) -> int:
    """Do it to many jobs, some in each transaction; to how many it was done.

    What makes no sense any more is left alone, and so is what is gone.
    """
    done = 0
    for first in range(0, len(jobids), BATCH):
        batch = jobids[first : first + BATCH]

        def work(service: TaskService, batch: list[int] = batch) -> int:
            known = [jobid for jobid in batch if jobid in service.jobs]
            return sum(verb.apply(service, jobid) for jobid in known)

        done += store.change(work, f"{verb.name} {len(batch)} jobs", user)
    return done
