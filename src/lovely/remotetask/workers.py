"""Who has claimed what: records of workers, and rescue.

A *worker* is one started processor in one process.  Its record notes the jobs
it has claimed, in the same commit as the claim; a job is really held only while
it is processing and names the worker, so a record may list jobs that are over.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from BTrees.OOBTree import OOBTree
from persistent import Persistent

from lovely.remotetask.job import Job
from lovely.remotetask.states import PROCESSING, QUEUED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lovely.remotetask.service import TaskService

_serial = itertools.count(1)


def new_identity(service: TaskService) -> str:
    """The identity of a new worker in this process; it is never used again."""
    environment = service.environment
    unique = int(environment.random() * 2**32)
    return f"{environment.process()}/{next(_serial)}-{unique:08x}"


class WorkerRecord(Persistent):
    """What is known of one worker."""

    def __init__(self, identity: str, started: int) -> None:
        self.identity = identity
        #: Microseconds since the epoch.
        self.started = started
        #: The ids of the jobs of the last claims.
        self.held: tuple[int, ...] = ()


class Workers(Persistent):
    """The records of all workers of a service."""

    def __init__(self) -> None:
        self._records: OOBTree[str, WorkerRecord] = OOBTree()

    def __iter__(self) -> Iterator[WorkerRecord]:
        return iter(list(self._records.values()))

    def claim(self, service: TaskService, identity: str, jobs: Iterable[Job]) -> None:
        """Take jobs for a worker, beside those it holds already."""
        record = self._records.get(identity)
        if record is None:
            record = WorkerRecord(identity, service.environment.stamp())
            self._records[identity] = record
        held = self.held_by(service, identity)
        for job in jobs:
            start_attempt(service, job, identity)
            held.append(job.id)
        record.held = tuple(held)

    def held_by(self, service: TaskService, identity: str) -> list[int]:
        """The jobs that a worker has taken and not finished."""
        record = self._records.get(identity)
        claimed = () if record is None else record.held
        jobs = ((jobid, service.jobs.get(jobid)) for jobid in claimed)
        return [
            jobid for jobid, job in jobs if job is not None and is_held(job, identity)
        ]

    def release(self, service: TaskService, identity: str) -> list[int]:
        """Remove a worker; what it still holds goes back to its old place."""
        return self._remove(service, identity, again=False)

    def rescue(self, service: TaskService) -> list[int]:
        """Queue anew what workers held whose processes are gone; the ids."""
        rescued: list[int] = []
        for identity in list(self._records):
            if service.environment.is_gone(identity):
                rescued += self._remove(service, identity, again=True)
        return rescued

    def _remove(self, service: TaskService, identity: str, again: bool) -> list[int]:
        held = self.held_by(service, identity)
        for jobid in held:
            put_back(service, service.jobs[jobid], again=again)
        self._records.pop(identity, None)
        return held


def is_held(job: Job, identity: str | None) -> bool:
    """Whether a job is being processed by that worker."""
    return job.status == PROCESSING and job.claimant == identity


def start_attempt(service: TaskService, job: Job, identity: str | None) -> None:
    """Claim a job: the attempt is counted now, before anything runs."""
    service._writer().move(job, PROCESSING)
    job.attempt += 1
    if job.claimant != identity:
        job.claimant = identity


def put_back(service: TaskService, job: Job, *, again: bool) -> None:
    """Queue a claimed job: ``again`` behind the others, else where it was.

    One that goes back to its place was never begun: the attempt is not counted.
    """
    writer = service._writer()
    if again:
        job.queue_at(writer.stamp(service.environment.stamp()))
    else:
        job.attempt -= 1
    job.claimant = None
    writer.enqueue(job, QUEUED)
