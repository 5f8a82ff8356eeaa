"""What holds in every committed state of a service.

`check` looks at everything: the table, every lane from its head on, the schedule,
the workers' records and the counts.  It is slow, and knows the disk format.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.job import CronJob
from lovely.remotetask.queue import Entry
from lovely.remotetask.states import (
    ERROR,
    PROCESSING,
    QUEUED,
    SCHEDULED,
    STATUSES,
)
from lovely.remotetask.times import Clock

#: Any time: whether a job is due at some time does not depend on it.
NOW = Clock(0)

#: Where a job waits: ("lane", key, entry), ("suspects", entry) or ("schedule", due).
Place = tuple[Any, ...]


def check(service: Any) -> None:
    """Raise AssertionError unless status, table, queue, schedule and counts agree."""
    found = list(problems(service))
    assert not found, "; ".join(found)


def problems(service: Any) -> Iterator[str]:
    """What is wrong with the state of a service."""
    yield from table_problems(service)
    yield from count_problems(service)
    yield from lane_problems(service)
    yield from number_problems(service)
    yield from place_problems(service)
    yield from worker_problems(service)
    yield from failed_problems(service)


def blocks(service: Any) -> Iterator[Any]:
    """All blocks of the table, by shard."""
    for shard in service.jobs._shards:
        yield from shard.values()


def chain(service: Any, lane: Any) -> Iterator[Any]:
    """The blocks of a lane that its head has not passed."""
    block = service.jobs.block(lane.head.number)
    while block is not None:
        yield block
        block = block.successor(service.jobs)


def table_problems(service: Any) -> Iterator[str]:
    """Each job is in the slot of its id, and ids ascend."""
    for block in blocks(service):
        if block is not service.jobs.block(block.number):
            yield f"block {block.number} is not at its number"
        if len(block.jobs) > SLOTS:
            yield f"block {block.number} has {len(block.jobs)} slots"
        for jobid, job in enumerate(block.jobs, block.first_id):
            if job is not None and job.id != jobid:
                yield f"job {job.id} is in the slot of {jobid}"
    ids = list(service.jobs)
    if ids != sorted(set(ids)):
        yield f"ids do not ascend: {ids}"


def count_problems(service: Any) -> Iterator[str]:
    """The counts are what counting gives."""
    recount = Counter(job.status for job in service.jobs.values())
    for status in STATUSES:
        if service.count(status) != recount[status]:
            yield f"{service.count(status)} {status}, not {recount[status]}"
    total = sum(recount.values())
    if not service.count() == len(service.jobs) == len(list(service.jobs)) == total:
        yield f"{service.count()} jobs in all, not {total}"


def lane_problems(service: Any) -> Iterator[str]:
    """A lane is a chain of ascending blocks of its own; its head is within it."""
    for lane in service._lanes:
        found = list(chain(service, lane))
        numbers = [block.number for block in found]
        if numbers != sorted(set(numbers)):
            yield f"lane {lane.key}: blocks do not ascend: {numbers}"
        if any(block.lane != lane.key for block in found):
            yield f"lane {lane.key}: a block of another lane in {numbers}"
        if found:
            yield from head_problems(lane, found[0])
        if lane.tail(service.jobs) is not (found[-1] if found else None):
            yield f"lane {lane.key}: the last block is not the tail"


def head_problems(lane: Any, block: Any) -> Iterator[str]:
    """A head does not point behind what its block holds."""
    head = lane.head
    if not 0 <= head.slot <= len(block.jobs):
        yield f"lane {lane.key}: head at slot {head.slot} of {len(block.jobs)}"
    if not 0 <= head.index <= block.log_length:
        yield f"lane {lane.key}: head at entry {head.index} of {block.log_length}"


def number_problems(service: Any) -> Iterator[str]:
    """Every block number was given out, and to one lane only."""
    given, owner = service._lanes._sequence.number, {}
    for lane in service._lanes:
        numbers = [number for run in lane.numbers(0) for number in run]
        if any(number >= given for number in numbers):
            yield f"lane {lane.key}: {numbers}, and only {given} were given"
        for number in numbers:
            if owner.setdefault(number, lane.key) != lane.key:
                yield f"number {number}: of lanes {owner[number]} and {lane.key}"
    for block in blocks(service):
        root = -block.lane if block.number < 0 else block.number
        if block.number >= given or block.number != root:
            yield f"block {block.number} of lane {block.lane} was never given"
        if owner.get(block.number, block.lane) != block.lane:
            yield f"block {block.number} of lane {block.lane}: reserved by another"


def places(service: Any) -> dict[int, list[Place]]:
    """Where each job waits, by id."""
    found: dict[int, list[Place]] = defaultdict(list)
    for lane in service._lanes:
        for entry in entries(service, lane):
            job = service.jobs.get(entry.jobid)
            if job is not None and entry.is_place_of(job):
                found[entry.jobid].append(("lane", lane.key, entry))
    for suspect in service._suspects:
        entry = Entry(*suspect, noted=True)
        job = service.jobs.get(entry.jobid)
        if job is not None and entry.is_place_of(job):
            found[entry.jobid].append(("suspects", entry))
    for due, jobid in service._schedule:
        job = service.jobs.get(jobid)
        if job is not None and job.status in SCHEDULED and job.place == due:
            found[jobid].append(("schedule", due))
    return found


def entries(service: Any, lane: Any) -> Iterator[Entry]:
    """The entries of a lane that its head has not passed."""
    slot, index = lane.head.slot, lane.head.index
    for block in chain(service, lane):
        for job in block.jobs[slot:]:
            if job is not None:
                yield Entry(job._created, job.id)
        for position in range(index, block.log_length):
            yield Entry(*block.entry(position), noted=True)
        slot = index = 0


def place_problems(service: Any) -> Iterator[str]:
    """A job waits in exactly one place, if it waits at all."""
    where = places(service)
    for job in service.jobs.values():
        found = where[job.id]
        resting = job.status in SCHEDULED and job.due_at(NOW) is None
        if resting and any(kind == "schedule" for kind, *_ in found):
            yield f"job {job.id} is paused and waits in {found}"
        if job.status in {QUEUED, *SCHEDULED} and not resting and len(found) != 1:
            yield f"job {job.id} is {job.status} and waits in {found}"
        kind = "suspects" if job.crashes else "lane"
        if job.status == QUEUED and found[:1] and found[0][0] != kind:
            yield f"job {job.id} is queued, crashed {job.crashes} times: {found}"


def worker_problems(service: Any) -> Iterator[str]:
    """A worker holds what it processes, and nobody else does."""
    holders: dict[int, list[int]] = defaultdict(list)
    for worker in service._workers:
        for jobid in worker.held:
            holders[jobid].append(worker.key)
    for jobid in holders:
        if jobid not in service.jobs:
            yield f"job {jobid} is held and gone"
    for job in service.jobs.values():
        yield from claim_problems(job, holders.get(job.id, ()))


def claim_problems(job: Any, holders: Iterable[int]) -> Iterator[str]:
    """A job that is processed is held by its claimant; one that waits by nobody.

    But a cron job may still be on the record of the worker that ran it last.
    """
    keys = list(holders)
    if job.status == PROCESSING and keys != [job.claimant]:
        yield f"job {job.id} is processed by {job.claimant}, held by {keys}"
    waits = job.status == QUEUED
    waits = waits or (job.status in SCHEDULED and not isinstance(job, CronJob))
    if waits and (keys or job.claimant is not None):
        yield f"job {job.id} is {job.status}, claimed by {job.claimant}, held by {keys}"
    if any(key != job.claimant for key in keys):
        yield f"job {job.id} was claimed by {job.claimant}, held by {keys}"


def failed_problems(service: Any) -> Iterator[str]:
    """Of each job in error it is known, once: by the index, or by its worker."""
    index = service._lanes.failed
    if index is None or not index.complete:
        return
    held = [jobid for worker in service._workers for jobid in worker.held]
    unsettled = [jobid for jobid in held if service.jobs[jobid].status == ERROR]
    indexed = list(index.ids(newest_first=False))
    if list(index.ids(newest_first=True)) != indexed[::-1]:
        yield f"the index of errors is not the same backwards: {indexed}"
    failed = [job.id for job in service.jobs.values() if job.status == ERROR]
    if sorted(indexed + unsettled) != failed:
        yield f"{failed} are in error, not {indexed} (counted) and {unsettled}"
