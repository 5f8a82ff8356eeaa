"""Moments as whole microseconds."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lovely.remotetask import times

UTC = timezone.utc


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_exact(moment: datetime) -> None:
    """A moment of the years 1 to 9999 is stored to the microsecond."""
    assert times.to_datetime(times.from_datetime(moment)) == moment


@pytest.mark.parametrize("year", [1, 1969, 2038, 2106, 9999])
def test_years(year: int) -> None:
    """No year overflows, also past 2038."""
    moment = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert times.to_datetime(times.check_at(moment)) == moment


def test_time_zones() -> None:
    """Moments of any zone come back in UTC."""
    moment = datetime(2030, 6, 1, 12, tzinfo=timezone(timedelta(hours=-5)))
    back = times.to_datetime(times.check_at(moment))
    assert back == moment
    assert back is not None
    assert back.utcoffset() == timedelta(0)


def test_nothing_stays_nothing() -> None:
    """No moment is no moment."""
    assert times.to_datetime(None) is None


@pytest.mark.parametrize("seconds", [1e10, 1e16, 1e300, sys.float_info.max])
def test_large_numbers(seconds: float) -> None:
    """No number of seconds is too large, and large ones are whole."""
    assert times.from_seconds(seconds) == int(seconds) * 1_000_000
    assert times.from_seconds(-seconds) == -int(seconds) * 1_000_000


def test_out_of_all_years() -> None:
    """What is out of the years 1 to 9999 is shown as the nearest that there is."""
    for far in (10**18, 10**30):
        assert times.to_datetime(far) == times.LATEST
        assert times.to_datetime(-far) == times.EARLIEST


@given(st.floats(0, 1e9))
def test_delays(delay: float) -> None:
    """A delay counts from its start, to the microsecond."""
    assert abs(times.check_delay(delay, 5) - 5 - delay * 1e6) <= 1
