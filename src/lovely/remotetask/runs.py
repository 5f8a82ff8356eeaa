"""Running what a worker has claimed, in transactions of its thread.

One by one (`JobRun`): what a task wrote and the end of its job are one commit.  Or,
for short jobs, many to a commit (`GroupRun`), each from a savepoint on, to which a
failure goes back.  A group that can't be committed falls back to one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import TransientError
from ZODB.POSException import ConnectionStateError

from lovely.remotetask.current import Run, context, telling
from lovely.remotetask.errors import JobCancelled, TaskError
from lovely.remotetask.events import RunEnded
from lovely.remotetask.execution import (
    TRANSIENT_TRIES,
    Failed,
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

    def mine(self, jobid: int) -> Job | None:
        """The job, if the worker still holds it."""
        job = self.service.jobs.get(jobid)
        return None if job is None or not is_held(job, self.key) else job

    def begin(self, jobid: int) -> Job | None:
        """The same, about to be run.  Raise JobCancelled."""
        job = self.mine(jobid)
        if job is not None and jobid in self.service._requests:
            raise JobCancelled("The job was cancelled before it was begun.")
        return job

    def commit(self) -> None:
        """Commit what was written."""
        try:
            self.manager.commit()
        except BaseException:
            forget(self.connection)
            raise

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


class Returned(NamedTuple):
    """What a task has returned, in a transaction that is still open."""

    output: Any
    #: Microseconds since the epoch.
    started: int


def _check_not_doomed(transaction: Any) -> None:
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
        job = thread.begin(self._jobid)
        if job is None:
            thread.manager.abort()
            return
        service = thread.service
        with Surroundings(service) as surroundings:
            output = call_task(service, job, self._run, started)
            surroundings.renew()
            if current_transaction(thread.manager) is not transaction:
                self._finish(Returned(output, started))
                return
            _check_not_doomed(transaction)
            ended = complete(service, job, output, started)
        thread.commit()
        thread.report(ended)

    def _finish(self, returned: Returned) -> None:
        """The task has returned, and ended the transaction: so look again."""
        thread = self._thread
        _check_not_doomed(current_transaction(thread.manager))
        job, ended = thread.mine(self._jobid), None
        if job is not None:
            with Surroundings(thread.service):
                ended = complete(thread.service, job, *returned)
        thread.commit()
        if ended is not None:
            thread.report(ended)

    def _note(self, failed: Failed) -> None:
        def work() -> RunEnded | None:
            job = self._thread.mine(self._jobid)
            return None if job is None else fail(self._thread.service, job, failed)

        ended = commit_retrying(self._thread.manager, self._environment, work)
        if ended is not None:
            self._thread.report(ended)


class _Apart(Exception):
    """A group can't be kept together: ``settle`` deals with the job that did it."""

    def __init__(self, settle: Callable[[JobRun], None]) -> None:
        super().__init__()
        self.settle = settle


class GroupRun:
    """Runs claimed jobs in one transaction of this thread, a savepoint each."""

    def __init__(
        self, thread: Thread, runs: Mapping[int, Run], go_on: Callable[[], bool]
    ) -> None:
        """``runs``: by id, in their order.  ``go_on``: whether to begin another."""
        self._thread = thread
        self._runs = runs
        self._go_on = go_on
        self.begun: list[int] = []
        #: How those ended that are committed together.
        self._ended: list[RunEnded] = []

    def __call__(self) -> list[int]:
        """Run them; the ids of those that were begun, and that are over now.

        Raise as `JobRun` does.
        """
        for jobid in self._together():
            self._alone(jobid)()
        return self.begun

    def _alone(self, jobid: int) -> JobRun:
        return JobRun(self._thread, jobid, self._runs[jobid])

    def _together(self) -> list[int]:
        """Run a group and commit it; the ids of the jobs to be run one by one."""
        thread = self._thread
        try:
            transaction = thread.manager.begin()
            self._surroundings = Surroundings(thread.service)
            with self._surroundings:
                alone = self._run_all(transaction)
            thread.manager.commit()
            for ended in self._ended:
                thread.report(ended)
        except _Apart as apart:
            jobid = self.begun[-1]
            apart.settle(self._alone(jobid))
            return self.begun[:-1]
        except BaseException:
            log.debug("a group of jobs is run one by one", exc_info=True)
            thread.abort()
            return self.begun
        return alone

    def _run_all(self, transaction: Any) -> list[int]:
        """Run jobs; the last one's id, if that has to be run by itself."""
        for jobid in self._runs:
            if self.begun and not self._go_on():
                break
            self.begun.append(jobid)
            with telling(self._runs[jobid]):
                if not self._is_over(transaction, jobid):
                    return [jobid]
        return []

    def _is_over(self, transaction: Any, jobid: int) -> bool:
        """Run a job; False if it has to be run by itself."""
        # If one can't go back to it, another way is found when one must.
        savepoint = transaction.savepoint(optimistic=True)
        try:
            self._attempt(transaction, savepoint, jobid)
        except _Apart:
            raise
        except BaseException as error:
            if is_outage(error):
                raise
            self._go_back(transaction, savepoint, error)
            if isinstance(error, TransientError):
                return False
            self._note(jobid, error)
        return True

    def _attempt(self, transaction: Any, savepoint: Any, jobid: int) -> None:
        thread, service = self._thread, self._thread.service
        job = thread.begin(jobid)
        if job is None:
            return
        started = service.environment.stamp()
        try:
            output = call_task(service, job, self._runs[jobid], started)
        finally:
            self._surroundings.renew()
        if current_transaction(thread.manager) is not transaction:
            returned = Returned(output, started)
            raise _Apart(lambda run: run(returned))
        if not savepoint.valid:
            # It went back to a savepoint that another job of the group has left.
            thread.abort()
            raise _Apart(lambda run: run())
        _check_not_doomed(transaction)
        self._ended.append(complete(service, job, output, started))

    def _go_back(self, transaction: Any, savepoint: Any, error: BaseException) -> None:
        """Undo what a job wrote.  Raise _Apart if that means to undo all."""
        try:
            same = current_transaction(self._thread.manager) is transaction
            if same and not transaction.isDoomed():
                savepoint.rollback()
                return
        except Exception:
            log.debug("a job can't be undone by itself", exc_info=True)
        self._thread.abort()
        if isinstance(error, TransientError):
            raise _Apart(lambda run: run()) from error
        raise _Apart(lambda run: run.fail(error)) from error

    def _note(self, jobid: int, error: BaseException) -> None:
        job, service = self._thread.mine(jobid), self._thread.service
        if job is not None:
            failed = Failed.of(error, service.environment.stamp())
            self._ended.append(fail(service, job, failed))
