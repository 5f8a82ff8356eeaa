"""What follows the clock, if it is set back: all that waits for a time.

A plan that was made while the clock was ahead may lie in a far future.  So it is
kept up to when the schedule was read; a clock that shows much less has been set
back, and what waits is planned anew, bit by bit.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from BTrees.LLBTree import LLTreeSet
from persistent import Persistent

from lovely.remotetask.job import CronJob
from lovely.remotetask.planning import CLOCK_TOLERANCE
from lovely.remotetask.states import SCHEDULED
from lovely.remotetask.times import Clock

if TYPE_CHECKING:
    from lovely.remotetask.job import Job
    from lovely.remotetask.service import TaskService

#: So many entries are looked at in one transaction, at most.
MOST_FOLLOWED = 1000
#: So exactly is it kept when the schedule was read: it costs a record each time.
STEP = CLOCK_TOLERANCE // 5

_LAST_ID = 2**63


class Timetable(Persistent):
    """Up to when the schedule has been read."""

    #: Microseconds since the epoch.
    seen: int | None = None
    #: If the clock was set back: the entry (due, id) to go on with.
    rest: tuple[int, int] | None = None
    #: The ids of the cron jobs that have been read, whatever became of them; None
    #: before the first.
    cronjobs: LLTreeSet | None = None

    def see(self, job: Job) -> None:
        """A job that waits for a time was read, from a lane or from the schedule."""
        if isinstance(job, CronJob):
            if self.cronjobs is None:
                self.cronjobs = LLTreeSet()
            self.cronjobs.add(job.id)

    def forget(self, job: Job) -> None:
        """A job is removed."""
        if self.cronjobs is not None and job.id in self.cronjobs:
            self.cronjobs.remove(job.id)

    def note(self, now: int) -> None:
        """The schedule is changed, at that time."""
        if self.seen is None or now > self.seen + STEP:
            self.seen = now


def follow(service: TaskService, clock: Clock) -> bool:
    """Plan anew what waits, if the clock was set back; whether there is more."""
    timetable = service._timetable
    if timetable.seen is not None and timetable.seen - clock.now > CLOCK_TOLERANCE:
        timetable.seen, timetable.rest = clock.now, (clock.now, _LAST_ID)
    if timetable.rest is None:
        return False
    entries = list(islice(service._schedule.keys(timetable.rest), MOST_FOLLOWED))
    for due, jobid in entries:
        _follow(service, due, service.jobs.get(jobid), clock)
        timetable.rest = due, jobid + 1
    if len(entries) < MOST_FOLLOWED:
        timetable.rest = None
    return timetable.rest is not None


def _follow(service: TaskService, due: int, job: Job | None, clock: Clock) -> None:
    if job is None or job.status not in SCHEDULED or job.place != due:
        return  # it does not count: passed over when its time comes
    # A delay began when it was asked for, by the clock that was ahead.
    ahead = job.stamp - clock.now
    shift = -ahead if ahead > CLOCK_TOLERANCE else 0
    new = job.due_at(Clock(clock.now, shift))
    if new != due:
        service._schedule.remove((due, job.id))
        if new is not None:
            service._schedule.insert((new, job.id))
        job.wait_in_schedule(new)
