"""Moments, as they are stored: whole microseconds since the epoch.

An int is exact, small on disk, and good for the years 1 to 9999.
"""

from __future__ import annotations

import math
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from lovely.remotetask.errors import InvalidArgument, InvalidType, shown

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EARLIEST = datetime.min.replace(tzinfo=timezone.utc)
LATEST = datetime.max.replace(tzinfo=timezone.utc)

#: Floats that are larger have no fraction.
WHOLE = 2**53


def from_seconds(seconds: float) -> int:
    """Microseconds of a number of seconds."""
    if abs(seconds) > WHOLE:
        return round(seconds) * 1_000_000  # the product might be no float any more
    return round(seconds * 1_000_000)


def later(start: int, seconds: float) -> int:
    """The moment so many seconds after ``start``, or the last that there is."""
    return start + from_seconds(min(seconds, (from_datetime(LATEST) - start) / 1e6))


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return (moment - EPOCH) // MICROSECOND


def to_datetime(microseconds: int | None) -> datetime | None:
    """The aware datetime, in UTC, or None for None.

    Of what is out of the years 1 to 9999, the nearest that there is: a delay that
    counts from a time which `process` is given may lead there.
    """
    if microseconds is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return EARLIEST if microseconds < 0 else LATEST


def check_seconds(name: str, value: object, unit: str = "a number of seconds") -> float:
    """An argument that is a number (of seconds) from 0 on."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidType(f"{name}: {unit} is needed, not {type(value).__name__}.")
    if not 0 <= value <= sys.float_info.max:
        raise InvalidArgument(
            f"{name}: {unit} from 0 on is needed, not {shown(value)}."
        )
    return value


def check_timeout(timeout: object) -> float | None:
    """An argument that is a number of seconds to wait, or None for ever."""
    if timeout is None:
        return None
    return min(check_seconds("timeout", timeout), threading.TIMEOUT_MAX)


def check_delay(delay: object, start: int) -> int:
    """The moment ``delay`` seconds after ``start``, if that makes sense."""
    seconds = check_seconds("delay", delay)
    if seconds > (from_datetime(LATEST) - start) / 1_000_000:
        raise InvalidArgument(f"delay: {shown(delay)} seconds lead past the year 9999.")
    return start + from_seconds(seconds)


def check_at(at: object, name: str = "at") -> int:
    """The moment of an aware datetime, if it is one."""
    if not isinstance(at, datetime):
        raise InvalidType(f"{name}: a datetime is needed, not {type(at).__name__}.")
    if at.utcoffset() is None:
        raise InvalidArgument(
            f"{name}: {at!r} has no time zone. Give an aware datetime, for example "
            "with tzinfo=datetime.timezone.utc."
        )
    moment = from_datetime(at)
    if moment > from_datetime(LATEST):
        raise InvalidArgument(f"{name}: {at!r} is past the year 9999 in UTC.")
    return moment


def check_now(now: object) -> int:
    """The moment of a number of seconds since the epoch."""
    if isinstance(now, bool) or not isinstance(now, (int, float)):
        raise InvalidType(
            f"now: a number of seconds is needed, not {type(now).__name__}."
        )
    if not -math.inf < now < math.inf:
        raise InvalidArgument(f"now: seconds since the epoch, not {now!r}.")
    return from_seconds(now)


def check_clock(now: object) -> int:
    """The same, if a clock may show it."""
    moment = check_now(now)
    if not from_datetime(EARLIEST) <= moment <= from_datetime(LATEST) + 1:
        # The last moment, as a float, is rounded up.
        raise InvalidArgument(
            "now: seconds since the epoch, in the years 1 to 9999, are needed, not "
            f"{shown(now)}."
        )
    return moment


class Clock(NamedTuple):
    """What a processor's clock shows, and how far that is from the system's."""

    now: int
    shift: int = 0

    @classmethod
    def of(cls, seconds: float, now: int | None = None) -> Clock:
        """The system's, at so many seconds; or one that shows ``now`` instead."""
        system = from_seconds(seconds)
        return cls(system) if now is None else cls(now, now - system)
