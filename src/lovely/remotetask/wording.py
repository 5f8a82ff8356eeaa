"""Schedules in words, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import product

from lovely.remotetask import times
from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.schedule import At, Delay, Every, Schedule

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

#: So many times of a day are told one by one.
FEW_TIMES = 4


def in_words(
    schedule: Schedule,
    *,
    span: Callable[[float], str],
    moment: Callable[[datetime], str],
) -> str:
    """When something runs; ``span`` and ``moment`` say seconds and moments."""
    if isinstance(schedule, Every):
        return f"every {span(schedule.interval / 1_000_000)}"
    if isinstance(schedule, Cron):
        return f"{schedule.expression} ({schedule.timezone})"
    if isinstance(schedule, Fields):
        when = f"{_days(schedule)} {_times(schedule)}".strip()
        return f"{when} ({schedule.timezone})"
    if isinstance(schedule, Delay):
        return f"once, after {span(schedule.delay / 1_000_000)}"
    if isinstance(schedule, At) and (at := times.to_datetime(schedule.moment)):
        return f"once, at {moment(at)}"
    return type(schedule).__name__


def _days(fields: Fields) -> str:
    parts = []
    if not (fields.dayOfWeek or fields.dayOfMonth or fields.month) and fields.hour:
        return "each day"
    if fields.dayOfWeek:
        parts.append(ranges(fields.dayOfWeek, DAYS.__getitem__))
    days = fields.dayOfMonth
    if not (days or fields.dayOfWeek or fields.hour or fields.minute):
        days = (1,)  # as only months are given
    if days:
        parts.append(f"day {ranges(days)}")
    if fields.month:
        parts.append(f"in {ranges(fields.month, lambda month: MONTHS[month - 1])}")
    return ", ".join(parts)


def _times(fields: Fields) -> str:
    hours, minutes = fields.hour, fields.minute or (0,)
    if not hours and fields.minute:
        return f"each hour at minute {ranges(minutes)}"
    hours = hours or (0,)
    if len(hours) * len(minutes) <= FEW_TIMES:
        pairs = product(hours, minutes)
        return "at " + ", ".join(f"{hour:02}:{minute:02}" for hour, minute in pairs)
    return f"at hour {ranges(hours)}, minute {ranges(minutes)}"


def ranges(numbers: Iterable[int], name: Callable[[int], str] = str) -> str:
    """Numbers as people write them: ``1-3, 7``."""
    return ", ".join(
        f"{name(run[0])}-{name(run[-1])}" if len(run) > 2 else ", ".join(map(name, run))
        for run in neighbours(numbers)
    )


def neighbours(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers that follow each other, together."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
