"""Whether a service is processed as it should be, for who watches over it.

All of it is in the database already, so that any process can tell.  Its cost does
not depend on how many jobs wait.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask import times
from lovely.remotetask.environment import machine_of
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.states import QUEUED
from lovely.remotetask.workers import Worker, WorkerInfo, is_held, jobs_held

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: What a worker may be doing.
IDLE = "idle"
WORKING = "working"
BUSY = "busy"
STALLED = "stalled"
SILENT = "silent"

#: After so many heartbeats that were left out a worker is called silent.
SILENT_BEATS = 4


class WorkerState(NamedTuple):
    """A worker, and what it is doing."""

    #: Who it is.
    worker: WorkerInfo
    #: ``idle`` without jobs, ``working`` with a thread that is free, ``busy`` with
    #: none; ``stalled`` if it takes no job, though some are due and a thread is
    #: free; ``silent`` if its heart does not beat.
    state: str


class Processing(NamedTuple):
    """How the processing of a service goes; see ``ITaskService.processing``."""

    #: How many jobs are queued.
    waiting: int
    #: Since when the oldest job that is due waits, or None.
    oldest: datetime | None
    #: Who runs jobs, in whatever process.
    workers: tuple[WorkerState, ...]
    #: Whether jobs have been due for too long and nobody is there to take them.
    stalled: bool


def storage_time(service: TaskService) -> float:
    """What the storage's clock shows, as far as it is known: heartbeats are by that.

    No earlier than what it has said; and workers on this machine know how far its
    clock is from that.  In seconds.
    """
    environment = service.environment
    here, now = machine_of(environment.process()), environment.time()
    beating = [worker for worker in service._workers if worker.beat is not None]
    ahead = [w.pulse.ahead for w in beating if machine_of(w.identity) == here]
    shown = now - min(ahead, key=abs, default=0)
    return max([shown, *(worker.beat or shown for worker in beating)])


def look(service: TaskService) -> Processing:
    """How the processing of a service goes.

    Raise InvalidType or InvalidArgument, if its ``stalledAfter`` is wrong.
    """
    return _Look(service)()


class _Look:
    """One look at a service."""

    def __init__(self, service: TaskService) -> None:
        self._service = service
        self._bound = times.check_seconds("stalledAfter", service.stalledAfter)
        self._workers = [worker for worker in service._workers if worker.threads]
        self._waiting = service.count(QUEUED)
        self._oldest = self._find_oldest()
        now = service.environment.time()
        self._storage_now = storage_time(service)
        waited = 0.0 if self._oldest is None else now - self._oldest / 1_000_000
        self._overdue = waited > self._bound

    def __call__(self) -> Processing:
        states = tuple(map(self._state, self._workers))
        idle_hands = all(state in {STALLED, SILENT} for _, state in states)
        return Processing(
            self._waiting,
            times.to_datetime(self._oldest),
            states,
            self._overdue and idle_hands,
        )

    def _find_oldest(self) -> int | None:
        """Since when the oldest job that is due waits, in microseconds.

        A job that a worker was lost with waits rightly while another such one runs.
        """
        reader = QueueReader(self._service, suspects=not self._has_suspect())
        oldest = reader.waits_since()
        # If it has passed over too many, what follows need not be due.
        return None if reader.gave_up and not self._waiting else oldest

    def _has_suspect(self) -> bool:
        held = jobs_held(self._service, *self._workers)
        return any(job.crashes and is_held(job, worker.key) for worker, job in held)

    def _state(self, worker: Worker) -> WorkerState:
        info = self._service._workers.info(self._service, worker)
        return WorkerState(info, self._name(worker, len(info.held)))

    def _name(self, worker: Worker, held: int) -> str:
        lease = worker.lease
        patience = min(lease.seconds, SILENT_BEATS * lease.heartbeat)
        if worker.beat is not None and self._storage_now - worker.beat > patience:
            return SILENT
        if held >= worker.threads:
            return BUSY
        # Each claim writes the record.
        written = worker._p_mtime
        late = written is not None and self._storage_now - written > self._bound
        if self._overdue and late:
            return STALLED
        return WORKING if held else IDLE
