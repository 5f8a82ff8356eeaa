"""Clock changes: a time that is left out, or repeated, is due once."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lovely.remotetask import zones
from lovely.remotetask.calendars import Fields
from lovely.remotetask.schedule import Every
from tests.schedule.oracles import moment, show


@pytest.mark.parametrize(
    ("zone", "fields", "after", "expected"),
    [
        # 02:00 to 03:00 is left out on 29 March, and repeated on 25 October.
        (
            "Europe/Vienna",
            {"hour": 2, "minute": 30},
            "2026-03-28T02:30+01:00",
            ["2026-03-29T01:00+00:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "Europe/Vienna",
            {"hour": 2, "minute": 30},
            "2026-10-24T02:30+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        # Several that are left out are one run, also with one that falls there.
        (
            "Europe/Vienna",
            {"minute": (0, 20, 40)},
            "2026-03-29T01:20+01:00",
            [
                "2026-03-29T01:40+01:00",
                "2026-03-29T03:00+02:00",
                "2026-03-29T03:20+02:00",
            ],
        ),
        # An hour that is repeated is there once.
        (
            "Europe/Vienna",
            {"minute": (0, 30)},
            "2026-10-25T02:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T03:00+01:00"],
        ),
        (
            "America/New_York",
            {"hour": 2},
            "2026-03-07T03:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:00-04:00"],
        ),
        # Half an hour.
        (
            "Australia/Lord_Howe",
            {"hour": 2, "minute": 10},
            "2025-10-04T02:10+10:30",
            ["2025-10-05T02:30+11:00", "2025-10-06T02:10+11:00"],
        ),
        # Midnight is left out.
        (
            "America/Sao_Paulo",
            {"dayOfMonth": 4},
            "2018-10-30T00:00-03:00",
            ["2018-11-04T01:00-02:00", "2018-12-04T00:00-02:00"],
        ),
        # A whole day is left out, with all of its runs.
        (
            "Pacific/Apia",
            {"hour": (3, 15)},
            "2011-12-29T15:00-10:00",
            ["2011-12-31T00:00+14:00", "2011-12-31T03:00+14:00"],
        ),
        # Nearly a whole day is repeated.
        (
            "Pacific/Kwajalein",
            {"hour": 12},
            "1969-09-30T11:59+11:00",
            ["1969-09-30T12:00+11:00", "1969-10-01T12:00-12:00"],
        ),
        # From 04:31:19 back to 04:00:00.
        (
            "Europe/Moscow",
            {"minute": tuple(range(60))},
            "1919-06-30T23:58:41+00:00",
            [
                "1919-06-30T23:59:41+00:00",
                "1919-07-01T00:32:00+00:00",
                "1919-07-01T00:33:00+00:00",
            ],
        ),
        # Once upon a time the sun told the time.
        (
            "Europe/Vienna",
            {"hour": 12},
            "1890-01-01T00:00+00:00",
            ["1890-01-01T10:54:39+00:00", "1890-01-02T10:54:39+00:00"],
        ),
        # Past all that is in the tables of zones: the last rules go on.
        (
            "Europe/Vienna",
            {"hour": 2, "minute": 30},
            "2345-03-24T12:00+00:00",
            ["2345-03-25T01:00+00:00", "2345-03-26T02:30+02:00"],
        ),
    ],
)
def test_clock_changes(
    zone: str, fields: dict[str, Any], after: str, expected: list[str]
) -> None:
    """What is due around a change, and the same backwards."""
    schedule = Fields.of(**fields, timezone=zone)
    found = schedule.upcoming(exactly(after), len(expected))
    assert [show(due) for due in found] == [show(exactly(text)) for text in expected]
    assert schedule.previous(found[-1]) == found[-2]
    assert schedule.previous(found[-1] + 1) == found[-1]


def exactly(text: str) -> int:
    """The moment of a date with an offset."""
    date, _, offset = text[:10], text[10:11], text[-6:]
    sign = -1 if offset[0] == "-" else 1
    minutes = sign * (int(offset[1:3]) * 60 + int(offset[4:6]))
    return moment(f"{date} {text[11:-6]}") - minutes * 60_000_000


@pytest.mark.parametrize("at", ["02:00:00", "02:17:00", "02:59:59"])
def test_in_a_repeated_hour(at: str) -> None:
    """When the clocks show an hour again, what is due in it has been."""
    schedule = Fields.of(minute=range(60), timezone="Europe/Vienna")
    again = exactly(f"2026-10-25T{at}+01:00")
    assert schedule.next(again) == exactly("2026-10-25T03:00+01:00")
    assert schedule.previous(again + 1) == exactly("2026-10-25T02:59+02:00")


def test_in_a_repeated_minute() -> None:
    """So it is when clocks were set back in the midst of a minute."""
    schedule = Fields.of(minute=range(60), timezone="Europe/Moscow")
    again = exactly("1919-07-01T00:05+00:00")
    assert schedule.next(again) == exactly("1919-07-01T00:32+00:00")
    assert schedule.previous(again) == exactly("1919-06-30T23:59:41+00:00")


def test_real_time_goes_on() -> None:
    """Intervals do not follow the clocks on the wall."""
    anchor = exactly("2026-03-28T02:30+01:00")
    schedule = Every.of(86_400, anchor)
    found = schedule.upcoming(anchor, 2)
    assert [show(due, "Europe/Vienna") for due in found] == [
        "2026-03-29 03:30",
        "2026-03-30 03:30",
    ]


def zone_file(offset: int, last: int, rule: str) -> BytesIO:
    """A zone as RFC 8536 has it: one entry, that changes nothing, and then a rule."""
    kind = struct.pack(">lbB", offset, 0, 0) + b"-\0"

    def part(times: int) -> bytes:
        header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, times, 1, 2)
        return header + struct.pack(f">{times}q", *[last][:times]) + bytes(times) + kind

    return BytesIO(part(0) + part(1) + f"\n{rule}\n".encode())


def test_a_change_that_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rule begins with a change that did not come, no minute comes twice.

    So it was in Greenland in October 2023; zoneinfo takes an hour for repeated there.
    """
    change = exactly("2023-10-29T01:00+00:00")
    rule = "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"
    file = zone_file(-7200, change // 1_000_000, rule)
    zone = ZoneInfo.from_file(file, key="America/Nuuk")
    monkeypatch.setattr(zones, "load", lambda name: zone)
    schedule = Fields.of(minute=range(60), timezone="America/Nuuk")
    minute = 60 * 1_000_000
    for due in range(change - 120 * minute, change + 120 * minute, minute):
        assert schedule.next(due - minute) == due
        assert schedule.next(due - 1) == due
        assert schedule.previous(due + 1) == due
    found = Fields.of(hour=23, minute=30, timezone="America/Nuuk").upcoming(change, 2)
    assert [show(due) for due in found] == ["2023-10-29 01:30", "2023-10-30 01:30"]
