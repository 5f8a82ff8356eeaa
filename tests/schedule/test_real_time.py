"""Intervals, single dates and delays."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.schedule import EARLIEST, LATEST, At, Delay, Every
from tests.schedule.oracles import UTC, moment, show

moments = st.integers(EARLIEST, LATEST)
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("every", "interval"),
    [
        (90, 90 * SECOND),
        (1, SECOND),
        (1.5, 1_500_000),
        (timedelta(minutes=2), 120 * SECOND),
        (timedelta(days=400, microseconds=1), 400 * 86_400 * SECOND + 1),
    ],
)
def test_intervals(every: Any, interval: int) -> None:
    """An interval is a timedelta or a number of seconds, exact to the microsecond."""
    schedule = Every.of(every, 7)
    assert schedule.interval == interval
    assert schedule.upcoming(7, 3) == [7 + interval, 7 + 2 * interval, 7 + 3 * interval]
    assert schedule.previous(7) == 7 - interval
    assert schedule.previous(8) == 7


@given(
    st.integers(SECOND, 10**17),
    moments,
    st.integers(EARLIEST - 10**15, LATEST + 10**15),
)
def test_intervals_are_exact(interval: int, anchor: int, after: int) -> None:
    """The next moment is a whole number of intervals from the anchor, and the first."""
    schedule = Every(interval, anchor)
    found, before = schedule.next(after), schedule.previous(after)
    if found is not None:
        assert after < found <= LATEST
        assert (found - anchor) % interval == 0
        assert found - max(after, EARLIEST - 1) <= interval
    else:
        assert LATEST - after < interval
    if before is not None:
        assert EARLIEST <= before < after
        assert (before - anchor) % interval == 0
        assert min(after, LATEST + 1) - before <= interval
    else:
        assert after - EARLIEST <= interval


@pytest.mark.parametrize(
    "every",
    [
        *(0, -1, 0.999, -math.inf, math.inf, math.nan, 1e300, 10**30),
        *(timedelta(days) for days in (0, -1, 999_999_999)),
        timedelta(milliseconds=999),
    ],
)
def test_bad_intervals(every: Any) -> None:
    """Intervals of less than a second, or past the year 9999, are refused."""
    with pytest.raises(InvalidArgument, match=r"^every: "):
        Every.of(every, 0)


@pytest.mark.parametrize("every", [True, "90", None, (1,), "*/5"])
def test_bad_types_of_intervals(every: Any) -> None:
    """What is neither a timedelta nor a number is refused."""
    with pytest.raises(InvalidType, match=r"^every: a timedelta or a number"):
        Every.of(every, 0)


@pytest.mark.parametrize("year", [1, 1969, 2038, 9999])
def test_single_dates(year: int) -> None:
    """A date is due once, in any year and in any zone."""
    at = datetime(year, 6, 1, 12, 30, 15, 7, tzinfo=timezone(timedelta(hours=5)))
    schedule = At.of(at)
    due = times.from_datetime(at)
    assert schedule.next(due - 1) == schedule.previous(due + 1) == due
    assert schedule.next(due) is None
    assert schedule.previous(due) is None
    assert schedule.upcoming(0, 3) == ([due] if due > 0 else [])


@pytest.mark.parametrize(
    ("error", "at"),
    [
        (InvalidArgument, datetime(2030, 1, 1)),  # noqa: DTZ001
        (InvalidArgument, datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))),
        (InvalidArgument, datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
        *((InvalidType, at) for at in (0, "2030-01-01", timedelta(1), True)),
    ],
)
def test_bad_dates(error: type[Exception], at: Any) -> None:
    """Naive dates, and those out of the years 1 to 9999, are refused."""
    with pytest.raises(error, match=r"^at: "):
        At.of(at)


@pytest.mark.parametrize(("now", "expected"), [(0, 10), (1, 11)])
def test_delays_of_the_ancestor(now: int, expected: int) -> None:
    """What 0.5.2 documents of delays holds: they count from when they are asked."""
    assert Delay.of(10).timeOfNextCall(now) == expected


def test_delays() -> None:
    """A delay is due once, and is fixed where it begins."""
    delay = Delay.of(1.5)
    assert delay.starting(100) == At(1_500_100)
    assert delay.next(100) == 1_500_100
    assert delay.upcoming(100, 5) == [1_500_100]
    assert delay.upcoming(100, 0) == []
    assert delay.previous(10**15) is None


@pytest.mark.parametrize("delay", [-1, math.inf, math.nan, 1e300])
def test_bad_delays(delay: float) -> None:
    """Negative delays, and those that lead nowhere, are refused."""
    with pytest.raises(InvalidArgument, match=r"^delay: "):
        Delay.of(delay)


def test_delays_past_all_years() -> None:
    """A delay that leads past the year 9999 from where it begins is refused."""
    delay = Delay.of(86_400)
    last = moment("9999-12-30 23:59:59")
    assert show(delay.next(last)) == "9999-12-31 23:59:59"
    assert delay.next(last + SECOND) is None
    assert delay.timeOfNextCall(10**20) is None
    with pytest.raises(InvalidArgument, match=r"^delay: .* past the year 9999"):
        delay.starting(last + SECOND)


def test_seconds_are_rounded_up() -> None:
    """A moment within a second is in whole seconds the one after it."""
    schedule = At.of(datetime(1970, 1, 1, 0, 0, 3, 1, tzinfo=UTC))
    assert schedule.timeOfNextCall(0) == 4
    assert schedule.timeOfNextCall(3.5) is None
    with pytest.raises(InvalidType, match=r"^now: "):
        schedule.timeOfNextCall("0")  # type: ignore[arg-type]
