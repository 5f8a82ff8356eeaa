"""Running a job that has been claimed: what is common to all ways.

`lovely.remotetask.callers` has the caller's way, `lovely.remotetask.runs` and
`lovely.remotetask.groups` those of workers.  All have one meaning: either what the task
wrote and the end of the job are one commit, or the writes are undone and the failure is
noted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import NoTransaction
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
from lovely.remotetask.forks import parent_only
from lovely.remotetask.job import Failure, Job
from lovely.remotetask.people import act_for
from lovely.remotetask.pickling import check_storable
from lovely.remotetask.retry import RetryPolicy, check_policy
from lovely.remotetask.schemas import check_schema
from lovely.remotetask.sites import Surroundings, name_of
from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    ERROR,
)
from lovely.remotetask.values import readable

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")

#: How often a job that meets a conflict runs again at once.
TRANSIENT_TRIES = 10


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


class Returned(NamedTuple):
    """What a task has returned, and when it began and ended (microseconds)."""

    output: Any
    started: int
    ended: int


def call_task(
    service: TaskService, job: Job, run: Run, started: int, *, write: bool = True
) -> Returned:
    """Call the job's task, within its surroundings; its output can be stored.

    ``write``: whether the job is written before, so that it is undone with the rest,
    and if the task commits by itself, the job is sure to be ours.
    """
    name = job.task
    with running(run):
        task = service._task(name)
        run.begin(service, job, _timeout(task, job), started)
        job.begin(started, write=write)
        act_for(service, job, task)
        if not wrappers:
            output = _output_of(service, job, task)
        else:
            with wrapped(run):
                output = _output_of(service, job, task)
    returned = Returned(output, started, service.environment.stamp())
    run.took = (returned.ended - returned.started) / 1_000_000
    return returned


def _output_of(service: TaskService, job: Job, task: Any) -> Any:
    notify(events.JobStarted(job, service))
    with parent_only():
        output = task(service, job.id, job.input)
    what = f"The output of task {job.task!r}"
    check_schema(getattr(task, "outputSchema", None), output, what)
    # A copy, if it could be changed: by the time it is stored, others have been here.
    output = check_storable(output, what, service._p_jar)
    job.keep_input(service._p_jar)
    return output


def complete(service: TaskService, job: Job, returned: Returned) -> events.RunEnded:
    """The job is over, and well; within the surroundings of its task."""
    ended = events.RunEnded(service, job, returned.started)
    job.succeed(*returned)
    end(service, job, COMPLETED)
    notify(events.JobCompleted(job, service))
    return ended.end(COMPLETED, returned.ended)


def fail(service: TaskService, job: Job, failed: Failed) -> events.RunEnded:
    """The attempt failed: try again later, or the job is over."""
    now = service.environment.stamp()
    ended = events.RunEnded(service, job, failed.started)
    tags = describe(service, job)
    job.fail(failed.failure, failed.started, now)
    shown = name_of(service), job.id, job.task
    if isinstance(failed.error, JobCancelled) or job.id in service._requests:
        end(service, job, CANCELLED)
        log.info("%s: job %s of task %r was cancelled", *shown, extra=tags)
        announce_cancelled(service, job)
        return ended.end(CANCELLED, now)
    pause = _policy(service, job).pause(
        failed.error, job.failed, service.environment.random()
    )
    if pause is not None and not job.has_time_until(times.later(now, pause)):
        pause = None
    # A task that gives up by itself has said all; else the traceback is needed.
    reason = failed.failure.for_log(briefly=isinstance(failed.error, TaskError))
    if pause is None:
        log.error("%s: job %s of task %r failed: %s", *shown, reason, extra=tags)
        end(service, job, ERROR)
        announce_failure(service, job)
        return ended.end(ERROR, now)
    log.warning(
        "%s: job %s of task %r failed; trying again in %.3g seconds: %s",
        *shown,
        pause,
        reason,
        extra=tags,
    )
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
    for policy in (readable(job, "retry"), of_task, service.retryPolicy):
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
    undo = undo_point(service)
    try:
        with Surroundings(service):
            notify(event)
    except BaseException as error:
        tags = describe(service, event.object)
        log.exception(
            "%s: error in a subscriber to %r", name_of(service), event, extra=tags
        )
        undo()
        main = threading.current_thread() is threading.main_thread()
        if isinstance(error, KeyboardInterrupt) and main:
            raise


def current_transaction(manager: Any) -> Any:
    """The current transaction, begun if a task has ended an explicit one."""
    try:
        return manager.get()
    except NoTransaction:
        return manager.begin()


def undo_point(service: TaskService) -> Callable[[], None]:
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
