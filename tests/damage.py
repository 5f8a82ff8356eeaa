"""Damage to a service's state, as no bug should bring it about, to be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transaction

from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.callers import next_job
from lovely.remotetask.checks import CLAIM, COUNTS, HELD, INDEX, PLACE
from lovely.remotetask.states import COMPLETED, QUEUED
from lovely.remotetask.workers import Lease

Damage = Callable[[Any], object]


def make_busy(service: Any) -> None:
    """Give a service jobs of many kinds, and a worker that holds the first one."""
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
