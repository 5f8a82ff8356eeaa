"""Whether a service's status, table, queue, schedule, claims and counts agree.

They do in every committed state; `problems` looks at all of it and says where they do
not.  It knows the disk format, looks at each job, and so takes its time; but it needs
little memory, however many jobs there are, and reads only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from lovely.remotetask.blocks import SLOTS, Block
from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.lanes import Lane
from lovely.remotetask.own import fetch
from lovely.remotetask.queue import Entry
from lovely.remotetask.states import ERROR, PROCESSING, QUEUED, SCHEDULED, STATUSES
from lovely.remotetask.times import Clock

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: Any time: whether a job is due at some time does not depend on it.
NOW = Clock(0)

#: So many blocks are examined for one walk through the lanes' logs, which are
#: remembered meanwhile; and so many are asked of the storage at once.
WINDOW = 16_384
CHUNK = 32

# What may be wrong.
STRUCTURE = "structure"
COUNTS = "counts"
PLACE = "place"
CLAIM = "claim"
HELD = "held"
INDEX = "index"
UNREADABLE = "unreadable"


class Problem(NamedTuple):
    """Something that does not agree."""

    #: One of the words above.
    kind: str
    text: str
    #: The job, or the key of the worker, that it is about; and how that was.
    jobid: int | None = None
    worker: int | None = None
    seen: Any = None


#: Told how many jobs have been looked at.
Tell = Callable[[int], object]


def problems(service: TaskService, tell: Tell = lambda _: None) -> Iterator[Problem]:
    """What is wrong with the state of a service, as the transaction sees it."""
    examination = Examination(service, tell)
    yield from lane_problems(service)
    yield from number_problems(service)
    yield from examination.of_workers()
    yield from index_problems(service)
    yield from examination.of_table()
    yield from examination.of_counts()


def seen_of(job: Job) -> tuple[Any, ...]:
    """What tells whether a job has been changed since."""
    return job.status, job._queued, job.place, job.claimant, job.attempt


# Lanes


def chain(service: TaskService, lane: Lane) -> Iterator[Block]:
    """The blocks of a lane that its head has not passed, as far as they ascend."""
    block = service.jobs.block(lane.head.number)
    while block is not None:
        yield block
        following = block.successor(service.jobs)
        if following is not None and following.number <= block.number:
            return
        block = following


def lane_problems(service: TaskService) -> Iterator[Problem]:
    """A lane is a chain of ascending blocks of its own; its head is within it."""
    for lane in service._lanes:
        name, last = f"lane {lane.key}", None
        for block in chain(service, lane):
            if block.lane != lane.key:
                yield Problem(
                    STRUCTURE, f"{name} has block {block.number} of lane {block.lane}"
                )
            if last is None:
                yield from _head_problems(lane, block)
            last = block
        if lane.tail(service.jobs) is not last:
            yield Problem(STRUCTURE, f"{name}: the last block is not the tail")


def _head_problems(lane: Lane, block: Block) -> Iterator[Problem]:
    """A head does not point behind what its block holds."""
    head, name = lane.head, f"lane {lane.key}"
    if not 0 <= head.slot <= len(block.jobs):
        text = f"{name}: head at slot {head.slot} of {len(block.jobs)}"
        yield Problem(STRUCTURE, text)
    if not 0 <= head.index <= block.log_length:
        text = f"{name}: head at entry {head.index} of {block.log_length}"
        yield Problem(STRUCTURE, text)


class Reserved:
    """The runs of block numbers that lanes have reserved, in order."""

    def __init__(self, service: TaskService) -> None:
        self.runs = sorted(
            (run.start, run.stop, lane.key)
            for lane in service._lanes
            for run in lane.numbers(0)
        )
        self._starts = [start for start, _, _ in self.runs]

    def owner(self, number: int) -> int | None:
        """The key of the lane that a number is reserved for."""
        index = bisect_right(self._starts, number) - 1
        if index < 0:
            return None
        _, stop, key = self.runs[index]
        return key if number < stop else None


def number_problems(service: TaskService) -> Iterator[Problem]:
    """Every block number was given out, and to one lane only."""
    given = service._lanes._sequence.number
    end, owner = 0, None
    for start, stop, key in Reserved(service).runs:
        if stop > given:
            text = f"lane {key}: numbers up to {stop - 1}, and only {given} were given"
            yield Problem(STRUCTURE, text)
        if start < end and key != owner:
            yield Problem(STRUCTURE, f"number {start}: of lanes {owner} and {key}")
        if stop > end:
            end, owner = stop, key


def entries(service: TaskService, lane: Lane) -> Iterator[Entry]:
    """The entries in a lane's logs that its head has not passed."""
    index = lane.head.index
    for number, block in enumerate(chain(service, lane)):
        for position in range(index, block.log_length):
            yield Entry(*block.entry(position), noted=True)
        index = 0
        if not number % CHUNK:
            _tidy(service)


