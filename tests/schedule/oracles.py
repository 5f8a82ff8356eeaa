"""What schedules are compared with: other ways to the same answer.

One is python-dateutil's rrule, for dates; the other goes through all minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.rrule import DAILY, rrule
from dateutil.tz import datetime_exists
from hypothesis import strategies as st

from lovely.remotetask import times
from lovely.remotetask.calendars import Fields

UTC = timezone.utc
MINUTE = timedelta(minutes=1)

#: Zones with clock changes of all kinds: at night, in the southern half of the
#: year, of half an hour, at midnight, abolished, and of a whole day.
ZONES = [
    "Europe/Vienna",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Tehran",
    "Pacific/Apia",
]

#: Of these years all changes are looked at.
YEARS = range(2005, 2026)


class NoData:
    """What ZoneInfo is where the system has no data."""

    def __init__(self, name: str) -> None:
        raise ZoneInfoNotFoundError(name)


def moment(text: str, zone: str = "UTC") -> int:
    """The moment that a date, as isoformat has it, is in a zone."""
    local = datetime.fromisoformat(text)
    return times.from_datetime(local.replace(tzinfo=ZoneInfo(zone)))


def show(found: int | None, zone: str = "UTC") -> str | None:
    """A moment as the clocks of a zone show it, to the minute if it is whole."""
    shown = times.to_datetime(found)
    if shown is None:
        return None
    text = shown.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat(" ")
    return text.removesuffix(":00")


def fields() -> st.SearchStrategy[dict[str, Any]]:
    """Fields that match now and then, some of them seldom."""

    def some(low: int, high: int, most: int = 4) -> st.SearchStrategy[Any]:
        numbers = st.integers(low, high)
        return st.just(()) | st.sets(numbers, min_size=1, max_size=most).map(tuple)

    return st.fixed_dictionaries(
        {
            "minute": some(0, 59),
            "hour": some(0, 23),
            # Up to the 28th in no month alone, so that there always is one.
            "dayOfMonth": some(1, 28) | st.just((29, 31)) | st.just((30,)),
            "month": some(1, 12) | st.just((2, 3)),
            "dayOfWeek": some(0, 6),
        }
    ).filter(possible)


def possible(given: dict[str, Any]) -> bool:
    """Whether fields are given at all, and there is such a day."""
    days, months = given["dayOfMonth"], set(given["month"])
    if not any(given.values()):
        return False
    return not days or min(days) < 30 or not months or months != {2}


def free_or_pinned(given: dict[str, Any]) -> dict[str, Sequence[int]]:
    """All fields as sets of numbers, by the rule for those that are not given."""
    small = bool(given["minute"])
    middle = small or bool(given["hour"])
    large = middle or bool(given["dayOfMonth"] or given["dayOfWeek"])
    return {
        "minute": given["minute"] or [0],
        "hour": given["hour"] or (range(24) if small else [0]),
        "dayOfMonth": given["dayOfMonth"] or (range(1, 32) if large else [1]),
        "month": given["month"] or range(1, 13),
        "dayOfWeek": given["dayOfWeek"] or range(7),
    }


def by_rrule(given: dict[str, Any], zone: str, after: int) -> Iterator[int]:
    """The moments later than one, found by dateutil."""
    numbers = free_or_pinned(given)
    begin = times.to_datetime(after)
    assert begin is not None
    rule = rrule(
        DAILY,
        dtstart=(begin - timedelta(days=2)).replace(tzinfo=None, hour=0, minute=0),
        bymonth=numbers["month"],
        bymonthday=numbers["dayOfMonth"],
        byweekday=numbers["dayOfWeek"],
        byhour=numbers["hour"],
        byminute=numbers["minute"],
        bysecond=0,
    )
    last = after
    for local in rule:
        found = _as_moment(local, ZoneInfo(zone))
        if found > last:
            yield found
            last = found


def _as_moment(local: datetime, zone: ZoneInfo) -> int:
    """When clocks first show a time, or the next minute that they show at all."""
    while not datetime_exists(local, zone):
        local += MINUTE
    return times.from_datetime(local.replace(tzinfo=zone))


def shown(zone: str, begin: datetime, end: datetime) -> Iterator[tuple[int, datetime]]:
    """All minutes that clocks reach between two moments, and when they do.

    For clocks that are ahead of UTC by whole minutes.
    """
    local, now = ZoneInfo(zone), begin
    # What they have shown before: no change takes more than a day back.
    reached = max(
        (begin + step * timedelta(hours=-1)).astimezone(local).replace(tzinfo=None)
        for step in range(1, 27)
    )
    reached = max(reached, (begin - MINUTE).astimezone(local).replace(tzinfo=None))
    while now <= end:
        on_the_wall = now.astimezone(local).replace(tzinfo=None)
        while reached < on_the_wall:
            reached += MINUTE
            yield times.from_datetime(now), reached
        now += MINUTE


def by_scan(
    given: dict[str, Any], minutes: Sequence[tuple[int, datetime]]
) -> list[int]:
    """The moments among these minutes at which the fields match."""
    numbers = {name: set(found) for name, found in free_or_pinned(given).items()}
    return sorted(
        {
            when
            for when, local in minutes
            if local.minute in numbers["minute"]
            and local.hour in numbers["hour"]
            and local.day in numbers["dayOfMonth"]
            and local.month in numbers["month"]
            and local.weekday() in numbers["dayOfWeek"]
        }
    )


def changes(zone: str) -> list[datetime]:
    """The moments at which the clocks of a zone are changed, in those years."""
    begin, end = (datetime(year, 1, 1, tzinfo=UTC) for year in YEARS[:: len(YEARS) - 1])
    days = _changes(ZoneInfo(zone), begin, end, timedelta(days=1))
    return [
        exact
        for day in days
        for exact in _changes(ZoneInfo(zone), day - timedelta(days=1), day, MINUTE)
    ]


def _changes(
    zone: ZoneInfo, begin: datetime, end: datetime, step: timedelta
) -> Iterator[datetime]:
    """The first moments after changes, among those a step apart."""
    before = begin.astimezone(zone).utcoffset()
    while begin < end:
        begin += step
        after = begin.astimezone(zone).utcoffset()
        if after != before:
            yield begin
        before = after


def all_between(schedule: Fields, begin: int, end: int) -> list[int]:
    """What a schedule gives from a moment up to another."""
    found = []
    due = schedule.next(begin - 1)
    while due is not None and due <= end:
        found.append(due)
        due = schedule.next(due)
    return found
