"""Who has claimed what: records of workers, and rescue.

A *worker* is one started processor in one process.  Its record notes the jobs
that it has claimed, in the same commit as the claim.

A worker that finishes a job writes the job, and nothing else of the library's:
one record.  So the job stays on the worker's record, and is counted there, until
it is *settled*: by the worker's next claim, or by whoever changes the job before
that.  Both write the worker's record, so that it happens once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from BTrees.LOBTree import LOBTree
from persistent import Persistent

from lovely.remotetask.job import Job
from lovely.remotetask.states import PROCESSING, QUEUED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lovely.remotetask.service import TaskService

_serial = itertools.count(1)


def new_identity(service: TaskService) -> str:
    """The identity of a new worker in this process; it is never used again."""
    environment = service.environment
    unique = int(environment.random() * 2**32)
    return f"{environment.process()}/{next(_serial)}-{unique:08x}"


class Worker(Persistent):
    """The record of one worker."""

    def __init__(self, key: int, identity: str, started: int) -> None:
        self.key = key
        self.identity = identity
        #: Microseconds since the epoch.
        self.started = started
        #: The ids of the jobs that it has claimed and that are not settled.
        self.held: tuple[int, ...] = ()


class Workers(Persistent):
    """The records of all workers of a service, by a number that is used once."""

    def __init__(self) -> None:
        self._records: LOBTree[Worker] = LOBTree()
        self._last_key = 0

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._records.values()))

    def register(self, service: TaskService, identity: str) -> int:
        """A new worker; its key."""
        self._last_key += 1
        worker = Worker(self._last_key, identity, service.environment.stamp())
        self._records[worker.key] = worker
        return worker.key

    def claim(self, service: TaskService, key: int, jobs: Iterable[Job]) -> None:
        """Take jobs for a worker, and settle those that are over."""
        worker = self._records[key]
        held = self._settle_all(service, worker)
        for job in jobs:
            start_attempt(service, job, key)
            held.append(job.id)
        worker.held = tuple(held)

    def held_by(self, service: TaskService, key: int) -> list[int]:
        """The jobs that a worker has claimed and not finished."""
        worker = self._records.get(key)
        return [] if worker is None else _unfinished(service, worker)

    def settle(self, service: TaskService, job: Job) -> None:
        """Before a job that is over is changed: count how it ended.

        Nothing if that has been done, or if no worker ran it.
        """
        worker = None if job.claimant is None else self._records.get(job.claimant)
        if worker is not None and job.id in worker.held:
            service._writer().count(PROCESSING, job.status)
            worker.held = tuple(jobid for jobid in worker.held if jobid != job.id)

    def unsettled(self, service: TaskService) -> list[str]:
        """The statuses of jobs that are over and still counted as processing."""
        jobs = (service.jobs[jobid] for worker in self for jobid in worker.held)
        return [job.status for job in jobs if job.status != PROCESSING]

    def release(self, service: TaskService, key: int) -> list[int]:
        """Remove a worker; what it has not begun goes back to its old place."""
        return self._remove(service, key, again=False)

    def rescue(self, service: TaskService, is_gone: Callable[[str], bool]) -> list[int]:
        """Queue anew what workers held whose processes are gone; the ids."""
        rescued: list[int] = []
        for worker in self:
            if is_gone(worker.identity):
                rescued += self._remove(service, worker.key, again=True)
        return rescued

    def _remove(self, service: TaskService, key: int, again: bool) -> list[int]:
        worker = self._records.pop(key, None)
        if worker is None:
            return []
        unfinished = self._settle_all(service, worker)
        for jobid in unfinished:
            put_back(service, service.jobs[jobid], again=again)
        return unfinished

    def _settle_all(self, service: TaskService, worker: Worker) -> list[int]:
        """Count how a worker's jobs ended; return those that have not."""
        unfinished = _unfinished(service, worker)
        for jobid in set(worker.held).difference(unfinished):
            service._writer().count(PROCESSING, service.jobs[jobid].status)
        return unfinished


def _unfinished(service: TaskService, worker: Worker) -> list[int]:
    jobs = service.jobs
    return [jobid for jobid in worker.held if is_held(jobs[jobid], worker.key)]


def is_held(job: Job, key: int | None) -> bool:
    """Whether a job is being processed by that worker."""
    return job.status == PROCESSING and job.claimant == key


def start_attempt(service: TaskService, job: Job, key: int | None) -> None:
    """Claim a job: the attempt is counted now, before anything runs."""
    service._writer().move(job, PROCESSING)
    job.attempt += 1
    if job.claimant != key:
        job.claimant = key


def put_back(service: TaskService, job: Job, *, again: bool) -> None:
    """Queue a claimed job: ``again`` behind the others, else where it was.

    One that goes back to its place was never begun: the attempt is not counted.
    """
    if again:
        job.queue_at(service.environment.stamp())
    else:
        job.queue_at(job.stamp)
        job.attempt -= 1
    job.claimant = None
    service._writer().enqueue(job, QUEUED)
