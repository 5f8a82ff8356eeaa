"""Values on their way through XML-RPC, which has few types and no exact rules.

What comes in becomes plain Python; what goes out becomes what XML-RPC can say:

- tuples and sets are arrays; mappings are structs, their keys text;
- datetimes are in UTC, without a zone, as XML-RPC has none; so are those that come in;
- bytes are base64; integers of more than 32 bits, decimals, fractions of money and
  such, dates, times and UUIDs are text; intervals are seconds;
- text loses the characters that XML can't carry: they are escaped, as ``\\x00``;
- values are at most 50 levels deep.

Anything else is refused, rather than sent as something that nobody expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from xmlrpc.client import MAXINT, MININT, Binary, DateTime

from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

from lovely.remotetask.errors import InvalidArgument

#: So deep a value may be; one that contains itself is deeper.
DEEPEST = 50

#: What no XML document may contain.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_AS_TEXT = (Decimal, UUID, date, time)


def outgoing(value: Any, what: str = "The value") -> Any:
    """A value as XML-RPC can carry it.  Raise InvalidArgument if it can't."""
    return _outgoing(value, what, 0)


def text(value: str) -> str:
    """A text without what XML can't carry."""
    return _FORBIDDEN.sub(lambda match: ascii(match[0])[1:-1], value)


def _outgoing(value: Any, what: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise InvalidArgument(f"{what} is too deep for XML-RPC.")
    if isinstance(value, Enum):
        value = value.value
    plain = _plain(value)
    if plain is not None or value is None:
        return plain
    if isinstance(value, (Mapping, PersistentMapping)):
        return {
            text(str(key)): _outgoing(item, f"{what}[{key!r}]", depth + 1)
            for key, item in value.items()
        }
    if _is_list(value):
        return [_outgoing(item, what, depth + 1) for item in value]
    raise InvalidArgument(
        f"{what} has a {type(value).__name__}, which XML-RPC has no type for."
    )


def _is_list(value: Any) -> bool:
    if isinstance(value, Persistent) and not isinstance(value, PersistentList):
        return False
    return isinstance(value, (Sequence, AbstractSet, PersistentList))


def _plain(value: Any) -> Any:
    """A value that has no parts; None if it has, or if it is nothing of that kind."""
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if MININT <= value <= MAXINT else _digits(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Binary(bytes(value))
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(timezone.utc)
        moment = moment.replace(microsecond=0, tzinfo=None)
        return DateTime(moment.isoformat().replace("-", ""))
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, _AS_TEXT) else None


def _digits(value: int) -> str | None:
    """A number as text; None if it has more digits than Python shows."""
    try:
        return str(value)
    except ValueError:
        return None


def incoming(value: Any, depth: int = 0) -> Any:
    """What XML-RPC has read, as plain Python.  Raise InvalidArgument."""
    if depth > DEEPEST:
        raise InvalidArgument(f"An argument is deeper than {DEEPEST} levels.")
    if isinstance(value, DateTime):
        return _moment(value)
    if isinstance(value, Binary):
        return value.data
    if isinstance(value, dict):
        return {key: incoming(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [incoming(item, depth + 1) for item in value]
    return value


def _moment(value: DateTime) -> datetime:
    """A datetime, in UTC if it has no zone."""
    given = str(value.value)
    for form in ("%Y%m%dT%H:%M:%S", "%Y%m%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"):
        try:
            moment = datetime.strptime(given, form)  # noqa: DTZ007 - the zone follows
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    raise InvalidArgument(f"{given!r} is no date such as 20260131T12:00:00.")
