"""What version 0.5.2 and its predecessors may have left, piece by piece."""

from __future__ import annotations

import datetime
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import transaction
import ZODB
from persistent import Persistent
from ZODB.FileStorage import FileStorage

from lovely.remotetask.conversion import LARGEST_ID, LEAST_ROOM, Room
from lovely.remotetask.errors import CannotConvert
from lovely.remotetask.evolve import evolve
from lovely.remotetask.listing import find
from lovely.remotetask.processor import MultiProcessor
from lovely.remotetask.states import CRONJOB, DELAYED, ERROR, QUEUED
from tests.old_records import (
    CREATED,
    Global,
    Made,
    OldDatabase,
    Ref,
    attributes,
    many,
    records_of,
)
from tests.stateful.invariants import check
from tests.support import FakeEnvironment, counts, echo, register, statuses

#: The clock of these tests: 2015, some years after the jobs were added.
NOW = datetime.datetime(2015, 5, 5, 12, 0, tzinfo=datetime.timezone.utc)
ADDED = CREATED.replace(tzinfo=datetime.timezone.utc)

Convert = Callable[..., Any]


@pytest.fixture
def old() -> OldDatabase:
    """A database to fill."""
    return OldDatabase()


@pytest.fixture
def convert(
    old: OldDatabase, path: str, environment: FakeEnvironment
) -> Iterator[Convert]:
    """Writes the database, converts it and returns its service."""
    environment.now = NOW.timestamp()
    databases: list[Any] = []

    def convert(**options: Any) -> Any:
        old.write(path)
        databases.append(ZODB.DB(FileStorage(path)))
        evolve(databases[0], timezone="UTC", **options)
        service = databases[0].open().root()["service"]
        assert counts(service) == statuses(service)
        check(service)
        return service

    yield convert
    transaction.abort()
    for db in databases:
        db.close()


@pytest.fixture
def ran() -> list[Any]:
    """What the task ``echo`` was given, in order."""
    ran: list[Any] = []

    def note(value: Any) -> Any:
        ran.append(value)
        return echo(value)

    register("echo", note)
    return ran


def test_an_empty_service(old: OldDatabase, convert: Convert, ran: list[Any]) -> None:
    """A service without jobs is like a new one."""
    old.service({})
    service = convert()
    assert len(service.jobs) == 0
    assert [service.add("echo") for _ in range(3)] == [1, 2, 3]
    transaction.commit()


