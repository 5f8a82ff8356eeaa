"""Which minutes of the calendar match: sets of fields, and how to search by them.

Sets are ints used as sets of bits.  The search goes by months, so it takes
some 40 steps for the rarest date that there is, a 29 February on a given weekday.
"""

from __future__ import annotations

import calendar
import functools
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

MINUTES_OF_DAY = 24 * 60
#: What `datetime.date.toordinal` gives for 1970-01-01 and for the last day.
FIRST = date(1970, 1, 1).toordinal()
LAST = date.max.toordinal()

#: In the set of days, besides 1 to 31: the last one, and the last from Mon to Fri.
LAST_DAY, LAST_WORKDAY = 32, 33
#: A weekday has so many bits: every one, the first to the fifth, the last.
PER_WEEKDAY = 7
EVERY, LAST_OF_MONTH = 0, 6


def bits(numbers: Iterable[int]) -> int:
    """The set of these numbers."""
    return sum(1 << number for number in set(numbers))


def weekday_bit(weekday: int, which: int = EVERY) -> int:
    """The element for a weekday (Monday is 0): which of those in a month."""
    return weekday * PER_WEEKDAY + which


def lowest(numbers: int, start: int = 0) -> int:
    """The smallest number of a set, from ``start`` on; -1 if there is none."""
    rest = numbers >> start
    return start + (rest & -rest).bit_length() - 1 if rest else -1


def highest(numbers: int, end: int) -> int:
    """The largest number of a set, up to ``end``; -1 if there is none."""
    return (numbers & ((2 << end) - 1)).bit_length() - 1


#: How many days a month may have, by its number.
LENGTHS = {
    month: {calendar.monthrange(year, month)[1] for year in (1971, 1972)}
    for month in range(1, 13)
}

ALL_MINUTES = bits(range(60))
ALL_HOURS = bits(range(24))
ALL_DAYS = bits(range(1, 32))
ALL_MONTHS = bits(range(1, 13))
ALL_WEEKDAYS = bits(map(weekday_bit, range(7)))


@functools.lru_cache(maxsize=4096)
def month_days(days: int, weekdays: int, either: bool, first: int, length: int) -> int:
    """The days that match in a month which begins with weekday ``first``."""
    by_date = days & ((2 << length) - 2)
    if days >> LAST_DAY & 1:
        by_date |= 1 << length
    if days >> LAST_WORKDAY & 1:
        weekday = (first + length - 1) % 7
        by_date |= 1 << length - max(0, weekday - calendar.FRIDAY)
    by_weekday = sum(
        _weekdays(weekdays >> weekday_bit(weekday), (weekday - first) % 7 + 1, length)
        for weekday in range(7)
    )
    return by_date | by_weekday if either else by_date & by_weekday


def _weekdays(which: int, start: int, length: int) -> int:
    """The days of a weekday that falls on ``start`` first, as far as they match."""
    found = 0
    for number, day in enumerate(range(start, length + 1, 7), 1):
        wanted = 1 << EVERY | 1 << number
        if day + 7 > length:
            wanted |= 1 << LAST_OF_MONTH
        if which & wanted:
            found |= 1 << day
    return found


@functools.lru_cache(maxsize=4096)
def day_times(minutes: int, hours: int) -> int:
    """The minutes of a day that match."""
    return sum(minutes << 60 * hour for hour in range(24) if hours >> hour & 1)


class Pattern(NamedTuple):
    """A set of minutes: those whose fields are all in these sets.

    A day matches by its date and by its weekday or, if ``either``, by one of the
    two.  Minutes are counted from 1970-01-01 00:00.
    """

    minutes: int = ALL_MINUTES
    hours: int = ALL_HOURS
    days: int = ALL_DAYS
    months: int = ALL_MONTHS
    weekdays: int = ALL_WEEKDAYS
    either: bool = False

    def ever(self) -> bool:
        """Whether there is a day that matches.

        Within 400 years each month, in each of its lengths, begins with each day
        of the week.
        """
        return any(
            month_days(self.days, self.weekdays, self.either, first, length)
            for month in range(1, 13)
            if self.months >> month & 1
            for length in LENGTHS[month]
            for first in range(7)
        )

    def at_or_after(self, minute: int) -> int | None:
        """The first minute that matches, from one on; None after the year 9999."""
        times = day_times(self.minutes, self.hours)
        day, start = divmod(minute, MINUTES_OF_DAY)
        found = self._day_from(day)
        if found == day:
            time = lowest(times, start)
            if time >= 0:
                return day * MINUTES_OF_DAY + time
            found = self._day_from(day + 1)
        return None if found is None else found * MINUTES_OF_DAY + lowest(times)

    def at_or_before(self, minute: int) -> int | None:
        """The last minute that matches, up to one; None before the year 1."""
        times = day_times(self.minutes, self.hours)
        day, end = divmod(minute, MINUTES_OF_DAY)
        found = self._day_until(day)
        if found == day:
            time = highest(times, end)
            if time >= 0:
                return day * MINUTES_OF_DAY + time
            found = self._day_until(day - 1)
        return (
            None if found is None else found * MINUTES_OF_DAY + times.bit_length() - 1
        )

    def _month_days(self, year: int, month: int) -> int:
        first, length = calendar.monthrange(year, month)
        return month_days(self.days, self.weekdays, self.either, int(first), length)

    def _day_from(self, day: int) -> int | None:
        """The first day that matches, from one on, in days since 1970-01-01."""
        ordinal = max(day + FIRST, 1)
        if ordinal > LAST:
            return None
        start = date.fromordinal(ordinal)
        year, month, least = start.year, start.month, start.day
        while year <= date.max.year:
            if self.months >> month & 1:
                found = lowest(self._month_days(year, month), least)
                if found > 0:
                    return date(year, month, found).toordinal() - FIRST
            year, month, least = *self._month_after(year, month), 1
        return None

    def _month_after(self, year: int, month: int) -> tuple[int, int]:
        """The next month that matches by itself."""
        found = lowest(self.months, month + 1)
        return (year, found) if found > 0 else (year + 1, lowest(self.months))

    def _day_until(self, day: int) -> int | None:
        """The last day that matches, up to one, in days since 1970-01-01."""
        ordinal = min(day + FIRST, LAST)
        if ordinal < 1:
            return None
        end = date.fromordinal(ordinal)
        year, month, most = end.year, end.month, end.day
        while year >= date.min.year:
            if self.months >> month & 1:
                found = highest(self._month_days(year, month), most)
                if found > 0:
                    return date(year, month, found).toordinal() - FIRST
            year, month, most = *self._month_before(year, month), 31
        return None

    def _month_before(self, year: int, month: int) -> tuple[int, int]:
        """The last month before that matches by itself."""
        found = highest(self.months, month - 1)
        return (year, found) if found > 0 else (year - 1, highest(self.months, 12))
