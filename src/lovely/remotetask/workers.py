"""Who has claimed what: records of workers, heartbeats, and rescue.

A *worker* is one started processor in one process.  Its record notes the jobs
that it has claimed, in the same commit as the claim.

A worker that finishes a job writes the job, and nothing else of the library's:
one record.  So the job stays on the worker's record, and is counted there, until
it is *settled*: by the worker's next claim, or by whoever changes the job before
that.  Both write the worker's record, so that it happens once.

A worker writes its `Pulse` now and then.  Whether one has been silent for too
long is judged by the storage's clock, which is in the transaction ids: those of
its heartbeats against those of one's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from BTrees.LOBTree import LOBTree
from persistent import Persistent
from persistent.timestamp import TimeStamp
from ZODB.utils import z64

from lovely.remotetask import history, times
from lovely.remotetask.claims import Rescued, put_back, start_attempts, take_back
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.job import Job
from lovely.remotetask.own import fetch
from lovely.remotetask.queue import NEVER, Share
from lovely.remotetask.states import PROCESSING
from lovely.remotetask.times import Clock

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

_serial = itertools.count(1)

#: A worker that has claimed within so many seconds is likely to do so again.
CLAIMED_JUST_NOW = 0.25
#: One that has left out more heartbeats than this is not waited for.
BEATS_MISSED = 2


def new_identity(service: TaskService) -> str:
    """The identity of a new worker in this process; it is never used again."""
    environment = service.environment
    unique = int(environment.random() * 2**32)
    return f"{environment.process()}/{next(_serial)}-{unique:08x}"


class Lease(NamedTuple):
    """How often a worker's heart beats, and how long its claims are good."""

    #: Seconds from one beat to the next.
    heartbeat: float = 5.0
    #: After so many seconds without one, its jobs are taken back.
    seconds: float = 60.0

    @classmethod
    def checked(cls, heartbeat: object, lease: object) -> Lease:
        """Raise InvalidType (a TypeError) or InvalidArgument (a ValueError)."""
        beat = times.check_seconds("heartbeat", heartbeat)
        seconds = times.check_seconds("lease", lease)
        if beat <= 0:
            raise InvalidArgument("heartbeat: more than 0 seconds are needed.")
        if seconds < 2 * beat:
            raise InvalidArgument(
                f"lease: {seconds!r} seconds are too short for a heartbeat every "
                f"{beat!r}; at least twice as long is needed."
            )
        return cls(beat, seconds)


class WorkerInfo(NamedTuple):
    """What can be known of a worker; see ``ITaskService.workers``."""

    #: What it is called; never used again.
    identity: str
    #: The machine that it runs on, by name.
    host: str
    #: The number of its process there.
    pid: int
    #: When it was started.
    started: datetime | None
    #: How many jobs it runs at a time; 0 for a claim in a thread of the caller.
    threads: int
    #: The ids of the jobs that it has claimed and not finished.
    held: tuple[int, ...]
    #: The last one, by the storage's clock; None before the first was committed.
    heartbeat: datetime | None
    #: How often its heart is to beat.
    lease: Lease
    #: When it last claimed jobs or gave some back, likewise; at first when it began.
    lastClaim: datetime | None = None


class Pulse(Persistent):
    """A worker's heartbeat: that it is written says all."""

    beats = 0
    #: How many seconds the clock of the worker's machine is ahead of the storage's, as
    #: far as that is sure; whole ones.
    ahead = 0
    #: How far its jobs are: (fraction, message) by id.
    progress: Mapping[int, tuple[float, str]] = MappingProxyType({})
    #: When those began that ran at a heartbeat: microseconds since the epoch by id.
    began: Mapping[int, int] = MappingProxyType({})
    #: What became of its runs: in this minute, and before.
    recent: history.Rows = MappingProxyType({})
    history: history.History | None = None


class Worker(Persistent):
    """The record of one worker."""

    def __init__(
        self, key: int, identity: str, started: int, threads: int, lease: Lease
    ) -> None:
        self.key = key
        self.identity = identity
        #: Microseconds since the epoch.
        self.started = started
        self.threads = threads
        self._lease = tuple(lease)
        self.pulse = Pulse()
        #: The ids of the jobs that it has claimed and that are not settled.
        self.held: tuple[int, ...] = ()

    #: Whether it stands for a call that runs a job in its own transaction.
    is_call = False

    @property
    def lease(self) -> Lease:
        return Lease(*self._lease)

    @property
    def place(self) -> tuple[str, int]:
        """The host, and the process's number there."""
        host, pid = self.identity.split("/")[:2]
        return host.partition(":")[0], int(pid)

    @property
    def process(self) -> str:
        """What people call the process."""
        host, pid = self.place
        return f"process {pid} on {host}"

    @property
    def beat(self) -> float | None:
        """The storage's time of the last heartbeat, in seconds; None before it."""
        self.pulse._p_activate()
        serial = self.pulse._p_serial
        return None if serial == z64 else TimeStamp(serial).timeTime()


