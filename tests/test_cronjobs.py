"""Cron jobs: what the public asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import transaction
from zope.interface.verify import verifyObject

from lovely.remotetask.errors import (
    InvalidArgument,
    InvalidType,
    UnknownJob,
    UnknownTask,
    Unpicklable,
)
from lovely.remotetask.interfaces import ICronJob, IJob, ITaskService
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.planning import RunPolicy
from lovely.remotetask.retry import RetryPolicy
from lovely.remotetask.schedule import Schedule
from lovely.remotetask.service import TaskService
from tests.stateful.invariants import check
from tests.support import FakeEnvironment, counts, register, statuses

UTC = timezone.utc
#: What the fake clock shows: a Monday.
NOW = datetime(1970, 1, 12, 13, 46, 40, tzinfo=UTC)


@pytest.fixture
def counter(service: Any) -> list[int]:
    """A task ``counter`` that returns how often it has run; the runs."""
    runs: list[int] = []

    def count(value: Any) -> int:
        runs.append(len(runs) + 1)
        return len(runs)

    register("counter", count)
    return runs


@pytest.fixture
def process(service: Any) -> Callable[[float], Any]:
    """Process in a transaction of its own, as if it were then; the service."""

    def process(now: float) -> Any:
        service.process(now)
        transaction.commit()
        check(service)
        return service

    return process


def test_minutes_of_an_hour(service: Any, counter: Any, process: Any) -> None:
    """The old documentation's example: minutes 0 and 10 of each hour."""
    jobid = service.addCronJob("counter", {"foo": "bar"}, minute=(0, 10))
    assert service.getStatus(jobid) == "cronjob"
    process(0)
    assert service.getStatus(jobid) == "cronjob"
    assert service.getResult(jobid) is None
    results = [process(60 * minute).getResult(jobid) for minute in (10, 11, 60, 70)]
    assert results == [1, 1, 2, 3]
    assert service.getStatus(jobid) == "cronjob"


def test_a_delay_runs_once(service: Any, counter: Any, process: Any) -> None:
    """The old documentation's example: a cron job with a delay."""
    jobid = service.addCronJob("counter", {"foo": "bar"}, delay=10)
    found = [process(now).getStatus(jobid) for now in (0, 9, 10, 20)]
    assert found == ["delayed", "delayed", "completed", "completed"]
    assert service.getResult(jobid) == 1
    assert service.jobs[jobid].delay == 10


def test_rescheduled(service: Any, counter: Any, process: Any) -> None:
    """The old documentation's example: another minute, planned anew."""
    jobid = service.addCronJob("counter", minute=(0, 10))
    process(0)
    service.jobs[jobid].update(minute=11)
    assert service.reschedule(jobid) is True
    results = [process(60 * minute).getResult(jobid) for minute in (5, 10, 11, 70, 71)]
    assert results == [None, None, 1, 1, 2]


@pytest.mark.parametrize(
    ("fields", "now", "then"),
    [
        ({"minute": (0, 10)}, 0, (1970, 1, 1, 0, 10)),
        ({"minute": (0, 10)}, 600, (1970, 1, 1, 1, 0)),
        ({"hour": (2, 13)}, 0, (1970, 1, 1, 2, 0)),
        ({"hour": (2, 13)}, 2 * 3600, (1970, 1, 1, 13, 0)),
        ({"month": (1, 5, 12)}, 0, (1970, 5, 1, 0, 0)),
        ({"dayOfWeek": (0, 2, 4, 5)}, 0, (1970, 1, 2, 0, 0)),
        ({"dayOfWeek": (0, 2, 4, 5)}, 2 * 86400, (1970, 1, 5, 0, 0)),
        ({"dayOfMonth": (1, 12, 21, 30)}, 0, (1970, 1, 12, 0, 0)),
        ({"minute": 10, "dayOfMonth": (1, 12, 21)}, 0, (1970, 1, 1, 0, 10)),
    ],
)
def test_time_of_next_call(
    fields: dict[str, Any], now: int, then: tuple[int, ...]
) -> None:
    """A cron job by itself tells when it is due next, in whole seconds, in UTC."""
    job = CronJob(-1, "echo", (), **fields)
    found = job.timeOfNextCall(now)
    assert type(found) is int
    assert datetime.fromtimestamp(found, UTC) == datetime(*then, tzinfo=UTC)  # type: ignore[misc]


