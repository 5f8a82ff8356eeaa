"""``remotetask doctor`` and ``bench``: is a database sound, and how fast is it?"""

from __future__ import annotations

import json
import re
import shutil
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage

from lovely.remotetask import health
from lovely.remotetask.checks import STRUCTURE
from lovely.remotetask.cli import bench, doctor
from lovely.remotetask.cli.doctor import ADVICE
from lovely.remotetask.states import COMPLETED, QUEUED
from tests.cli import application
from tests.cli.commands import SETUP, done, invoke, refused
from tests.cli.conftest import Within
from tests.damage import REPAIRS, STRUCTURAL, Damage, make_busy
from tests.stateful.invariants import check
from tests.support import put_service


def damage(service: Any) -> None:
    """Three kinds of damage that can be repaired, and one of them twice."""
    [lane] = [lane for lane in service._lanes if lane.head.slot]
    lane.head.slot += 1
    service._writer().count(QUEUED, COMPLETED, 3)
    service._lanes.failed.drop(2)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a service that is in use."""
    path = tmp_path_factory.mktemp("busy") / "Data.fs"
    application.tasks()
    db = ZODB.DB(FileStorage(str(path)))
    make_busy(put_service(db, "tasks"))
    transaction.abort()
    db.close()
    return path


def plant(busy: Path, file: Path, damage: Damage) -> None:
    """Have that service, damaged, in a file."""
    shutil.copy(busy, file)
    Path(f"{file}.index").unlink()
    db = ZODB.DB(FileStorage(str(file)))
    with db.transaction() as connection:
        damage(connection.root()["tasks"])
    db.close()


@pytest.mark.parametrize("damage", REPAIRS, ids=lambda damage: damage.__name__)
def test_each_damage_is_found_and_repaired(
    busy: Path, file: Path, damage: Damage
) -> None:
    """It is told with advice, and repaired if that is asked for."""
    plant(busy, file, damage)
    result = invoke("doctor", "-d", file)
    assert result.exit_code == 1
    assert ADVICE[REPAIRS[damage]] in result.output
    output = done("doctor", "-d", file, "--repair")
    assert re.match(r"\d+ problems? repaired\.\nAll is well", output)
    done("doctor", "-d", file)


@pytest.mark.parametrize("damage", STRUCTURAL, ids=lambda damage: damage.__name__)
def test_each_damage_that_is_not_repaired(
    busy: Path, file: Path, damage: Damage
) -> None:
    """It is told, and nothing is written."""
    plant(busy, file, damage)
    before = file.read_bytes()
    for options in ([], ["--repair"]):
        result = invoke("doctor", "-d", file, *options)
        assert result.exit_code == 1
        assert ADVICE[STRUCTURE] in result.output
    assert file.read_bytes() == before


def test_all_is_well(file: Path) -> None:
    """A sound database gets one line."""
    assert done("doctor", "-d", file).startswith("All is well: looked at 7 jobs in ")
    found = json.loads(done("doctor", "-d", file, "--json"))
    assert (found["jobs"], found["problems"], found["repaired"]) == (7, [], 0)


def test_damage_is_told_with_advice(file: Path, within: Within) -> None:
    """What is wrong is told, with what to do, and nothing is changed."""
    within(damage)
    before = file.read_bytes()
    result = invoke("doctor", "-d", file)
    assert result.exit_code == 1
    assert "- job 3 is queued and waits in no place\n" in result.output
    assert ADVICE["place"] in result.output
    assert "3 problems: looked at 7 jobs in " in result.output
    result = invoke("doctor", "-d", file, "--json")
    found = json.loads(result.stdout)
    assert {p["kind"] for p in found["problems"]} == {"place", "counts", "index"}
    assert file.read_bytes() == before


def test_damage_is_repaired(file: Path, within: Within) -> None:
    """With --repair all is well afterwards."""
    within(damage)
    output = done("doctor", "-d", file, "--repair")
    assert output.startswith("3 problems repaired.\nAll is well")
    within(check)
    done("doctor", "-d", file)


def test_damage_that_is_not_repaired(file: Path, within: Within) -> None:
    """What can't be repaired safely is told again."""

    def break_(service: Any) -> None:
        service.jobs.block(0).lane = 77

    within(break_)
    result = invoke("doctor", "-d", file, "--repair")
    assert result.exit_code == 1
    assert "0 problems repaired." in result.output
    assert "Restore a backup" in result.output


