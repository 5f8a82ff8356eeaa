"""Running what a worker has claimed, in transactions of its thread.

One by one (`JobRun`): what a task wrote and the end of its job are one commit.  Or,
for short jobs, many to a commit (`GroupRun`), each from a savepoint on, to which a
failure goes back.  A group that can't be committed falls back to one by one.

A savepoint stores what was written since the one before.  So a group notes last that
its jobs are over: then those that write nothing themselves cost none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from transaction.interfaces import TransientError
from ZODB.POSException import ConnectionStateError

from lovely.remotetask.current import Run
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
            log.exception("error while aborting the writes of a job")


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
        self._environment = thread.service.environment

    def __call__(self, returned: Returned | None = None) -> None:
        """Run it, unless it has been taken away; note how it ended.

        If it has ``returned`` already, what is left is to finish it.

        Raise what the storage raises when it fails, or when the end can't be
        noted: the job is still claimed then, and can be run again.
        """
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
            returned = call_task(service, job, self._run, started)
            surroundings.renew()
            if current_transaction(thread.manager) is not transaction:
                self._finish(returned)
                return
            _check_not_doomed(transaction)
            ended = complete(service, job, returned)
        thread.commit()
        thread.report(ended)

    def _finish(self, returned: Returned) -> None:
        """The task has returned, and ended the transaction: so look again."""
        thread = self._thread
        _check_not_doomed(current_transaction(thread.manager))
        job, ended = thread.mine(self._jobid), None
        if job is not None:
            with Surroundings(thread.service):
                ended = complete(thread.service, job, returned)
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


class _Spoilt(TransientError):
    """The jobs of a group can't be finished together."""


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
        self._running: Job | None = None
        self._committed = False
        #: Jobs whose tasks have returned; and how those ended of which it is noted.
        self._returned: list[tuple[Job, Returned]] = []
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
            transaction.addBeforeCommitHook(self._finish)
            transaction.addAfterCommitHook(self._note_commit)
            self._surroundings = Surroundings(thread.service)
            with self._surroundings:
                alone = self._run_all(transaction)
                self._finish()
            thread.manager.commit()
            self._report()
        except _Apart as apart:
            thread.forget()
            self._report()
            apart.settle(self._alone(self.begun[-1]))
            return self.begun[:-1]
        except BaseException:
            log.debug("a group of jobs is run one by one", exc_info=True)
            thread.abort()
            thread.forget()
            return self.begun
        return alone

    def _finish(self) -> None:
        """Note how jobs ended: before a commit, ours or one that a task makes.

        In that case, see to it that its job is still ours.
        """
        returned, self._returned = self._returned, []
        service, running = self._thread.service, self._running
        try:
            self._ended += [complete(service, *found) for found in returned]
        except Exception as error:
            raise _Spoilt("A job of the group can't be finished.") from error
        if running is not None:
            running._p_changed = True

    def _note_commit(self, success: bool) -> None:
        self._committed = success

    def _report(self) -> None:
        for ended in self._ended if self._committed else ():
            self._thread.report(ended)

    def _run_all(self, transaction: Any) -> list[int]:
        """Run jobs; the last one's id, if that has to be run by itself."""
        for jobid in self._runs:
            if self.begun and not self._go_on():
                break
            self.begun.append(jobid)
            # If one can't go back to it, another way is found when one must.
            savepoint = transaction.savepoint(optimistic=True)
            self._running = None
            try:
                self._attempt(transaction, savepoint, jobid)
            except _Apart:
                raise
            except BaseException as error:
                if is_outage(error):
                    raise
                self._go_back(transaction, savepoint, error)
                if isinstance(error, TransientError):
                    return [jobid]
                self._note(jobid, error)
        self._running = None
        return []

    def _attempt(self, transaction: Any, savepoint: Any, jobid: int) -> None:
        thread, service = self._thread, self._thread.service
        self._running = job = thread.begin(jobid)
        if job is None:
            return
        started = service.environment.stamp()
        try:
            returned = call_task(service, job, self._runs[jobid], started, write=False)
        finally:
            self._surroundings.renew()
        if current_transaction(thread.manager) is not transaction:
            raise _Apart(lambda run: run(returned))
        if not savepoint.valid:
            # It went back to a savepoint that another job of the group has left.
            thread.abort()
            raise _Apart(lambda run: run())
        _check_not_doomed(transaction)
        self._returned.append((job, returned))

    def _go_back(self, transaction: Any, savepoint: Any, error: BaseException) -> None:
        """Undo what a job wrote.  Raise _Apart if that means to undo all."""
        try:
            same = current_transaction(self._thread.manager) is transaction
            if same and not transaction.isDoomed():
                savepoint.rollback()
                if self._running is not None:
                    # Its input may have been changed in place, and is not written.
                    self._running._p_invalidate()
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