def test_time_of_a_delay() -> None:
    """With a delay it is due so long after whatever time is given."""
    job = CronJob(-1, "echo", None, delay=10)
    assert (job.timeOfNextCall(0), job.timeOfNextCall(10.5)) == (10, 21)


def test_contracts(service: Any, tasks: None) -> None:
    """A cron job keeps the contracts of cron jobs and of jobs; so does the service."""
    job = service.jobs[service.addCronJob("echo", 1, hour=3)]
    assert verifyObject(ICronJob, job)
    assert verifyObject(IJob, job)
    assert verifyObject(ITaskService, service)
    assert repr(job) == f"<CronJob {job.id}>"
    assert (CronJob.__module__, Job.__module__) == ("lovely.remotetask.job",) * 2


def test_attributes(service: Any, environment: FakeEnvironment) -> None:
    """The fields are tuples; when it is due next is an aware datetime."""
    jobid = service.addCronJob("echo", None, 30, (3, 4), (), 1, 0)
    transaction.commit()
    service._p_jar.cacheMinimize()
    job = service.jobs[jobid]
    fields = job.minute, job.hour, job.dayOfMonth, job.month, job.dayOfWeek
    assert fields == ((30,), (3, 4), (), (1,), (0,))
    assert (job.delay, job.paused, job.runs) == (None, False, ())
    assert job.scheduledFor == datetime(1970, 1, 19, 3, 30, tzinfo=UTC)
    later = [datetime(1970, 1, day, hour, 30, tzinfo=UTC) for day, hour in _MONDAYS]
    assert job.upcoming(3) == later


_MONDAYS = [(19, 3), (19, 4), (26, 3)]


