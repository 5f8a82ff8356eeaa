"""Running short jobs that a worker has claimed, many to a commit.

Each runs from a savepoint on, to which a failure goes back.  A group that can't be
committed falls back to one by one, as `lovely.remotetask.runs` has it.

A savepoint stores what was written since the one before.  So a group notes last that
its jobs are over: then those that write nothing themselves cost none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from transaction.interfaces import TransientError

from lovely.remotetask.current import Run, telling
from lovely.remotetask.events import RunEnded
from lovely.remotetask.execution import (
    Failed,
    Returned,
    call_task,
    complete,
    current_transaction,
    fail,
)
from lovely.remotetask.job import Job
from lovely.remotetask.outages import is_outage
from lovely.remotetask.runs import JobRun, Thread, check_not_doomed
from lovely.remotetask.sites import Surroundings

log = logging.getLogger("lovely.remotetask")


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
        #: The job whose task is being called.
        self._running: Job | None = None
        #: Whether the transaction has been, by us or by a task.
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
            for job, found in returned:
                with telling(self._runs[job.id]):
                    self._ended.append(complete(service, job, found))
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
            with telling(self._runs[jobid]):
                if not self._is_over(transaction, jobid):
                    return [jobid]
        self._running = None
        return []

    def _is_over(self, transaction: Any, jobid: int) -> bool:
        """Run a job; False if it has to be run by itself."""
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
                return False
            self._note(jobid, error)
        return True

    def _attempt(self, transaction: Any, savepoint: Any, jobid: int) -> None:
        thread, service = self._thread, self._thread.service
        self._running = job = thread.begin(service, jobid)
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
        check_not_doomed(transaction)
        self._returned.append((job, returned))

    def _go_back(self, transaction: Any, savepoint: Any, error: BaseException) -> None:
        """Undo what a job wrote.  Raise _Apart if that means to undo all."""
        try:
            same = current_transaction(self._thread.manager) is transaction
            if same and not transaction.isDoomed():
                savepoint.rollback()
                job, self._running = self._running, None
                if job is not None:
                    # Its input may have been changed in place, and is not written.
                    job._p_invalidate()
                return
        except Exception:
            log.debug("a job can't be undone by itself", exc_info=True)
        self._thread.abort()
        if isinstance(error, TransientError):
            raise _Apart(lambda run: run()) from error
        raise _Apart(lambda run: run.fail(error)) from error

    def _note(self, jobid: int, error: BaseException) -> None:
        service = self._thread.service
        job = self._thread.mine(service, jobid)
        if job is not None:
            failed = Failed.of(error, service.environment.stamp())
            self._ended.append(fail(service, job, failed))
