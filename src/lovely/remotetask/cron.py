"""Cron's expressions, read by the library cronsim; the extra ``cron`` installs it.

The core finds `parse` by its entry point, and keeps the sets that it returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from cronsim import CronSim, CronSimError

from lovely.remotetask.errors import InvalidArgument, shown
from lovely.remotetask.pattern import (
    LAST_DAY,
    LAST_OF_MONTH,
    LAST_WORKDAY,
    Pattern,
    bits,
    weekday_bit,
)

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

#: The fields in their order, and what each may hold.
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31, L for the last or LW for the last from Mon to Fri",
    "month": "1 to 12 or jan to dec",
    "day of the week": (
        "0 to 7 (0 and 7 are Sunday) or sun to sat; mon#1 for the first Monday of "
        "the month, 5L for the last Friday"
    ),
}

#: Cronsim wants a moment to start from; nothing is asked about it here.
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse(text: str) -> Pattern:
    """The sets of an expression; raise InvalidArgument, with the field that is bad."""
    texts = _expand(text).split()
    if len(texts) != len(FIELDS):
        raise InvalidArgument(
            f"cron: {shown(text)} has {len(texts)} fields; five are needed: "
            f"{', '.join(FIELDS)}."
        )
    minutes, hours, days, months, weekdays = _read(texts)
    return Pattern(
        minutes=bits(minutes.minutes),
        hours=bits(hours.hours),
        days=bits(_days(days.days)),
        months=bits(months.months),
        weekdays=bits(_weekdays(weekdays.weekdays)),
        either=not any(texts[day].startswith("*") for day in (2, 4)),
    )


def _expand(text: str) -> str:
    """The five fields that a name such as ``@daily`` stands for."""
    name = text.strip().lower()
    if name.startswith("@") and name not in ALIASES:
        raise InvalidArgument(f"cron: {shown(text)} is none of {', '.join(ALIASES)}.")
    return ALIASES.get(name, text)


def _read(texts: list[str]) -> list[CronSim]:
    """What cronsim makes of each field by itself.

    Read together, they would be refused if no month has the day, by some versions
    also where a weekday is enough; and the error would not show the field.
    """
    found = []
    for position, (name, allowed) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[position] = texts[position]
        try:
            found.append(CronSim(" ".join(alone), EPOCH))
        except (CronSimError, ValueError) as error:  # ValueError: thousands of digits
            raise InvalidArgument(
                f"cron: {name} {shown(texts[position])} is not understood: {allowed}; "
                "with ranges such as 1-5, steps such as */2 or 1-9/2, and lists."
            ) from error
    return found


def _days(found: Iterable[int]) -> Iterable[int]:
    special = {CronSim.LAST: LAST_DAY, CronSim.LAST_WEEKDAY: LAST_WORKDAY}
    return (special.get(day, day) for day in found)


def _weekdays(found: Iterable[int | tuple[int, int]]) -> Iterable[int]:
    """Cron's weekdays, where Sunday is 0 or 7, as ours, where Monday is 0."""
    for element in found:
        if isinstance(element, int):
            yield weekday_bit((element - 1) % 7)
        else:
            weekday, which = element
            last = which == CronSim.LAST
            yield weekday_bit((weekday - 1) % 7, LAST_OF_MONTH if last else which)
