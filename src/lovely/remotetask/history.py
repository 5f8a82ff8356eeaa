"""What became of runs, by the minute: for charts of the last day.

Each worker counts in memory, and writes what it has counted with its heartbeat: on its
`Pulse`, and once a minute from there to an `Hour`.  While it is idle it writes nothing.
When it ends, its history is added to that of the service.  So nothing here is written
by two workers at a time, but when several end.

What a worker has counted since its last heartbeat is lost if its process is killed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from BTrees.LOBTree import LOBTree
from persistent import Persistent

from lovely.remotetask import times
from lovely.remotetask.errors import InvalidArgument, InvalidType

if TYPE_CHECKING:
    from lovely.remotetask.events import RunEnded
    from lovely.remotetask.service import TaskService
    from lovely.remotetask.workers import Pulse

#: For so long a history goes back.
KEPT_MINUTES = 24 * 60
#: A day touches so many hours.
KEPT_HOURS = 25
#: What is counted of a run, by its outcome; what was cancelled is not.
COUNTED = {"completed": 0, "error": 1, "delayed": 2}

_MINUTE = 60_000_000


class Minute(NamedTuple):
    """What became of the runs that ended in one minute."""

    #: When the minute began, an aware datetime in UTC.
    start: datetime
    #: How many jobs, or runs of cron jobs, went well.
    completed: int
    #: How many failed for good.
    failed: int
    #: How many attempts failed and are tried again.
    retried: int
    #: For how many seconds these runs had waited since they were due, all together.
    waited: float
    #: How many seconds they took, all together.
    ran: float


#: The numbers of a `Minute`; by the number of the minute since the epoch.
Row = tuple[int, int, int, float, float]
Rows = Mapping[int, Row]

_NOTHING: Row = (0, 0, 0, 0.0, 0.0)


def _sum(one: Row, other: Row) -> Row:
    a, b = one, other
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4]


def add_up(*several: Rows) -> dict[int, Row]:
    """The sum of rows, minute by minute."""
    total: dict[int, Row] = {}
    for rows in several:
        for minute, row in rows.items():
            total[minute] = _sum(total.get(minute, _NOTHING), row)
    return total


def minute_of(moment: int) -> int:
    """The number of the minute that a moment (microseconds) is in."""
    return moment // _MINUTE


class Recorder:
    """What a worker has counted and not written yet.  Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[int, Row] = {}

    def count(self, ended: RunEnded) -> None:
        """Count a run that has ended."""
        if ended.outcome in COUNTED:
            numbers = [0, 0, 0]
            numbers[COUNTED[ended.outcome]] = 1
            row = (numbers[0], numbers[1], numbers[2], ended.waited, ended.ran)
            minute = minute_of(ended.moment)
            with self._lock:
                self._rows[minute] = _sum(self._rows.get(minute, _NOTHING), row)

    def lost(self, jobs: int, moment: int) -> None:
        """Count jobs that have failed because workers were lost with them."""
        if jobs:
            self.put({minute_of(moment): (0, jobs, 0, 0.0, 0.0)})

    def put(self, rows: Rows) -> None:
        """Count, or, if it could not be written, count again."""
        with self._lock:
            self._rows = add_up(self._rows, rows)

    def take(self) -> Rows:
        """What has been counted since it was taken last."""
        with self._lock:
            rows, self._rows = self._rows, {}
            return rows


class Hour(Persistent):
    """The minutes of one hour, as far as anything happened in them."""

    def __init__(self) -> None:
        self.rows: Rows = {}


class History(Persistent):
    """The hours of a day, as far as anything happened in them."""

    def __init__(self) -> None:
        #: By number since the epoch.
        self._hours: LOBTree[Hour] = LOBTree()

    def add(self, rows: Rows, now: int) -> None:
        """Add rows, at a moment (microseconds); of too many hours some are dropped."""
        for number in sorted({minute // 60 for minute in rows}):
            hour = self._hours.get(number)
            if hour is None:
                hour = self._hours[number] = Hour()
            own = {m: row for m, row in rows.items() if m // 60 == number}
            hour.rows = add_up(hour.rows, own)
        while len(self._hours) > KEPT_HOURS:
            del self._hours[self._superfluous(minute_of(now) // 60)]

    def _superfluous(self, this: int) -> int:
        """The hour to do without: the oldest, but for what a wrong clock has left.

        If some are later than now, a clock was ahead for a while.  If most are, it is
        this one that is behind, and what it has left will be the oldest.
        """
        later = self._hours.keys(this + 1)
        if 0 < len(later) <= KEPT_HOURS // 2:
            return max(later)
        return self._hours.minKey()

    def rows(self, first: int = 0, last: int | None = None) -> dict[int, Row]:
        """The rows from one minute to another."""
        end = None if last is None else last // 60
        hours = (hour.rows for hour in self._hours.values(first // 60, end))
        return add_up(*(_between(rows, first, last) for rows in hours))


def _between(rows: Rows, first: int, last: int | None) -> Rows:
    return {m: r for m, r in rows.items() if m >= first and (last is None or m <= last)}


def write(pulse: Pulse, rows: Rows, now: int) -> None:
    """Add rows to those of a worker, at a moment (microseconds).

    The pulse, which is written anyway, has the minute that may change; the others go
    on to the history.
    """
    recent = add_up(pulse.recent, rows) if rows else pulse.recent
    over = {m: row for m, row in recent.items() if m != minute_of(now)}
    if over:
        if pulse.history is None:
            pulse.history = History()
        pulse.history.add(over, now)
    if rows or over:
        pulse.recent = {m: row for m, row in recent.items() if m not in over}


def hand_over(service: TaskService, pulse: Pulse) -> None:
    """A worker has ended: its history goes on in that of the service."""
    keep(service, add_up(pulse.recent, pulse.history.rows() if pulse.history else {}))


def keep(service: TaskService, rows: Rows) -> None:
    """Add rows to the service's history of workers that have ended."""
    if rows:
        if service._history is None:
            service._history = History()
        service._history.add(rows, service.environment.stamp())


def look_back(service: TaskService, minutes: int) -> list[Minute]:
    """See ``ITaskService.history``."""
    if isinstance(minutes, bool) or not isinstance(minutes, int):
        raise InvalidType(f"minutes: an int is needed, not {type(minutes).__name__}.")
    if not 1 <= minutes <= KEPT_MINUTES:
        raise InvalidArgument(f"minutes: from 1 to {KEPT_MINUTES}, not {minutes!r}.")
    last = minute_of(times.from_seconds(service.environment.time()))
    first = last - minutes + 1
    pulses = [worker.pulse for worker in service._workers]
    kept: Iterable[History | None] = (service._history, *(p.history for p in pulses))
    rows = add_up(
        *(history.rows(first, last) for history in kept if history is not None),
        *(pulse.recent for pulse in pulses),
    )
    return [_minute(m, rows.get(m, _NOTHING)) for m in range(first, last + 1)]


def _minute(number: int, row: Row) -> Minute:
    start = times.EPOCH + number * _MINUTE * times.MICROSECOND
    return Minute(start, *row)
