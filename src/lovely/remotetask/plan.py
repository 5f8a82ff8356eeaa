"""What a cron job has planned: a record of its own, beside that of the job.

Whoever runs a job writes the job, when it ends; what is planned is written by claims
and by the verbs of the service.  So a job can be paused or planned anew while it
runs, without a conflict that would make it run again.

To take what is due and to plan what comes next is one change of this record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from persistent import Persistent

from lovely.remotetask import planning, times
from lovely.remotetask.calendars import Calendar
from lovely.remotetask.planning import Due, RunPolicy
from lovely.remotetask.schedule import At, Delay, Every, Schedule
from lovely.remotetask.times import Clock

#: What can't be planned where it is due is looked at again after so long, maybe by
#: a worker that knows more of zones.
LOOK_AGAIN = times.from_seconds(60)


class Plan(Persistent):
    """When a cron job runs next, and what its last run was for.

    Moments are microseconds since the epoch, on the clock that processors go by.
    """

    #: The next planned moment; None if there is none.
    next: int | None = None
    #: When somebody asked for a run at once, if that has not begun.
    asked: int | None = None
    paused = False
    #: The time of the entry in the service's schedule that counts, if one does.
    place: int | None = None

    #: What the last run is for: a moment, or None if somebody asked for it.
    run_for: int | None = None
    #: When it was taken, and how far that clock was from the system's.
    taken: int | None = None
    shift = 0
    #: Whether it was too late for it, and nothing else comes.
    late = False
    #: Whether it was planned anew since.
    changed = False

    schedule: Schedule
    policy = RunPolicy()
    #: The delay that the schedule came of, in seconds.
    delay: float | None = None

    def change(self, policy: dict[str, Any], start: int, **arguments: Any) -> None:
        """Another schedule, or another policy; what is planned stays.

        The arguments are those of `planning.make`.  A clock's zone stays, if no
        other is given, and may be given alone.  Raise InvalidArgument, InvalidType or
        NotInstalled.
        """
        changed = replace(self.policy, **policy)
        old: Schedule | None = vars(self).get("schedule")
        kinds = {name for name, value in arguments.items() if value not in (None, ())}
        if old is not None and kinds == {"timezone"}:
            self.schedule = planning.in_zone(old, arguments["timezone"])
        elif old is None or kinds or not policy:
            if isinstance(old, Calendar) and not kinds & {"every", "at", "delay"}:
                arguments["timezone"] = arguments["timezone"] or old.timezone
            self.schedule = planning.make(start, **arguments)
            self.delay = arguments["delay"]
        self.policy = changed

    @property
    def single(self) -> bool:
        """Whether it runs once only."""
        return isinstance(self.schedule, At)

    @property
    def goes_on(self) -> bool:
        """Whether another run may follow."""
        return self.asked is not None or self.next is not None

    def upcoming(self, n: int) -> list[int]:
        """The next moments, at most so many, as they are planned."""
        planned = self.planned
        if planned is None:
            return []
        following = [] if self.trouble else self.schedule.upcoming(planned, n)
        return [planned, *following][:n]

    @property
    def planned(self) -> int | None:
        """The next planned moment, if it holds."""
        return None if self.paused else self.next

    @property
    def trouble(self) -> str | None:
        """Why nothing can be planned on this system, if that is so."""
        return planning.trouble(self.schedule)

    # The verbs

    def renew(self, now: int) -> None:
        """Plan anew; intervals and delays begin now.  Raise InvalidArgument."""
        schedule = self.schedule
        if isinstance(schedule, Every):
            schedule = Every(schedule.interval, now)
        elif self.delay is not None:
            schedule = Delay.of(self.delay).starting(now)
        self.next = planning.first(schedule, now, self.policy)
        self.schedule = schedule
        self._moved()

    def ask(self, now: int) -> None:
        """Run at once, once, whatever is planned."""
        self.asked = now
        self._moved()

    def pause(self) -> None:
        """Let nothing that is planned begin."""
        self.paused = True
        self._moved()

    def resume(self, now: int) -> None:
        """Go on with what comes next.  Raise InvalidArgument."""
        if not self.single or self.next is not None:
            self.next = planning.first(self.schedule, now, self.policy)
        self.paused = False
        self._moved()

    def restart(self, now: int) -> None:
        """The job runs now, by hand, after it was over."""
        self.next = None if self.single else self.schedule.next(now)
        self.asked, self.run_for, self.late = None, None, False
        self.taken, self.shift = now, 0
        self._moved()

    def _moved(self) -> None:
        self.place, self.changed = None, True

    # What processors do

    def due_at(self, clock: Clock, ended: int | None) -> int | None:
        """When the next run is due, by a clock; None if none is.

        ``ended``: when the last run did.
        """
        if self.asked is not None:
            return min(self.asked, clock.now)
        if self.planned is None:
            return None
        if self.delay is not None:
            return self.planned + clock.shift
        if self.trouble:
            later = clock.now + LOOK_AGAIN
            return self.planned if self.planned > clock.now else later
        due = self._due(clock.now, ended)
        # What is too late for its only date is taken, to say so.
        return next((m for m in (*due.runs, due.next) if m is not None), self.planned)

    def wait(self, due: int | None) -> int | None:
        """The entry in the schedule is this; the moment that was left out, if any.

        Written in any case: the verbs, who do not know it yet, must conflict.
        """
        self.place, self._p_changed = due, True
        if due is None:
            return None
        if self.asked is not None:
            self.asked = due
            return None
        if self.trouble:
            return None  # what is planned stays
        left_out, self.next = self.next, due
        return left_out if left_out is not None and left_out < due else None

    def take(self, clock: Clock, ended: int | None) -> int | None:
        """A run begins; the first moment that was left out before it, if any was."""
        planned, asked = self.planned, self.asked is not None
        due = Due((), None) if asked else self._due(clock.now, ended)
        self.place, self.asked, self.changed = None, None, False
        self.taken, self.shift = clock.now, clock.shift
        self.run_for, self.late = None, False
        if asked or planned is None:
            return None
        if self.single:
            self.run_for, self.next = planned, self._after(planned, clock.now)
        elif planned <= clock.now:
            self.run_for, self.next = next(iter(due.runs), None), due.planned
        if planned > clock.now or due.runs:
            return planned if due.left_out else None
        self.late = self.next is None
        return None if self.late else planned

    def undo(self) -> None:
        """The run has not begun after all."""
        if self.changed or self.run_for is None:
            self.asked = self.taken
        else:
            self.next = self.run_for
        self.place = None

    def _after(self, planned: int, now: int) -> int | None:
        """The date, if it was set to a later one and is not planned yet."""
        return None if self.delay is not None else self.schedule.next(max(planned, now))

    def _due(self, now: int, ended: int | None) -> Due:
        """What is to be run."""
        planned, policy = self.planned, self.policy
        if planned is None:
            return Due((), None)
        if self.taken is not None and ended is not None:
            if self.taken < planned <= ended and policy.overlap == "skip":
                following = self.schedule.next(ended)
                if following is None:
                    return Due((), None, left_out=True)
                planned = following
            elif self.taken < planned <= ended:
                # It waited for the run before, as it was told to.
                missed = "all" if policy.missed == "all" else "latest"
                policy = replace(policy, grace=None, missed=missed)
        return planning.due(self.schedule, planned, now, policy)
