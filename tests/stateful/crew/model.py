"""Jobs, claims and workers in plain Python: what has been committed.

What an act does is told when it has been committed; if another one came between its
beginning and that, several outcomes may be right, and the caller says which came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.states import (
    CANCELLABLE,
    CANCELLED,
    COMPLETED,
    CRONJOB,
    DELAYED,
    ERROR,
    PROCESSING,
    QUEUED,
    REMOVABLE,
    RETRIABLE,
    SCHEDULED,
    STARTLATER,
)
from tests.stateful.crew.chores import POLICY

#: Seconds between two runs of the cron job.
EVERY = 10.0


class Job(NamedTuple):
    """One job.  Moments are seconds since the epoch."""

    kind: str
    status: str
    #: When it is due, if it waits for a time; of a cron job: what was planned next.
    due: float | None = None
    #: The worker that processes it: the key of its record.
    worker: int | None = None
    attempt: int = 0
    failed: int = 0
    crashes: int = 0
    #: How often it has been done.
    done: int = 0
    #: Of a cron job: what the run is for that was taken last, and is to be tried again.
    run_for: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether a worker may take it."""
        timed = self.status in SCHEDULED and self.due is not None and self.due <= now
        return self.status == QUEUED or timed

    def claimed(self, worker: int | None) -> Job:
        """A worker takes it."""
        job = self._replace(
            status=PROCESSING, worker=worker, attempt=self.attempt + 1, due=None
        )
        if self.status == CRONJOB:
            return job._replace(failed=0, run_for=self.due)
        return job

    def put_back(self) -> Job:
        """It was claimed, and not begun."""
        job = self._replace(status=QUEUED, worker=None, attempt=self.attempt - 1)
        if self.kind == "cron" and not (self.failed or self.crashes):
            return job._replace(status=CRONJOB, due=self.run_for)
        return job

    def lost(self) -> Job:
        """Its worker was lost."""
        job = self._replace(worker=None, crashes=self.crashes + 1)
        if job.crashes < MOST_CRASHES:
            return job._replace(status=QUEUED)
        return job._replace(failed=job.failed + 1).over(ERROR)

    def over(self, status: str) -> Job:
        """No other attempt follows."""
        if self.kind != "cron":
            return self._replace(status=status, worker=None)
        assert self.run_for is not None
        return self._replace(
            status=CRONJOB, due=self.run_for + EVERY, crashes=0, worker=None
        )

    def ended(self, status: str, due: float | None = None) -> Job:
        """An attempt ended, with this outcome; when it is due if it failed."""
        if status == COMPLETED:
            return self._replace(done=self.done + 1).over(status)
        job = self._replace(failed=self.failed + 1)
        if status == DELAYED:
            return job._replace(status=status, worker=None, crashes=0, due=due)
        return job.over(status)

    def outcomes(self) -> set[str]:
        """How an attempt of it that nobody cancels may end."""
        if self.kind == "fail":
            return {ERROR}
        if self.kind == "hopeless":
            return {DELAYED if self.failed < POLICY.retries else ERROR}
        if self.kind == "flaky" and not self.failed:
            return {DELAYED}
        return {COMPLETED}


@dataclass
class View:
    """What one transaction sees, and what it asks for."""

    jobs: dict[int, Job]
    written: set[int] = field(default_factory=set)
    cancels: set[int] = field(default_factory=set)
    retries: set[int] = field(default_factory=set)
    only_adds: bool = True

    def copy(self) -> View:
        """As it is now: for a savepoint."""
        return View(
            dict(self.jobs),
            set(self.written),
            set(self.cancels),
            set(self.retries),
            self.only_adds,
        )

    def put(self, jobid: int, job: Job) -> None:
        """Add or change a job."""
        self.only_adds = self.only_adds and jobid not in self.jobs
        self.jobs[jobid] = job
        self.written.add(jobid)

    def start(self, jobid: int) -> bool:
        """As ``startJob``."""
        job = self.jobs[jobid]
        if job.status == STARTLATER:
            self.put(jobid, job._replace(status=QUEUED))
        return job.status == STARTLATER

    def cancel(self, jobid: int) -> None:
        """As ``cancel``."""
        job = self.jobs[jobid]
        self.only_adds = False
        if job.status in CANCELLABLE:
            self.put(jobid, job._replace(status=CANCELLED, due=None))
        elif job.status == PROCESSING:
            self.cancels.add(jobid)

    def retry(self, jobid: int) -> bool:
        """As ``retry``."""
        job = self.jobs[jobid]
        if job.status in RETRIABLE:
            self.retries.add(jobid)
            self.put(jobid, job._replace(status=QUEUED, failed=0, crashes=0))
        return job.status in RETRIABLE

    def run(self, jobid: int) -> None:
        """As ``processNext`` with an id, of a job that works."""
        self.put(jobid, self.jobs[jobid].claimed(None).ended(COMPLETED))

    def clean(self) -> int:
        """As ``clean``."""
        over = [i for i, job in self.jobs.items() if job.status in REMOVABLE]
        for jobid in over:
            del self.jobs[jobid]
        self.written.update(over)
        self.only_adds = self.only_adds and not over
        return len(over)


@dataclass
class Beats:
    """What is known of a worker's heart."""

    #: By the storage's clock.
    last: float
    process: str
    #: By the others' keys: the last heartbeat that they have seen, for how long they
    #: know it to be silent since, and when they looked last.
    seen: dict[int, tuple[float, float, float]] = field(default_factory=dict)


class Model:
    """What has been committed."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.given: set[int] = set()
        #: Running jobs that someone has cancelled, some of them in vain.
        self.requested: set[int] = set()
        #: Jobs that a worker gave back: they wait behind what their lanes have noted.
        self.given_back: set[int] = set()
        #: The workers that there are, by their keys.
        self.workers: dict[int, Beats] = {}
        #: How often the tally was written by jobs that have been removed since.
        self.removed = 0

    def begin(self) -> View:
        """What a transaction that begins now sees."""
        return View(dict(self.jobs))

    def commit(self, before: dict[int, Job], view: View) -> None:
        """A transaction that saw this at its beginning has been committed."""
        for jobid in view.written:
            now, then = self.jobs.get(jobid), before.get(jobid)
            assert now is then, f"job {jobid} was {then}, then {now}: an update is lost"
            if then is None and jobid in view.jobs:
                assert jobid not in self.given, f"id {jobid} was given twice"
                self.given.add(jobid)
            if jobid in view.jobs:
                self.jobs[jobid] = view.jobs[jobid]
            else:
                job = self.jobs.pop(jobid, None)
                self.removed += job.done if job and job.kind == "share" else 0
        self.requested |= view.cancels
        self.requested -= view.retries

    def due(self, now: float) -> set[int]:
        """The jobs that a worker may take."""
        return {jobid for jobid, job in self.jobs.items() if job.is_due(now)}

    def held_by(self, key: int | None) -> list[int]:
        """The jobs that a worker processes."""
        return [i for i, job in self.jobs.items() if job.worker == key is not None]

    def tally(self) -> int:
        """How often the tally was written."""
        jobs = self.jobs.values()
        return self.removed + sum(job.done for job in jobs if job.kind == "share")
