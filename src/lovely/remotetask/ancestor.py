"""Jobs as lovely.remotetask 0.5.2 and its predecessors left them.

Their records are dicts of attributes.  Here these become the attributes of today's
jobs, whenever such a record is loaded; `lovely.remotetask.conversion` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from ZODB.broken import Broken

from lovely.remotetask import times
from lovely.remotetask.attempts import Failure
from lovely.remotetask.calendars import RANGES, Fields, Given
from lovely.remotetask.plan import Plan
from lovely.remotetask.schedule import LATEST, SHORTEST, At, Every
from lovely.remotetask.states import CRONJOB, DELAYED, ERROR, SCHEDULED, STATUSES
from lovely.remotetask.values import kept

_zone: ContextVar[ZoneInfo | None] = ContextVar("zone", default=None)

MINUTE = 60_000_000

_TIMES = {"created": "_created", "started": "_started", "completed": "_completed"}


class OldUnicodeDecodeError(ValueError):
    """Stands in for a UnicodeDecodeError of Python 2.

    Its own class does not take what it was made of there, and the record that it is
    in could not be read.
    """

    def __str__(self) -> str:
        try:
            encoding, value, start, end, reason = self.args
            data = value if isinstance(value, bytes) else value.encode()
            return str(UnicodeDecodeError(encoding, data, start, end, reason))
        except (AttributeError, TypeError, ValueError):
            return super().__str__()


#: For zodbupdate: what it puts in the place of classes.
renames = {
    "exceptions UnicodeDecodeError": (
        f"{OldUnicodeDecodeError.__module__} {OldUnicodeDecodeError.__name__}"
    )
}


@contextmanager
def wall(zone: ZoneInfo | None) -> Iterator[None]:
    """Within, the ancestor's times are of a zone; None is that of this process.

    They have none of their own: they are what the clock on the wall showed.
    """
    token = _zone.set(zone)
    try:
        yield
    finally:
        _zone.reset(token)


def attributes(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a job, of what the ancestor's record of it holds.

    What the application has added to the job stays as it is.
    """
    old = dict(state)
    own = _values(old)
    status, error = text(old.pop("status", "")), old.pop("error", None)
    if status not in STATUSES:
        status, error = ERROR, f"The job's status was {status!r}, which is none."
    if "delay" in old or RANGES.keys() & old.keys():
        own["plan"], never = _plan(old, status, own.get("_created", 0))
        if never and status in SCHEDULED:
            status, error = ERROR, never
    own["_status"] = status
    if error is not None:
        own["_failures"] = (failed(own, failure(error)),)
    if error is not None or "_started" in own:
        own["attempt"] = 1
    return {**old, **own}


def _values(old: dict[str, Any]) -> dict[str, Any]:
    """Take out of an old record what is only called otherwise, if it has a value."""
    own = {"id": old.pop("id", 0), "task": text(old.pop("task", ""))}
    values = {ours: _moment(old.pop(name, None)) for name, ours in _TIMES.items()}
    values |= {f"_{name}": kept(old.pop(name, None)) for name in ("input", "output")}
    return own | {name: value for name, value in values.items() if value is not None}


def failed(own: dict[str, Any], failure: Failure) -> tuple[Any, ...]:
    """The record of an attempt that failed, of a job with these attributes."""
    return (1, own.get("_started"), own.get("_completed"), *failure)


def text(value: object) -> str:
    """A str, of what was one in Python 2: bytes, if they were not ASCII."""
    if not isinstance(value, bytes):
        return "" if value is None else str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def failure(error: object) -> Failure:
    """What was an exception, as text; its class may be gone."""
    if isinstance(error, Broken):
        name = type(error).__name__
        error = Exception(*vars(error).get("__Broken_newargs__", ()))
    elif isinstance(error, OldUnicodeDecodeError):
        name = "UnicodeDecodeError"
    else:
        name = type(error).__name__
    if not isinstance(error, BaseException):
        name, error = "Error", Exception(text(error))
    found = Failure.of(error)
    return Failure(name, found.message, "")


def _moment(value: object) -> int | None:
    """Microseconds since the epoch, of a time of the ancestor."""
    if not isinstance(value, datetime):
        return None
    if value.utcoffset() is not None:
        return times.from_datetime(value)
    zone = _zone.get()
    if zone is not None:
        return times.from_datetime(value.replace(tzinfo=zone))
    try:
        return times.from_datetime(value.astimezone())
    except (OSError, OverflowError, ValueError):
        # The system does not know what its clocks will show, or have shown.
        return times.from_datetime(value.replace(tzinfo=timezone.utc))


def _plan(old: dict[str, Any], status: str, created: int) -> tuple[Plan, str | None]:
    """What a cron job is to be run by; and why it never is, if so.

    Takes what it needs out of ``old``.
    """
    given = {name: _numbers(old.pop(name, ())) for name in RANGES}
    fields = {name: _valid(name, numbers) for name, numbers in given.items()}
    delay = old.pop("delay", None) or None
    scheduled = _moment(old.pop("scheduledFor", None))
    plan = Plan()
    never = None
    if status == DELAYED or (delay and status != CRONJOB):
        plan.delay = delay
        if scheduled is None:
            scheduled = times.later(created, delay or 0)
        plan.schedule = At(min(scheduled, LATEST))
    elif delay:
        plan.schedule = Every(max(SHORTEST, times.from_seconds(delay)), created)
    elif not any(given.values()):
        plan.schedule = Every(MINUTE, created)  # as the ancestor had it
    else:
        plan.schedule = schedule = _fields(fields)
        lost = [name for name in RANGES if given[name] and not fields[name]]
        if lost or not schedule.pattern.ever():
            never = f"It was never due: {_shown(given)}. Update it and retry."
    return plan, never


def _fields(fields: dict[str, Given]) -> Fields:
    minute, hour, day, month, weekday = (fields[name] for name in RANGES)
    return Fields(minute, hour, day, month, weekday)


def _numbers(given: Any) -> frozenset[int]:
    if isinstance(given, int):
        given = (given,)
    return frozenset(int(number) for number in given or () if isinstance(number, int))


def _valid(name: str, numbers: frozenset[int]) -> Given:
    """The numbers that there are: others never matched.

    The ancestor's form made days from 0 to 30 of a ``*``, and months from 0 to 11.
    """
    allowed = RANGES[name]
    if numbers == frozenset(range(len(allowed))):
        return tuple(allowed)
    return tuple(sorted(numbers.intersection(allowed)))


def _shown(fields: dict[str, frozenset[int]]) -> str:
    return ", ".join(f"{name}={sorted(n)}" for name, n in fields.items() if n)
