"""The contract of a service: cron jobs, by the times that are given."""

from __future__ import annotations

from typing import Any

import pytest

from lovely.remotetask.errors import InvalidArgument, UnknownTask
from tests.contract.worlds import World
from tests.support import counts, register, statuses


@pytest.fixture
def count(here: World) -> list[int]:
    """A task ``count`` that returns how often it has run; the runs."""
    runs: list[int] = []

    def count(value: Any) -> int:
        runs.append(len(runs) + 1)
        return len(runs)

    register("count", count, here.service.taskInterface)
    return runs


def process(here: World, *minutes: float) -> list[Any]:
    """The results of all jobs, after processing at each of these times."""
    for minute in minutes:
        here.service.process(60 * minute)
        here.settle()
    return [job.output for job in here.service.jobs.values()]


def test_a_cron_job_comes_back(here: World, count: list[int]) -> None:
    """It keeps its id and its status, and gives its last result."""
    jobid = here.service.addCronJob("count", "input", minute=(0, 10))
    here.settle()
    assert here.service.getStatus(jobid) == "cronjob"
    assert process(here, 0, 9) == [None]
    assert process(here, 10, 11) == [1]
    assert process(here, 60, 65) == [2]
    assert process(here, 70) == [3]
    assert counts(here.service) == statuses(here.service) == {"cronjob": 1}
    assert [run.outcome for run in here.service.jobs[jobid].runs] == ["completed"] * 3


def test_a_failure_is_noted(here: World) -> None:
    """An error does not end it."""
    jobid = here.service.addCronJob("fail", "alas", minute=0)
    here.settle()
    process(here, 0, 60)
    assert here.service.getStatus(jobid) == "cronjob"
    assert here.service.getError(jobid) == "alas"
    (run,) = here.service.jobs[jobid].runs
    assert (run.outcome, run.error) == ("error", "alas")


@pytest.mark.parametrize("kind", ["delay", "paused"])
def test_once(here: World, count: list[int], kind: str) -> None:
    """What is delayed runs once; what is paused, once if it is asked for."""
    arguments = {"delay": 60} if kind == "delay" else {"minute": 1}
    jobid = here.service.addCronJob("count", **arguments)
    if kind == "paused":
        here.settle()
        assert here.service.pause(jobid)
        here.settle()
        assert process(here, 0, 1, 60) == [None]
        assert here.service.runNow(jobid)
    here.settle()
    assert process(here, 0, 1, 2, 61) == [1]
    status = "completed" if kind == "delay" else "cronjob"
    assert here.service.getStatus(jobid) == status


def test_changed(here: World, count: list[int]) -> None:
    """It can be changed, planned anew, paused and resumed."""
    jobid = here.service.addCronJob("count", minute=0)
    here.settle()
    assert process(here, 0, 60) == [1]
    here.service.jobs[jobid].update(minute=30)
    here.settle()
    assert here.service.reschedule(jobid)
    here.settle()
    assert process(here, 61, 89) == [1]
    assert process(here, 90) == [2]
    here.service.pause(jobid)
    here.settle()
    assert process(here, 150) == [2]
    here.service.resume(jobid)
    here.settle()
    assert process(here, 151, 209) == [2]
    assert process(here, 210) == [3]


def test_cancelled(here: World, count: list[int]) -> None:
    """It can be cancelled, and cleaned away then, not before."""
    jobid = here.service.addCronJob("count", minute=0)
    here.settle()
    process(here, 0)
    assert here.service.clean() == 0
    here.service.cancel(jobid)
    here.settle()
    assert process(here, 60) == [None]
    assert here.service.clean() == 1
    here.settle()
    assert process(here, 120) == []
    assert count == []


def test_refused(here: World) -> None:
    """What is refused leaves nothing."""
    with pytest.raises(InvalidArgument):
        here.service.addCronJob("echo", dayOfMonth=31, month=2)
    with pytest.raises(UnknownTask):
        here.service.addCronJob("no such task", minute=0)
    here.settle()
    assert here.service.count() == 0
