"""Running what a worker has claimed, one by one, in transactions of its thread.

What a task wrote and the end of its job are one commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import TransientError
from ZODB.POSException import ConnectionStateError

from lovely.remotetask.current import Run, context, telling
from lovely.remotetask.errors import JobCancelled, TaskError
from lovely.remotetask.events import RunEnded
from lovely.remotetask.execution import (
    TRANSIENT_TRIES,
    Failed,
    Returned,
    call_task,
    complete,
    current_transaction,
    fail,
)
from lovely.remotetask.job import Job
from lovely.remotetask.outages import is_outage
from lovely.remotetask.own import commit_retrying, forget, pause
from lovely.remotetask.sites import Surroundings
from lovely.remotetask.workers import is_held

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

log = logging.getLogger("lovely.remotetask")


class DoomedByTask(TaskError):
    """The task doomed the transaction, so nothing that it did can be kept."""


class Thread(NamedTuple):
    """What a thread of a worker runs jobs with."""

    connection: Any
    #: The service's object id, and the worker's key.
    oid: bytes
    key: int
    #: Of the connection's transactions, as long as it is this thread's.
    manager: Any
    #: What logs call the service.
    name: str
    #: Told of each run that has ended, when that is committed.
    report: Callable[[RunEnded], object]

    @property
    def service(self) -> TaskService:
        """The service, as this thread's transaction sees it.

        Raise ConnectionStateError if a task has closed the connection: by now it may
        be another thread's, in whose transactions it takes part.
        """
        if self.connection.transaction_manager is not self.manager:
            raise ConnectionStateError("The connection of the worker was closed.")
        service: TaskService = self.connection.get(self.oid)
        return service

    def mine(self, service: TaskService, jobid: int) -> Job | None:
        """The job, if the worker still holds it."""
        job = service.jobs.get(jobid)
        return None if job is None or not is_held(job, self.key) else job

    def begin(self, service: TaskService, jobid: int) -> Job | None:
        """The same, about to be run.  Raise JobCancelled."""
        job = self.mine(service, jobid)
        if job is not None and jobid in service._requests:
            raise JobCancelled("The job was cancelled before it was begun.")
        return job

    def commit(self) -> None:
        """Commit what was written."""
        try:
            self.manager.commit()
        except BaseException:
            forget(self.connection)
            raise

    def forget(self) -> None:
        """Let the connection load everything anew, unless it is not ours any more.

        It does not know of objects that were changed in place.
        """
        if self.connection.transaction_manager is self.manager:
            forget(self.connection)

    def abort(self) -> None:
        """Undo what was written."""
        try:
            self.manager.abort()
        except Exception:
            # Somebody else's data manager: the transaction is over all the same.
            log.exception(
                "%s: error while aborting the writes of a job",
                self.name,
                extra=dict(context()),
            )


def check_not_doomed(transaction: Any) -> None:
    """What a task did can be committed.  Raise DoomedByTask."""
    if transaction.isDoomed():
        raise DoomedByTask("The task doomed the transaction.")


class JobRun:
    """Runs one claimed job in transactions of this thread."""

    def __init__(self, thread: Thread, jobid: int, run: Run) -> None:
        self._thread = thread
        self._jobid = jobid
        self._run = run
        service = thread.service
        self._environment = service.environment
        run.context = {"service": service.__name__, "jobid": jobid}

    def __call__(self, returned: Returned | None = None) -> None:
        """Run it, unless it has been taken away; note how it ended.

        If it has ``returned`` already, what is left is to finish it.

        Raise what the storage raises when it fails, or when the end can't be
        noted: the job is still claimed then, and can be run again.
        """
        with telling(self._run):
            self._until_noted(returned)

    def _until_noted(self, returned: Returned | None) -> None:
        for tried in range(TRANSIENT_TRIES + 1):
            started = self._environment.stamp()
            try:
                if returned is None:
                    self._attempt(started)
                else:
                    self._finish(returned)
                return
            except BaseException as error:
                failed = Failed.of(error, started)
                self._thread.abort()
                if is_outage(error):
                    raise
                if not isinstance(error, TransientError):
                    break
            returned = None
            pause(self._environment, tried)
        self._note(failed)

    def fail(self, error: BaseException) -> None:
        """Note that an attempt failed, which could not do so itself."""
        with telling(self._run):
            self._note(Failed.of(error, self._environment.stamp()))

    def _attempt(self, started: int) -> None:
        thread = self._thread
        transaction = thread.manager.begin()
        service = thread.service
        job = thread.begin(service, self._jobid)
        if job is None:
            thread.manager.abort()
            return
        with Surroundings(service) as surroundings:
            returned = call_task(service, job, self._run, started)
            surroundings.renew()
            if current_transaction(thread.manager) is not transaction:
                self._finish(returned)
                return
            check_not_doomed(transaction)
            ended = complete(service, job, returned)
        thread.commit()
        thread.report(ended)

    def _finish(self, returned: Returned) -> None:
        """The task has returned, and ended the transaction: so look again."""
        thread = self._thread
        check_not_doomed(current_transaction(thread.manager))
        service, ended = thread.service, None
        job = thread.mine(service, self._jobid)
        if job is not None:
            with Surroundings(service):
                ended = complete(service, job, returned)
        thread.commit()
        if ended is not None:
            thread.report(ended)

    def _note(self, failed: Failed) -> None:
        def work() -> RunEnded | None:
            service = self._thread.service
            job = self._thread.mine(service, self._jobid)
            return None if job is None else fail(service, job, failed)

        ended = commit_retrying(self._thread.manager, self._environment, work)
        if ended is not None:
            self._thread.report(ended)
