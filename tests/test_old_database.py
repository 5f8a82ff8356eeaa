"""The database that version 0.5.2 made on Python 2: zodbupdate, `evolve`, and on."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask.errors import CannotConvert, DatabaseTooOld
from lovely.remotetask.evolve import evolve
from lovely.remotetask.states import COMPLETED, QUEUED, STATUSES
from lovely.remotetask.times import from_datetime
from tests.old_records import Made, OldDatabase, many
from tests.stateful import invariants
from tests.support import FakeEnvironment, echo, fail, processing, register, wait_until

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "lovely.remotetask-0.5.2.json").read_text(encoding="utf-8"))
JOBS: dict[int, dict[str, Any]] = {int(i): job for i, job in FACTS["jobs"].items()}
TIMES = ("created", "started", "completed")
FIELDS = ("minute", "hour", "dayOfMonth", "month", "dayOfWeek")

#: A day after the database was made, in UTC.
NOW = datetime(2026, 11, 24, 21, 0, tzinfo=timezone.utc)


def zodbupdate(path: Path) -> None:
    """Run the command that converts a database of Python 2."""
    command = shutil.which("zodbupdate", path=str(Path(sys.executable).parent))
    assert command
    options = ["--convert-py3", "--encoding", "utf-8"]
    subprocess.run(
        [command, "-f", str(path), *options], check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database after zodbupdate."""
    path = tmp_path_factory.mktemp("old") / "Data.fs"
    shutil.copy(DATA / "lovely.remotetask-0.5.2.fs", path)
    zodbupdate(path)
    return path


@pytest.fixture
def old(updated: Path, tmp_path: Path, environment: FakeEnvironment) -> Iterator[Any]:
    """A copy of it, open, and not converted."""
    environment.now = NOW.timestamp()
    path = shutil.copy(updated, tmp_path / "Data.fs")
    db = ZODB.DB(FileStorage(str(path)))
    yield db
    transaction.abort()
    db.close()


@pytest.fixture
def converted(old: Any) -> Any:
    """The same, converted."""
    evolve(old, timezone="UTC")
    return old


@pytest.fixture
def ran() -> list[Any]:
    """The tasks of the old application; what they were given, in order."""
    ran: list[Any] = []

    def note(value: Any) -> Any:
        ran.append(value)
        return echo(value)

    register("echo", note)
    register("tick", note)
    register("fail", fail)
    return ran


def service_of(db: Any) -> Any:
    return db.open().root()["Application"]["tasks"]


def value_of(text: str) -> Any:
    """The value that Python 2 showed so; what was no ASCII there is bytes."""
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        is_str = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_str and node.kind != "u" and not node.value.isascii():
            node.value = node.value.encode("latin-1")
    return ast.literal_eval(tree)