class Watch:
    """What a worker has seen of the others' heartbeats.

    A jump of the storage's clock makes every heartbeat look old, and so does an
    outage of the storage, when no heart can beat.  So one must also have seen for
    oneself that a heart did not beat.
    """

    def __init__(self) -> None:
        #: By the worker's key: its last heartbeat, how long it has been silent
        #: since, and when one looked last.
        self._seen: dict[int, tuple[float | None, float, float]] = {}

    def silence(self, worker: Worker, now: float) -> float:
        """For how many seconds, up to ``now``, no heartbeat has been seen.

        Whoever could not look for long has not seen how long others were silent: no
        more than the time of a heartbeat counts for each look.
        """
        beat, silent, looked = self._seen.get(worker.key, (None, 0.0, now))
        silent += min(now - looked, worker.lease.heartbeat)
        if beat != worker.beat:
            silent = 0.0
        self._seen[worker.key] = worker.beat, silent, now
        return silent


class Held(NamedTuple):
    """What a worker has claimed and that is not settled."""

    #: The ids of the jobs that are not over.
    unfinished: list[int]
    #: The jobs that are over.
    ended: list[Job]


class Workers(Persistent):
    """The records of all workers of a service, by a number that is used once."""

    def __init__(self) -> None:
        self._records: LOBTree[Worker] = LOBTree()
        self._last_key = 0

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._records.values()))

    def get(self, key: int) -> Worker | None:
        """The record with a key, or None."""
        return self._records.get(key)

    def is_first(self, key: int) -> bool:
        """Whether, of the workers that run jobs, this is the one that began first."""
        return key == next((worker.key for worker in self if worker.threads), None)

    def share(self, service: TaskService, key: int) -> Share:
        """Which lanes are a worker's own, of those that run jobs."""
        fetch(self)
        workers = [w for w in self if w.threads or w.key == key]
        rank = next(r for r, worker in enumerate(workers) if worker.key == key)
        own = workers[rank]
        return Share(
            rank, len(workers), lambda r: _ready_until(service, own, workers[r])
        )

    def register(
        self, service: TaskService, threads: int = 1, lease: Lease | None = None
    ) -> int:
        """A new worker in this process; its key."""
        self._last_key += 1
        self._records[self._last_key] = Worker(
            self._last_key,
            new_identity(service),
            service.environment.stamp(),
            threads,
            lease or Lease(),
        )
        return self._last_key

    def claim(
        self,
        service: TaskService,
        key: int,
        jobs: Sequence[Job],
        held: Held | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take jobs for a worker, and settle those that are over.

        ``held`` is what it holds, if that is known; ``clock`` what it goes by.
        """
        worker = self._records[key]
        worker.held = tuple(self._settle_all(service, worker, held))
        start_attempts(service, jobs, key, clock)
        worker.held = (*worker.held, *(job.id for job in jobs))

    def stand_in(self, service: TaskService, job: Job) -> str:
        """A new worker for a call that runs a job, which is claimed; its identity."""
        key = self.register(service, threads=0)
        worker = self._records[key]
        worker.is_call, worker.held, job.claimant = True, (job.id,), key
        return worker.identity

    def identity(self, key: int | None) -> str | None:
        """Who a claimant is; None if there is no such worker."""
        worker = None if key is None else self._records.get(key)
        return None if worker is None else worker.identity

    def give_back(self, service: TaskService, key: int, jobids: Iterable[int]) -> None:
        """Jobs that a worker has claimed and not begun go back to their places."""
        worker = self._records.get(key)
        if worker is not None:
            unfinished = set(self._settle_all(service, worker))
            given = [jobid for jobid in jobids if jobid in unfinished]
            for jobid in given:
                put_back(service, service.jobs[jobid])
            worker.held = tuple(sorted(unfinished.difference(given)))

    def pulse_of(self, job: Job) -> Pulse | None:
        """What the worker tells that runs a job; None if there is none."""
        if job.status != PROCESSING or job.claimant is None:
            return None
        worker = self._records.get(job.claimant)
        return None if worker is None else worker.pulse

    def held_by(self, service: TaskService, key: int) -> Held:
        """What a worker has claimed and that is not settled."""
        worker = self._records.get(key)
        return Held([], []) if worker is None else _held(service, worker)

    def settle(self, service: TaskService, job: Job) -> None:
        """Before a job that is over is changed: count how it ended.

        Nothing if that has been done, or if no worker ran it.
        """
        worker = None if job.claimant is None else self._records.get(job.claimant)
        if worker is not None and job.id in worker.held:
            service._writer().settle([job])
            worker.held = tuple(jobid for jobid in worker.held if jobid != job.id)

    def let_go(self, job: Job) -> None:
        """A worker's attempt is over, but the job is not: it goes on waiting."""
        worker = None if job.claimant is None else self._records.get(job.claimant)
        if worker is not None:
            worker.held = tuple(jobid for jobid in worker.held if jobid != job.id)
        job.claimant = None

    def unsettled(self, service: TaskService) -> list[str]:
        """The statuses of jobs that are over and still counted as processing."""
        held = [job.status for _, job in jobs_held(service, *self)]
        return [status for status in held if status != PROCESSING]

    def is_caller(self, key: int | None) -> bool:
        """Whether a job was claimed by a call, not by a processor."""
        worker = None if key is None else self._records.get(key)
        return worker is None or not worker.threads

    def dismiss(self, service: TaskService, key: int | None) -> None:
        """Remove a worker that stood for a claim by hand, if that is over."""
        worker = None if key is None else self._records.get(key)
        if worker is None or worker.threads:
            return
        if not _held(service, worker).unfinished:
            self.leave(service, worker.key)

    def leave(self, service: TaskService, key: int) -> None:
        """Remove a worker; what it has not begun goes back to its place."""
        worker = self._records.get(key)
        if worker is not None:
            for jobid in self._remove(service, worker):
                put_back(service, service.jobs[jobid])

    def rescue(
        self, service: TaskService, is_lost: Callable[[Worker], bool]
    ) -> list[Rescued]:
        """Take back what lost workers hold.

        A job that several workers have died with ends in error.
        """
        return [
            take_back(service, service.jobs[jobid], worker.process)
            for worker in self
            if is_lost(worker)
            for jobid in self._remove(service, worker)
        ]

    def _remove(self, service: TaskService, worker: Worker) -> list[int]:
        """Remove a worker's record; return the jobs that have not ended.

        The record is written, too: a claim at the same time must conflict.
        """
        del self._records[worker.key]
        history.hand_over(service, worker.pulse)
        unfinished = self._settle_all(service, worker)
        worker.held = ()
        return unfinished

    def _settle_all(
        self, service: TaskService, worker: Worker, held: Held | None = None
    ) -> list[int]:
        """Count how a worker's jobs ended; return those that have not."""
        unfinished, ended = held or _held(service, worker)
        if ended:
            service._writer().settle(ended)
        for job in ended:
            # Not needed any more: else it drives what is out of ZODB's cache.
            job._p_deactivate()
        return unfinished

    def info(self, service: TaskService, worker: Worker) -> WorkerInfo:
        """What can be known of a worker."""
        return WorkerInfo(
            worker.identity,
            *worker.place,
            times.to_datetime(worker.started),
            worker.threads,
            tuple(_held(service, worker).unfinished),
            _datetime(worker.beat),
            worker.lease,
            _datetime(worker._p_mtime),
        )


def _datetime(seconds: float | None) -> datetime | None:
    return None if seconds is None else times.to_datetime(times.from_seconds(seconds))


def is_held(job: Job, key: int | None) -> bool:
    """Whether a job is being processed by that worker."""
    return job.status == PROCESSING and job.claimant == key


def _ready_until(service: TaskService, own: Worker, worker: Worker) -> int:
    """Until when a worker is taken to be ready for a job: microseconds; 0 if it is not.

    It is as long as it has a free thread, as a look at one job tells: they are taken in
    the order of their claims.  And it is for a moment after a claim: as far as anyone
    can know, its jobs are short.  Not if its heart stands still.
    """
    if not worker.threads or _beats_behind(own, worker) > BEATS_MISSED:
        return 0
    if worker.threads > len(worker.held):
        return NEVER
    job = service.jobs.get(worker.held[-worker.threads])
    if job is None or not is_held(job, worker.key):
        return NEVER
    claimed = worker._p_mtime or 0.0
    if abs(service.environment.time() - claimed) > CLAIMED_JUST_NOW:
        return 0
    return times.from_seconds(claimed + CLAIMED_JUST_NOW)


def _beats_behind(own: Worker, worker: Worker) -> float:
    """How many heartbeats a worker has missed, as far as we have seen our own."""
    if own.beat is None or worker.beat is None:
        return 0.0
    return (own.beat - worker.beat) / worker.lease.heartbeat


def jobs_held(service: TaskService, *workers: Worker) -> Iterator[tuple[Worker, Job]]:
    """What workers have claimed and that is not settled, with who has.

    A job that is gone is left out: that is a damage, and is to hold up nobody.
    """
    for worker in workers:
        for jobid in worker.held:
            job = service.jobs.get(jobid)
            if job is not None:
                yield worker, job


def _held(service: TaskService, worker: Worker) -> Held:
    unfinished: list[int] = []
    ended: list[Job] = []
    for _, job in jobs_held(service, worker):
        if is_held(job, worker.key):
            unfinished.append(job.id)
        else:
            ended.append(job)
    return Held(unfinished, ended)
