"""The verbs of the service for cron jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from lovely.remotetask.calendars import Numbers
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.states import (
    CRONJOB,
    DELAYED,
    PROCESSING,
    REMOVABLE,
    SCHEDULED,
)

if TYPE_CHECKING:
    from lovely.remotetask.environment import Environment
    from lovely.remotetask.writers import Writer


class CronJobs:
    """See `ITaskService`: what a service does with cron jobs."""

    if TYPE_CHECKING:
        # What it needs of the service.
        environment: Environment

        def _writer(self) -> Writer: ...
        def _job(self, jobid: int) -> Job: ...
        def _check_task(self, task: object) -> Any: ...
        def _check_input(self, name: str, task: Any, input: Any) -> None: ...
        def _add(self, job: Job, status: str) -> int: ...

    def addCronJob(  # noqa: PLR0917 - its old, public shape
        self,
        task: str,
        input: Any = None,
        minute: Numbers = (),
        hour: Numbers = (),
        dayOfMonth: Numbers = (),
        month: Numbers = (),
        dayOfWeek: Numbers = (),
        delay: float | None = None,
        *,
        cron: str | None = None,
        every: timedelta | float | None = None,
        at: datetime | None = None,
        timezone: str | ZoneInfo | None = None,
        missed: str = "latest",
        grace: float | None = None,
        overlap: str = "skip",
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
    ) -> int:
        found = self._check_task(task)
        now = self.environment.stamp()
        job = CronJob(
            0,
            str(task),
            input,
            minute,
            hour,
            dayOfMonth,
            month,
            dayOfWeek,
            delay,
            cron=cron,
            every=every,
            at=at,
            timezone=timezone,
            missed=missed,
            grace=grace,
            overlap=overlap,
            created=now,
        )
        job.plan.renew(now)
        job.limit(retry, timeout)
        self._check_input(task, found, input)
        return self._add(job, DELAYED if job.plan.single else CRONJOB)

    def reschedule(self, jobid: int) -> bool:
        return self._plan(jobid, lambda job, now: job.plan.renew(now))

    def pause(self, jobid: int) -> bool:
        return self._plan(jobid, lambda job, now: job.plan.pause())

    def resume(self, jobid: int) -> bool:
        return self._plan(jobid, lambda job, now: job.plan.resume(now))

    def runNow(self, jobid: int) -> bool:
        return self._plan(jobid, lambda job, now: job.run_now(now))

    def _plan(self, jobid: int, change: Callable[[CronJob, int], None]) -> bool:
        """Change what is planned; False if the job is over."""
        job = self._job(jobid)
        if not isinstance(job, CronJob):
            raise InvalidArgument(f"jobid: {jobid} is no cron job.")
        if job.status in REMOVABLE:
            return False
        now = self.environment.stamp()
        place, went_on = job.place, job.plan.goes_on
        change(job, now)
        if job.status in SCHEDULED and (job.place is None or job.place != place):
            # Claims look there, and write the schedule, where many would conflict.
            # What waits for a retry keeps its place, unless that is to be at once.
            job.queue_at(now)
            self._writer().note(job)
        elif job.status == PROCESSING and not went_on:
            # The run that ends now does not know: it must, or the job was over.
            job._p_changed = True
        return True
