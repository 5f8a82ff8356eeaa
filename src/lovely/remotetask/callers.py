"""Processing in the caller's thread and transaction.

A job that is claimed here is in no commit before it is over, unless its task
commits by itself.  Then the claim is noted in that commit, as that of a worker that
stands for the call: what others see of it is a job that is being processed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transaction.interfaces import TransientError

from lovely.remotetask import times
from lovely.remotetask.claims import put_back, start_attempts
from lovely.remotetask.current import Run, telling
from lovely.remotetask.execution import (
    TRANSIENT_TRIES,
    Failed,
    call_task,
    complete,
    current_transaction,
    fail,
    undo_point,
)
from lovely.remotetask.job import Job
from lovely.remotetask.own import pause
from lovely.remotetask.pickling import check_changes
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.rescue import begin_call, end_call, report, rescue
from lovely.remotetask.sites import Surroundings, name_of
from lovely.remotetask.states import PROCESSING, REMOVABLE, TRANSITIONS
from lovely.remotetask.timetable import follow
from lovely.remotetask.workers import is_held

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService


class Call:
    """A claimed job that is run in the caller's thread and transaction."""

    def __init__(self, service: TaskService, job: Job, clock: times.Clock) -> None:
        """``clock`` is what it was claimed by."""
        self._service = service
        self._jobid = job.id
        self._clock = clock
        self._run = Run(service.environment)
        #: Of the worker that stands for the call, if its claim may be committed.
        self._identity = service._workers.identity(job.claimant)

    def __call__(self) -> None:
        """Run it.

        A conflict that the task raises makes it run again.  KeyboardInterrupt goes
        to the caller, and the job is queued as before.  Raise RollbackImpossible.
        """
        try:
            with telling(self._run):
                failed = self._try()
                job = None if failed is None else self._claimed()
                if job is not None and failed is not None:
                    fail(self._service, job, failed)
        finally:
            if self._identity is not None:
                self._dismiss(self._identity)

    def _try(self) -> Failed | None:
        """Run it, several times if need be; how it failed, if it did."""
        environment = self._service.environment
        for tried in range(TRANSIENT_TRIES + 1):
            undo = undo_point(self._service)
            started = environment.stamp()
            try:
                self._attempt(started)
                return None
            except BaseException as error:
                undo()
                if isinstance(error, KeyboardInterrupt):
                    self._give_back()
                    raise
                failed = Failed.of(error, started)
                if not isinstance(error, TransientError):
                    break
            pause(environment, tried)
        return failed

    def _attempt(self, started: int) -> None:
        service, job = self._service, self._claimed()
        if job is None:
            return
        jar = service._p_jar
        with self._guarded(), Surroundings(service) as surroundings:
            returned = call_task(service, job, self._run, started)
            surroundings.renew()
            if jar is not None:
                current_transaction(jar.transaction_manager)
            job = self._claimed()
            if job is not None:
                complete(service, job, returned)
        if jar is not None:
            check_changes(jar)

    def _claimed(self) -> Job | None:
        """The job, claimed again if the task ended the caller's transaction.

        None if the job was added by what the task has aborted, if it is over, or if
        another worker has it by now.
        """
        job = self._service.jobs.get(self._jobid)
        if job is not None and PROCESSING in TRANSITIONS[job.status]:
            start_attempts(self._service, [job], None, self._clock)
        return job if job is not None and self._is_ours(job) else None

    def _is_ours(self, job: Job) -> bool:
        holder = self._service._workers.identity(job.claimant)
        mine = job.claimant is None or holder == self._identity
        return mine and job.status == PROCESSING

    def _give_back(self) -> None:
        service, job = self._service, self._service.jobs.get(self._jobid)
        if job is None or not self._is_ours(job):
            return
        if job.claimant is None:
            put_back(service, job)
        else:
            service._workers.give_back(service, job.claimant, [job.id])

    # If the task commits

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Within, a commit of the caller's transaction does not lose the claim."""
        jar = self._service._p_jar
        calls = [] if jar is None else _unfinished(jar.transaction_manager)
        calls.append(self)
        try:
            yield
        finally:
            calls.remove(self)

    def hold(self) -> None:
        """The transaction is about to be committed, before the job is over."""
        job = self._service.jobs.get(self._jobid)
        if job is not None and is_held(job, None):
            self._identity = self._service._workers.stand_in(self._service, job)
            begin_call(self._identity)

    def _dismiss(self, identity: str) -> None:
        """The worker that stands for the call is not needed any more."""
        service = self._service
        for worker in service._workers:
            if worker.identity == identity:
                service._workers.dismiss(service, worker.key)
        if service._p_jar is not None:
            manager = service._p_jar.transaction_manager
            end_call(identity, current_transaction(manager))


def _unfinished(manager: Any) -> list[Call]:
    """The calls in the current transaction whose jobs are not over."""
    transaction = current_transaction(manager)
    try:
        calls: list[Call] = transaction.data(_unfinished)
    except KeyError:
        calls = []
        transaction.set_data(_unfinished, calls)
        transaction.addBeforeCommitHook(_hold_all, (calls,))
    return calls


def _hold_all(calls: list[Call]) -> None:
    for call in calls:
        call.hold()


def has_jobs(service: TaskService, now: float | None) -> bool:
    """Whether a job is due."""
    return bool(QueueReader(service, clock_of(service, now), most=math.inf).take(1))


def claim_next(service: TaskService, now: float | None) -> int | None:
    """Take the next job that is due, for a call of `process_next`; its id, or None."""
    clock = clock_of(service, now)
    job = next_job(service, clock)
    if job is None:
        return None
    key = service._workers.register(service, threads=0)
    service._workers.claim(service, key, [job], clock=clock)
    return job.id


def process_next(
    service: TaskService, now: float | None, jobid: int | None = None
) -> bool:
    """Run one job; see `ITaskService.processNext`."""
    if jobid is None:
        _take_back(service)
    return _process(service, clock_of(service, now), jobid)


def process(service: TaskService, now: float | None) -> None:
    """Run jobs until none is due."""
    _take_back(service)
    while _process(service, clock_of(service, now)):
        pass


def _process(
    service: TaskService, clock: times.Clock, jobid: int | None = None
) -> bool:
    job = next_job(service, clock) if jobid is None else service._job(jobid)
    if job is None:
        return False
    if PROCESSING in TRANSITIONS[job.status]:
        if jobid is not None:
            job.leave_place()
        start_attempts(service, [job], None, clock)
    if job.status != PROCESSING:
        return job.status in REMOVABLE
    if not service._workers.is_caller(job.claimant):
        return False
    Call(service, job, clock)()
    return True


def _take_back(service: TaskService) -> None:
    """Take back what calls before this one have left behind."""
    is_gone = service.environment.is_gone
    rescued = rescue(service, lambda w: not w.threads and is_gone(w.identity))
    report(name_of(service), rescued)


def clock_of(service: TaskService, now: float | None = None) -> times.Clock:
    """What jobs are due by: the system's clock, or the one that is given."""
    given = None if now is None else times.check_clock(now)
    return times.Clock.of(service.environment.time(), given)


def next_job(service: TaskService, clock: times.Clock | None = None) -> Job | None:
    """Take the next job that is due from the queue."""
    clock = clock or clock_of(service)
    while follow(service, clock):
        pass
    while True:
        reader = QueueReader(service, clock)
        jobs = reader.take(1)
        reader.save()
        if jobs or not reader.gave_up:
            return jobs[0] if jobs else None
