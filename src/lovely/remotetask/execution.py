"""Running a job that has been claimed: what is common, and the caller's way.

`run_here` runs a job in the caller's transaction; `lovely.remotetask.runs` has the
ways of workers.  All have one meaning: either what the task wrote and the end of
the job are one commit, or the writes are undone and the failure is noted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import NoTransaction, TransientError
from zope.event import notify

from lovely.remotetask import events, times
from lovely.remotetask.current import Run, describe, running, wrapped, wrappers
from lovely.remotetask.endings import end
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    JobCancelled,
    RollbackImpossible,
    TaskError,
    UnknownTask,
)
from lovely.remotetask.job import Failure, Job
from lovely.remotetask.own import pause
from lovely.remotetask.pickling import check_changes, check_storable
from lovely.remotetask.retry import RetryPolicy, check_policy
from lovely.remotetask.sites import Surroundings
from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    ERROR,
    PROCESSING,
    TRANSITIONS,
)
from lovely.remotetask.times import Clock
from lovely.remotetask.workers import put_back, start_attempts

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")

#: How often a job that meets a conflict runs again at once.
TRANSIENT_TRIES = 10


def run_here(service: TaskService, jobid: int, clock: Clock | None = None) -> None:
    """Run a claimed job in the caller's thread and transaction.

    ``clock`` is what it was claimed by, if not the system's.

    A conflict that the task raises makes it run again.  KeyboardInterrupt goes
    to the caller, and the job is queued as before.  Raise RollbackImpossible.
    """
    run = Run(service.environment)
    for tried in range(TRANSIENT_TRIES + 1):
        undo = _undo_point(service)
        started = service.environment.stamp()
        try:
            _attempt_here(service, jobid, run, started, clock)
            return
        except BaseException as error:
            undo()
            if isinstance(error, KeyboardInterrupt):
                _give_back(service, jobid)
                raise
            failed = Failed.of(error, started)
            if not isinstance(error, TransientError):
                break
        pause(service.environment, tried)
    job = _still_claimed(service, jobid, clock)
    if job is not None:
        fail(service, job, failed)


def _attempt_here(
    service: TaskService, jobid: int, run: Run, started: int, clock: Clock | None
) -> None:
    jar = service._p_jar
    with Surroundings(service) as surroundings:
        output = call_task(service, service.jobs[jobid], run, started)
        surroundings.renew()
        if jar is not None:
            current_transaction(jar.transaction_manager)
        job = _still_claimed(service, jobid, clock)
        if job is not None:
            complete(service, job, output, started)
    if jar is not None:
        check_changes(jar)


class Failed(NamedTuple):
    """How an attempt failed."""

    error: BaseException
    failure: Failure
    #: Microseconds since the epoch.
    started: int

    @classmethod
    def of(cls, error: BaseException, started: int) -> Failed:
        """With an exception."""
        return cls(error, Failure.of(error), started)


def call_task(service: TaskService, job: Job, run: Run, started: int) -> Any:
    """Call the job's task, within its surroundings; return a storable output."""
    name = job.task
    with running(run):
        task = service._task(name)
        run.begin(service, job, _timeout(task, job))
        job.begin(started)
        if not wrappers:
            return _output_of(service, job, task)
        with wrapped(run):
            return _output_of(service, job, task)


def _output_of(service: TaskService, job: Job, task: Any) -> Any:
    notify(events.JobStarted(job, service))
    output = task(service, job.id, job.input)
    check_storable(output, f"The output of task {job.task!r}", service._p_jar)
    # The task may have changed it, and it is stored with the output.
    check_storable(job.input, f"The input of task {job.task!r}", service._p_jar)
    return output


def complete(
    service: TaskService, job: Job, output: Any, started: int
) -> events.RunEnded:
    """The job is over, and well; within the surroundings of its task."""
    now = service.environment.stamp()
    ended = events.RunEnded(service, job, started)
    job.succeed(output, started, now)
    end(service, job, COMPLETED)
    notify(events.JobCompleted(job, service))
    return ended.end(COMPLETED, now)


