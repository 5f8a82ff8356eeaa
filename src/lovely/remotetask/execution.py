"""Running a job that has been claimed.

Two ways with one meaning: `run_here` in the caller's transaction, `JobRun` in
transactions of its own.  Either what the task wrote and the end of the job are
one commit, or the writes are undone and the failure is noted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import NoTransaction, TransientError
from zope.event import notify

from lovely.remotetask import events, times
from lovely.remotetask.current import Run, running
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    JobCancelled,
    RollbackImpossible,
    TaskError,
    UnknownTask,
)
from lovely.remotetask.job import Failure, Job
from lovely.remotetask.outages import is_outage
from lovely.remotetask.own import commit_retrying, pause
from lovely.remotetask.pickling import check_changes, check_picklable
from lovely.remotetask.retry import RetryPolicy, check_policy
from lovely.remotetask.sites import site_of
from lovely.remotetask.states import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    ERROR,
    PROCESSING,
    TRANSITIONS,
)
from lovely.remotetask.workers import is_held, put_back, start_attempt

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")

#: How often a job that meets a conflict runs again at once.
TRANSIENT_TRIES = 10


class DoomedByTask(TaskError):
    """The task doomed the transaction, so nothing that it did can be kept."""


def run_here(service: TaskService, jobid: int) -> None:
    """Run a claimed job in the caller's thread and transaction.

    A conflict that the task raises makes it run again.  KeyboardInterrupt goes
    to the caller, and the job is queued as before.  Raise RollbackImpossible.
    """
    run = Run(service.environment)
    for tried in range(TRANSIENT_TRIES + 1):
        undo = _undo_point(service)
        started = service.environment.stamp()
        try:
            _attempt_here(service, jobid, run, started)
            return
        except BaseException as error:
            undo()
            if isinstance(error, KeyboardInterrupt):
                _give_back(service, jobid)
                raise
            failed = _Failed(error, Failure.of(error), started)
            if not isinstance(error, TransientError):
                break
        pause(service.environment, tried)
    job = _still_claimed(service, jobid)
    if job is not None:
        _fail(service, job, failed)


def _attempt_here(service: TaskService, jobid: int, run: Run, started: int) -> None:
    output = _call_task(service, service.jobs[jobid], run, started)
    jar = service._p_jar
    if jar is not None:
        _current(jar.transaction_manager)
    job = _still_claimed(service, jobid)
    if job is not None:
        _complete(service, job, output, started)
    if jar is not None:
        check_changes(jar)


class JobRun:
    """Runs one claimed job in transactions of this thread."""

    def __init__(
        self, connection: Any, oid: bytes, jobid: int, key: int, run: Run
    ) -> None:
        """``oid`` is the service's object id; ``key`` the worker's."""
        self._connection = connection
        self._manager = connection.transaction_manager
        self._oid = oid
        self._jobid = jobid
        self._key = key
        self._run = run

    def __call__(self) -> None:
        """Run it, unless it has been taken away; note how it ended.

        Raise what the storage raises when it fails, or when the end can't be
        noted: the job is still claimed then, and can be run again.
        """
        service = self._connection.get(self._oid)
        for tried in range(TRANSIENT_TRIES + 1):
            started = service.environment.stamp()
            try:
                self._attempt(started)
                return
            except BaseException as error:
                failed = _Failed(error, Failure.of(error), started)
                self._abort()
                if is_outage(error):
                    raise
                if not isinstance(error, TransientError):
                    break
            pause(service.environment, tried)
        self._note_failure(failed)

    def fail(self, error: BaseException) -> None:
        """Note that an attempt failed, which could not do so itself."""
        moment = self._connection.get(self._oid).environment.stamp()
        self._note_failure(_Failed(error, Failure.of(error), moment))

    def _attempt(self, started: int) -> None:
        self._manager.begin()
        service, job = self._mine()
        if job is not None:
            if self._jobid in service._requests:
                raise JobCancelled("The job was cancelled before it was begun.")
            output = _call_task(service, job, self._run, started)
            if _current(self._manager).isDoomed():
                raise DoomedByTask("The task doomed the transaction.")
            # The task may have ended the transaction: look again.
            service, job = self._mine()
        if job is None:
            self._manager.abort()
            return
        _complete(service, job, output, started)
        self._manager.commit()

    def _note_failure(self, failed: _Failed) -> None:
        def work() -> None:
            service, job = self._mine()
            if job is not None:
                _fail(service, job, failed)

        environment = self._connection.get(self._oid).environment
        commit_retrying(self._manager, environment, work)

    def _mine(self) -> tuple[TaskService, Job | None]:
        """The service, and the job if this worker still holds it."""
        service: TaskService = self._connection.get(self._oid)
        job = service.jobs.get(self._jobid)
        if job is None or not is_held(job, self._key):
            return service, None
        return service, job

    def _abort(self) -> None:
        try:
            self._manager.abort()
        except Exception:
            # Somebody else's data manager: the transaction is over all the same.
            log.exception("job %s: error while aborting its writes", self._jobid)


class _Failed(NamedTuple):
    """How an attempt failed."""

    error: BaseException
    failure: Failure
    #: Microseconds since the epoch.
    started: int


def _call_task(service: TaskService, job: Job, run: Run, started: int) -> Any:
    """Call the job's task, in the service's site; return a storable output."""
    name = job.task
    with site_of(service), running(run):
        task = service._task(name)
        run.begin(service, job, _timeout(task, job))
        job.begin(started)
        notify(events.JobStarted(job, service))
        output = task(service, job.id, job.input)
    check_picklable(output, f"The output of task {name!r}", service._p_jar)
    return output


def _complete(service: TaskService, job: Job, output: Any, started: int) -> None:
    job.succeed(output, started, service.environment.stamp())
    _end(service, job, COMPLETED)
    with site_of(service):
        notify(events.JobCompleted(job, service))


def _fail(service: TaskService, job: Job, failed: _Failed) -> None:
    """The attempt failed: try again later, or the job is over."""
    now = service.environment.stamp()
    job.fail(failed.failure, failed.started, now)
    if isinstance(failed.error, JobCancelled) or job.id in service._requests:
        _end(service, job, CANCELLED)
        log.info("job %s of task %r was cancelled", job.id, job.task)
        announce_cancelled(service, job)
        return
    pause = _policy(service, job).pause(
        failed.error, job.failed, service.environment.random()
    )
    again = "" if pause is None else f"; trying again in {pause:.3g} seconds"
    # A task that gives up by itself has said all; else the traceback is needed.
    told = isinstance(failed.error, TaskError)
    reason = failed.failure.message if told else failed.failure
    log.error("job %s of task %r failed%s: %s", job.id, job.task, again, reason)
    if pause is None:
        _end(service, job, ERROR)
        announce_failure(service, job)
    else:
        job.wait_until(times.later(now, pause), relative=True)
        job.queue_at(now)
        service._workers.let_go(job)
        service._writer().enqueue(job, DELAYED)


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
    try:
        return times.check_seconds("timeout", getattr(task, "timeout", None))
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
        with site_of(service):
            notify(event)
    except Exception:
        log.exception("error in a subscriber to %r", event)
        undo()


def _end(service: TaskService, job: Job, status: str) -> None:
    """The job is over.  What a worker holds is counted when it is settled."""
    if job.claimant is None:
        service._writer().move(job, status)
    else:
        job.enter(status)


def _still_claimed(service: TaskService, jobid: int) -> Job | None:
    """The job, claimed again if the task ended the caller's transaction.

    None if the job was added, or taken, by what the task has aborted.
    """
    job = service.jobs.get(jobid)
    if job is not None and PROCESSING in TRANSITIONS[job.status]:
        start_attempt(service, job, None)
    return job if job is not None and job.status == PROCESSING else None


def _give_back(service: TaskService, jobid: int) -> None:
    job = service.jobs.get(jobid)
    if job is not None and job.status == PROCESSING:
        put_back(service, job)


def _current(manager: Any) -> Any:
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
        if _current(manager) is not transaction:
            # The task ended the caller's transaction: all since then is its own.
            manager.abort()
            _current(manager)
            return
        try:
            savepoint.rollback()
        except Exception as error:
            raise RollbackImpossible(
                "A failed job's writes can't be rolled back: "
                f"{type(error).__name__}: {error}. Abort the transaction."
            ) from error

    return undo
