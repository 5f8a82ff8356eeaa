"""Values of jobs that need an application's classes, in records of their own.

A class may be gone, or may refuse what another version of it has stored.  If such a
value were in its job's record, the job could not be loaded at all: no processor could
get past it, and nobody could cancel or remove it.  In a record of its own it fails
those who ask for the value, and that is an attempt to run the job.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from persistent import Persistent
from ZODB.POSException import StateLoadError

from lovely.remotetask.errors import CannotLoad

#: What every Python can load.  A class that is derived from one of them is none.
_ATOMS = frozenset({NoneType, bool, int, float, complex, str, bytes})
_ATOMS |= {date, timedelta, timezone, Decimal, UUID}
_SERIES = frozenset({list, tuple, set, frozenset})

#: What is nested deeper is taken to need a record.
DEEPEST = 20


class Value(Persistent):
    """A value in a record of its own."""

    def __init__(self, value: Any) -> None:
        self.value = value


def is_plain(value: Any, deepest: int = DEEPEST) -> bool:
    """Whether a value can be loaded whatever becomes of an application's classes.

    An object with a record of its own is: it is only referred to.
    """
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Persistent):
        return True
    if kind is datetime or kind is time:
        return type(value.tzinfo) in (NoneType, timezone)
    if kind is dict:
        return is_plain([*value, *value.values()], deepest)
    if kind not in _SERIES or not deepest:
        return False
    # Mostly it ends here, without a call for each.
    if _ATOMS.issuperset(map(type, value)):
        return True
    return all(is_plain(each, deepest - 1) for each in value)


def kept(value: Any) -> Any:
    """What a job's record holds for a value."""
    return value if is_plain(value) else Value(value)


def loaded(held: Any, what: str) -> Any:
    """The value that a job's record holds.

    One in a record of its own is loaded anew each time, so that changes that were
    not stored are not found there.  Raise CannotLoad, naming ``what``.
    """
    if type(held) is not Value:
        return held
    try:
        value = held.value
    except StateLoadError as error:
        reason = error.__cause__ or error
        raise CannotLoad(what, reason) from error
    held._p_deactivate()
    return value


class Unread:
    """Stands in for a value that can't be loaded, where values are shown."""

    def __init__(self, error: CannotLoad) -> None:
        self._error = error

    def __repr__(self) -> str:
        reason = self._error.reason
        return f"<can't be loaded: {type(reason).__name__}: {reason}>"


def readable(job: Any, name: str) -> Any:
    """A value of a job, or an `Unread`, to be shown."""
    try:
        return getattr(job, name)
    except CannotLoad as error:
        return Unread(error)