def fail(service: TaskService, job: Job, failed: Failed) -> events.RunEnded:
    """The attempt failed: try again later, or the job is over."""
    now = service.environment.stamp()
    ended = events.RunEnded(service, job, failed.started)
    tags = describe(service, job)
    job.fail(failed.failure, failed.started, now)
    if isinstance(failed.error, JobCancelled) or job.id in service._requests:
        end(service, job, CANCELLED)
        log.info("job %s of task %r was cancelled", job.id, job.task, extra=tags)
        announce_cancelled(service, job)
        return ended.end(CANCELLED, now)
    pause = _policy(service, job).pause(
        failed.error, job.failed, service.environment.random()
    )
    if pause is not None and not job.has_time_until(times.later(now, pause)):
        pause = None
    again = "" if pause is None else f"; trying again in {pause:.3g} seconds"
    # A task that gives up by itself has said all; else the traceback is needed.
    told = isinstance(failed.error, TaskError)
    reason = failed.failure.message if told else failed.failure
    log.error(
        "job %s of task %r failed%s: %s", job.id, job.task, again, reason, extra=tags
    )
    if pause is None:
        end(service, job, ERROR)
        announce_failure(service, job)
        return ended.end(ERROR, now)
    job.wait_until(times.later(now, pause), relative=True)
    job.queue_at(now)
    # No worker was lost with this attempt, so the row of crashes has ended.
    job.crashes = 0
    service._workers.let_go(job)
    service._writer().enqueue(job, DELAYED)
    return ended.end(DELAYED, now)


def _policy(service: TaskService, job: Job) -> RetryPolicy:
    """The job's own policy, or else its task's, or else the service's.

    A task may have something else of that name, which is none of our business.
    """
    try:
        of_task = getattr(service._task(job.task), "retry", None)
    except UnknownTask:
        of_task = None
    for policy in (job.retry, of_task, service.retryPolicy):
        if policy is not None:
            with suppress(InvalidType, InvalidArgument):
                return check_policy("retry", policy)
    return RetryPolicy()


def _timeout(task: Any, job: Job) -> float | None:
    """The job's own time limit, or else its task's, in seconds."""
    if job.timeout is not None:
        return job.timeout
    timeout = getattr(task, "timeout", None)
    if timeout is None:
        return None
    try:
        return times.check_seconds("timeout", timeout)
    except (InvalidType, InvalidArgument):
        return None


def announce_cancelled(service: TaskService, job: Job) -> None:
    """Tell subscribers that a job was cancelled; what they raise is logged."""
    _announce(service, events.JobCancelled(job, service))


def announce_failure(service: TaskService, job: Job) -> None:
    """Tell subscribers that a job has failed; what they raise is logged."""
    _announce(service, events.JobFailed(job, service))


def _announce(service: TaskService, event: events.JobEvent) -> None:
    undo = _undo_point(service)
    try:
        with Surroundings(service):
            notify(event)
    except BaseException as error:
        tags = describe(service, event.object)
        log.exception("error in a subscriber to %r", event, extra=tags)
        undo()
        main = threading.current_thread() is threading.main_thread()
        if isinstance(error, KeyboardInterrupt) and main:
            raise


def _still_claimed(service: TaskService, jobid: int, clock: Clock | None) -> Job | None:
    """The job, claimed again if the task ended the caller's transaction.

    None if the job was added, or taken, by what the task has aborted.
    """
    job = service.jobs.get(jobid)
    if job is not None and PROCESSING in TRANSITIONS[job.status]:
        start_attempts(service, [job], None, clock)
    return job if job is not None and job.status == PROCESSING else None


def _give_back(service: TaskService, jobid: int) -> None:
    job = service.jobs.get(jobid)
    if job is not None and job.status == PROCESSING:
        put_back(service, job)


def current_transaction(manager: Any) -> Any:
    """The current transaction, begun if a task has ended an explicit one."""
    try:
        return manager.get()
    except NoTransaction:
        return manager.begin()


def _undo_point(service: TaskService) -> Callable[[], None]:
    """A function that takes back all writes from now on.

    Without a database there is nothing to take them back with.
    """
    jar = service._p_jar
    if jar is None:
        return lambda: None
    manager = jar.transaction_manager
    transaction = manager.get()
    savepoint = transaction.savepoint(optimistic=True)

    def undo() -> None:
        if current_transaction(manager) is not transaction:
            # The task ended the caller's transaction: all since then is its own.
            manager.abort()
            current_transaction(manager)
            return
        try:
            savepoint.rollback()
        except Exception as error:
            raise RollbackImpossible(
                "A failed job's writes can't be rolled back: "
                f"{type(error).__name__}: {error}. Abort the transaction."
            ) from error

    return undo
