"""A task service in plain Python: what jobs there are, as each connection sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lovely.remotetask.states import (
    CANCELLABLE,
    CANCELLED,
    COMPLETED,
    DELAYED,
    ERROR,
    QUEUED,
    REMOVABLE,
    STARTLATER,
)

#: The statuses from which `processNext` with an id runs a job.
RUNNABLE = frozenset({QUEUED, DELAYED})


class Job(NamedTuple):
    """One job of the model."""

    status: str
    fails: bool
    #: Seconds since the epoch, if it was added with a delay.
    due: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether a processor would take it."""
        in_time = self.due is not None and self.due <= now
        return self.status == QUEUED or (self.status == DELAYED and in_time)

    def ended(self) -> Job:
        """How it is after it has been run."""
        return self._replace(status=ERROR if self.fails else COMPLETED)


@dataclass
class View:
    """What one transaction sees and does; nobody else knows of it."""

    jobs: dict[int, Job]
    #: The jobs that it has added, changed or removed.
    written: set[int] = field(default_factory=set)
    #: Whether it has done more than ask for new jobs.
    only_adds: bool = True

    def copy(self) -> View:
        """As it is now: for a savepoint."""
        return View(dict(self.jobs), set(self.written), self.only_adds)

    def put(self, jobid: int, job: Job) -> None:
        """Add or change a job."""
        self.only_adds = self.only_adds and jobid not in self.jobs
        self.jobs[jobid] = job
        self.written.add(jobid)

    def statuses(self) -> dict[int, str]:
        """The status of each job."""
        return {jobid: job.status for jobid, job in self.jobs.items()}

    def due(self, now: float) -> set[int]:
        """The jobs that a processor would take."""
        return {jobid for jobid, job in self.jobs.items() if job.is_due(now)}

    def start(self, jobid: int) -> bool:
        """As ``startJob``."""
        job = self.jobs[jobid]
        if job.status != STARTLATER:
            return False
        self.put(jobid, job._replace(status=QUEUED))
        return True

    def cancel(self, jobid: int) -> None:
        """As ``cancel``."""
        job = self.jobs[jobid]
        if job.status in CANCELLABLE:
            self.put(jobid, job._replace(status=CANCELLED))

    def run(self, jobid: int) -> None:
        """A job is run to its end."""
        self.put(jobid, self.jobs[jobid].ended())

    def clean(self) -> int:
        """As ``clean``."""
        over = [i for i, job in self.jobs.items() if job.status in REMOVABLE]
        for jobid in over:
            del self.jobs[jobid]
        self.written.update(over)
        self.only_adds = self.only_adds and not over
        return len(over)


class Model:
    """What has been committed."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        #: Ids that have been given for good.
        self.given: set[int] = set()
        #: Jobs that a worker was lost with.
        self.suspects: set[int] = set()
        #: Jobs that a worker gave back: they wait behind what its lane has noted.
        self.given_back: set[int] = set()
        #: Whether a job or a lane was ever removed, or a block was dropped: then an add
        #: at that time may conflict.
        self.cleaned = False
        #: The numbers of the blocks that there are.
        self.blocks: set[int] = set()
        #: By commit, the jobs that it wrote.
        self.log: list[set[int]] = []

    def begin(self) -> View:
        """What a transaction that begins now sees."""
        return View(dict(self.jobs))

    def see_blocks(self, numbers: set[int]) -> None:
        """These blocks are in the committed state."""
        self.cleaned = self.cleaned or not self.blocks <= numbers
        self.blocks = numbers

    def commit(self, view: View, since: int) -> None:
        """A transaction that began after ``since`` commits has been committed."""
        for written in self.log[since:]:
            both = written & view.written
            assert not both, f"two transactions at a time have changed {both}"
        added = view.written - self.jobs.keys()
        again = added & self.given & view.jobs.keys()
        assert not again, f"ids were given twice: {again}"
        self.given |= added
        self.cleaned = self.cleaned or bool(view.written - view.jobs.keys())
        for jobid in view.written:
            if jobid in view.jobs:
                self.jobs[jobid] = view.jobs[jobid]
            else:
                self.jobs.pop(jobid, None)
        self.log.append(set(view.written))
