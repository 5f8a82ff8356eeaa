"""Values on their way through XML-RPC, and as text for people."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from xmlrpc.client import Binary, DateTime, dumps, loads

import pytest
from hypothesis import given
from hypothesis import strategies as st
from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

from lovely.remotetask.browser import display
from lovely.remotetask.errors import InvalidArgument
from lovely.remotetask.xmlrpc.values import incoming, outgoing

BERLIN = timezone(timedelta(hours=1))


NOON = datetime(2026, 1, 31, 12, microsecond=5, tzinfo=timezone.utc)


class Colour(Enum):
    """A value with a name."""

    RED = "red"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (NOON.replace(tzinfo=None, second=1), DateTime("20260131T12:00:01")),
        (datetime(2026, 1, 31, 12, tzinfo=BERLIN), DateTime("20260131T11:00:00")),
        (date(2026, 1, 31), "2026-01-31"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (bytearray(b"a"), Binary(b"a")),
        (PersistentMapping({"a": PersistentList([1])}), {"a": [1]}),
        (frozenset({1}), [1]),
        (range(3), [0, 1, 2]),
        ("\ud800", "\\ud800"),
        (-(2**31) - 1, str(-(2**31) - 1)),
        (True, True),
        ({}, {}),
        ([None], [None]),
    ],
)
def test_outgoing(value: Any, sent: Any) -> None:
    """What XML-RPC has no type for is sent as what comes nearest."""
    assert outgoing(value) == sent


#: More digits than Python shows.
LONG = 10**5000


def test_too_many_digits() -> None:
    """A number that can't be shown is refused."""
    with pytest.raises(InvalidArgument, match="no type for"):
        outgoing([LONG])


def endless() -> list[Any]:
    """A list that is in itself."""
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("value", [object(), Persistent(), 1j, {"a": [len]}, endless()])
def test_refused(value: Any) -> None:
    """What has no type near it, or no end, is refused."""
    with pytest.raises(InvalidArgument, match=r"no type for|too deep"):
        outgoing(value)


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("20260131T12:00:00", datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=timezone.utc)),
        ("20260131T12:00:00+0100", datetime(2026, 1, 31, 12, tzinfo=BERLIN)),
    ],
)
def test_incoming_dates(given: str, moment: datetime) -> None:
    """A date is in UTC, unless it says otherwise."""
    assert incoming({"at": (DateTime(given),)}) == {"at": [moment]}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.datetimes()
    | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_everything_arrives(value: Any) -> None:
    """What was made fit for XML-RPC arrives as it was sent, but for ends of lines."""
    sent = outgoing(value)
    text = dumps((sent,), methodresponse=True, allow_none=True)
    (received,), _ = loads(text.encode())
    assert with_plain_ends(received) == with_plain_ends(sent)


def with_plain_ends(value: Any) -> Any:
    """A value with the ends of lines that XML leaves of it."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(value, list):
        return [with_plain_ends(item) for item in value]
    if isinstance(value, dict):
        return {with_plain_ends(k): with_plain_ends(v) for k, v in value.items()}
    return value


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (-0.1, "0 ms"),
        (0.25, "250 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86_400 * 2 + 3600, "2 d 1 h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    """A duration has the two units that matter."""
    assert display.seconds(seconds) == shown


def test_short() -> None:
    """A value in a few words is no longer than a cell, however long it is."""
    for value in ("x" * 10**6, list(range(10**6)), dict.fromkeys(range(10**4)), LONG):
        check_short(value)


def check_short(value: Any) -> None:
    """It is short, and not much longer on a page."""
    assert 0 < len(display.short(value)) <= display.CELL
    assert len(display.full(value)) <= display.PAGE


def test_texts_are_cut() -> None:
    """A long text ends in dots; what can't be encoded is escaped."""
    assert display.cut("abcdef", 4) == "abc…"
    assert display.cut("a\ud800", 9) == "a\\ud800"


def test_numbers() -> None:
    """Numbers in a row are a range."""
    assert display.numbers([]) == ""
    assert display.numbers((1, 2, 3, 5, 7, 8)) == "1-3 5 7-8"
    assert Decimal(display.numbers([4])) == 4
