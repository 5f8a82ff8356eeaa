"""What becomes of the attributes that a job had in version 0.5.2."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lovely.remotetask.ancestor import OldUnicodeDecodeError, attributes, renames, wall
from lovely.remotetask.job import CronJob, Job

NAIVE = datetime(2010, 7, 1, 12)  # noqa: DTZ001 - as the ancestor's


def job_of(**state: Any) -> Any:
    """The job that is loaded from such a record."""
    cls = CronJob if "delay" in state else Job
    job = cls.__new__(cls)
    job.__setstate__({"id": 5, "task": "echo", "status": "queued", **state})
    return job


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of this process shows the time of New York."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_an_old_record_is_a_job() -> None:
    """A job has what its old record says, and the rest as new ones have it."""
    job = job_of(input=[1], extra="kept")
    assert (job.id, job.task, job.status, job.input) == (5, "echo", "queued", [1])
    assert (job.output, job.error, job.started, job.attempt) == (None, None, None, 0)
    assert job.extra == "kept"


def test_what_is_written_is_a_new_record() -> None:
    """The state that is stored next is that of today's jobs, and the same job."""
    old = job_of(delay=5, started=NAIVE, error=ValueError("bad"), status="error")
    state = old.__getstate__()
    assert isinstance(state, tuple)
    new = CronJob.__new__(CronJob)
    new.__setstate__(state)
    for name in ("id", "status", "error", "started", "delay", "attempts"):
        assert getattr(new, name) == getattr(old, name)


def test_times_are_of_the_zone_that_is_told() -> None:
    """Or else of that of this process."""
    with wall(ZoneInfo("Asia/Kolkata")):
        job = job_of(created=NAIVE)
    assert job.created == datetime(2010, 7, 1, 6, 30, tzinfo=timezone.utc)


@pytest.mark.usefixtures("new_york")
def test_times_are_of_the_zone_of_the_process() -> None:
    """The ancestor took what the clock showed; the same process, the same zone."""
    assert job_of(created=NAIVE).created == datetime(
        2010, 7, 1, 16, tzinfo=timezone.utc
    )
    first = datetime(1, 1, 1)  # noqa: DTZ001
    # In New York there is no year before.
    assert job_of(created=first).created == first.replace(tzinfo=timezone.utc)


def test_aware_times_stay() -> None:
    """A time that has a zone is of that zone."""
    aware = NAIVE.replace(tzinfo=timezone(timedelta(hours=-3)))
    assert job_of(started=aware).started == aware


def test_what_is_no_time_is_none() -> None:
    """A job that was never started has no time for that."""
    assert attributes({"id": 1, "status": "queued", "started": None})["id"] == 1
    assert job_of(started="yesterday").started is None


def test_fields_that_are_numbers() -> None:
    """A field may be one number, where the application has set it so."""
    job = job_of(status="cronjob", hour=4, minute=[30, 0], delay=0)
    assert (job.hour, job.minute, job.delay) == ((4,), (0, 30), None)


def test_a_delayed_job_has_its_time() -> None:
    """What it was scheduled for is the date that it is due at."""
    aware = NAIVE.replace(tzinfo=timezone.utc)
    job = job_of(status="delayed", delay=5, created=NAIVE, scheduledFor=aware)
    assert job.plan.schedule.moment == int(aware.timestamp()) * 1_000_000


def test_an_error_that_is_no_decode_error() -> None:
    """The stand-in says what it can, whatever it was made of."""
    (target,) = renames.values()
    module, _, name = target.partition(" ")
    assert (module, name) == ("lovely.remotetask.ancestor", "OldUnicodeDecodeError")
    assert str(OldUnicodeDecodeError("ascii", None, 1, 2, "bad")).startswith("('ascii'")
    assert str(OldUnicodeDecodeError("odd")) == "odd"
    error = OldUnicodeDecodeError("ascii", b"\xc3", 0, 1, "bad")
    assert job_of(status="error", error=error).error.startswith(
        "UnicodeDecodeError: 'asc"
    )