def index_problems(service: TaskService) -> Iterator[Problem]:
    """What is known to be in error is."""
    index = service._lanes.failed
    for number, jobid in enumerate(index.ids(newest_first=False) if index else ()):
        job = service.jobs.get(jobid)
        if job is None or job.status != ERROR:
            status = "gone" if job is None else job.status
            yield Problem(INDEX, f"job {jobid} is {status}, indexed as in error", jobid)
        if not number % CHUNK:
            _tidy(service)


def _tidy(service: TaskService) -> None:
    """Let ZODB forget what is too much: by itself it does so between transactions."""
    if service._p_jar is not None:
        service._p_jar.cacheGC()


# Jobs


class Examination:
    """A look at all jobs, and what it has counted."""

    def __init__(self, service: TaskService, tell: Tell) -> None:
        self._service = service
        self._tell = tell
        self._heads = {
            lane.key: (lane.head.number, lane.head.slot) for lane in service._lanes
        }
        self._given = service._lanes._sequence.number
        self._reserved = Reserved(service)
        index = service._lanes.failed
        self._index = index if index is not None and index.complete else None
        self._holders: dict[int, list[int]] = defaultdict(list)
        #: How often each job is noted in a log, of those that are looked at now.
        self._noted: Counter[int] = Counter()
        self._recount: Counter[str] = Counter()
        self._looked_at = 0

    def of_workers(self) -> Iterator[Problem]:
        """What a worker holds exists."""
        for worker in self._service._workers:
            for jobid in worker.held:
                self._holders[jobid].append(worker.key)
                if jobid not in self._service.jobs:
                    text = f"job {jobid} is held by worker {worker.key} and gone"
                    yield Problem(HELD, text, jobid, worker.key)

    def of_table(self) -> Iterator[Problem]:
        """Each job is in the slot of its id, and waits where its status says."""
        shards = self._service.jobs._shards
        numbers = merge(*(shard.keys() for shard in shards))
        while window := list(islice(numbers, WINDOW)):
            self._note(window[0] * SLOTS, (window[-1] + 1) * SLOTS)
            for start in range(0, len(window), CHUNK):
                yield from self._of_blocks(window[start : start + CHUNK])

    def _note(self, low: int, high: int) -> None:
        """Count, in the logs, the entries that are the places of these jobs."""
        self._noted.clear()
        for lane in self._service._lanes:
            for entry in entries(self._service, lane):
                if not low < entry.jobid <= high:
                    continue
                job = self._service.jobs.get(entry.jobid)
                if job is not None and entry.is_place_of(job):
                    self._noted[entry.jobid] += 1

    def _of_blocks(self, numbers: Sequence[int]) -> Iterator[Problem]:
        found = [self._service.jobs.block(number) for number in numbers]
        blocks = [block for block in found if block is not None]
        fetch(blocks)
        fetch(job for block in blocks for job in block.jobs if job is not None)
        for number, block in zip(numbers, found, strict=True):
            if block is None or block.number != number:
                yield Problem(STRUCTURE, f"block {number} is not at its number")
            else:
                yield from self._of_block(block)
        self._tell(self._looked_at)
        _tidy(self._service)

    def _of_block(self, block: Block) -> Iterator[Problem]:
        name = f"block {block.number} of lane {block.lane}"
        if len(block.jobs) > SLOTS:
            yield Problem(STRUCTURE, f"{name} has {len(block.jobs)} slots")
        root = -block.lane if block.number < 0 else block.number
        # Those of jobs from old databases are in no lane; they may be further on.
        if (block.lane and block.number >= self._given) or block.number != root:
            yield Problem(STRUCTURE, f"{name} was never given")
        if self._reserved.owner(block.number) not in {None, block.lane}:
            yield Problem(STRUCTURE, f"{name}: reserved by another")
        for slot, job in enumerate(block.jobs):
            if job is not None:
                self._looked_at += 1
                yield from self._of_job(block, slot, job)

    def _of_job(self, block: Block, slot: int, job: Job) -> Iterator[Problem]:
        jobid = block.first_id + slot
        try:
            self._recount[job.status] += 1
        except Exception as error:
            text = f"job {jobid} can't be read: {type(error).__name__}: {error}"
            yield Problem(UNREADABLE, text, jobid)
            return
        if job.id != jobid:
            yield Problem(STRUCTURE, f"job {job.id} is in the slot of {jobid}", jobid)
            return
        seen = seen_of(job)
        for text in self._place_problems(block, slot, job):
            yield Problem(PLACE, text, jobid, seen=seen)
        holders = self._holders.get(jobid, [])
        for text in claim_problems(job, holders):
            yield Problem(CLAIM, text, jobid, seen=seen)
        for text in self._index_problems(job, holders):
            yield Problem(INDEX, text, jobid, seen=seen)

    def _index_problems(self, job: Job, holders: list[int]) -> Iterator[str]:
        """Of a job in error it is known, once: by the index, or by its worker."""
        if job.status == ERROR and self._index is not None:
            indexed = self._index.has(job)
            if indexed + len(holders) != 1:
                where = f"{indexed} times indexed, held by {holders}"
                yield f"job {job.id} is in error, {where}"

    def _place_problems(self, block: Block, slot: int, job: Job) -> Iterator[str]:
        """A job waits in exactly one place, if it waits at all."""
        if job.status != QUEUED and job.status not in SCHEDULED:
            return
        found = self._places(block, slot, job)
        resting = job.status in SCHEDULED and job.due_at(NOW) is None
        if resting:
            if "schedule" in found:
                yield f"job {job.id} is paused and waits in {found}"
            return
        if len(found) != 1:
            where = ", ".join(found) or "no place"
            yield f"job {job.id} is {job.status} and waits in {where}"
        kind = "suspects" if job.crashes else "lane"
        if job.status == QUEUED and found and found[0] != kind:
            text = f"crashed {job.crashes} times, and waits in {found[0]}"
            yield f"job {job.id} is queued, {text}"

    def _places(self, block: Block, slot: int, job: Job) -> list[str]:
        """Where a job waits: "lane", "suspects", "schedule"."""
        service, found = self._service, ["lane"] * self._noted[job.id]
        head = self._heads.get(block.lane)
        if job._queued is None and head is not None and (block.number, slot) >= head:
            found.append("lane")
        if job._queued is not None and (job._queued, job.id) in service._suspects:
            found.append("suspects")
        due = job.place if job.status in SCHEDULED else None
        if due is not None and (due, job.id) in service._schedule:
            found.append("schedule")
        return found

    def of_counts(self) -> Iterator[Problem]:
        """The counts are what counting has given."""
        service, wrong = self._service, Counter[str]()
        try:
            counts = {status: service.count(status) for status in STATUSES}
            total = service.count()
        except UnknownJob:
            return  # a job that is held and gone, as has been said
        for status, count in counts.items():
            wrong[status] = self._recount[status] - count
        texts = [
            f"{counts[s]} {s}, not {self._recount[s]}" for s in STATUSES if wrong[s]
        ]
        if texts:
            seen = dict(wrong), service._lanes._retired
            yield Problem(COUNTS, f"counted {'; '.join(texts)}", seen=seen)
        real = sum(self._recount.values())
        if total != real and not sum(wrong.values()):
            yield Problem(STRUCTURE, f"{total} jobs in all, not {real}")


def claim_problems(job: Job, keys: list[int]) -> Iterator[str]:
    """A job that is processed is held by its claimant; one that waits by nobody.

    But a cron job may still be on the record of the worker that ran it last.
    """
    if job.status == PROCESSING and keys != [job.claimant]:
        yield f"job {job.id} is processed by {job.claimant}, held by {keys}"
    waits = job.status == QUEUED
    waits = waits or (job.status in SCHEDULED and not isinstance(job, CronJob))
    if waits and (keys or job.claimant is not None):
        yield f"job {job.id} is {job.status}, claimed by {job.claimant}, held by {keys}"
    elif job.status != PROCESSING and any(key != job.claimant for key in keys):
        yield f"job {job.id} was claimed by {job.claimant}, held by {keys}"
