"""The kinds of jobs: those that are over when they have run, and those that come back.

The names of both classes are in databases.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from zope.interface import implementer

from lovely.remotetask import times
from lovely.remotetask.attempts import Attempt, Failure, PastRun
from lovely.remotetask.basejob import KEPT_FAILURES, BaseJob
from lovely.remotetask.calendars import Fields, Numbers
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import TaskError
from lovely.remotetask.interfaces import ICronJob, IJob
from lovely.remotetask.plan import Plan
from lovely.remotetask.planning import RunPolicy
from lovely.remotetask.schedule import Delay, Schedule
from lovely.remotetask.states import (
    CANCELLED,
    CRONJOB,
    DELAYED,
    ERROR,
    QUEUED,
    REMOVABLE,
    SCHEDULED,
)
from lovely.remotetask.times import Clock

__all__ = ["KEPT_FAILURES", "Attempt", "CronJob", "Failure", "Job", "PastRun"]

log = logging.getLogger("lovely.remotetask")

#: So many runs of a cron job are kept.
KEPT_RUNS = 10


@implementer(IJob)
class Job(BaseJob):
    """See `IJob`."""


@implementer(ICronJob)
class CronJob(Job):
    """See `ICronJob`.

    Here is what became of its runs; what comes next is in its ``Plan``.  If ``_due`` is
    set, the run has failed and waits to be tried again.
    """

    plan: Plan
    #: The last runs: (planned, started, ended, outcome, message).
    _runs: tuple[tuple[int | None, int | None, int | None, str, str | None], ...] = ()

    def __init__(  # noqa: PLR0917 - its old, public shape
        self,
        id: int,
        task: str,
        input: Any = None,
        minute: Numbers = (),
        hour: Numbers = (),
        dayOfMonth: Numbers = (),
        month: Numbers = (),
        dayOfWeek: Numbers = (),
        delay: float | None = None,
        *,
        created: int | None = None,
        **more: Any,
    ) -> None:
        """``more``: the other arguments of `update`."""
        super().__init__(id, task, input, created)
        # With what nothing is due by, for `update` to change.
        self.plan = Plan()
        self.update(minute, hour, dayOfMonth, month, dayOfWeek, delay, **more)

    def update(  # noqa: PLR0917 - its old, public shape
        self,
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
        missed: str | None = None,
        grace: float | None = None,
        overlap: str | None = None,
    ) -> None:
        policy = {"missed": missed, "grace": grace, "overlap": overlap}
        given = {name: value for name, value in policy.items() if value is not None}
        self.plan.change(
            given,
            self._created,
            minute=minute,
            hour=hour,
            dayOfMonth=dayOfMonth,
            month=month,
            dayOfWeek=dayOfWeek,
            delay=delay,
            cron=cron,
            every=every,
            at=at,
            timezone=timezone,
        )

    # What is planned

    def timeOfNextCall(self, now: float | None = None) -> int | None:
        plan = self.plan
        schedule = plan.schedule if plan.delay is None else Delay.of(plan.delay)
        return schedule.timeOfNextCall(Environment().time() if now is None else now)

    def upcoming(self, n: int) -> list[datetime | None]:
        upcoming = [] if self.status in REMOVABLE else self.plan.upcoming(n)
        return [times.to_datetime(moment) for moment in upcoming]

    @property
    def schedule(self) -> Schedule:
        return self.plan.schedule

    @property
    def policy(self) -> RunPolicy:
        return self.plan.policy

    @property
    def paused(self) -> bool:
        return self.plan.paused

    @property
    def runFor(self) -> datetime | None:
        return times.to_datetime(self.plan.run_for)

    @property
    def scheduledFor(self) -> datetime | None:
        moments = self._due, self.plan.asked, self.plan.planned
        due = next((moment for moment in moments if moment is not None), None)
        return None if self.status in REMOVABLE else times.to_datetime(due)

    @property
    def runs(self) -> tuple[PastRun, ...]:
        show = times.to_datetime
        return tuple(
            PastRun(show(planned), show(started), show(ended), outcome, message)
            for planned, started, ended, outcome, message in self._runs
        )

    @property
    def delay(self) -> float | None:
        return self.plan.delay

    def _field(self, name: str) -> tuple[int, ...]:
        schedule = self.plan.schedule
        return getattr(schedule, name) if isinstance(schedule, Fields) else ()

    minute = property(partial(_field, name="minute"))
    hour = property(partial(_field, name="hour"))
    dayOfMonth = property(partial(_field, name="dayOfMonth"))
    month = property(partial(_field, name="month"))
    dayOfWeek = property(partial(_field, name="dayOfWeek"))

    # What the library does

    def run_now(self, now: int) -> None:
        """Let it run at once: what waits for a retry is tried again."""
        if self._due is not None:
            self.wait_until(now, relative=True)
        else:
            self.plan.ask(now)

    def start_over(self, moment: int) -> None:
        self.plan.restart(moment)
        super().start_over(moment)
        self._due = None

    def due_at(self, clock: Clock) -> int | None:
        if self._due is not None:
            return super().due_at(clock)
        return self.plan.due_at(clock, self._ended)

    @property
    def place(self) -> int | None:
        return self.plan.place if self._due is None else self._due

    def wait_in_schedule(self, due: int | None) -> None:
        if self._due is not None:
            super().wait_in_schedule(due)
            return
        if self.plan.trouble:
            log.error("cron job %s can't be planned: %s", self.id, self.plan.trouble)
        self._leave_out(self.plan.wait(due))

    def claimed(self, clock: Clock) -> None:
        if self._due is not None:
            self._due = None  # it is tried again
        elif self.status in SCHEDULED:
            self.failed = 0
            self._leave_out(self.plan.take(clock, self._ended))

    def unclaimed(self) -> str:
        if self.failed or self.crashes:
            return QUEUED
        self.plan.undo()
        return self._waiting

    def begin(self, moment: int, *, write: bool = True) -> None:
        super().begin(moment, write=write)
        if self.plan.late:
            raise TaskError(
                f"It was to run at {self.runFor}; by its policy, it is too late now."
            )

    @property
    def waits_since(self) -> int:
        planned = self.plan.run_for
        return self.stamp if self.failed or planned is None else planned

    def has_time_until(self, moment: int) -> bool:
        planned = self.plan.planned
        return planned is None or moment + self.plan.shift < planned

    def after(self, status: str, *, cancelled: bool = False) -> str:
        message = self._failures[-1][4] if status == ERROR else None
        moments = self.plan.run_for, self._started, self._completed
        self._note(*moments, status, message)
        self._due, self.crashes = None, 0
        if status == CANCELLED or not self.plan.goes_on:
            return status
        return CANCELLED if cancelled else self._waiting

    @property
    def _waiting(self) -> str:
        """The status while it waits for what is planned."""
        return DELAYED if self.plan.single else CRONJOB

    @property
    def _ended(self) -> int | None:
        """When the last run did, by the clock that it was claimed by."""
        return None if self._completed is None else self._completed + self.plan.shift

    def _leave_out(self, planned: int | None) -> None:
        if planned is not None:
            self._note(planned, None, None, "skipped", None)

    def _note(
        self,
        planned: int | None,
        started: int | None,
        ended: int | None,
        outcome: str,
        message: str | None,
    ) -> None:
        run = (planned, started, ended, outcome, message)
        self._runs = (*self._runs, run)[-KEPT_RUNS:]
