"""Cron's expressions: what they mean, and what is wrong with them."""

from __future__ import annotations

import itertools
import pickle
import random
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from lovely.remotetask import plugins, times
from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.errors import InvalidArgument, InvalidType, NotInstalled
from tests.schedule.oracles import UTC, YEARS, ZONES, moment, show


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        (
            "*/5 8-18 * * mon-fri",
            "2026-05-08 18:50",  # a Friday
            ["2026-05-08 18:55", "2026-05-11 08:00"],
        ),
        ("0 3 * * *", "2026-05-05", ["2026-05-05 03:00", "2026-05-06 03:00"]),
        ("7,37 */6 * * *", "2026-05-05", ["2026-05-05 00:07", "2026-05-05 00:37"]),
        (
            "0 0 1-15/7 jan,JUL *",
            "2026-05-05",
            ["2026-07-01 00:00", "2026-07-08 00:00"],
        ),
        ("30 12 * * 0", "2026-05-05", ["2026-05-10 12:30", "2026-05-17 12:30"]),
        ("30 12 * * 7", "2026-05-05", ["2026-05-10 12:30", "2026-05-17 12:30"]),
        ("30 12 * * Sun", "2026-05-05", ["2026-05-10 12:30", "2026-05-17 12:30"]),
        ("0 0 * * 5-7", "2026-05-05", ["2026-05-08 00:00", "2026-05-09 00:00"]),
        # Both kinds of days restricted: one of them is enough.
        ("0 0 13 * fri", "2026-05-05", ["2026-05-08 00:00", "2026-05-13 00:00"]),
        ("0 0 31 2 mon", "2026-01-01", ["2026-02-02 00:00", "2026-02-09 00:00"]),
        # A field that begins with a star does not count as restricted.
        ("0 0 */2 * mon", "2026-05-05", ["2026-05-11 00:00", "2026-05-25 00:00"]),
        # Beyond cron: the last day, the last workday, the n-th and the last weekday.
        ("0 0 L * *", "2028-02-05", ["2028-02-29 00:00", "2028-03-31 00:00"]),
        ("0 0 LW * *", "2026-05-05", ["2026-05-29 00:00", "2026-06-30 00:00"]),
        ("0 9 * * mon#1", "2026-05-05", ["2026-06-01 09:00", "2026-07-06 09:00"]),
        ("0 9 * * 5L", "2026-05-05", ["2026-05-29 09:00", "2026-06-26 09:00"]),
        ("0 0 * 2 mon#5", "2072-03-01", ["2112-02-29 00:00", "2140-02-29 00:00"]),
        ("@hourly", "2026-05-05", ["2026-05-05 01:00", "2026-05-05 02:00"]),
        ("@daily", "2026-05-05", ["2026-05-06 00:00", "2026-05-07 00:00"]),
        ("@midnight", "2026-05-05", ["2026-05-06 00:00", "2026-05-07 00:00"]),
        ("@weekly", "2026-05-05", ["2026-05-10 00:00", "2026-05-17 00:00"]),
        (" @Monthly ", "2026-05-05", ["2026-06-01 00:00", "2026-07-01 00:00"]),
        ("@yearly", "2026-05-05", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@annually", "2026-05-05", ["2027-01-01 00:00", "2028-01-01 00:00"]),
    ],
)
def test_expressions(cron: str, after: str, expected: list[str]) -> None:
    """The next two moments of an expression, and the same backwards."""
    schedule = Cron.of(cron)
    found = schedule.upcoming(moment(after), 2)
    assert [show(due) for due in found] == expected
    assert schedule.previous(found[1]) == found[0]


def test_in_a_zone() -> None:
    """An expression means the clocks of its zone."""
    schedule = Cron.of("30 2 * * *", "Europe/Vienna")
    found = schedule.upcoming(moment("2026-03-28 12:00"), 2)
    assert [show(due) for due in found] == ["2026-03-29 01:00", "2026-03-30 00:30"]


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("60 * * * *", "minute '60' is not understood: 0 to 59"),
        ("* 24 * * *", "hour '24' is not understood: 0 to 23"),
        ("* * 0 * *", "day of the month '0' is not understood: 1 to 31"),
        ("* * 15W * *", "day of the month '15W' is not understood"),
        ("* * ? * *", "day of the month '?' is not understood"),
        ("* * * 13 *", "month '13' is not understood: 1 to 12"),
        ("* * * january *", "month 'january' is not understood"),
        ("* * * * 8", "day of the week '8' is not understood: 0 to 7"),
        ("* * * * sat-sun", "day of the week 'sat-sun' is not understood"),
        ("* * * * mon#6", "day of the week 'mon#6' is not understood"),
        ("*/0 * * * *", "minute '*/0' is not understood"),
        ("5-1 * * * *", "minute '5-1' is not understood"),
        ("1,,2 * * * *", "minute '1,,2' is not understood"),
        ("-5 * * * *", "minute '-5' is not understood"),
        ("\u0665 * * * *", "is not understood"),
        ("9" * 5000 + " * * * *", "is not understood"),
        ("0 0 31 2 *", "never matches"),
        ("0 0 30 2 */2", "never matches"),
        ("0 0 */20 * 1L", "never matches"),  # the 1st and 21st are no last Monday
        ("0 0 * * 1#5,2#5 x", "has 6 fields; five are needed"),
        ("0 0 30 2 mon#7", "day of the week 'mon#7' is not understood"),
        ("", "has 0 fields; five are needed: minute, hour"),
        ("* * * *", "has 4 fields; five are needed"),
        ("0 */5 * * * *", "has 6 fields; five are needed"),
        ("@reboot", "is none of @yearly"),
        ("@daily 0", "is none of @yearly"),
    ],
)
def test_errors(cron: str, reason: str) -> None:
    """An error of an expression is told with its field and what it may hold."""
    with pytest.raises(InvalidArgument, match=r"^cron: ") as caught:
        Cron.of(cron)
    assert reason in str(caught.value)


