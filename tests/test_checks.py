"""The checks of a service's state find what is wrong, and repairs put it right."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from BTrees.OOBTree import OOTreeSet

from lovely.remotetask import checks
from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.checks import (
    COUNTS,
    STRUCTURE,
    UNREADABLE,
    problems,
)
from lovely.remotetask.repairs import REPAIRABLE, repair
from lovely.remotetask.states import COMPLETED, ERROR, QUEUED
from tests.damage import (
    REPAIRS,
    STRUCTURAL,
    Damage,
    forget_worker,
    make_busy,
    miscount,
    skip,
)
from tests.support import counts


@pytest.fixture
def busy(service: Any) -> Any:
    """A service with jobs of many kinds, and a worker that holds the first one."""
    make_busy(service)
    assert kinds(service) == []
    return service


def kinds(service: Any) -> list[str]:
    """The kinds of what is wrong, each once."""
    return list(dict.fromkeys(problem.kind for problem in problems(service)))


def repair_all(service: Any) -> None:
    """As the command does: the counts come last."""
    for _ in range(5):
        found = list(problems(service))
        others = [problem for problem in found if problem.kind != COUNTS]
        for problem in others or found:
            assert repair(service, problem)
            transaction.commit()


@pytest.mark.parametrize("damage", REPAIRS, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_repaired(busy: Any, damage: Damage) -> None:
    """Each kind of damage is found, and afterwards all is well and every job runs."""
    damage(busy)
    transaction.commit()
    assert REPAIRS[damage] in kinds(busy)
    repair_all(busy)
    assert kinds(busy) == []
    assert list(busy._lanes.failed.ids(newest_first=False)) == [45]
    for worker in list(busy._workers):
        busy._workers.leave(busy, worker.key)
    transaction.commit()
    busy.process()
    transaction.commit()
    assert kinds(busy) == []
    assert counts(busy).get(QUEUED) is None
    assert {busy.getStatus(jobid) for jobid in range(1, 41)} == {COMPLETED}


@pytest.mark.parametrize("damage", STRUCTURAL, ids=lambda damage: damage.__name__)
def test_damage_that_is_not_repaired(busy: Any, damage: Damage) -> None:
    """Damage of the table or the lanes is found, and left alone."""
    damage(busy)
    transaction.commit()
    assert STRUCTURE in kinds(busy)
    assert STRUCTURE not in REPAIRABLE


def test_a_job_that_can_not_be_read(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is lost is told, and the others are looked at all the same."""
    load = type(busy._p_jar).setstate
    lost = busy.jobs[20]._p_oid

    def setstate(self: Any, obj: Any) -> None:
        if obj._p_oid == lost:
            raise KeyError(lost)
        load(self, obj)

    monkeypatch.setattr(type(busy._p_jar), "setstate", setstate)
    busy._p_jar.cacheMinimize()
    found = [p for p in problems(busy) if p.kind == UNREADABLE]
    assert [problem.jobid for problem in found] == [20]
    busy.jobs[19].status  # noqa: B018 - it can be read


def test_what_has_changed_is_not_repaired(busy: Any) -> None:
    """A job that has gone on since it was looked at is left alone."""
    skip(busy)
    transaction.commit()
    [problem] = problems(busy)
    busy.cancel(problem.jobid)
    transaction.commit()
    assert not repair(busy, problem)
    assert kinds(busy) == []


def test_counts_are_corrected_while_others_count(busy: Any) -> None:
    """What others count between the look and the repair stays right."""
    miscount(busy)
    transaction.commit()
    [problem] = problems(busy)
    busy.add("echo")
    busy.cancel(9)
    transaction.commit()
    assert repair(busy, problem)
    transaction.commit()
    assert kinds(busy) == []


def test_counts_are_corrected_once(busy: Any) -> None:
    """Two who have found them wrong do not both correct them."""
    miscount(busy)
    transaction.commit()
    [problem] = problems(busy)
    assert repair(busy, problem)
    transaction.commit()
    assert not repair(busy, problem)
    transaction.commit()
    assert kinds(busy) == []


def test_a_job_that_was_lost_too_often(busy: Any) -> None:
    """A job that nobody holds counts as crashed, so that it can't do so for ever."""
    busy.jobs[1].crashes = 2
    forget_worker(busy)
    transaction.commit()
    repair_all(busy)
    assert busy.getStatus(1) == ERROR
    assert kinds(busy) == []


def test_progress_is_told(busy: Any) -> None:
    """It tells how many jobs it has looked at, up to all."""
    told: list[int] = []
    list(problems(busy, told.append))
    assert told == sorted(told)
    assert told[-1] == busy.count()


def test_memory_is_bounded(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it remembers, and what is in memory, does not grow with the jobs."""
    monkeypatch.setattr(checks, "WINDOW", 8)
    monkeypatch.setattr(checks, "CHUNK", 4)
    for number in range(1000):
        service.add("echo", number, startLater=True)
    transaction.commit()
    for jobid in service.jobs:
        service.startJob(jobid)
    transaction.commit()
    jar = service._p_jar
    jar._cache.cache_size = 100
    jar.cacheMinimize()
    most_noted = most_loaded = 0
    examination = checks.Examination(service, lambda looked_at: None)
    for _ in examination.of_table():
        pytest.fail("nothing is wrong")

    def look(looked_at: int) -> None:
        nonlocal most_noted, most_loaded
        most_noted = max(most_noted, len(examination._noted))
        most_loaded = max(most_loaded, jar._cache.cache_non_ghost_count)

    examination = checks.Examination(service, look)
    assert list(examination.of_table()) == []
    assert 0 < most_noted <= 8 * SLOTS
    assert most_loaded < 300


def test_a_service_that_is_in_no_database(tasks: None) -> None:
    """A service can be looked at before it is stored."""
    from lovely.remotetask.service import TaskService

    service = TaskService()
    service.add("echo")
    assert kinds(service) == []
    assert isinstance(service._schedule, OOTreeSet)