def test_a_service_of_the_first_versions(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """Before there were cron jobs, and ids at random, there was a counter."""
    jobs = {jobid: old.job(jobid) for jobid in (1, 2, 40)}
    queue = old.queue(jobs.values(), ("zc.queue._queue", "PersistentQueue"))
    old.service(
        jobs, queue=queue, _counter=100, _scheduledJobs=None, _scheduledQueue=None
    )
    service = convert()
    assert not hasattr(service, "_counter")
    # Jobs may have been removed, and their ids are known somewhere.
    assert 100 <= service.add("echo", "new") < 200
    transaction.commit()
    service.process()
    assert ran == [1, 2, 40, "new"]


def test_a_composite_queue(old: OldDatabase, convert: Convert, ran: list[Any]) -> None:
    """A queue that is made of queues has the order of all of them."""
    jobs = {jobid: old.job(jobid) for jobid in range(1, 41)}
    order = [jobs[jobid] for jobid in sorted(jobs, key=lambda i: i * 7 % 41)]
    old.service(jobs, queue=old.composite(order))
    convert(batch=6).process()
    assert ran == sorted(jobs, key=lambda i: i * 7 % 41)


def test_where_queues_can_be_imported(
    old: OldDatabase,
    convert: Convert,
    ran: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the package of the queues is installed makes no difference."""
    queue = type("Queue", (Persistent,), {"__module__": "zc.queue._queue"})
    for name in ("zc.queue", "zc.queue._queue"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["zc.queue._queue"], "Queue", queue, raising=False)
    jobs = {jobid: old.job(jobid) for jobid in (3, 4)}
    old.service(jobs, queue=[jobs[4], jobs[3]])
    convert().process()
    assert ran == [4, 3]


def test_a_queue_of_ids(old: OldDatabase, convert: Convert, ran: list[Any]) -> None:
    """A queue may hold ids, of which some are of no job any more."""
    jobs = {jobid: old.job(jobid) for jobid in (3, 4)}
    old.service(jobs, queue=old.queue([4, 99, 3]))
    convert().process()
    assert ran == [4, 3]


def test_the_queue_goes_before_what_is_new(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """Whatever clocks have shown, what was queued comes before what is added now."""
    ahead = CREATED.replace(year=2500)
    jobs = {1: old.job(1), 2: old.job(2, created=ahead), 3: old.job(3)}
    old.service(jobs, queue=jobs.values())
    service = convert()
    service.add("echo", "new")
    transaction.commit()
    service.process()
    assert ran == [1, 2, 3, "new"]


def test_what_is_twice_in_the_queue_runs_once(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """A job has one place in the queue: the first."""
    jobs = {jobid: old.job(jobid) for jobid in (1, 2)}
    old.service(jobs, queue=[jobs[2], jobs[1], jobs[2]])
    service = convert()
    assert len(service._queue) == 2
    service.process()
    assert ran == [2, 1]


def test_what_is_over_does_not_run(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """A job that is in the queue and is over is not queued any more."""
    jobs = {1: old.job(1, "completed"), 2: old.job(2, "cancelled"), 3: old.job(3)}
    old.service(jobs, queue=jobs.values(), scheduled={5: [jobs[1]]})
    service = convert()
    assert counts(service) == {"completed": 1, "cancelled": 1, QUEUED: 1}
    service.process()
    assert ran == [3]


def test_what_is_queued_only_is_left_out(
    old: OldDatabase,
    convert: Convert,
    ran: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A job that was in the queue, but is none of the service's, is not run."""
    other = old.job(7)
    jobs = {1: old.job(1)}
    old.service(jobs, queue=[other, jobs[1]])
    service = convert()
    assert "job 7 was queued, but is no job of the service" in caplog.text
    service.process()
    assert (ran, list(service.jobs)) == ([1], [1])


@pytest.mark.parametrize(
    ("status", "more"),
    [(QUEUED, {}), ("processing", {}), (DELAYED, {"delay": 5}), (DELAYED, {})],
)
def test_lost_jobs_are_in_error(
    old: OldDatabase,
    convert: Convert,
    caplog: pytest.LogCaptureFixture,
    status: str,
    more: dict[str, Any],
) -> None:
    """What was taken from the queue and never finished says so, and is not run."""
    jobs = {1: old.job(1, status, **more), 2: old.job(2)}
    old.service(jobs, queue=[jobs[2]])
    service = convert()
    assert "jobs [1] are in error" in caplog.text
    assert counts(service) == {ERROR: 1, QUEUED: 1}
    assert [job.id for job in service._queue] == [2]
    assert f"Its status was {status!r}" in service.getError(1)
    assert service.jobs[1].attempts[0].failure.type == "Lost"


def test_failed_jobs_are_found_at_once(old: OldDatabase, convert: Convert) -> None:
    """What is in error is in the index of such jobs, whatever was the reason."""
    ids = (0, 1, 40, 41, 5_000)
    jobs = {jobid: old.job(jobid, "error" if jobid % 2 else QUEUED) for jobid in ids}
    jobs[3] = old.job(3, "completed")
    old.service(jobs)
    service = convert(batch=2)
    assert [job.id for job in find(service, status=ERROR).jobs] == [*reversed(ids)]
    assert service.clean([ERROR]) == len(ids)
    assert find(service, status=ERROR).jobs == []


def test_lost_jobs_can_be_retried(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """Who still wants them has them run."""
    jobs = {1: old.job(1), 2: old.job(2, DELAYED, delay=5)}
    old.service(jobs)
    service = convert()
    assert service.retryAll() == 2
    service.process()
    assert ran == [1, 2]


def test_an_unknown_status_is_an_error(old: OldDatabase, convert: Convert) -> None:
    """A job with a status that is none is in error."""
    old.service({1: old.job(1, "sleeping")})
    assert "'sleeping'" in convert().getError(1)


# The schedule


def scheduled(job: Any) -> datetime.datetime:
    found: datetime.datetime = job.scheduledFor
    return found


def test_delays_go_on(old: OldDatabase, convert: Convert, ran: list[Any]) -> None:
    """What waits for a time keeps it; else its delay began when it was added."""
    jobs = {i: old.job(i, DELAYED, delay=3600) for i in (1, 2, 3)}
    due = int(NOW.timestamp()) + 5
    old.service(
        jobs,
        scheduled={due: [jobs[1], jobs[3]]},
        # The third was scheduled, and is to be scheduled anew.
        unscheduled=[jobs[2], jobs[3]],
    )
    service = convert(batch=1)
    hour = datetime.timedelta(hours=1)
    assert scheduled(service.jobs[1]) == NOW + datetime.timedelta(seconds=5)
    assert scheduled(service.jobs[2]) == ADDED + hour
    assert NOW + hour <= scheduled(service.jobs[3]) < NOW + 2 * hour
    assert len(service._schedule) == 3
    service.process()
    assert ran == [2]
    service.process(due + 10)
    assert ran == [2, 1]
    assert service.jobs[1].delay == 3600


def test_what_is_twice_in_the_schedule(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """The first of two times counts, and the job runs once."""
    job = old.job(1, DELAYED, delay=5)
    old.service({1: job}, scheduled={1_000: [job, job], 2_000: [job]})
    service = convert()
    assert [due for due, _ in service._schedule] == [1_000 * 10**6]
    service.process()
    assert ran == [1]


def test_cron_jobs_that_are_nowhere_are_planned(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """A cron job that was in no schedule runs when it is due next."""
    old.service({1: old.job(1, CRONJOB, hour=(13,))})
    service = convert()
    assert scheduled(service.jobs[1]) == NOW.replace(hour=13)
    service.process((NOW.replace(hour=13)).timestamp())
    assert ran == [1]


@pytest.mark.parametrize(
    "fields", [{"dayOfMonth": (31,), "month": (2,)}, {"hour": (99,)}]
)
def test_what_never_was_due_is_in_error(
    old: OldDatabase, convert: Convert, ran: list[Any], fields: dict[str, Any]
) -> None:
    """The 31st of February, which stopped the ancestor, stops nothing here."""
    jobs = {1: old.job(1, CRONJOB, **fields), 2: old.job(2)}
    old.service(jobs, queue=[jobs[2]], unscheduled=[jobs[1]])
    service = convert()
    assert "It was never due" in service.getError(1)
    service.process()
    assert ran == [2]
    service.jobs[1].update(hour=3)
    assert service.retry(1)
    service.process()
    assert (ran, service.getStatus(1)) == ([2, 1], CRONJOB)


@pytest.mark.parametrize(
    ("name", "star", "all_of_them"),
    [("dayOfMonth", range(31), range(1, 32)), ("month", range(12), range(1, 13))],
)
def test_stars_of_the_old_form(
    old: OldDatabase, convert: Convert, name: str, star: range, all_of_them: range
) -> None:
    """What the form made of a ``*`` is what was meant."""
    fields = {"hour": (4, 3), name: tuple(star)}
    old.service({1: old.job(1, CRONJOB, **fields)})
    job = convert().jobs[1]
    assert getattr(job, name) == tuple(all_of_them)
    assert job.hour == (3, 4)


def test_a_cron_job_without_fields(old: OldDatabase, convert: Convert) -> None:
    """It was due each minute, and still is."""
    job = old.job(1, CRONJOB, hour=())
    old.service({1: job}, scheduled={int(NOW.timestamp()): [job]})
    converted = convert().jobs[1]
    assert converted.upcoming(2)[1] - converted.upcoming(1)[0] <= _minutes(1)
    assert converted.upcoming(3)[2] - converted.upcoming(3)[1] == _minutes(1)
    assert converted.minute == ()


def test_a_cron_job_with_a_delay(old: OldDatabase, convert: Convert) -> None:
    """One that was given a delay later on came back after it, again and again."""
    job = old.job(1, CRONJOB, delay=90)
    old.service({1: job}, unscheduled=[job])
    first, second = convert().jobs[1].upcoming(2)
    assert second - first == datetime.timedelta(seconds=90)


def _minutes(minutes: int) -> datetime.timedelta:
    return datetime.timedelta(minutes=minutes)


def test_cron_jobs_that_are_over(old: OldDatabase, convert: Convert) -> None:
    """What is over is in no schedule, and has its fields."""
    jobs = {
        1: old.job(1, "cancelled", hour=(3,)),
        2: old.job(2, "completed", delay=5, started=CREATED, completed=CREATED),
    }
    old.service(jobs, scheduled={5: jobs.values()}, unscheduled=[jobs[1]])
    service = convert()
    assert list(service._schedule) == []
    assert (service.jobs[1].hour, service.jobs[2].delay) == ((3,), 5)
    assert service.jobs[2].completed == ADDED
    assert service.jobs[1].scheduledFor is None


# Ids


@pytest.mark.parametrize("jobid", [0, 1, 15, 16, 17, LARGEST_ID - 1, LARGEST_ID])
def test_any_id_is_kept(
    old: OldDatabase, convert: Convert, ran: list[Any], jobid: int
) -> None:
    """Whatever its id is, a job can be found, run and removed; 0 and the last, too."""
    jobs = {jobid: old.job(jobid)}
    old.service(jobs, queue=jobs.values())
    service = convert()
    assert list(service.jobs) == [jobid]
    assert service.jobs[jobid].id == jobid
    new = service.add("echo", "new")
    transaction.commit()
    assert new != jobid
    assert 0 < new <= LARGEST_ID
    service.process()
    transaction.commit()
    assert ran == [jobid, "new"]
    assert service.getResult(jobid) == jobid
    check(service)
    assert service.clean() == 2
    transaction.commit()
    assert list(service.jobs) == []
    assert service.add("echo") > 0
    transaction.commit()


def test_ids_that_are_started_later(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """Job 0 can be started too."""
    old.service({0: old.job(0, "start later"), 1: old.job(1, "start later")})
    service = convert()
    assert service.startJob(0)
    service.process()
    assert service.startJob(1)
    service.process()
    assert ran == [0, 1]


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        ([], 0),
        ([1], 1),
        ([0], 0),
        ([1, 2, 3, 16], 1),
        ([17], 2),
        ([LARGEST_ID - LEAST_ROOM - 20], (LARGEST_ID - LEAST_ROOM - 21) // 16 + 1),
        # There, or behind, is little room: then in the largest gap.
        ([LARGEST_ID], 0),
        ([5, LARGEST_ID - LEAST_ROOM + 20], 1),
        ([5, 2**30, LARGEST_ID], 2**26),
        ([5, 2**30 + 40, LARGEST_ID], 1),
        ([5, 2**29, LARGEST_ID], 2**25),
        # Where ids have 64 bits, there is room.
        ([5, LARGEST_ID + 1], 2**27),
    ],
)
def test_room_for_new_ids(ids: list[int], first: int) -> None:
    """New jobs come after all others, if there is room, else in the largest gap."""
    room = Room()
    for jobid in ids:
        room.note(jobid)
    number, end, beyond = room.find()
    assert number == first
    assert beyond >= number
    taken = {(jobid - 1) // 16 for jobid in ids}
    assert not any(number <= n < (end or 2**60) for n in taken)


def test_ids_skip_what_is_taken(
    old: OldDatabase, convert: Convert, ran: list[Any]
) -> None:
    """At the end of the gap, new ids go on behind all others."""
    jobs = {jobid: old.job(jobid, "completed") for jobid in (65, LARGEST_ID)}
    old.service(jobs)
    service = convert()
    sequence = service._lanes._sequence
    assert (sequence.number, sequence.beyond) == (5, LARGEST_ID // 16 + 1)
    sequence.end = 20
    transaction.commit()
    new = [service.add("echo") for _ in range(500)]
    transaction.commit()
    assert len(set(new)) == 500
    assert not set(new) & set(jobs)
    assert any(jobid < 320 for jobid in new)
    assert any(jobid > LARGEST_ID for jobid in new)
    assert list(service.jobs) == sorted([*new, *jobs])
    check(service)


def test_negative_ids_are_refused(old: OldDatabase, convert: Convert) -> None:
    """There are none; who has some is told."""
    old.service({-3: old.job(-3)})
    with pytest.raises(CannotConvert, match="-3"):
        convert()


# Jobs


def test_what_was_added_to_jobs_stays(old: OldDatabase, convert: Convert) -> None:
    """Attributes that an application has set on a job stay there."""
    old.service({1: old.job(1, "completed", note="urgent")})
    service = convert()
    assert service.jobs[1].note == "urgent"


def test_texts_that_were_bytes(old: OldDatabase, convert: Convert) -> None:
    """The name of a task is a str, in whatever encoding it was."""
    tasks = {1: b"caf\xc3\xa9", 2: b"caf\xe9", 3: "café"}
    old.service({i: old.job(i, "completed", task=name) for i, name in tasks.items()})
    service = convert()
    assert {job.task for job in service.jobs.values()} == {"café"}


def test_persistent_inputs_stay_the_same_objects(
    old: OldDatabase, convert: Convert
) -> None:
    """An input that has a record of its own still is that object."""
    document = old.add(("persistent.mapping", "PersistentMapping"), {"data": {"n": 1}})
    old.service({1: old.job(1, "completed", input=document, output=(document, 2))})
    job = convert().jobs[1]
    assert job.input._p_oid == document.oid
    assert job.output[0] is job.input
    assert job.input["n"] == 1


def test_inputs_of_classes_that_are_gone(old: OldDatabase, convert: Convert) -> None:
    """What the application can't import now is kept as it was."""
    gone = "newspaper.pages", "Page"
    page = old.add(gone, attributes({"number": 7}))
    value = (Made(gone, (b"front",)), page)
    old.service({1: old.job(1, "completed", input=value)})
    service = convert()
    service._p_jar.cacheMinimize()
    made, kept = service.jobs[1].input
    assert vars(made)["__Broken_newargs__"] == ("front",)
    kept._p_activate()
    assert kept.__getstate__() == {"number": 7}


def test_a_class_that_is_gone(old: OldDatabase, convert: Convert) -> None:
    """A job of a class that can't be imported stops it; nothing is lost."""
    gone = ("newspaper.jobs", "PageJob")
    lost = old.add(gone, attributes({"id": 1, "status": b"queued"}))
    old.service({1: lost, 2: old.job(2)}, queue=[])
    with pytest.raises(CannotConvert, match=r"newspaper\.jobs\.PageJob"):
        convert()


def test_errors_that_are_no_exceptions(old: OldDatabase, convert: Convert) -> None:
    """Whatever was kept as an error is text afterwards."""
    errors = {1: "gone", 2: b"caf\xe9", 3: 7, 4: Ref(*old.job(99))}
    jobs = {i: old.job(i, "error", error=error) for i, error in errors.items()}
    old.service(jobs)
    service = convert()
    assert [service.getError(i) for i in jobs] == ["gone", "café", "7", "<Job 99>"]


def test_attributes_of_the_service_stay(old: OldDatabase, convert: Convert) -> None:
    """The processor that was chosen, and its arguments, are still those."""
    processor = Global("lovely.remotetask.processor", "MultiProcessor")
    arguments = {b"waitTime": 2, b"maxThreads": 3}
    old.service({}, processorFactory=processor, processorArguments=arguments, n=1)
    service = convert()
    assert service.processorFactory is MultiProcessor
    assert service.processorArguments == {"waitTime": 2, "maxThreads": 3}
    assert service.n == 1
    assert service.__parent__ is service._p_jar.root()


# Many


@pytest.mark.slow
def test_large_databases_are_converted_in_batches(
    path: str, environment: FakeEnvironment
) -> None:
    """10,000 jobs are converted in transactions that are small, in little memory."""
    environment.now = NOW.timestamp()
    many(10_000).write(path)
    before = len(list(records_of(path)))
    db = ZODB.DB(FileStorage(path))
    tracemalloc.start()
    try:
        (done,) = evolve(db, timezone="UTC", batch=500)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (done.jobs, done.lost) == (10_000, 0)
    # All jobs at once would take more than twice as much.
    assert peak < 8_000_000
    service = db.open().root()["service"]
    assert counts(service) == {QUEUED: 5_000, "completed": 5_000}
    assert [job.id for job in service._queue] == list(range(9_999, 0, -2))
    assert service.jobs.maxKey() == 10_000
    transaction.abort()
    db.close()
    sizes = list(records_of(path))[before:]
    assert len(sizes) >= 10_000 / 500 + 5_000 / 500
    assert max(sizes) < 2 * 500
