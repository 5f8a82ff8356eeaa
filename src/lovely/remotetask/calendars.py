"""When something is due by the calendar: fields, and cron's expressions."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from lovely.remotetask import pattern, plugins, zones
from lovely.remotetask.errors import InvalidArgument, InvalidType, NotInstalled, shown
from lovely.remotetask.pattern import Pattern
from lovely.remotetask.schedule import EARLIEST, LATEST, Schedule, within

#: What a field is given as.
Numbers = int | Iterable[int] | None
Given = tuple[int, ...]

#: The entry points of what makes a Pattern of a cron expression, a str.
PARSERS = "lovely.remotetask.cron"

#: The fields, in the order in which they are given, and what they may be.
RANGES = {
    "minute": range(60),
    "hour": range(24),
    "dayOfMonth": range(1, 32),
    "month": range(1, 13),
    "dayOfWeek": range(7),
}


class Calendar(Schedule):
    """Due in the minutes that match a pattern, as the clocks of a zone show them.

    A time that is left out when the clocks are changed is due at the change, once,
    however many are left out.  A time that is repeated is due the first time; so
    what is due each minute pauses for that hour, in zones that have such changes.
    """

    __slots__ = ()

    timezone: str

    @property
    @abstractmethod
    def pattern(self) -> Pattern:
        """What is due, without the zone."""

    def next(self, after: int) -> int | None:
        """The first moment later than ``after``, or None after the year 9999."""
        if after >= LATEST:
            return None
        zone = zones.load(self.timezone)
        start = zones.not_reached(zone, max(after, EARLIEST - 1))
        minute = self.pattern.at_or_after(start)
        return None if minute is None else within(zones.moment_of(zone, minute))

    def previous(self, before: int) -> int | None:
        """The last moment earlier than ``before``, or None before the year 1."""
        if before <= EARLIEST:
            return None
        zone = zones.load(self.timezone)
        end = zones.not_reached(zone, min(before, LATEST + 1) - 1) - 1
        minute = self.pattern.at_or_before(end)
        return None if minute is None else within(zones.moment_of(zone, minute))


@dataclass(frozen=True, slots=True)
class Fields(Calendar):
    """Due when all the fields that are given match; the second is 0.

    Fields smaller than the smallest that is given have their first value, larger
    ones may have any: ``hour=3`` is each day at 03:00, ``minute=(0, 30)`` each half
    hour, ``month=(1, 7)`` 00:00 on the first of these.  Days of the month and of
    the week are of the same size.
    """

    #: From 0 to 59.
    minute: Given = ()
    #: From 0 to 23.
    hour: Given = ()
    #: From 1 to 31.
    dayOfMonth: Given = ()
    #: From 1 to 12.
    month: Given = ()
    #: From 0, which is Monday, to 6.
    dayOfWeek: Given = ()
    #: The name of a time zone.
    timezone: str = zones.UTC

    @classmethod
    def of(
        cls,
        *,
        minute: Numbers = (),
        hour: Numbers = (),
        dayOfMonth: Numbers = (),
        month: Numbers = (),
        dayOfWeek: Numbers = (),
        timezone: str | ZoneInfo = zones.UTC,
    ) -> Fields:
        """Each field as an int or as several; empty, or None, if it is not given.

        Raise InvalidType (a TypeError) or InvalidArgument (a ValueError), also if
        no field is given or the fields never match.
        """
        given = check_fields(minute, hour, dayOfMonth, month, dayOfWeek)
        fields = cls(**given, timezone=zones.check_timezone(timezone))
        if not any(given.values()):
            raise InvalidArgument(f"At least one of {', '.join(RANGES)} is needed.")
        if not fields.pattern.ever():
            raise InvalidArgument(
                f"dayOfMonth: {fields.dayOfMonth} never comes in month {fields.month}."
            )
        return fields

    @property
    def pattern(self) -> Pattern:
        """The sets of minutes, hours, days, months and weekdays."""
        return _pattern(
            self.minute, self.hour, self.dayOfMonth, self.month, self.dayOfWeek
        )


def check_fields(*fields: object) -> dict[str, Given]:
    """The fields by their names, each in order and once each."""
    return {
        name: _check_numbers(name, field)
        for name, field in zip(RANGES, fields, strict=True)
    }


def _check_numbers(name: str, given: object) -> Given:
    if given is None:
        return ()
    if isinstance(given, (str, bytes)):
        raise InvalidType(
            f"{name}: an int or a tuple of ints is needed, not {shown(given)}. "
            "What cron understands is given as cron='...'."
        )
    return tuple(sorted({_check_number(name, number) for number in _several(given)}))


def _several(given: Any) -> Iterable[object]:
    """What is given, or that alone."""
    try:
        # Not isinstance: the class of what is behind a security proxy is no class.
        several: Iterable[object] = iter(given)
    except TypeError:
        several = (given,)
    return several


def _check_number(name: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidType(
            f"{name}: an int or a tuple of ints is needed, not {shown(number)}."
        )
    allowed = RANGES[name]
    if number not in allowed:
        raise InvalidArgument(
            f"{name}: from {allowed[0]} to {allowed[-1]}, not {shown(number)}."
        )
    return int(number)


@functools.lru_cache(maxsize=4096)
def _pattern(
    minute: Given, hour: Given, day: Given, month: Given, weekday: Given
) -> Pattern:
    """The pattern of these fields: smaller ones pinned, larger ones free."""
    whole_months = not (minute or hour or day or weekday)
    return Pattern(
        minutes=pattern.bits(minute or (0,)),
        hours=pattern.bits(hour or (range(24) if minute else (0,))),
        days=pattern.bits(day or ((1,) if whole_months else range(1, 32))),
        months=pattern.bits(month or range(1, 13)),
        weekdays=pattern.bits(map(pattern.weekday_bit, weekday or range(7))),
    )


@dataclass(frozen=True, slots=True)
class Cron(Calendar):
    """Due as an expression of cron says: minute, hour, day, month, weekday.

    The expression is read once, when this is made; the sets that come of it are
    stored with it.
    """

    expression: str
    #: What makes a Pattern.
    sets: tuple[int, ...]
    #: The name of a time zone.
    timezone: str = zones.UTC

    @classmethod
    def of(cls, cron: str, timezone: str | ZoneInfo = zones.UTC) -> Cron:
        """An expression with five fields, or one such as ``@daily``.

        Raise InvalidType (a TypeError), InvalidArgument (a ValueError), or
        NotInstalled if nothing is there that reads it.
        """
        if not isinstance(cron, str):
            raise InvalidType(f"cron: a str is needed, not {type(cron).__name__}.")
        zone = zones.check_timezone(timezone)
        parsers = plugins.load(PARSERS)
        if not parsers:
            raise NotInstalled("cron=", "cron")
        found: Pattern = parsers[0](cron)
        if not found.ever():
            raise InvalidArgument(f"cron: {shown(cron)} never matches.")
        return cls(" ".join(cron.split()), tuple(found), zone)

    @property
    def pattern(self) -> Pattern:
        """The sets of minutes, hours, days, months and weekdays."""
        return Pattern._make(self.sets)