@pytest.mark.parametrize(
    ("arguments", "due"),
    [
        ({"cron": "*/5 8-18 * * mon-fri"}, NOW.replace(minute=50, second=0)),
        ({"every": timedelta(seconds=90)}, NOW + timedelta(seconds=90)),
        ({"every": 90}, NOW + timedelta(seconds=90)),
        ({"at": NOW + timedelta(days=1)}, NOW + timedelta(days=1)),
        ({"delay": 0.5}, NOW + timedelta(seconds=0.5)),
        (
            {"hour": 3, "timezone": "Europe/Vienna"},
            NOW.replace(day=13, hour=2, minute=0, second=0),
        ),
    ],
)
def test_kinds_of_schedules(
    service: Any, environment: FakeEnvironment, arguments: Any, due: datetime
) -> None:
    """Each kind of schedule can be asked for; what runs once is delayed."""
    job = service.jobs[service.addCronJob("echo", **arguments)]
    once = {"at", "delay"} & arguments.keys()
    assert job.status == ("delayed" if once else "cronjob")
    # The clock's stamps are a microsecond later each.
    assert abs(job.scheduledFor - due) < timedelta(seconds=0.001)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, InvalidArgument, "At least one"),
        ({"minute": 60}, InvalidArgument, "minute: from 0 to 59"),
        ({"dayOfMonth": 31, "month": 2}, InvalidArgument, "never comes"),
        ({"hour": "3"}, InvalidType, "hour:"),
        ({"hour": 10**5000}, InvalidArgument, "hour: from 0 to 23, not <int>"),
        ({"hour": "3" * 10**4}, InvalidType, r"hour: .{130,150}\.\.\. What cron"),
        ({"hour": 3, "every": 90}, InvalidArgument, "one kind of schedule"),
        ({"cron": "61 * * * *"}, InvalidArgument, "cron"),
        ({"cron": "x" * 10**4}, InvalidArgument, r"cron: 'x{99}\.\.\. has 1 fields"),
        ({"cron": "9" * 10**4 + " * * * *"}, InvalidArgument, r"minute '9{99}\.\.\. "),
        ({"cron": "@" + "x" * 10**4}, InvalidArgument, r"'@x{98}\.\.\. is none of"),
        ({"hour": 3, "timezone": "x" * 10**4}, InvalidArgument, r"'x{99}\.\.\."),
        ({"hour": 3, "timezone": "Wien"}, InvalidArgument, "timezone"),
        ({"every": 0}, InvalidArgument, "every"),
        ({"every": 10**5000}, InvalidArgument, "every: .* not <int>"),
        ({"every": 1.7e308}, InvalidArgument, "every: .* year 9999"),
        ({"delay": -1}, InvalidArgument, "delay"),
        ({"at": datetime(2026, 1, 1)}, InvalidArgument, "no time zone"),  # noqa: DTZ001
        ({"at": NOW - timedelta(1), "missed": "skip"}, InvalidArgument, "has passed"),
        ({"hour": 3, "missed": "never"}, InvalidArgument, "missed"),
        ({"hour": 3, "overlap": 1}, InvalidType, "overlap"),
        ({"hour": 3, "grace": 0}, InvalidArgument, "grace"),
        ({"hour": 3, "grace": 10**5000}, InvalidArgument, "grace"),
        ({"hour": 3, "retry": "often"}, InvalidType, "retry"),
        ({"hour": 3, "timeout": -1}, InvalidArgument, "timeout"),
        ({"hour": 3, "input": lambda: None}, Unpicklable, "input"),
        ({"hour": 3, "task": "unknown"}, UnknownTask, "does not exist"),
        ({"hour": 3, "task": None}, InvalidType, "task"),
    ],
)
def test_bad_input(
    service: Any,
    environment: FakeEnvironment,
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    """What makes no sense is refused at the call, and nothing is stored."""
    before = service._p_jar.db().storage.lastTransaction()
    with pytest.raises(error, match=text):
        service.addCronJob(**{"task": "echo", **arguments})
    assert len(service.jobs) == 0
    transaction.commit()
    assert service._p_jar.db().storage.lastTransaction() == before


def test_what_it_was_given_can_be_read(service: Any) -> None:
    """The expression, the interval, the zone and the policy can be read again."""
    cron, every = (
        service.jobs[service.addCronJob("echo", **kind, grace=60)]
        for kind in ({"cron": "0 3 * *  mon", "timezone": "Asia/Tokyo"}, {"every": 90})
    )
    assert (cron.schedule.expression, cron.schedule.timezone) == (
        "0 3 * * mon",
        "Asia/Tokyo",
    )
    assert every.schedule.interval == 90_000_000
    assert every.policy == RunPolicy(grace=60)


def test_a_refused_update_changes_nothing(service: Any) -> None:
    """An update that is refused leaves the schedule as it is."""
    job = service.jobs[service.addCronJob("echo", hour=3, overlap="queue")]
    transaction.commit()
    for bad in ({"minute": 60}, {"hour": 4, "missed": "x"}, {}, {"grace": 0}):
        with pytest.raises(InvalidArgument):
            job.update(**bad)
    assert (job.hour, job.plan.policy.overlap) == ((3,), "queue")
    assert not job.plan._p_changed


def test_update_keeps_what_is_not_given(service: Any) -> None:
    """An update keeps the zone and the policy, and the schedule if none is given."""
    jobid = service.addCronJob("echo", hour=3, timezone="Asia/Tokyo", missed="all")
    job = service.jobs[jobid]
    job.update(hour=4)
    job.update(overlap="queue")
    assert (job.hour, job.plan.schedule.timezone) == ((4,), "Asia/Tokyo")
    assert (job.plan.policy.missed, job.plan.policy.overlap) == ("all", "queue")
    job.update(every=90)
    assert isinstance(job.plan.schedule, Schedule)
    assert job.hour == ()


@pytest.mark.parametrize("kind", [{"hour": 3}, {"cron": "0 3 * * *"}])
def test_update_of_the_zone_alone(
    service: Any, environment: FakeEnvironment, kind: dict[str, Any]
) -> None:
    """The zone of fields and of an expression can be changed by itself."""
    job = service.jobs[service.addCronJob("echo", **kind)]
    job.update(timezone="Asia/Tokyo", overlap="queue")
    service.reschedule(job.id)
    assert job.scheduledFor == datetime(1970, 1, 12, 18, tzinfo=UTC)
    assert job.plan.policy.overlap == "queue"
    with pytest.raises(InvalidArgument, match="there is no time zone 'Tokyo'"):
        job.update(timezone="Tokyo")


@pytest.mark.parametrize("kind", [{"every": 60}, {"delay": 60}, {"at": NOW}])
def test_a_zone_for_what_has_none(service: Any, kind: dict[str, Any]) -> None:
    """What counts real time is given no zone."""
    job = service.jobs[service.addCronJob("echo", **kind)]
    with pytest.raises(InvalidArgument, match="does not depend on a zone"):
        job.update(timezone="Asia/Tokyo")


def test_verbs_need_a_cron_job(service: Any) -> None:
    """The verbs for cron jobs refuse other jobs, and ids that are not known."""
    jobid = service.add("echo")
    for verb in (service.reschedule, service.pause, service.resume, service.runNow):
        with pytest.raises(InvalidArgument, match=f"{jobid} is no cron job"):
            verb(jobid)
        with pytest.raises(UnknownJob):
            verb(99)


def test_limits(service: Any) -> None:
    """A cron job has a policy for retries, and a time limit, as others do."""
    job = service.jobs[service.addCronJob("echo", hour=3, retry=2, timeout=5)]
    assert (job.retry, job.timeout) == (RetryPolicy(retries=2), 5.0)


def test_cancel_and_clean(service: Any, counter: Any, process: Any) -> None:
    """A cron job that waits is not cleaned away; one that is cancelled is over."""
    kept, cancelled = (service.addCronJob("counter", minute=0) for _ in "12")
    process(0)
    service.cancel(cancelled)
    assert service.clean() == 1
    process(3600)
    assert statuses(service) == counts(service) == {"cronjob": 1}
    assert (service.getResult(kept), len(counter)) == (1, 1)
    with pytest.raises(InvalidArgument, match="cronjob"):
        service.clean(["cronjob"])


def test_without_a_database(tasks: None) -> None:
    """A service that is in no database has cron jobs, too."""
    service = TaskService()
    jobid = service.addCronJob("echo", "hello", minute=0)
    service.process(0)
    assert service.hasJobsWaiting(3599) is False
    assert service.hasJobsWaiting(3600) is True
    service.process(3600)
    assert (service.getResult(jobid), service.getStatus(jobid)) == ("hello", "cronjob")


def test_waiting_is_by_the_time_that_is_given(service: Any, counter: Any) -> None:
    """`hasJobsWaiting`, `claimNextJob` and `processNext` go by what they are given."""
    jobid = service.addCronJob("counter", minute=0)
    service.process(0)
    assert [service.hasJobsWaiting(now) for now in (0, 3599, 3600)] == [0, 0, 1]
    assert service.claimNextJob(3599) is None
    assert service.processNext(3599) is False
    assert service.claimNextJob(3600) == jobid
    assert service.processNext(3600, jobid) is True
    assert service.jobs[jobid].runFor == datetime(1970, 1, 1, 1, tzinfo=UTC)
    assert service.jobs[jobid].scheduledFor == datetime(1970, 1, 1, 2, tzinfo=UTC)
    transaction.commit()
    check(service)