@pytest.mark.parametrize("cron", [None, 5, b"* * * * *", ["*"] * 5])
def test_no_text(cron: Any) -> None:
    """An expression is a str."""
    with pytest.raises(InvalidType, match=r"^cron: a str is needed"):
        Cron.of(cron)


def test_bad_zone() -> None:
    """The zone of an expression is looked at too."""
    with pytest.raises(InvalidArgument, match=r"^timezone: "):
        Cron.of("* * * * *", "Europe/Vindobona")


@given(st.text(alphabet="0123456789*/-,#L W@monfri?\u00b2", max_size=20))
def test_any_text(text: str) -> None:
    """Whatever is given is read, or refused with an error of the library's own."""
    try:
        schedule = Cron.of(text)
    except InvalidArgument:
        return
    assert schedule.next(0) is not None


def term(low: int, high: int) -> st.SearchStrategy[str]:
    """A number, a range or either with a step."""
    number = st.integers(low, high)
    ends = st.tuples(number, number).map(sorted)
    spans = st.one_of(number.map(str), ends.map("{0[0]}-{0[1]}".format), st.just("*"))
    return st.tuples(spans, st.just("") | st.integers(1, 12).map("/{}".format)).map(
        "".join
    )


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """Several terms, or a star."""
    terms = st.lists(term(low, high), min_size=1, max_size=3).map(",".join)
    return st.just("*") | terms


def expressions(*times_of_day: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions of all kinds, with these minutes and hours."""
    weekdays = st.one_of(
        field(0, 7),
        st.sampled_from(["mon-fri", "SUN", "tue,thu", "fri#2", "0L", "7L", "1#5,3"]),
    )
    days = field(1, 31) | st.sampled_from(["L", "LW", "1,L"])
    months = field(1, 12) | st.sampled_from(["feb", "jan-mar", "Apr,OCT"])
    return st.tuples(*times_of_day, days, months, weekdays).map(" ".join)


instants = st.integers(*(moment(f"{year}-01-01") for year in (YEARS[0], YEARS[-1])))


def by_cronsim(cron: str, begin: datetime, n: int) -> list[int]:
    """What the library itself makes of an expression."""
    try:
        found = CronSim(cron, begin)
    except CronSimError:
        # Some versions refuse days that there are not, where a weekday is enough.
        reject()
    return [times.from_datetime(due) for due in itertools.islice(found, n)]


@settings(max_examples=300, deadline=None)
@given(expressions(field(0, 59), field(0, 23)), instants)
def test_as_the_library_goes(cron: str, after: int) -> None:
    """In UTC an expression means to us what it does to the library that reads it."""
    begin = times.to_datetime(after)
    assert begin is not None
    try:
        schedule = Cron.of(cron)
    except InvalidArgument:
        with pytest.raises((CronSimError, StopIteration)):
            next(CronSim(cron, begin))
        return
    expected = by_cronsim(cron, begin, 3)
    assert schedule.upcoming(after, 3) == expected


@settings(max_examples=200, deadline=None)
@given(
    expressions(st.integers(0, 59).map(str), st.integers(0, 23).map(str)),
    st.sampled_from(ZONES),
    instants,
)
def test_as_the_library_goes_in_zones(cron: str, zone: str, after: int) -> None:
    """At a single time of day, both agree in zones, also when clocks are changed."""
    begin = times.to_datetime(after)
    assert begin is not None
    local = begin.astimezone(ZoneInfo(zone))
    # The library takes a repeated hour for the first, even to begin from.
    assume(not local.fold)
    try:
        schedule = Cron.of(cron, zone)
    except InvalidArgument:
        return
    expected = by_cronsim(cron, local, 5)
    assert schedule.upcoming(after, 5) == expected


@pytest.mark.parametrize("seed", range(20))
def test_as_fields(seed: int) -> None:
    """Lists of numbers mean the same in an expression and as fields."""
    chance = random.Random(seed)
    minute, hour, month = (chance.sample(range(1, 12), 3) for _ in range(3))
    weekday = chance.sample(range(7), 3)
    fields = [minute, hour, month, [(day + 1) % 7 for day in weekday]]
    texts = [",".join(map(str, numbers)) for numbers in fields]
    cron = Cron.of(f"{texts[0]} {texts[1]} * {texts[2]} {texts[3]}", ZONES[seed % 6])
    same = Fields.of(
        minute=minute,
        hour=hour,
        month=month,
        dayOfWeek=weekday,
        timezone=ZONES[seed % 6],
    )
    assert cron.pattern == same.pattern
    assert cron.upcoming(seed * 10**15, 9) == same.upcoming(seed * 10**15, 9)


@pytest.fixture
def without_the_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it is where the extra is not installed."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    monkeypatch.delitem(sys.modules, "lovely.remotetask.cron", raising=False)
    plugins._load.cache_clear()
    yield
    plugins._load.cache_clear()


def test_not_installed(without_the_library: None) -> None:
    """Without the library, an expression is refused, and the error says what helps."""
    with pytest.raises(NotInstalled, match=r"pip install 'lovely.remotetask\[cron\]'"):
        Cron.of("* * * * *")


def test_read_once(request: pytest.FixtureRequest) -> None:
    """What has been read once needs the library no more."""
    data = pickle.dumps(Cron.of("*/5 8-18 * * mon-fri"), 3)
    request.getfixturevalue("without_the_library")
    schedule = pickle.loads(data)
    assert show(schedule.next(0)) == "1970-01-01 08:00"
    assert datetime.fromtimestamp(schedule.timeOfNextCall(0), UTC).hour == 8
