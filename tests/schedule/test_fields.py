"""Fields: what they say, as facts, and what is refused."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lovely.remotetask import pattern
from lovely.remotetask.calendars import Fields
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.pattern import Pattern
from lovely.remotetask.schedule import EARLIEST, LATEST
from tests.schedule.oracles import NoData, moment, show

#: 1970-01-01 is a Thursday.
MONDAY, WEDNESDAY, FRIDAY, SATURDAY = 0, 2, 4, 5
DAY = 86_400


@pytest.mark.parametrize(
    ("fields", "now", "expected"),
    [
        # Each example that 0.5.2 documents.
        ({"minute": (0, 10)}, 0, "1970-01-01 00:10"),
        ({"minute": (0, 10)}, 10 * 60, "1970-01-01 01:00"),
        ({"hour": (2, 13)}, 0, "1970-01-01 02:00"),
        ({"hour": (2, 13)}, 2 * 60 * 60, "1970-01-01 13:00"),
        ({"month": (1, 5, 12)}, 0, "1970-05-01 00:00"),
        ({"month": (1, 5, 12)}, 120 * DAY, "1970-12-01 00:00"),
        ({"dayOfWeek": (0, 2, 4, 5)}, 0, "1970-01-02 00:00"),
        ({"dayOfWeek": (0, 2, 4, 5)}, 1 * DAY, "1970-01-03 00:00"),
        ({"dayOfWeek": (0, 2, 4, 5)}, 2 * DAY, "1970-01-05 00:00"),
        ({"dayOfWeek": (0, 2, 4, 5)}, 4 * DAY, "1970-01-07 00:00"),
        ({"dayOfMonth": (1, 12, 21, 30)}, 0, "1970-01-12 00:00"),
        ({"dayOfMonth": (1, 12, 21, 30)}, 12 * DAY, "1970-01-21 00:00"),
        ({"minute": 10, "dayOfMonth": (1, 12, 21, 30)}, 0, "1970-01-01 00:10"),
        ({"minute": 10, "dayOfMonth": (1, 12, 21, 30)}, 600, "1970-01-01 01:10"),
        ({"minute": 10, "hour": 4, "dayOfMonth": (1, 12)}, 0, "1970-01-01 04:10"),
        ({"minute": 10, "hour": 4, "dayOfMonth": (1, 12)}, 600, "1970-01-01 04:10"),
        ({"minute": (10, 13)}, 0, "1970-01-01 00:10"),
        ({"minute": (10, 13)}, 11 * 60, "1970-01-01 00:13"),
        ({"minute": (11, 13)}, 13 * 60, "1970-01-01 01:11"),
    ],
)
def test_examples_of_the_ancestor(
    fields: dict[str, Any], now: int, expected: str
) -> None:
    """What 0.5.2 documents of its fields holds, to the second."""
    found = Fields.of(**fields).timeOfNextCall(now)
    assert isinstance(found, int)
    assert show(found * 1_000_000) == expected


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        # Smaller fields than the smallest given one have their first value.
        ({"hour": 3}, "2026-05-05 14:37:12", ["2026-05-06 03:00", "2026-05-07 03:00"]),
        ({"dayOfMonth": 1}, "2026-05-05", ["2026-06-01 00:00", "2026-07-01 00:00"]),
        ({"month": (2, 6)}, "2026-05-05", ["2026-06-01 00:00", "2027-02-01 00:00"]),
        ({"dayOfWeek": 0}, "2026-05-05", ["2026-05-11 00:00", "2026-05-18 00:00"]),
        # Larger ones may have any.
        ({"minute": (0, 30)}, "2026-05-05", ["2026-05-05 00:30", "2026-05-05 01:00"]),
        ({"minute": 59}, "2026-12-31 23:58", ["2026-12-31 23:59", "2027-01-01 00:59"]),
        (
            {"minute": 5, "month": 1},
            "2026-01-31 22:30",
            ["2026-01-31 23:05", "2027-01-01 00:05"],
        ),
        # A weekday is no smaller than a day of the month, and no larger.
        (
            {"month": 5, "dayOfWeek": MONDAY},
            "2026-05-20",
            ["2026-05-25 00:00", "2027-05-03 00:00"],
        ),
        # All that are given match: the first Monday of a month, Friday the 13th.
        (
            {"dayOfMonth": range(1, 8), "dayOfWeek": MONDAY},
            "2026-05-05",
            ["2026-06-01 00:00", "2026-07-06 00:00"],
        ),
        (
            {"dayOfMonth": 13, "dayOfWeek": FRIDAY},
            "2026-03-14",
            ["2026-11-13 00:00", "2027-08-13 00:00"],
        ),
        # Months without the day are left out.
        ({"dayOfMonth": 31}, "2026-03-31", ["2026-05-31 00:00", "2026-07-31 00:00"]),
        (
            {"dayOfMonth": 29, "month": 2},
            "2096-03-01",
            ["2104-02-29 00:00", "2108-02-29 00:00"],
        ),
        (
            {
                "minute": 7,
                "hour": 3,
                "dayOfMonth": 29,
                "month": 2,
                "dayOfWeek": MONDAY,
            },
            "2072-02-29 03:07",
            ["2112-02-29 03:07", "2140-02-29 03:07"],
        ),
        # December, the 31st, the last minute of the day.
        (
            {"month": 12, "dayOfMonth": 31, "hour": 23, "minute": 59},
            "2037-12-31 23:59",
            ["2038-12-31 23:59", "2039-12-31 23:59"],
        ),
    ],
)
def test_fields(fields: dict[str, Any], after: str, expected: list[str]) -> None:
    """The next two moments, and the same two backwards."""
    schedule = Fields.of(**fields)
    found = schedule.upcoming(moment(after), 2)
    assert [show(due) for due in found] == expected
    assert schedule.previous(found[1]) == found[0]
    assert schedule.previous(moment(after) + 1) != found[0]


@pytest.mark.parametrize("fraction", [1, 500_000, 999_999])
def test_the_second_is_zero(fraction: int) -> None:
    """Within a second the next moment is the next whole minute that matches."""
    schedule = Fields.of(minute=(0, 1))
    due = moment("2026-05-05 00:01")
    assert schedule.next(due - fraction) == due
    assert schedule.previous(due + fraction) == due
    assert schedule.next(due) == moment("2026-05-05 01:00")
    assert schedule.previous(due) == moment("2026-05-05 00:00")
    assert schedule.timeOfNextCall(due / 1e6 - 0.25) == due // 1_000_000


@pytest.mark.parametrize(
    "given", [(30, 0, 30), [0, 30], {0, 30}, range(0, 31, 30), iter((30, 0))]
)
def test_fields_in_any_form(given: Any) -> None:
    """Several numbers may come in any form and order, and more than once."""
    assert Fields.of(minute=given).minute == (0, 30)


def test_single_numbers() -> None:
    """A single number, and None or nothing for a field that is not given."""
    fields = Fields.of(minute=None, hour=[], dayOfWeek=calendar.SUNDAY)
    assert fields == Fields.of(dayOfWeek=(6,)) == Fields(dayOfWeek=(6,))
    assert type(fields.dayOfWeek[0]) is int


def numbered(name: str, *values: object) -> list[tuple[str, object]]:
    return [(name, value) for value in values]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *numbered("minute", -1, 60, (0, 60), 10**30),
        *numbered("hour", -1, 24, range(25)),
        *numbered("dayOfMonth", -1, 0, 32, (1, 0)),
        *numbered("month", -1, 0, 13, [12, 13]),
        *numbered("dayOfWeek", -1, 7, {6, 7}),
        *numbered("timezone", "", "Mars/Olympus", "Europe", "../UTC", "/etc/passwd"),
        *numbered("timezone", "Europe/Vienna\0", "x" * 5000, "\udc80", "zone.tab"),
    ],
)
def test_refused(name: str, value: Any) -> None:
    """Numbers out of range, and zones that there are not, are told by the field."""
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        Fields.of(**{"hour": 1, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *numbered("minute", "*/5", "5", b"5", ["5"], 5.0, (0, 1.5), True, (True,)),
        *numbered("hour", object(), [None], {"hour": 3}, [(1, 2)]),
        *numbered("timezone", 1, b"Europe/Vienna", ["Europe/Vienna"]),
    ],
)
def test_refused_types(name: str, value: Any) -> None:
    """What are no numbers, or is no name of a zone, is told by the field."""
    with pytest.raises(InvalidType, match=f"^{name}: "):
        Fields.of(**{"hour": 1, name: value})


def test_text_is_for_cron() -> None:
    """Who gives text is told where it goes."""
    with pytest.raises(InvalidType, match=r"'\*/5'.*cron="):
        Fields.of(minute="*/5")  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{}, {"minute": ()}, {"timezone": "Asia/Tokyo"}])
def test_nothing_given(fields: dict[str, Any]) -> None:
    """At least one field is needed, a zone alone is none."""
    with pytest.raises(InvalidArgument, match="At least one of minute, hour"):
        Fields.of(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"dayOfMonth": 31, "month": 2},
        {"dayOfMonth": (30, 31), "month": 2},
        {"dayOfMonth": 30, "month": 2, "dayOfWeek": range(7)},
        {"dayOfMonth": 31, "month": (2, 4, 6, 9, 11), "hour": 3},
    ],
)
def test_never(fields: dict[str, Any]) -> None:
    """Days that no month has are refused."""
    with pytest.raises(InvalidArgument, match=r"^dayOfMonth: .* never comes in month"):
        Fields.of(**fields)


@pytest.mark.parametrize("weekday", range(7))
def test_seldom_is_not_never(weekday: int) -> None:
    """A 29 February falls on each day of the week."""
    schedule = Fields.of(dayOfMonth=29, month=2, dayOfWeek=weekday)
    assert schedule.next(0) is not None


def test_months_begin_on_any_weekday() -> None:
    """Within 400 years, any month in any of its lengths begins on any weekday."""
    found = {
        (month, *calendar.monthrange(year, month)[::-1])
        for year in range(2000, 2400)
        for month in range(1, 13)
    }
    expected = {
        (month, length, weekday)
        for month in range(1, 13)
        for length in pattern.LENGTHS[month]
        for weekday in range(7)
    }
    assert found == expected


def test_zones_by_object() -> None:
    """A ZoneInfo goes by its name, if it has one."""
    fields = Fields.of(hour=3, timezone=ZoneInfo("Asia/Tokyo"))
    assert fields.timezone == "Asia/Tokyo"
    with pytest.raises(InvalidType, match=r"^timezone: "):
        Fields.of(hour=3, timezone=unnamed("Asia/Tokyo"))


def unnamed(zone: str) -> ZoneInfo:
    """A ZoneInfo without a name, as one read from a file of one's own."""
    found = ZoneInfo.no_cache(zone)
    return type("Unnamed", (type(found),), {"key": None}).no_cache(zone)