def utc(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


def facts_of(service: Any) -> dict[int, Any]:
    """All that can be seen of a service's jobs."""
    names = ("task", "status", "input", "output", "error", *TIMES, "scheduledFor")
    return {
        jobid: [getattr(job, name, None) for name in (*names, *FIELDS, "delay")]
        for jobid, job in service.jobs.items()
    }


def check_all(service: Any) -> None:
    """All is there, and where it waits agrees with its status."""
    invariants.check(service)
    assert list(service.jobs) == sorted(JOBS)
    assert [job.id for job in service._queue] == FACTS["queue"]
    for status in STATUSES:
        jobs = [job for job in service.jobs.values() if job.status == status]
        assert service.count(status) == len(jobs)
    waiting = {job.id for job in service.jobs.values() if job.scheduledFor}
    assert {jobid for _, jobid in service._schedule} == waiting


@pytest.mark.parametrize("jobid", JOBS)
def test_each_job_is_as_it_was(converted: Any, jobid: int) -> None:
    """Id, status, input, output, error and times of a job are the same."""
    job, facts = service_of(converted).jobs[jobid], JOBS[jobid]
    assert type(job).__name__ == facts["cls"]
    assert (job.id, job.task, job.status) == (jobid, facts["task"], facts["status"])
    assert job.input == value_of(facts["input"])
    assert job.output == value_of(facts["output"])
    for name in TIMES:
        assert getattr(job, name) == utc(facts[name])


@pytest.mark.parametrize("jobid", JOBS)
def test_each_error_is_the_same_text(converted: Any, jobid: int) -> None:
    """What getError says is what it said; the job's error is text too."""
    service, text = service_of(converted), JOBS[jobid]["error"]
    assert service.getError(jobid) == text
    error = service.jobs[jobid].error
    assert error is None if text == "None" else f"TaskError: {text}" in error


@pytest.mark.parametrize("jobid", [i for i in JOBS if JOBS[i]["cls"] == "CronJob"])
def test_each_cron_job_has_its_fields(converted: Any, jobid: int) -> None:
    """The fields, the delay and the planned time of a cron job are the same."""
    job, facts = service_of(converted).jobs[jobid], JOBS[jobid]
    for name in FIELDS:
        assert getattr(job, name) == tuple(facts[name])
    assert job.delay == facts["delay"]
    if facts["scheduledFor"]:
        assert job.scheduledFor == utc(facts["scheduledFor"])


def test_all_waits_where_it_did(converted: Any) -> None:
    """The queue has its order, and the schedule what was in it or about to be."""
    service = service_of(converted)
    check_all(service)
    (due,) = FACTS["scheduled"]
    assert dict(map(reversed, service._schedule)) == {
        1392637179: int(due) * 1_000_000,
        # An hour after it was added, and the next Monday or Sunday.
        1392637181: from_datetime(utc("2026-11-23T22:27:35.813448")),
        1392637180: from_datetime(utc("2026-11-29T00:00:00")),
    }


def test_jobs_run_in_their_order(converted: Any, ran: list[Any]) -> None:
    """A processor runs what is due: the oldest first, and the queue in its order."""
    service = service_of(converted)
    with processing(service):
        wait_until(lambda: len(ran) == 7)
    # The schedule comes first or last, as it was due; what is to be started later
    # waits for that.
    assert ran == [(), 0, 1, 2, 3, 4, {"later": True}]
    transaction.begin()
    for jobid in FACTS["queue"]:
        assert service.getStatus(jobid) == COMPLETED
        assert service.getResult(jobid) == jobid - FACTS["queue"][0]
    assert service.getStatus(1392637181) == COMPLETED


def test_cron_jobs_fall_due(
    converted: Any, ran: list[Any], environment: FakeEnvironment
) -> None:
    """A cron job runs when it is due, and again when it is due next."""
    service = service_of(converted)
    service.process()
    job = service.jobs[1392637179]
    # One run made up for all that were missed since 2001.
    assert job.runs[-1].planned == utc("2026-11-24T16:30:00")
    assert job.scheduledFor == utc("2026-11-25T04:00:00")
    weekly = service.jobs[1392637180]
    assert weekly.scheduledFor == utc("2026-11-29T00:00:00")
    ran.clear()
    environment.now = job.scheduledFor.timestamp()
    service.process()
    assert (ran, job.status) == ([()], "cronjob")
    assert job.scheduledFor == utc("2026-11-25T04:30:00")


def test_jobs_can_be_worked_with(converted: Any, ran: list[Any]) -> None:
    """What waits can be started or cancelled, what is over retried or removed."""
    service = service_of(converted)
    assert service.startJob(1392637182)
    service.cancel(1392637184)
    assert service.retry(1392637183)
    transaction.commit()
    service.process()
    assert ran == [(), 1, 2, 3, 4, {"later": True}, "not yet", "never"]
    assert service.clean() == len(JOBS) - 2
    assert list(service.jobs) == [1392637179, 1392637180]
    transaction.commit()


def test_new_ids_are_new(converted: Any, ran: list[Any]) -> None:
    """New jobs have larger ids than all others, one after the other."""
    service = service_of(converted)
    new = [service.add("echo") for _ in range(40)]
    transaction.commit()
    assert new == list(range(new[0], new[0] + 40))
    assert new[0] > max(JOBS)
    assert len(service.jobs) == len(JOBS) + 40


def test_to_convert_again_does_nothing(converted: Any) -> None:
    """What is up to date is left alone."""
    last = converted.lastTransaction()
    (done,) = evolve(converted)
    assert (done.version, done.jobs) == (1, len(JOBS))
    assert converted.lastTransaction() == last


def test_zone_of_the_old_server_can_be_told(old: Any) -> None:
    """The ancestor's times were those of a clock on a wall, which may be elsewhere."""
    evolve(old, timezone="Europe/Vienna")
    job = service_of(old).jobs[1392637178]
    assert job.created == utc("2026-11-23T20:27:35.810053")
    # What was scheduled did not depend on it.
    check_all(service_of(old))


class Interrupted(Exception):
    """Somebody has had enough."""


def interrupt_after(commits: int) -> Any:
    """What raises Interrupted when it is called for the so-manieth time."""
    left = iter(range(commits - 1, -1, -1))

    def progress(progress: Any) -> None:
        if not next(left):
            raise Interrupted

    return progress


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_it_goes_on_after_each_interruption(old: Any, batch: int) -> None:
    """Whatever was the last commit, the next call goes on, and all is as it should be.

    Until then, nothing can be done with the service.
    """
    interruptions = 0
    while True:
        try:
            evolve(
                old, timezone="UTC", batch=batch, progress=interrupt_after(commits=1)
            )
        except Interrupted:
            interruptions += 1
        else:
            break
        if interruptions <= 4:
            with pytest.raises(DatabaseTooOld), old.transaction() as connection:
                connection.root()["Application"]["tasks"].add("echo")
    # Begin, the queue, the schedule, the jobs, end: so many commits at least.
    assert interruptions >= 5
    service = service_of(old)
    check_all(service)
    assert service.jobs[1392637178].created == utc(JOBS[1392637178]["created"])


def test_interruptions_make_no_difference(
    updated: Path, tmp_path: Path, environment: FakeEnvironment
) -> None:
    """What was converted in pieces is the same as what was converted at once."""
    environment.now = NOW.timestamp()
    found = []
    for name, batch in ("one", 1), ("all", 1000):
        path = shutil.copy(updated, tmp_path / name)
        db = ZODB.DB(FileStorage(str(path)))
        evolve(db, timezone="UTC", batch=batch)
        service = service_of(db)
        found.append((facts_of(service), list(service._schedule)))
        transaction.abort()
        db.close()
    assert found[0] == found[1]


KILLED = """
import os, sys, ZODB
from lovely.remotetask.evolve import evolve
left = iter((1, 0))
db = ZODB.DB(sys.argv[1])
evolve(db, timezone="UTC", batch=4, progress=lambda p: next(left) or os._exit(9))
"""


def test_a_process_may_be_killed(updated: Path, tmp_path: Path) -> None:
    """Processes that are killed after two commits each convert it all together."""
    path = shutil.copy(updated, tmp_path / "Data.fs")
    command = [sys.executable, "-c", KILLED, str(path)]
    codes = []
    while not codes or codes[-1]:
        codes.append(subprocess.run(command, check=False).returncode)
        assert codes[-1] in {0, 9}
    assert len(codes) > 3
    db = ZODB.DB(FileStorage(str(path)))
    check_all(service_of(db))
    transaction.abort()
    db.close()


def test_two_may_convert_at_once(old: Any) -> None:
    """Two processes that start at the same time do not double or lose anything."""
    barrier, done = threading.Barrier(2), []

    def convert() -> None:
        barrier.wait()
        done.extend(evolve(old, timezone="UTC", batch=1))

    threads = [threading.Thread(target=convert) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.jobs for found in done] == [len(JOBS)] * 2
    check_all(service_of(old))


def test_nothing_runs_before_it_is_converted(old: Any, ran: list[Any]) -> None:
    """A service that is not converted says so, whatever is asked of it."""
    service = service_of(old)
    for verb in ("add", "cancel", "getStatus", "process", "startProcessing"):
        with pytest.raises(DatabaseTooOld, match=r"evolve\(db\)"):
            getattr(service, verb)
    transaction.abort()
    evolve(old)
    assert service_of(old).count(QUEUED) == 5
    assert ran == []


def test_what_was_replaced_can_be_packed_away(converted: Any, ran: list[Any]) -> None:
    """Nothing refers to the old queue or BTrees any more."""
    converted.pack()
    storage = converted.storage
    records = [record.data for txn in storage.iterator() for record in txn]
    assert not any(b"zc.queue" in record for record in records)
    assert not any(b"Conversion" in record for record in records)
    service_of(converted).process()
    assert len(ran) == 7


def test_without_zodbupdate_it_says_so(tmp_path: Path) -> None:
    """A database that Python 2 wrote is refused with the reason."""
    many(500, python2=True).write(tmp_path / "Data.fs")
    with (tmp_path / "Data.fs").open("r+b") as file:
        file.write(b"FS30")
    db = ZODB.DB(FileStorage(str(tmp_path / "Data.fs")))
    with pytest.raises(CannotConvert, match="run zodbupdate first"):
        evolve(db)
    db.close()


def test_errors_that_can_not_be_made_any_more(tmp_path: Path) -> None:
    """A UnicodeDecodeError of Python 2 is text afterwards; others were classes there.

    Python 3 does not make one of what it was made of.
    """
    old = OldDatabase(python2=True)
    arguments = (b"ascii", b"caf\xc3\xa9", 3, 4, b"ordinal not in range(128)")
    message = "'ascii' codec can't decode byte 0xc3 in position 3: "
    errors = {
        1: (("exceptions", "UnicodeDecodeError"), arguments),
        2: (("exceptions", "IOError"), (2, b"No such file or directory")),
        3: (("newspaper.errors", "PageLost"), ("page", 7)),
        4: (("newspaper.errors", "PageLost"), ("page 7",)),
    }
    jobs = {i: old.job(i, "error", error=Made(*made)) for i, made in errors.items()}
    old.service(jobs)
    old.write(tmp_path / "Data.fs")
    zodbupdate(tmp_path / "Data.fs")
    db = ZODB.DB(FileStorage(str(tmp_path / "Data.fs")))
    evolve(db)
    service = db.open().root()["service"]
    assert [(job.id, *job.failure[:2]) for job in service.jobs.values()] == [
        (1, "UnicodeDecodeError", f"{message}ordinal not in range(128)"),
        (2, "FileNotFoundError", "[Errno 2] No such file or directory"),
        (3, "PageLost", "('page', 7)"),
        (4, "PageLost", "page 7"),
    ]
    transaction.abort()
    db.close()
