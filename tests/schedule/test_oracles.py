"""Fields against other ways to find the same moments."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lovely.remotetask import times
from lovely.remotetask.calendars import Fields
from lovely.remotetask.schedule import EARLIEST, LATEST
from tests.schedule.oracles import (
    YEARS,
    ZONES,
    all_between,
    by_rrule,
    by_scan,
    changes,
    fields,
    free_or_pinned,
    moment,
    shown,
)

instants = st.integers(*(moment(f"{year}-01-01") for year in (YEARS[0], YEARS[-1])))
zones = st.sampled_from(["UTC", *ZONES])

#: Schedules that have something to do around any change of the clocks.
AROUND: list[dict[str, Any]] = [
    {"minute": tuple(range(60))},
    {"minute": (0, 30)},
    {"minute": (15,), "hour": (0, 1, 2, 3)},
    {"hour": (0,)},
    {"hour": (1, 2, 3)},
    {"hour": (2,), "minute": (7, 59)},
    {"dayOfMonth": tuple(range(1, 32)), "hour": (2, 23)},
    {"dayOfWeek": (0, 4, 5, 6)},
]


def complete(some: dict[str, Any]) -> dict[str, Any]:
    """All five fields, those that are not given empty."""
    names = ["minute", "hour", "dayOfMonth", "month", "dayOfWeek"]
    return dict.fromkeys(names, ()) | some


@settings(max_examples=300, deadline=None)
@given(fields(), zones, instants)
def test_as_rrule(given: dict[str, Any], zone: str, after: int) -> None:
    """The next moments are those that dateutil finds, in any zone."""
    schedule = Fields.of(**given, timezone=zone)
    expected = list(itertools.islice(by_rrule(given, zone, after), 3))
    assert schedule.upcoming(after, 3) == expected


@settings(max_examples=100, deadline=None)
@given(fields(), zones, instants)
def test_as_minute_by_minute(given: dict[str, Any], zone: str, begin: int) -> None:
    """Within two days, the moments are those that a look at each minute finds."""
    schedule = Fields.of(**given, timezone=zone)
    start = times.EPOCH + timedelta(minutes=begin // 60_000_000)
    end = start + timedelta(days=2)
    found = by_scan(given, list(shown(zone, start, end)))
    between = times.from_datetime(start), times.from_datetime(end)
    assert all_between(schedule, *between) == found


@pytest.mark.parametrize("zone", ZONES)
def test_all_changes(zone: str) -> None:
    """At each change of the clocks in 20 years, each minute is as it should be."""
    found = changes(zone)
    assert len(found) >= 3
    for change in found:
        start, end = change - timedelta(hours=4), change + timedelta(hours=4)
        minutes = list(shown(zone, start, end))
        between = times.from_datetime(start), times.from_datetime(end)
        for some in AROUND:
            schedule = Fields.of(**some, timezone=zone)
            expected = by_scan(complete(some), minutes)
            assert all_between(schedule, *between) == expected, (change, some)


@settings(max_examples=300, deadline=None)
@given(
    fields(),
    zones,
    st.integers(EARLIEST - 10**15, LATEST + 10**15) | instants,
)
def test_next_and_previous_agree(given: dict[str, Any], zone: str, at: int) -> None:
    """No moment lies between two that follow each other, whichever way it is asked."""
    schedule = Fields.of(**given, timezone=zone)
    after, before = schedule.next(at), schedule.previous(at)
    itself = [at] if schedule.next(at - 1) == at else []
    if after is not None:
        assert at < after <= LATEST
        assert schedule.next(after - 1) == after
        assert schedule.previous(after) == [*itself, before][0]
    if before is not None:
        assert EARLIEST <= before < at
        assert schedule.previous(before + 1) == before
        assert schedule.next(before) == [*itself, after][0]
    assert schedule.previous(at + 1) == [*itself, before][0]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "Asia/Kolkata"])
@settings(max_examples=100, deadline=None)
@given(
    fields(),
    st.integers(moment("0002-01-01"), moment("9900-01-01")),
)
def test_any_year(zone: str, given: dict[str, Any], after: int) -> None:
    """In any year the clocks show, within 40 years, what the fields say."""
    start = times.to_datetime(after)
    found = times.to_datetime(Fields.of(**given, timezone=zone).next(after))
    assert start is not None
    assert found is not None
    assert start < found <= start + timedelta(days=40 * 366)
    local = found.astimezone(ZoneInfo(zone))
    before = (found - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
    if local.utcoffset() == before.utcoffset():
        day, second = (local.minute, local.hour, local.day, local.month), local.second
        numbers = list(free_or_pinned(given).values())
        fits = zip((*day, local.weekday()), numbers, strict=True)
        assert all(number in allowed for number, allowed in fits)
        assert second == 0
