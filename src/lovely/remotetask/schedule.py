"""When something is due: pure values, no clock, nothing that is written.

Here are those that count real time; those by the calendar are in ``calendars``.
A class's ``of`` takes and checks what people write; its constructor takes what is
stored: ints, strings and tuples, with moments as whole microseconds since the
epoch.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType, shown

#: The moments that there are: those that can be shown.
EARLIEST = times.from_datetime(times.EARLIEST)
LATEST = times.from_datetime(times.LATEST)

#: The shortest interval, in microseconds.  Shorter ones are for a loop in a thread.
SHORTEST = times.from_seconds(1)

#: So many moments are told at once, at most.
MOST_UPCOMING = 100_000


class Schedule(ABC):
    """A set of moments at which something is due.

    Moments are ints, in whole microseconds since the epoch, of the years 1 to
    9999; those to compare with may be any ints.
    """

    __slots__ = ()

    @abstractmethod
    def next(self, after: int) -> int | None:
        """The first moment later than ``after``, or None."""

    @abstractmethod
    def previous(self, before: int) -> int | None:
        """The last moment earlier than ``before``, or None."""

    def upcoming(self, after: int, n: int) -> list[int]:
        """The first ``n`` moments later than ``after``, or as many as there are.

        At most 100,000.  Raise InvalidType or InvalidArgument for another ``n``.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise InvalidType(f"n: an int is needed, not {type(n).__name__}.")
        if not 0 <= n <= MOST_UPCOMING:
            raise InvalidArgument(f"n: from 0 to {MOST_UPCOMING}, not {shown(n)}.")
        return list(itertools.islice(self._following(after), n))

    def _following(self, after: int) -> Iterator[int]:
        moment = self.next(after)
        while moment is not None:
            yield moment
            moment = self.next(moment)

    def timeOfNextCall(self, now: float) -> int | None:
        """What `next` gives, from and to seconds since the epoch.

        A fraction of a second is rounded up.
        """
        moment = self.next(times.check_now(now))
        return None if moment is None else -(-moment // 1_000_000)

    def __reduce__(self) -> tuple[Any, ...]:
        # Shorter than a dict by name, and a field that is added has its default.
        slots: tuple[str, ...] = type(self).__slots__
        return type(self), tuple(getattr(self, name) for name in slots)


def within(moment: int) -> int | None:
    """A moment, or None if it is none that there is."""
    return moment if EARLIEST <= moment <= LATEST else None


@dataclass(frozen=True, slots=True)
class Every(Schedule):
    """At fixed intervals of real time, whatever the clocks on the wall do.

    ``anchor`` is one of the moments; they extend both ways from there, so that a
    clock that is set back makes no pause.
    """

    #: In microseconds.
    interval: int
    anchor: int

    @classmethod
    def of(cls, every: timedelta | float, anchor: int) -> Every:
        """An interval as a timedelta, or as a number of seconds."""
        if isinstance(every, timedelta):
            interval = every // times.MICROSECOND
        else:
            unit = "a timedelta or a number of seconds"
            interval = times.from_seconds(times.check_seconds("every", every, unit))
        if interval < SHORTEST or anchor + interval > LATEST:
            raise InvalidArgument(
                f"every: from 1 second to the year 9999, not {shown(every)}."
            )
        return cls(interval, anchor)

    def next(self, after: int) -> int | None:
        """The first moment later than ``after``, or None after the year 9999."""
        passed = max(after, EARLIEST - 1) - self.anchor
        return within(self.anchor + (passed // self.interval + 1) * self.interval)

    def previous(self, before: int) -> int | None:
        """The last moment earlier than ``before``, or None before the year 1."""
        passed = min(before, LATEST + 1) - 1 - self.anchor
        return within(self.anchor + passed // self.interval * self.interval)


@dataclass(frozen=True, slots=True)
class At(Schedule):
    """Once, at one moment."""

    moment: int

    @classmethod
    def of(cls, at: datetime) -> At:
        """A moment as an aware datetime."""
        moment = times.check_at(at)
        if moment < EARLIEST:
            raise InvalidArgument(f"at: {at!r} is before the year 1 in UTC.")
        return cls(moment)

    def next(self, after: int) -> int | None:
        """The moment, if it is later than ``after``."""
        return self.moment if self.moment > after else None

    def previous(self, before: int) -> int | None:
        """The moment, if it is earlier than ``before``."""
        return self.moment if self.moment < before else None


@dataclass(frozen=True, slots=True)
class Delay(Schedule):
    """Some time after whatever moment is asked about.

    It has no moment by itself: `starting` fixes it.
    """

    #: In microseconds.
    delay: int

    @classmethod
    def of(cls, delay: float) -> Delay:
        """A delay as a number of seconds, from 0 on."""
        return cls(times.check_delay(delay, EARLIEST) - EARLIEST)

    def starting(self, moment: int) -> At:
        """The date that comes of the delay, if it begins at a moment."""
        due = within(moment + self.delay)
        if due is None:
            seconds = self.delay / 1_000_000
            raise InvalidArgument(f"delay: {seconds} seconds lead past the year 9999.")
        return At(due)

    def next(self, after: int) -> int | None:
        """The moment that comes of the delay, if it begins at ``after``."""
        return within(after + self.delay)

    def previous(self, before: int) -> int | None:
        """None: there is nothing that it could have begun with."""
        return None

    def upcoming(self, after: int, n: int) -> list[int]:
        """The one moment that comes of the delay: it does not repeat."""
        return Schedule.upcoming(self, after, n)[:1]
