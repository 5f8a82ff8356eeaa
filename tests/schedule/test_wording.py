"""Schedules in words."""

from __future__ import annotations

from typing import Any

import pytest

from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.schedule import At, Delay, Every, Schedule
from lovely.remotetask.times import from_seconds
from lovely.remotetask.wording import in_words, ranges


def said(schedule: Schedule) -> str:
    return in_words(
        schedule,
        span=lambda seconds: f"{seconds:g} seconds",
        moment="{:%Y-%m-%d}".format,
    )


def test_ranges() -> None:
    """Numbers in a row are written as a range."""
    assert ranges((1, 2, 3, 5, 7, 8)) == "1-3, 5, 7, 8"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hour": 6, "minute": 30}, "each day at 06:30"),
        ({"hour": 6}, "each day at 06:00"),
        (
            {"hour": (6, 18), "minute": (0, 30)},
            "each day at 06:00, 06:30, 18:00, 18:30",
        ),
        ({"hour": range(8, 19), "minute": 30}, "each day at hour 8-18, minute 30"),
        ({"minute": (0, 15)}, "each hour at minute 0, 15"),
        ({"dayOfWeek": range(5), "hour": 4}, "Mon-Fri at 04:00"),
        ({"dayOfWeek": (0, 6)}, "Mon, Sun at 00:00"),
        ({"dayOfMonth": 1, "minute": 5}, "day 1 each hour at minute 5"),
        ({"month": (1, 7)}, "day 1, in Jan, Jul at 00:00"),
        ({"month": 12, "hour": 3}, "in Dec at 03:00"),
        ({"month": 12, "dayOfMonth": 24, "hour": 18}, "day 24, in Dec at 18:00"),
    ],
)
def test_fields(fields: dict[str, Any], words: str) -> None:
    """Fields are told as people would: days, and times of the day."""
    assert said(Fields.of(**fields)) == f"{words} (UTC)"


def test_other_schedules() -> None:
    """What is by no fields is told as well; whoever asks says spans and moments."""
    zone = "Europe/Vienna"
    assert said(Cron.of("5 4 * * *", timezone=zone)) == "5 4 * * * (Europe/Vienna)"
    assert said(Every.of(5400, 0)) == "every 5400 seconds"
    assert said(Delay.of(5)) == "once, after 5 seconds"
    assert said(At(from_seconds(86_400))) == "once, at 1970-01-02"


def test_a_schedule_of_another_kind() -> None:
    """One that nobody knows is told by its class."""

    class Never(Schedule):
        def next(self, after: int) -> int | None:
            return None

        def previous(self, before: int) -> int | None:
            return None

    assert said(Never()) == "Never"
