"""The checks of a service's state find what is wrong, and repairs put it right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import transaction
from BTrees.OOBTree import OOTreeSet

from lovely.remotetask import checks
from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.callers import next_job
from lovely.remotetask.checks import (
    CLAIM,
    COUNTS,
    HELD,
    INDEX,
    PLACE,
    STRUCTURE,
    UNREADABLE,
    problems,
)
from lovely.remotetask.repairs import REPAIRABLE, repair
from lovely.remotetask.states import COMPLETED, ERROR, QUEUED
from lovely.remotetask.workers import Lease
from tests.support import counts

Damage = Callable[[Any], object]


@pytest.fixture
def busy(service: Any) -> Any:
    """A service with jobs of many kinds, and a worker that holds the first one."""
    for number in range(40):
        service.add("echo", number)
    service.add("echo", startLater=True)
    service.add("echo", delay=3600)
    paused = service.addCronJob("echo", every=60)
    service.addCronJob("echo", every=60)
    transaction.commit()
    service.pause(paused)
    failed = service.add("fail")
    transaction.commit()
    assert service.processNext(jobid=failed)
    service.cancel(2)
    transaction.commit()
    service.retry(2)
    transaction.commit()
    key = service._workers.register(service, 1, Lease())
    service._workers.claim(service, key, [next_job(service)])
    transaction.commit()
    assert kinds(service) == []
    return service


def kinds(service: Any) -> list[str]:
    """The kinds of what is wrong, each once."""
    return list(dict.fromkeys(problem.kind for problem in problems(service)))


def only_worker(service: Any) -> Any:
    [worker] = service._workers
    return worker


def lose_from_log(service: Any) -> None:
    """The entry of a job that was retried is gone from its lane's log."""
    for shard in service.jobs._shards:
        for block in shard.values():
            block.log = b""


def note_twice(service: Any) -> None:
    """A job has two entries."""
    service._writer().note(service.jobs[2])


def skip(service: Any) -> None:
    """A lane's head has passed a job that was not taken."""
    [lane] = [lane for lane in service._lanes if lane.head.slot]
    lane.head.slot += 1


def skip_block(service: Any) -> None:
    """A lane's head is in a later block."""
    [lane] = [lane for lane in service._lanes if lane.head.slot]
    lane.head.number += 1


def crash(service: Any) -> None:
    """A job that a worker was lost with is among the others."""
    service.jobs[5].crashes = 1


def schedule_paused(service: Any) -> None:
    """A cron job that is paused is in the schedule."""
    job = service.jobs[43]
    job.plan.place = 12345
    service._schedule.insert((12345, 43))


def forget_worker(service: Any) -> None:
    """The record of a worker is gone, and what it held is not."""
    del service._workers._records[only_worker(service).key]


def hold_waiting(service: Any) -> None:
    """A worker holds a job that waits."""
    only_worker(service).held += (7,)


def hold_twice(service: Any) -> None:
    """Two workers hold a job."""
    key = service._workers.register(service, 1, Lease())
    service._workers.get(key).held = only_first(service).held


def only_first(service: Any) -> Any:
    return next(iter(service._workers))


def claim_waiting(service: Any) -> None:
    """A job that waits has a claimant."""
    service.jobs[7].claimant = only_worker(service).key


def hold_gone(service: Any) -> None:
    """A worker holds a job that does not exist."""
    only_worker(service).held += (12345,)


def miscount(service: Any) -> None:
    """The counts are not what there is."""
    service._writer().count(QUEUED, COMPLETED, 3)


def fail_unindexed(service: Any) -> None:
    """A job in error is not in the index."""
    service._lanes.failed.drop(45)


def index_elsewhere(service: Any) -> None:
    """A job in error is in another set of the index, too."""
    for shard in service._lanes.failed._shards:
        shard.insert(45)


def index_others(service: Any) -> None:
    """The index has a job that waits, and one that is gone."""
    service._lanes.failed._shards[3].update([9, 4711])


REPAIRS = {
    lose_from_log: PLACE,
    note_twice: PLACE,
    skip: PLACE,
    skip_block: PLACE,
    crash: PLACE,
    schedule_paused: PLACE,
    forget_worker: CLAIM,
    hold_waiting: CLAIM,
    hold_twice: CLAIM,
    claim_waiting: CLAIM,
    hold_gone: HELD,
    miscount: COUNTS,
    fail_unindexed: INDEX,
    index_elsewhere: INDEX,
    index_others: INDEX,
}


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


def move_job(service: Any) -> None:
    """A job is in the slot of another."""
    block = service.jobs.block(0)
    block.jobs[3], block.jobs[4] = block.jobs[4], block.jobs[3]
    block._p_changed = True


def move_block(service: Any) -> None:
    """A block is not at its number."""
    tree = service.jobs._shards[1]
    tree[1 + 16 * 100] = service.jobs.block(1)


def steal_block(service: Any) -> None:
    """A block is of another lane than it says."""
    service.jobs.block(1).lane = 77


def break_chain(service: Any) -> None:
    """A lane ends before its last block."""
    service.jobs.block(0).next = None


def turn_chain(service: Any) -> None:
    """A lane leads in a circle."""
    service.jobs.block(1).next = 0


def run_ahead(service: Any) -> None:
    """A head points behind what its block holds."""
    for lane in service._lanes:
        lane.head.slot = lane.head.index = SLOTS + 100


def fill_up(service: Any) -> None:
    """A block has too many jobs."""
    block = service.jobs.block(2)
    block.jobs.extend([None] * SLOTS)
    block._p_changed = True


def share_numbers(service: Any) -> None:
    """Two lanes have the same numbers."""
    first, *others = service._lanes
    for lane in others:
        lane.extents = first.extents or ((0, 4),)
    first.extents = first.extents or ((0, 4),)


def give_back_numbers(service: Any) -> None:
    """Lanes have numbers that were never given."""
    service._lanes._sequence.number = 0


STRUCTURAL = [
    move_job,
    move_block,
    steal_block,
    break_chain,
    turn_chain,
    run_ahead,
    fill_up,
    share_numbers,
    give_back_numbers,
]


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
