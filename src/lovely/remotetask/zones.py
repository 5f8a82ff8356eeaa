"""Wall clocks: what they show at a moment, and when they show a time.

A change of the clocks leaves some times out and repeats others.  So that each
time has one moment, and a later time never an earlier one, the moment of a time
is the first at which the clocks show that time or a later one:

- a time that is left out has the moment of the change;
- a time that is repeated has the first of its two moments.

Times are whole minutes since 1970-01-01 00:00 on the wall; offsets are seconds.
Clocks are ahead of UTC, or behind, by less than a day; that they are changed twice
within two days has not been seen.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from zoneinfo import ZoneInfo

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType, shown

UTC = "UTC"
MINUTE = 60
DAY = 24 * 60 * MINUTE
#: The calendar, and with it the rules of a zone, repeat after 400 years.
CYCLE = 146_097 * DAY

#: Seconds; further out, the date on the wall may be in no year from 1 to 9999.
EARLY = times.from_datetime(times.EARLIEST) // 1_000_000 + 2 * DAY
LATE = times.from_datetime(times.LATEST) // 1_000_000 - 2 * DAY


@functools.cache
def load(name: str) -> ZoneInfo | None:
    """The zone of that name; None is UTC, which needs no data.

    The cache is bounded by the number of zones.  ``zoneinfo`` has one too, but of
    eight.
    """
    if name == UTC:
        return None
    try:
        return ZoneInfo(name)
    # For what is no name, zoneinfo raises nearly anything.
    except (LookupError, OSError, ValueError) as error:
        raise InvalidArgument(
            f"timezone: there is no time zone {shown(name)}. Names are those of the "
            "IANA database, such as 'Europe/Vienna'; if this system has none: "
            "pip install 'lovely.remotetask[timezones]'."
        ) from error


def check_timezone(timezone: object) -> str:
    """An argument that is the name of a time zone, or a ZoneInfo with a name."""
    name = timezone.key if isinstance(timezone, ZoneInfo) else timezone
    if not isinstance(name, str):
        raise InvalidType(
            "timezone: a name such as 'Europe/Vienna' is needed, not "
            f"{type(timezone).__name__}."
        )
    load(name)
    return name


def not_reached(zone: ZoneInfo | None, moment: int) -> int:
    """The first minute that the clocks have not shown up to and at a moment."""
    second = moment // 1_000_000
    if zone is None:
        return second // MINUTE + 1
    before, offset = _offset(zone, second - DAY), _offset(zone, second)
    minute = (second + offset) // MINUTE + 1
    if offset >= before:
        return minute
    # They may show these minutes for the second time; go on where the first ended.
    end = _change(zone, second - DAY, second) + before
    return max(minute, -(-end // MINUTE))


def moment_of(zone: ZoneInfo | None, minute: int) -> int:
    """The first moment at which the clocks show this minute or a later one."""
    second = minute * MINUTE
    if zone is not None:
        before, after = _offset(zone, second - DAY), _offset(zone, second + DAY)
        if before == after:
            second -= before
        else:
            change = _change(zone, second - DAY, second + DAY)
            first = second - before
            second = first if first < change else max(change, second - after)
    return second * 1_000_000


def _offset(zone: ZoneInfo, second: int) -> int:
    """How many seconds the clocks are ahead of UTC, maybe in another cycle.

    Asked by moments only: for what the clocks show, ``zoneinfo`` takes an hour for
    repeated that is not, where a rule begins with a change that did not come.
    """
    if second < EARLY:
        second += CYCLE
    elif second > LATE:
        second -= CYCLE
    offset = (times.EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The second, after ``low`` up to ``high``, in which the clocks are changed."""
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high
