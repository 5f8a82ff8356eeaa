"""Wall clocks: what they show at a moment, and when they show a time.

A change of the clocks leaves some times out and repeats others.  So that each
time has one moment, and a later time never an earlier one, the moment of a time
is the first at which the clocks show that time or a later one:

- a time that is left out has the moment of the change;
- a time that is repeated has the first of its two moments.

Times are whole minutes since 1970-01-01 00:00 on the wall; offsets are seconds.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType, shown

UTC = "UTC"
MINUTE = 60
DAY = 24 * 60 * MINUTE
#: The calendar, and with it the rules of a zone, repeat after 400 years.
CYCLE = 146_097 * DAY

FIRST = datetime(1970, 1, 1)  # noqa: DTZ001  (what the wall shows)
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
    if zone is None:
        return moment // (MINUTE * 1_000_000) + 1
    second = moment // 1_000_000
    local = _local(zone, second)
    shown = second + _offset(local)
    if not local.fold:
        return shown // MINUTE + 1
    # They show these minutes for the second time; go on where the first ended.
    before = _offset(local.replace(fold=0))
    end = _change(zone, shown - before, second) + before
    return -(-end // MINUTE)


def moment_of(zone: ZoneInfo | None, minute: int) -> int:
    """The first moment at which the clocks show this minute or a later one."""
    second = minute * MINUTE
    if zone is not None:
        local = (FIRST + timedelta(minutes=minute)).replace(tzinfo=zone)
        before, after = _offset(local), _offset(local.replace(fold=1))
        if before < after:
            second = _change(zone, second - after, second - before)
        else:
            second -= before
    return second * 1_000_000


def _offset(local: datetime) -> int:
    """How many seconds a local time is ahead of UTC."""
    offset = local.utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _local(zone: ZoneInfo, second: int) -> datetime:
    """What the clocks show, maybe in another cycle of the calendar."""
    if second < EARLY:
        second += CYCLE
    elif second > LATE:
        second -= CYCLE
    return (times.EPOCH + timedelta(seconds=second)).astimezone(zone)


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The second, after ``low`` up to ``high``, in which the clocks are changed."""
    before = _offset(_local(zone, low))
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(_local(zone, middle)) == before:
            low = middle
        else:
            high = middle
    return high
