"""The task service: the verbs that move a job through its life."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import zope.component
from BTrees.LLBTree import LLTreeSet
from BTrees.OOBTree import OOTreeSet
from persistent import Persistent
from ZODB.utils import z64
from zope.event import notify
from zope.interface import implementer

from lovely.remotetask import (
    callers,
    events,
    health,
    history,
    listing,
    people,
    states,
    times,
    versions,
)
from lovely.remotetask import processing as background
from lovely.remotetask.cronjobs import CronJobs
from lovely.remotetask.current import Progress
from lovely.remotetask.elsewhere import elsewhere
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    UnknownJob,
    UnknownTask,
    shown,
)
from lovely.remotetask.failed import FailedJobs
from lovely.remotetask.interfaces import ITask, ITaskService
from lovely.remotetask.job import Job
from lovely.remotetask.lanes import Lanes
from lovely.remotetask.pickling import check_storable
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.producers import pool_of
from lovely.remotetask.queueview import QueueView
from lovely.remotetask.retention import Keep, Retention, check_number
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.schemas import check_schema
from lovely.remotetask.sites import declare_location, names_of, nearest_site
from lovely.remotetask.table import JobTable
from lovely.remotetask.timetable import Timetable
from lovely.remotetask.workers import WorkerInfo, Workers
from lovely.remotetask.writers import LocalWriter, Writer

log = logging.getLogger("lovely.remotetask")

#: For so long jobs that are over, and not in error, are kept (seconds).
MONTH = 30 * 24 * 3600.0


@implementer(ITaskService)
class TaskService(CronJobs, Persistent):
    """See `ITaskService`."""

    __name__: str | None = None
    __parent__: Any = None

    taskInterface: Any = ITask
    processorFactory: Any = SimpleProcessor
    processorArguments: Any = {"waitTime": 1.0}  # noqa: RUF012 - its old, public shape

    #: When failed jobs are tried again, unless they or their tasks say otherwise.
    retryPolicy = RetryPolicy()

    #: How long, and how many, jobs that are over are kept, by status.
    retention: Mapping[str, Keep] = Retention(
        {states.COMPLETED: Keep(age=MONTH), states.CANCELLED: Keep(age=MONTH)}
    )

    #: A worker that has not claimed for so long, though jobs have been due for as
    #: long and it could run one, is stalled (seconds).  Longer than any ``waitTime``.
    stalledAfter: float = 60.0

    #: For whom jobs are run, unless their tasks say otherwise.
    runAs: str = people.ADDER

    #: The system's clock, chance and processes; tests put another one here.
    environment = Environment()

    #: The version of its state; none is what the ancestor left.
    _version = 0

    #: What became of the runs of workers that have ended.
    _history: history.History | None = None

    def __init__(self) -> None:
        super().__init__()
        declare_location(type(self))
        self._set_up()
        self._version = versions.CURRENT

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        declare_location(type(self))
        versions.check(self)

    def _set_up(self) -> None:
        """Make the parts of a service that has no jobs."""
        self._history = history.History()
        self._lanes = Lanes()
        self.jobs = JobTable(self._lanes)
        self._lanes.table = self.jobs
        self._lanes.failed = FailedJobs(self.jobs)
        self._lanes.spare()
        #: What waits for a time: (microseconds since the epoch, id).
        self._schedule: OOTreeSet[tuple[int, int]] = OOTreeSet()
        #: What a worker was lost with: (microseconds since the epoch, id).
        self._suspects: OOTreeSet[tuple[int, int]] = OOTreeSet()
        self._timetable = Timetable()
        self._workers = Workers()
        #: The running jobs that someone has cancelled.
        self._requests = LLTreeSet()

    # Tasks

    def getAvailableTasks(self) -> dict[str, Any]:
        tasks: dict[str, Any] = {}
        for registry in reversed(list(self._registries())):
            tasks.update(registry.getUtilitiesFor(self.taskInterface))
        return tasks

    def _task(self, name: str) -> Any:
        for registry in self._registries():
            task = registry.queryUtility(self.taskInterface, name=name)
            if task is not None:
                return task
        raise UnknownTask(name)

    def _check_task(self, task: object) -> Any:
        """The task that a name stands for."""
        if not isinstance(task, str):
            raise InvalidType(
                f"task: the name of a task, a str, is needed, not {shown(task)}."
            )
        return self._task(task)

    def _check_input(self, name: str, task: Any, input: Any) -> None:
        what = f"The input for task {name!r}"
        check_schema(getattr(task, "inputSchema", None), input, what)
        check_storable(input, what, self._p_jar)

    def _registries(self) -> Iterator[Any]:
        """Where tasks are looked up: as usual, where the service lies, globally.

        The last is not in vain: Pyramid can put its own registry first.
        """
        yield zope.component.getSiteManager()
        site = nearest_site(self)
        if site is not None:
            yield site.getSiteManager()
        yield zope.component.getGlobalSiteManager()

    # Jobs

    def add(
        self,
        task: str,
        input: Any = None,
        startLater: bool = False,
        *,
        delay: float | None = None,
        at: datetime | None = None,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
    ) -> int:
        found = self._check_task(task)
        if (delay is not None) + (at is not None) + bool(startLater) > 1:
            raise InvalidArgument("Only one of startLater, delay and at can be given.")
        now = self.environment.stamp()
        due = None
        if delay is not None:
            due = times.check_delay(delay, now)
        elif at is not None:
            due = times.check_at(at)
        job = Job(0, str(task), input, now)
        job.limit(retry, timeout)
        self._check_input(task, found, input)
        status = states.STARTLATER if startLater else states.QUEUED
        if due is not None and due > now:
            status = states.DELAYED
            job.wait_until(due, relative=at is None)
        return self._add(job, status)

    def _add(self, job: Job, status: str) -> int:
        principal = people.acting()
        if principal is not None:
            job.principal = principal
        self._writer().add(job, status)
        notify(events.JobAdded(job, self))
        return job.id

    def startJob(self, jobid: int) -> bool:
        job = self._job(jobid)
        if job.status != states.STARTLATER:
            return False
        job.queue_at(self.environment.stamp())
        self._writer().enqueue(job, states.QUEUED)
        return True

    def cancel(self, jobid: int) -> None:
        job = self.jobs.get(jobid)
        if job is None:
            return
        if job.status in states.CANCELLABLE:
            self._workers.settle(self, job)
            self._writer().move(job, states.CANCELLED)
            notify(events.JobCancelled(job, self))
        elif job.status == states.PROCESSING:
            self._requests.insert(jobid)

    def retry(self, jobid: int) -> bool:
        job = self._job(jobid)
        if job.status not in states.RETRIABLE:
            return False
        self._workers.settle(self, job)
        if jobid in self._requests:
            self._requests.remove(jobid)
        job.start_over(self.environment.stamp())
        self._writer().enqueue(job, states.QUEUED)
        return True

    def remove(self, jobid: int) -> bool:
        job = self._job(jobid)
        if job.status not in states.REMOVABLE:
            return False
        self._remove(job)
        return True

    def retryAll(self) -> int:
        return sum(self.retry(job.id) for job in self._with({states.ERROR}))

    def clean(
        self,
        status: Iterable[str] = (states.CANCELLED, states.ERROR, states.COMPLETED),
        limit: int | None = None,
    ) -> int:
        wanted = states.check_removable(status)
        limit = sys.maxsize if limit is None else check_number("limit", limit)
        removed = 0
        for job in islice(self._with(wanted), min(limit, sys.maxsize)):
            self._remove(job)
            removed += 1
        return removed

    def _with(self, wanted: Collection[str]) -> Iterator[Job]:
        """The jobs that have one of these statuses now."""
        ids = listing.failed_ids(self) if wanted == {states.ERROR} else None
        if ids is not None:
            yield from (self.jobs[jobid] for jobid in ids)
            return
        # The counts tell when to stop: what lies behind is not loaded.
        left = sum(map(self.count, wanted))
        for job in self.jobs.values() if left else ():
            if job.status in wanted:
                yield job
                left -= 1
                if not left:
                    return

    def getStatus(self, jobid: int) -> str:
        return self._job(jobid).status

    def getResult(self, jobid: int) -> Any:
        return self._job(jobid).output

    def progress(self, jobid: int) -> Progress | None:
        pulse = self._workers.pulse_of(self._job(jobid))
        shown = None if pulse is None else pulse.progress.get(jobid)
        return None if shown is None else Progress(*shown)

    def runningSince(self, jobid: int) -> datetime | None:
        job = self._job(jobid)
        pulse = self._workers.pulse_of(job)
        began = None if pulse is None else pulse.began.get(jobid)
        # What the last heartbeat told may be of an attempt that is over.
        if began is None or began < (job._completed or began):
            return None
        return times.to_datetime(began)

    def getError(self, jobid: int) -> str:
        failure = self._job(jobid).failure
        return "None" if failure is None else failure.message

    def count(self, status: str | None = None) -> int:
        if status is None:
            return self._lanes.total()
        if status not in states.STATUSES:
            known = ", ".join(map(repr, states.STATUSES))
            raise InvalidArgument(f"status: {status!r} is none of {known}.")
        unsettled = self._workers.unsettled(self)
        count = self._lanes.count(status) + unsettled.count(status)
        return count - len(unsettled) if status == states.PROCESSING else count

    def history(self, minutes: int = 60) -> list[history.Minute]:
        return history.look_back(self, minutes)

    # Processing in this thread

    def hasJobsWaiting(self, now: float | None = None) -> bool:
        return callers.has_jobs(self, now)

    def claimNextJob(self, now: float | None = None) -> int | None:
        return callers.claim_next(self, now)

    def processNext(self, now: float | None = None, jobid: int | None = None) -> bool:
        return callers.process_next(self, now, jobid)

    def process(self, now: float | None = None) -> None:
        callers.process(self, now)

    # Processing in the background

    def startProcessing(self) -> None:
        if self.__parent__ is not None:
            background.start(self)
            return
        log.warning(
            "startProcessing: %r has no __parent__, so it is not started: put it into "
            "a container (or set __parent__ and __name__), commit, and start it again",
            self,
        )

    def stopProcessing(self, wait: bool = False, timeout: float | None = None) -> bool:
        found = self._background()
        if found is None:
            return True
        limit = times.check_timeout(timeout) if wait else 0
        found.stop()
        return found.wait(limit)

    def isProcessing(self) -> bool:
        found = self._background()
        return found is not None and found.running

    def waitProcessing(self, timeout: float | None = None) -> bool:
        found = self._background()
        return found is None or found.wait(times.check_timeout(timeout))

    @property
    def workers(self) -> list[WorkerInfo]:
        return [self._workers.info(self, worker) for worker in self._workers]

    @property
    def processing(self) -> health.Processing:
        return health.look(self)

    def _background(self) -> background.Background | None:
        return None if self.__name__ is None else background.of(self)

    def _threadName(self) -> str:
        return ".".join(["remotetasks", *names_of(self)])

    # For the library

    @property
    def _queue(self) -> QueueView:
        return QueueView(self)

    def _writer(self) -> Writer:
        """What the current transaction writes to the queue through."""
        self._p_activate()
        # A ghost's serial is zero, and so is that of what was never committed.
        if self._p_jar is None or self._p_serial == z64:
            return LocalWriter(self)
        return pool_of(self).writer(self)

    def _job(self, jobid: int) -> Job:
        job = self.jobs.get(jobid)
        if job is None:
            raise UnknownJob(jobid)
        return job

    def _remove(self, job: Job) -> None:
        if job.status in states.RETRIABLE:
            # Written, so that whoever queues it again at the same time conflicts.
            job._p_changed = True
        self._workers.settle(self, job)
        self._timetable.forget(job)
        self._writer().remove(job)
        self._lanes.release(self.jobs.take_out(job.id))


if TYPE_CHECKING:
    # Under the same names, which means that they may be imported from here.
    from lovely.remotetask.startup import (
        bootStrapSubscriber as bootStrapSubscriber,  # noqa: PLC0414
    )
    from lovely.remotetask.startup import (
        getAutostartServiceNames as getAutostartServiceNames,  # noqa: PLC0414
    )
else:
    __getattr__ = elsewhere(
        __name__,
        "zope",
        {
            "bootStrapSubscriber": "lovely.remotetask.startup",
            "getAutostartServiceNames": "lovely.remotetask.startup",
        },
    )