def test_no_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC needs no data of zones; where there are none, an error says what helps."""
    monkeypatch.setattr("lovely.remotetask.zones.ZoneInfo", NoData)
    assert show(Fields.of(hour=3, timezone="UTC").next(0)) == "1970-01-01 03:00"
    with pytest.raises(InvalidArgument, match=r"pip install .*\[timezones\]"):
        Fields.of(hour=3, timezone="Asia/Ulaanbaatar")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue"])
def test_ends_of_time(zone: str) -> None:
    """From year 1 to 9999 all is found, and beyond that nothing; nothing overflows."""
    schedule = Fields.of(minute=range(60), timezone=zone)
    last = schedule.previous(LATEST + 1)
    assert last is not None
    assert schedule.previous(10**30) == last
    # The wall shows the year 10000 before UTC does, or not at all.
    assert LATEST - 14 * 3_600_000_000 - 60_000_000 < last <= LATEST
    assert schedule.next(last) is None
    assert schedule.next(LATEST) is schedule.next(10**30) is None
    earliest = schedule.next(EARLIEST - 1)
    assert earliest is not None
    assert schedule.next(-(10**30)) == earliest
    assert schedule.previous(earliest) is None
    assert schedule.previous(-(10**30)) is None
    assert schedule.upcoming(last - 1, 5) == [last]


def test_a_last_time() -> None:
    """An entry whose next date would be past 9999 has no next."""
    schedule = Fields.of(dayOfMonth=29, month=2, timezone="Europe/Vienna")
    assert show(schedule.next(moment("9992-03-01")), "Europe/Vienna") == (
        "9996-02-29 00:00"
    )
    assert schedule.next(moment("9996-03-01")) is None
    assert schedule.previous(moment("0004-02-28")) is None


@pytest.mark.parametrize(
    ("search", "start"),
    [
        (Fields.next, "2072-03-01"),
        (Fields.previous, "2112-02-29 03:07"),
        (Fields.next, "9996-03-01"),
        (Fields.previous, "0004-02-29"),
    ],
)
def test_steps_of_a_search(
    monkeypatch: pytest.MonkeyPatch,
    search: Callable[[Fields, int], int | None],
    start: str,
) -> None:
    """Even the rarest date is found by a look at 42 months."""
    looked_at = []
    month_days = Pattern._month_days

    def look(self: Pattern, year: int, month: int) -> int:
        looked_at.append((year, month))
        return month_days(self, year, month)

    monkeypatch.setattr(Pattern, "_month_days", look)
    fields = Fields.of(minute=7, hour=3, dayOfMonth=29, month=2, dayOfWeek=MONDAY)
    search(fields, moment(start))
    assert 1 <= len(looked_at) <= 42


@pytest.mark.parametrize(
    "n", [-1, 100_001, 10**30, pytest.param(10**5000, id="huge"), True, 1.0, None]
)
def test_how_many(n: Any) -> None:
    """A number of moments that is none is refused."""
    with pytest.raises((InvalidArgument, InvalidType), match=r"^n: "):
        Fields.of(hour=3).upcoming(0, n)
