"""Which schedule is asked for, and what runs when some were missed."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lovely.remotetask.calendars import Cron, Fields
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.planning import MOST, Due, RunPolicy, due, first, make
from lovely.remotetask.schedule import At, Every, Schedule
from tests.schedule.oracles import UTC, moment

START = moment("2026-05-05 12:00")
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
YEAR = 365 * 24 * HOUR
DATE = datetime(2026, 6, 1, tzinfo=UTC)

LATEST_RUN = RunPolicy()
SKIP = RunPolicy(missed="skip")
ALL = RunPolicy(missed="all")

HOURLY = Fields.of(minute=0)
MINUTELY = Fields.of(minute=range(60), timezone="Europe/Vienna")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"hour": 3}, Fields(hour=(3,))),
        (
            {"minute": 5, "month": [1], "timezone": "Asia/Tokyo"},
            Fields(minute=(5,), month=(1,), timezone="Asia/Tokyo"),
        ),
        ({"cron": "@daily"}, Cron.of("@daily")),
        (
            {"cron": "@daily", "timezone": "Asia/Tokyo"},
            Cron.of("@daily", "Asia/Tokyo"),
        ),
        ({"every": timedelta(seconds=90)}, Every(90 * SECOND, START)),
        ({"at": DATE}, At(moment("2026-06-01"))),
        ({"delay": 0}, At(START)),
        ({"delay": 1.5, "minute": []}, At(START + 1_500_000)),
    ],
)
def test_make(asked: dict[str, Any], expected: Schedule) -> None:
    """Each kind of schedule can be asked for by its own argument."""
    assert make(START, **asked) == expected


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ({"cron": "@daily", "hour": 3}, "cron and fields"),
        ({"every": 90, "delay": 0}, "every and delay"),
        ({"at": DATE, "dayOfWeek": [0]}, "at and fields"),
        ({"cron": "", "every": 0, "at": 0}, "cron and every and at"),
    ],
)
def test_several_kinds(asked: dict[str, Any], kinds: str) -> None:
    """Several kinds at once are refused, by their names."""
    with pytest.raises(InvalidArgument, match=f"one kind of schedule, not {kinds}"):
        make(START, **asked)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({}, "At least one of minute, hour"),
        ({"timezone": "Asia/Tokyo"}, "At least one of minute, hour"),
        ({"every": 90, "timezone": "UTC"}, "^timezone: every does not depend"),
        ({"at": DATE, "timezone": "UTC"}, "^timezone: at does not depend"),
        ({"delay": 5, "timezone": "UTC"}, "^timezone: delay does not depend"),
        ({"at": DATE.replace(tzinfo=None)}, "^at: "),
        ({"delay": -1}, "^delay: "),
        ({"every": 0}, "^every: "),
        ({"cron": "bad"}, "^cron: "),
        ({"hour": 24}, "^hour: "),
        ({"cron": "@daily", "timezone": "Mars"}, "^timezone: "),
    ],
)
def test_make_refuses(asked: dict[str, Any], name: str) -> None:
    """What makes no sense is told by the name of the argument."""
    with pytest.raises(InvalidArgument, match=name):
        make(START, **asked)


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        *((InvalidArgument, "missed", value) for value in ("", "none", "Latest")),
        *((InvalidArgument, "overlap", value) for value in ("latest", "run")),
        *((InvalidArgument, "grace", v) for v in (-1, 0, 0.5, math.nan, math.inf)),
        *((InvalidType, "missed", value) for value in (None, True, ["latest"])),
        *((InvalidType, "overlap", value) for value in (None, False)),
        *((InvalidType, "grace", value) for value in ("60", True, timedelta(1))),
    ],
)
def test_bad_policies(error: type[Exception], name: str, value: Any) -> None:
    """What is no policy is told by its name."""
    with pytest.raises(error, match=f"^{name}: "):
        RunPolicy(**{name: value})


def test_first() -> None:
    """What is new is planned for its next moment; a date that has passed, at once."""
    assert first(HOURLY, START, LATEST_RUN) == START + HOUR
    assert first(Every(90 * SECOND, START), START, SKIP) == START + 90 * SECOND
    assert first(At(START + 1), START, SKIP) == START + 1
    assert first(At(START), START, SKIP) == START
    assert first(At(START - YEAR), START, LATEST_RUN) == START - YEAR
    assert first(At(START - 60 * SECOND), START, RunPolicy(grace=60)) < START


@pytest.mark.parametrize("policy", [SKIP, RunPolicy(grace=60), RunPolicy("all", 60)])
def test_a_date_that_has_passed(policy: RunPolicy) -> None:
    """A date that has passed is refused if the policy would not have it run."""
    with pytest.raises(InvalidArgument, match=r"^at: 2026-05-05 11:58:59"):
        first(At(START - 61 * SECOND), START, policy)


def test_skip_refuses_any_date_that_has_passed() -> None:
    """With skip, a date is refused as soon as it has passed."""
    with pytest.raises(InvalidArgument, match=r"^at: "):
        first(At(START - 1), START, RunPolicy("skip", 3600))


def test_nothing_left() -> None:
    """What has no date before the year 10000 is refused."""
    with pytest.raises(InvalidArgument, match="before the year 10000"):
        first(Fields.of(month=2), moment("9999-03-01"), LATEST_RUN)


@pytest.mark.parametrize("policy", [LATEST_RUN, SKIP, ALL])
def test_in_time(policy: RunPolicy) -> None:
    """What is due now is run once, whatever the policy; the next one is planned."""
    for late in (0, 1, 5 * SECOND):
        found = due(HOURLY, START, START + late, policy)
        assert found == Due((START,), START + HOUR)
        assert found.planned == START + HOUR


@pytest.mark.parametrize("policy", [LATEST_RUN, SKIP, ALL])
def test_not_yet(policy: RunPolicy) -> None:
    """Before its time nothing is run, and what was planned stays so."""
    found = due(HOURLY, START, START - 1, policy)
    assert found == Due((), START)
    assert found.planned == START


@pytest.mark.parametrize(
    ("policy", "hours"),
    [
        (LATEST_RUN, [3]),
        (RunPolicy(grace=3600), [3]),
        (RunPolicy(grace=600), []),
        (SKIP, []),
        (RunPolicy("skip", 1799), []),
        (RunPolicy("skip", 1800), [3]),
        (RunPolicy("skip", 1e9), [3]),
        (ALL, [0, 1, 2, 3]),
        (RunPolicy("all", 2 * 3600), [2, 3]),
        (RunPolicy("all", 1e300), [0, 1, 2, 3]),
        (RunPolicy("all", 60), []),
    ],
)
def test_missed(policy: RunPolicy, hours: list[int]) -> None:
    """After three and a half hours, the policy says for which moments to run."""
    found = due(HOURLY, START, START + 3 * HOUR + 30 * MINUTE, policy)
    assert found.runs == tuple(START + hour * HOUR for hour in hours)
    assert found.next == START + 4 * HOUR
    assert found.left_out is (hours[:1] != [0])
    assert found.planned == (found.runs[1] if len(hours) > 1 else found.next)


def test_all_one_after_the_other() -> None:
    """Missed runs that are taken one at a time come out as all at once."""
    now, planned, taken = START + 3 * HOUR, START, []
    while planned <= now:
        found = due(HOURLY, planned, now, ALL)
        taken.append(found.runs[0])
        assert found.planned is not None
        planned = found.planned
        now += MINUTE
    assert taken == [START + hour * HOUR for hour in range(4)]


class Counted(Schedule):
    """A schedule that counts how often it is asked."""

    __slots__ = ("asked", "schedule")

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.asked = schedule, 0

    def next(self, after: int) -> int | None:
        self.asked += 1
        return self.schedule.next(after)

    def previous(self, before: int) -> int | None:
        self.asked += 1
        return self.schedule.previous(before)


@pytest.mark.parametrize("every_minute", [MINUTELY, Every(MINUTE, START)])
@pytest.mark.parametrize(("policy", "runs"), [(LATEST_RUN, 1), (SKIP, 1), (ALL, MOST)])
def test_a_year_of_missed_runs(
    every_minute: Schedule, policy: RunPolicy, runs: int
) -> None:
    """A year without a run costs no more than what is made up for."""
    counted = Counted(every_minute)
    found = due(counted, START, START + YEAR + 1, policy)
    assert found.runs[-1] == START + YEAR
    assert len(found.runs) == runs
    assert found.runs[0] == START + YEAR - (runs - 1) * MINUTE
    assert found.next == START + YEAR + MINUTE
    assert found.left_out
    assert counted.asked <= runs + 2


def test_single_dates() -> None:
    """A single date is run once, and nothing comes after it."""
    assert due(At(START), START, START + YEAR, LATEST_RUN) == Due((START,), None)
    assert due(At(START), START, START + YEAR, SKIP) == Due((), None, left_out=True)
    assert due(At(START), START, START - YEAR, ALL) == Due((), START)


@pytest.mark.parametrize("policy", [LATEST_RUN, ALL, RunPolicy("skip", 3600)])
def test_a_schedule_that_was_changed(policy: RunPolicy) -> None:
    """What was planned is run, also if the schedule has it no more."""
    found = due(HOURLY, START + 7 * MINUTE, START + 8 * MINUTE, policy)
    assert found == Due((START + 7 * MINUTE,), START + HOUR)


@pytest.mark.parametrize("back", [SECOND, MINUTE, 5 * MINUTE])
@pytest.mark.parametrize("schedule", [HOURLY, MINUTELY, Every(MINUTE, START)])
def test_clock_set_back_a_little(schedule: Schedule, back: int) -> None:
    """A clock that is a little behind doubles no run: what was planned is awaited."""
    planned = schedule.next(START)
    assert planned is not None
    assert due(schedule, planned, START - back, LATEST_RUN) == Due((), planned)


@pytest.mark.parametrize("back", [6 * MINUTE, 30 * 24 * HOUR, 50 * YEAR])
@pytest.mark.parametrize("schedule", [HOURLY, MINUTELY, Every(MINUTE, START)])
def test_clock_set_back(schedule: Schedule, back: int) -> None:
    """A clock that is set back makes no pause: runs go on by the new time."""
    planned = schedule.next(START)
    assert planned is not None
    now = START - back
    found = due(schedule, planned, now, LATEST_RUN)
    assert found.runs == ()
    assert found.next == schedule.next(now)
    assert found.next is not None
    assert found.next - now <= HOUR


def test_clock_set_back_for_a_first_run() -> None:
    """What has never run is not hurried by a clock that goes right."""
    yearly = Fields.of(month=1)
    planned = first(yearly, START, LATEST_RUN)
    assert due(yearly, planned, START, LATEST_RUN) == Due((), planned)
    assert due(At(planned), planned, START - 50 * YEAR, SKIP) == Due((), planned)


def test_clock_that_jumps_ahead_and_back() -> None:
    """A clock that was a year ahead for a while leaves one run behind, no silence."""
    ahead = due(HOURLY, START, START + YEAR, LATEST_RUN)
    assert ahead.runs == (START + YEAR,)
    assert ahead.planned is not None
    back = due(HOURLY, ahead.planned, START + MINUTE, LATEST_RUN)
    assert back == Due((), START + HOUR)


schedules = st.sampled_from(
    [
        Fields.of(minute=(0, 7, 30), timezone="Europe/Vienna"),
        Fields.of(hour=(2, 3), timezone="Europe/Vienna"),
        Every(7 * MINUTE + 1, START),
        At(moment("2026-10-25 01:30")),
    ]
)
policies = st.builds(
    RunPolicy,
    st.sampled_from(["latest", "skip", "all"]),
    st.none() | st.floats(1, 1e5),
)
#: Around the night in which the clocks of Vienna are set back.
nights = st.integers(moment("2026-10-24 12:00"), moment("2026-10-25 12:00"))


@given(schedules, policies, nights, st.integers(0, 12 * HOUR))
def test_as_one_by_one(
    schedule: Schedule, policy: RunPolicy, start: int, pause: int
) -> None:
    """What is run after a pause is what a walk through all moments leaves over."""
    planned, now = schedule.next(start), start + pause
    if planned is None:
        return
    walk = [planned, *schedule.upcoming(planned, 200)]
    passed = [moment for moment in walk if moment <= now]
    grace = policy.grace or (60 if policy.missed == "skip" else 1e9)
    kept = [moment for moment in passed if now - moment <= round(grace * 1e6)]
    if policy.missed != "all" and kept:
        kept = [passed[-1]]
    found = due(schedule, planned, now, policy)
    assert list(found.runs) == kept[-MOST:]
    assert found.next == next((moment for moment in walk if moment > now), None)
    assert found.left_out is (planned <= now and found.runs[:1] != (planned,))
