"""Appending to a lane: what adding, queueing and counting jobs write.

A writer keeps nothing that the database could contradict: ids and positions come
from the blocks as the connection sees them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask.blocks import NOTHING, Block
from lovely.remotetask.job import Job
from lovely.remotetask.lanes import RESERVE, Lane, Lanes
from lovely.remotetask.states import ERROR, PROCESSING, STARTLATER
from lovely.remotetask.table import JobTable

if TYPE_CHECKING:
    from lovely.remotetask.failed import FailedJobs
    from lovely.remotetask.service import TaskService


class Position(NamedTuple):
    """Where a lane's writer is."""

    #: The block that gives the next id, as far as is known.
    slot: int
    #: The last block, which takes entries and counts.
    tail: int
    #: How often the last block was written.
    writes: int
    #: How many of the reserved numbers have become blocks.
    taken: int = 0


class Writer:
    """Appends to a lane, at a position.  Subclasses say where numbers come from."""

    def __init__(self, lanes: Lanes, key: int, position: Position) -> None:
        self.table: JobTable = lanes.table
        self._lanes = lanes
        self.key = key
        self.position = position
        self.numbers: list[int] = []
        #: Whether processors have something new to look at.
        self.appended = False

    def add(self, job: Job, status: str) -> None:
        """Give a new job its id and put it into the table, in this status."""
        job.enter(status, new=True)
        block = self._block_with_slot()
        job.id = block.put(job)
        self.count(None, status)
        if block.number != self.position.tail and status != STARTLATER:
            # The reader may be past that block: tell it where it will look.
            job.queue_at(job.stamp)
            self.note(job)
        self.appended = True

    def move(self, job: Job, status: str) -> None:
        """Change a job's status, and the counts with it."""
        self.move_all([job], status)

    def move_all(self, jobs: Collection[Job], status: str) -> None:
        """Change the status of jobs, and the counts with it."""
        moved = Counter(job.status for job in jobs)
        if ERROR in moved:
            for job in jobs:
                self._leave_failed(job)
        for job in jobs:
            job.enter(status)
        if status == ERROR:
            self._enter_failed(jobs)
        for old, number in moved.items():
            if old != status:
                self.count(old, status, number)

    def enqueue(self, job: Job, status: str) -> None:
        """Change the status of an older job, and give it a place in the queue.

        The place is that of ``job.stamp``.
        """
        self.move(job, status)
        self.note(job)

    def remove(self, job: Job) -> None:
        """Count a job that is removed from the table."""
        self._leave_failed(job)
        self.count(job.status, None)

    def settle(self, jobs: Collection[Job]) -> None:
        """Count how jobs that were processed have ended."""
        ended = Counter(job.status for job in jobs)
        for status, number in ended.items():
            self.count(PROCESSING, status, number)
        if ERROR in ended:
            self._enter_failed(jobs)

    def count(self, old: str | None, new: str | None, jobs: int = 1) -> None:
        """Count jobs that went from one status to another; None is nowhere."""
        tail = self._tail()
        tail.count(old, new, jobs)
        self._written(tail)

    def reserve(self) -> None:
        """Make ``numbers`` longer."""
        raise NotImplementedError

    def _enter_failed(self, jobs: Iterable[Job]) -> None:
        failed = [job for job in jobs if job.status == ERROR]
        if failed and (index := self._failed()) is not None:
            index.add(failed)

    def _leave_failed(self, job: Job) -> None:
        if job.status == ERROR and (index := self._failed()) is not None:
            index.discard(job)

    def _failed(self) -> FailedJobs | None:
        lanes = self._lanes
        if lanes.failed is None and lanes._p_jar is not None:
            # If it is begun just now, this is not seen there.
            lanes._p_jar.readCurrent(lanes)
        return lanes.failed

    def _tail(self) -> Block:
        tail = self.table.block(self.position.tail)
        if tail is None:
            tail = Block(self.position.tail, self.key, NOTHING)
            self.table.insert(tail)
        return tail

    def note(self, job: Job) -> None:
        """Ask for a place in the queue, that of ``job.stamp``, for an older job."""
        self.appended = True
        tail = self._tail()
        if tail.log_full:
            tail = self._grow()
        tail.note(job.stamp, job.id)
        self._written(tail)

    def _written(self, tail: Block) -> None:
        tail.writes += 1
        self.position = self.position._replace(writes=tail.writes)

    def _block_with_slot(self) -> Block:
        """A block with an id to give.

        Usually the last one.  A block that took many entries for older jobs is
        followed by another, and gives its ids nevertheless.
        """
        block = self.table.block(self.position.slot) or self._tail()
        while block.full:
            block = block.successor(self.table) or self._grow()
        self.position = self.position._replace(slot=block.number)
        return block

    def _grow(self) -> Block:
        """A new last block."""
        if self.position.taken == len(self.numbers):
            self.reserve()
        taken = self.position.taken
        number = self.numbers[taken]
        # Written too: every commit to a lane writes the block that was its last,
        # so that whoever writes that block shuts the lane for late ones.
        old = self._tail()
        old.next = number
        block = Block(number, self.key, old.tally)
        self.table.insert(block)
        self.position = Position(self.position.slot, number, 0, taken + 1)
        return block


def position_at(lane: Lane, tail: Block | None) -> Position:
    """The position of a writer that goes on where a lane ends."""
    number, writes = (lane.root, 0) if tail is None else (tail.number, tail.writes)
    return Position(number if lane.slot is None else lane.slot, number, writes)


class LocalWriter(Writer):
    """Writes in place, where the service is not in a database yet."""

    def __init__(self, service: TaskService) -> None:
        self.lanes = service._lanes
        self.lane = self.lanes.adopt(lambda lane: lane.owner is None)
        tail = self.lane.tail(self.lanes.table)
        super().__init__(self.lanes, self.lane.key, position_at(self.lane, tail))
        self.numbers = self.lane.ahead(tail)

    def add(self, job: Job, status: str) -> None:
        super().add(job, status)
        if self.lane.slot != self.position.slot:
            self.lane.slot = self.position.slot

    def reserve(self) -> None:
        self.numbers = self.lanes.reserve(self.lane, RESERVE)
        self.position = self.position._replace(taken=0)
