"""What runs when: a schedule from arguments, and runs that were missed.

Pure functions of a schedule, of the moment that is planned and of the moment that
it is now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from lovely.remotetask import times, zones
from lovely.remotetask.calendars import Calendar, Cron, Fields, Numbers, check_fields
from lovely.remotetask.environment import SET_BACK
from lovely.remotetask.errors import InvalidArgument, InvalidType, shown
from lovely.remotetask.schedule import At, Delay, Every, Schedule

MISSED = ("latest", "skip", "all")
OVERLAP = ("skip", "queue")

#: With ``missed='all'``, so many runs are made up for at most: the latest ones.
MOST = 100

#: Seconds that a run may be late with ``missed='skip'``, unless it is told.
SKIP_GRACE = 60.0
#: The least that it may be told: every run begins a little late.
LEAST_GRACE = 1.0

#: A clock that is set back by more is followed; up to this, runs wait for what was
#: planned, so that none is doubled where the clocks of two hosts differ.
CLOCK_TOLERANCE = times.from_seconds(SET_BACK)


def make(
    start: int,
    *,
    cron: str | None = None,
    every: timedelta | float | None = None,
    at: datetime | None = None,
    delay: float | None = None,
    minute: Numbers = (),
    hour: Numbers = (),
    dayOfMonth: Numbers = (),
    month: Numbers = (),
    dayOfWeek: Numbers = (),
    timezone: str | ZoneInfo | None = None,
) -> Schedule:
    """The schedule that is asked for; ``start`` is when an interval or delay begins.

    Just one kind can be asked for.  Raise InvalidArgument (a ValueError),
    InvalidType (a TypeError) or NotInstalled.
    """
    fields = check_fields(minute, hour, dayOfMonth, month, dayOfWeek)
    kinds = {"cron": cron, "every": every, "at": at, "delay": delay}
    given = [kind for kind, value in kinds.items() if value is not None]
    _check_kinds([*given, "fields"] if any(fields.values()) else given, timezone)
    zone = zones.UTC if timezone is None else timezone
    if cron is not None:
        return Cron.of(cron, zone)
    if every is not None:
        return Every.of(every, start)
    if at is not None:
        return At.of(at)
    if delay is not None:
        return Delay.of(delay).starting(start)
    return Fields.of(**fields, timezone=zone)


def in_zone(schedule: Schedule, timezone: str | ZoneInfo) -> Schedule:
    """The same by the clocks of another zone.  Raise InvalidArgument, InvalidType."""
    if not isinstance(schedule, (Cron, Fields)):
        raise InvalidArgument("timezone: this schedule does not depend on a zone.")
    return replace(schedule, timezone=zones.check_timezone(timezone))


def trouble(schedule: Schedule) -> str | None:
    """Why a schedule can't be read, or None: this system may not know its zone."""
    if isinstance(schedule, Calendar):
        try:
            zones.load(schedule.timezone)
        except InvalidArgument as error:
            return str(error)
    return None


def _check_kinds(given: list[str], timezone: object) -> None:
    if len(given) > 1:
        raise InvalidArgument(f"Give one kind of schedule, not {' and '.join(given)}.")
    if timezone is not None and {"every", "at", "delay"} & set(given):
        raise InvalidArgument(f"timezone: {given[0]} does not depend on a zone.")


@dataclass(frozen=True)
class RunPolicy:
    """What becomes of runs that could not begin when they were due.

    The service was down then, or busy, or the run before was not over.

    Raise InvalidType (a TypeError) or InvalidArgument (a ValueError) for what
    makes no sense.
    """

    #: ``latest``: one run makes up for all that were missed.  ``all``: each is made
    #: up for, at most the 100 latest ones.  ``skip``: none is; the latest is run if
    #: it is not late, and a date that has passed is refused.
    missed: str = "latest"
    #: Seconds that a run may be late, at least 1; later it is left out.  None: as
    #: late as it may be, but with ``skip`` 60 seconds.
    grace: float | None = None
    #: If a run is due while the one before it is not over, ``skip`` it, or ``queue``
    #: it to be run then.
    overlap: str = "skip"

    def __post_init__(self) -> None:
        _check_choice("missed", self.missed, MISSED)
        _check_choice("overlap", self.overlap, OVERLAP)
        if self.grace is not None:
            times.check_seconds("grace", self.grace)
            if self.grace < LEAST_GRACE:
                raise InvalidArgument(
                    f"grace: {LEAST_GRACE:g} or more is needed, not "
                    f"{shown(self.grace)}: every run begins a little late."
                )

    def oldest(self, now: int) -> int | None:
        """The moment from which on what was due may still be run; None: any."""
        grace = self.grace
        if grace is None and self.missed == "skip":
            grace = SKIP_GRACE
        return None if grace is None else now - times.from_seconds(grace)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise InvalidType(f"{name}: a str is needed, not {type(value).__name__}.")
    if value not in choices:
        allowed = ", ".join(map(repr, choices))
        raise InvalidArgument(f"{name}: one of {allowed}, not {shown(value)}.")


@dataclass(frozen=True)
class Due:
    """What is to be run now, and what comes after it."""

    #: The moments that are run for, the oldest first.
    runs: tuple[int, ...]
    #: The first moment that is not due yet, or None.
    next: int | None
    #: Whether there were others, which are not run for.
    left_out: bool = False

    @property
    def planned(self) -> int | None:
        """What to plan when the first of the runs is taken, or None."""
        return self.runs[1] if len(self.runs) > 1 else self.next


def first(schedule: Schedule, now: int, policy: RunPolicy) -> int:
    """The moment to plan for what is new in the schedule.

    A single date that has passed is due at once.  Raise InvalidArgument (a
    ValueError) if the policy would not have it run, or if nothing is left before
    the year 10000.
    """
    moment = schedule.next(now)
    if moment is None and isinstance(schedule, At):
        moment = schedule.moment
        oldest = now if policy.missed == "skip" else policy.oldest(now)
        if oldest is not None and moment < oldest:
            raise InvalidArgument(
                f"at: {times.to_datetime(moment)} has passed; with this policy it "
                "would be left out."
            )
    if moment is None:
        raise InvalidArgument("No date is left before the year 10000.")
    return moment


def due(schedule: Schedule, planned: int, now: int, policy: RunPolicy) -> Due:
    """What to run now, if ``planned`` was the next moment when it was last asked."""
    if planned > now:
        return Due((), _still_planned(schedule, planned, now))
    most = MOST if policy.missed == "all" else 1
    runs = _latest(schedule, planned, now, policy.oldest(now), most)
    return Due(runs, schedule.next(now), left_out=runs[:1] != (planned,))


def _latest(
    schedule: Schedule, planned: int, now: int, oldest: int | None, most: int
) -> tuple[int, ...]:
    """The latest moments that are due, no older than ``oldest``.

    They are found backwards from now, however many there are.
    """
    found: list[int] = []
    moment = schedule.previous(now + 1)
    if moment is None or moment < planned:
        moment = planned  # the schedule was changed since, and has it no more
    begin = planned if oldest is None else max(planned, oldest)
    while moment is not None and moment >= begin and len(found) < most:
        found.append(moment)
        moment = schedule.previous(moment)
    return tuple(reversed(found))


def _still_planned(schedule: Schedule, planned: int, now: int) -> int | None:
    """What was planned; or what is next, if the clock has been set back since."""
    last = schedule.previous(planned)
    if last is not None and last - now > CLOCK_TOLERANCE:
        return schedule.next(now)
    return planned