def test_more_than_is_told(
    file: Path, within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many problems the first are told; all are repaired."""

    def lose(service: Any) -> None:
        for number in range(10):
            service.add("echo", number)
        for lane in service._lanes:
            lane.head.slot = 16 if lane.head.slot else 0

    within(lose)
    monkeypatch.setattr(doctor, "MOST", 4)
    result = invoke("doctor", "-d", file)
    assert result.exit_code == 1
    assert "There are more; these are the first 4." in result.output
    assert "All is well" in done("doctor", "-d", file, "--repair")
    within(check)


def test_repair_needs_the_file(file: Path) -> None:
    """A file that is in use can be looked at, and not repaired."""
    db = ZODB.DB(FileStorage(str(file)))
    try:
        done("doctor", "-d", file)
        assert "Another process is using" in refused("doctor", "-d", file, "--repair")
    finally:
        db.close()


def test_over_a_server(uri: str) -> None:
    """It works on a server that is in use."""
    found = json.loads(done("doctor", "-d", uri, "--repair", "--json"))
    assert found["problems"] == []


def test_tasks_that_are_not_registered(file: Path, within: Within) -> None:
    """Jobs that wait for a task that nobody knows here are told."""
    from tests.support import echo, register

    register("unknown", echo)
    within(lambda service: service.add("unknown"))
    from zope.component import getGlobalSiteManager

    from lovely.remotetask.interfaces import ITask

    getGlobalSiteManager().unregisterUtility(provided=ITask, name="unknown")
    result = invoke("doctor", "-d", file, *SETUP)
    assert result.exit_code == 1
    assert "not registered here: unknown" in result.output


def test_a_bad_configuration(file: Path, within: Within) -> None:
    """What would keep a worker from starting is told."""
    within(lambda service: setattr(service, "processorArguments", {"waitTime": "x"}))
    result = invoke("doctor", "-d", file)
    assert result.exit_code == 1
    assert "waitTime: a number of seconds is needed" in result.output
    assert ADVICE["configuration"] in result.output


def test_workers_and_stalls(
    file: Path, within: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is silent, and jobs that nobody takes, are told."""

    def look(service: Any) -> health.Processing:
        key = service._workers.register(service, 1)
        info = service._workers.info(service, service._workers.get(key))
        state = health.WorkerState(info, health.SILENT)
        oldest = datetime.now(timezone.utc) - timedelta(hours=3)
        return health.Processing(3, oldest, (state,), stalled=True)

    monkeypatch.setattr(health, "look", look)
    result = invoke("doctor", "-d", file)
    assert result.exit_code == 1
    assert "is silent" in result.output
    assert "jobs are due, the oldest for 3 h, and no worker takes them" in result.output


def test_ctrl_c(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it quietly, with the usual status."""

    def interrupted(*args: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor.checks, "problems", interrupted)
    result = invoke("doctor", "-d", file)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Looking at jobs: stopped at 0 of 7.\n"


def test_errors_of_our_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has foreseen is one line, too; --debug shows it all."""

    def broken(*args: object) -> Any:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(doctor.checks, "problems", broken)
    line = refused("doctor", "-d", file)
    assert line == (
        "Error: ZeroDivisionError: by nothing. 'remotetask --debug ...' shows the "
        "traceback."
    )
    result = invoke("--debug", "doctor", "-d", file)
    assert result.exit_code == 2
    assert "Traceback (most recent call last):\n" in result.stderr
    assert result.stderr.endswith(f"\nZeroDivisionError: by nothing\n{line}\n")


# bench


def test_bench() -> None:
    """It measures on a file of its own, and leaves nothing behind."""
    found = json.loads(done("bench", "--seconds", 0.05, "--producers", 2, "--json"))
    names = [figure["what"] for figure in found["figures"]]
    assert names == [
        "bare commits",
        "adds, one to a commit",
        "adds, 2 at a time",
        "jobs, one to a commit",
        "jobs, many to a commit",
        "commit to start, median",
        "commit to start, slowest of 20",
    ]
    assert all(figure["value"] > 0 for figure in found["figures"])
    assert found["figures"][0]["ratio"] is None
    assert found["figures"][1]["ratio"] > 0


def test_bench_asks_for_leave(file: Path, within: Within) -> None:
    """It does not write to a database that is named, unless it is told to."""
    before = file.read_bytes()
    line = refused("bench", "-d", file)
    assert line.startswith(f"Error: This would write to {file}. Allow it with --yes")
    assert file.read_bytes() == before


def test_bench_removes_its_service(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its service nothing is left in the database, and the other is as it was."""
    monkeypatch.setattr(bench, "STARTS", 20)
    output = done("bench", "-d", file, "--yes", "--seconds", 0.05, "--producers", 1)
    assert output.startswith(f"Measured on {file}.\n")
    assert "adds, one to a commit" in output
    db = ZODB.DB(FileStorage(str(file)))
    with db.transaction() as connection:
        assert set(connection.root()) == {"tasks"}
        check(connection.root()["tasks"])
        assert connection.root()["tasks"].count() == 7
    db.close()


def test_bench_removes_what_was_left(file: Path) -> None:
    """What a run has left that was killed is removed by a later one, in an hour."""
    hour = 3600 * 10**9
    old, new = (f"remotetask-bench-1-{time.time_ns() - age:x}" for age in (hour, 0))
    db = ZODB.DB(FileStorage(str(file)))
    with db.transaction() as connection:
        connection.root().update({f"{old}-bare": 1, old: 1, new: 1, "other": 1})
    with bench.Stage(db) as stage, db.transaction() as connection:
        assert {*connection.root()} == {
            *("tasks", "other", new),
            *(stage.name, f"{stage.name}-bare"),
        }
    db.close()


def test_bench_that_is_interrupted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes its service whatever happens."""

    def interrupted(*args: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "_jobs", interrupted)
    begun = time.monotonic()
    result = invoke("bench", "-d", file, "--yes", "--seconds", 0.05)
    assert result.exit_code == 130
    assert time.monotonic() - begun < 30
    db = ZODB.DB(FileStorage(str(file)))
    with db.transaction() as connection:
        assert set(connection.root()) == {"tasks"}
    db.close()
