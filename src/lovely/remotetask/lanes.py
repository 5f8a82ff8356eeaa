"""Lanes: the persistent side of the queue.

A *lane* is a chain of blocks that one producer at a time appends to.  It has
three parts with three kinds of writers, so that none disturbs another:

- its blocks, written by the producer that holds the lane;
- its `Head`, how far it has been read, written by claims;
- the `Lane` itself, who holds it and which block numbers it may use, written in
  short transactions of the library's own.

A lane's first block, its root, has no ids; its number is the lane's key, negated.
Its first producer makes it.  The numbers of the others ascend, and each block but
the last names its successor.  A lane has been read to its end when the head is
behind all of its last block.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from BTrees.LOBTree import LOBTree
from persistent import Persistent

from lovely.remotetask.blocks import NOTHING, Block, Tally, add_up
from lovely.remotetask.failed import FailedJobs
from lovely.remotetask.states import STATUSES
from lovely.remotetask.table import JobTable

#: How many block numbers are reserved at a time, at first; for a producer that
#: goes on; and at most, for a transaction that needs more and more.
RESERVE = 4
RESERVE_KEPT = 64
RESERVE_MOST = 1024

#: So many lanes are free, so that a transaction finds one that it can see.
SPARE = 2


class Head(Persistent):
    """How far a lane has been read."""

    def __init__(self, number: int) -> None:
        #: The number of the block, the next of its jobs, and of its log.
        self.number = number
        self.slot = 0
        self.index = 0

    def at_end_of(self, block: Block) -> bool:
        """Whether all of a lane has been read whose last block this is."""
        read = self.slot >= len(block.jobs) and self.index >= block.log_length
        return read and self.number == block.number


class Sequence(Persistent):
    """Gives block numbers and lane keys, each once."""

    number = 0
    lane = 0
    #: From this number on, some are taken: those that are free begin beyond.  In
    #: converted databases only.
    end: int | None = None
    beyond = 0

    def take(self, count: int) -> int:
        """The first of ``count`` new block numbers."""
        if self.end is not None and self.number + count > self.end:
            self.number, self.end = self.beyond, None
        self.number += count
        return self.number - count

    def take_lane(self) -> int:
        """A new lane's key."""
        self.lane += 1
        return self.lane


class Lane(Persistent):
    """Who may append to a lane, and with which block numbers."""

    #: The pool of a process that holds the lane; None before the first.
    owner: str | None = None
    #: A block with ids that have not been given, as far as is known.
    slot: int | None = None

    def __init__(self, key: int) -> None:
        self.key = key
        #: Runs (start, count) of numbers: the last block's, and what is ahead.
        self.extents: tuple[tuple[int, int], ...] = ()
        self.head = Head(self.root)

    def numbers(self, start: int) -> list[range]:
        """The lane's numbers from ``start`` on, as far as they are reserved."""
        return [
            range(max(first, start), first + count)
            for first, count in self.extents
            if first + count > start
        ]

    @property
    def root(self) -> int:
        """The number of the first block."""
        return -self.key

    def tail(self, table: JobTable) -> Block | None:
        """The last block; None before the first.

        From the head on, blocks that exist come before those that do not.
        """
        ahead = _Chain(self.numbers(self.head.number))
        missing = bisect_left(ahead, True, key=lambda n: table.block(n) is None)
        tail = table.block(ahead[missing - 1] if missing else self.head.number)
        # This transaction may have more: of numbers reserved since it began.
        while tail is not None and (later := tail.successor(table)) is not None:
            tail = later
        return tail

    def ahead(self, tail: Block | None) -> list[int]:
        """The reserved numbers that have not become blocks."""
        start = 0 if tail is None else tail.number + 1
        return [number for run in self.numbers(start) for number in run]

    def extend(self, start: int, count: int, tail: Block | None) -> None:
        """Add reserved numbers, and forget those before the last block."""
        runs = self.numbers(0 if tail is None else tail.number)
        if runs and runs[-1].stop == start:
            runs[-1] = range(runs[-1].start, start + count)
        else:
            runs.append(range(start, start + count))
        self.extents = tuple((run.start, len(run)) for run in runs)


class _Chain:
    """Ranges, one after the other, as a sequence without a copy."""

    def __init__(self, runs: list[range]) -> None:
        self._runs = runs

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __getitem__(self, index: int) -> int:
        for run in self._runs:
            if index < len(run):
                return run[index]
            index -= len(run)
        raise IndexError(index)


class Lanes(Persistent):
    """All lanes of a service, its counts by status, and which jobs are in error."""

    #: None in services that were stored by older versions, until a worker has begun.
    failed: FailedJobs | None = None

    def __init__(self) -> None:
        self._lanes: LOBTree[Lane] = LOBTree()
        self._sequence = Sequence()
        #: What lanes that have been removed had counted.
        self._retired: Tally = NOTHING
        self.table: JobTable

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, key: int) -> Lane | None:
        """The lane with a key, or None."""
        lane: Lane | None = self._lanes.get(key)
        return lane

    def create(self) -> Lane:
        """A new lane."""
        lane = Lane(self._sequence.take_lane())
        self._lanes[lane.key] = lane
        return lane

    def reserve(self, lane: Lane, count: int) -> list[int]:
        """Give a lane more numbers; return all that are ahead of it."""
        tail = lane.tail(self.table)
        lane.extend(self._sequence.take(count), count, tail)
        return lane.ahead(tail)

    def adopt(self, is_free: Callable[[Lane], bool]) -> Lane:
        """The first lane that is free, or else a new one."""
        return next(filter(is_free, self), None) or self.create()

    def spare(self) -> None:
        """See to it that there are lanes that nobody has held yet."""
        for _ in range(SPARE - sum(lane.owner is None for lane in self)):
            self.create()

    def tally(self) -> Tally:
        """How many jobs there are, by the order of STATUSES."""
        tails = [lane.tail(self.table) for lane in self]
        return add_up([self._retired, *(tail.tally for tail in tails if tail)])

    def count(self, status: str) -> int:
        """How many jobs have a status."""
        return self.tally()[STATUSES.index(status)]

    def growing(self) -> frozenset[bytes]:
        """The object ids of which some change when a job asks for a place."""
        tails = (lane.tail(self.table) for lane in self)
        oids = {tail._p_oid for tail in tails if tail is not None and tail._p_oid}
        return frozenset({*oids, *self.table.growing()})

    def index_failed(self) -> FailedJobs:
        """Which jobs are in error; begun now if that was not kept before."""
        if self.failed is None:
            self.failed = FailedJobs(self.table, rest=0)
        return self.failed

    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.tally())

    def release(self, block: Block) -> None:
        """Drop a block that holds no job, if its lane has been read past it.

        One that has given some of its ids stays: it shall give the others.  So does
        a lane's first block, as long as there is the lane: it is the first in its
        bucket of the directory, and to remove that can't be merged with what
        producers add to the bucket.
        """
        lane = self._lanes.get(block.lane)
        if lane is None:
            over = not any(job is not None for job in block.jobs)
        else:
            useless = block.empty or not block.jobs
            over = useless and lane.head.number > block.number != lane.root
        if over:
            if not block.full:
                # Written, so that whoever adds a job to it at the same time conflicts.
                block.writes += 1
            self.table.drop(block)

    def retire(self, is_gone: Callable[[str], bool]) -> int:
        """Remove lanes of processes that are gone and that have been read.

        ``is_gone`` tells by a lane's owner.  One lane is kept for the next
        process, and so are those that were not used.  Return how many were
        removed.
        """
        gone = [lane for lane in self if lane.owner and is_gone(lane.owner)]
        removed = 0
        for lane in gone[1:]:
            tail = lane.tail(self.table)
            if tail is not None and lane.head.at_end_of(tail):
                removed += 1
                self._retire(lane, tail)
        return removed

    def _retire(self, lane: Lane, tail: Block) -> None:
        del self._lanes[lane.key]
        # Both are written: whoever adopts the lane at the same time conflicts
        # with the one, and what its producer committed last, if this snapshot
        # has not seen it, with the other.
        lane.owner = None
        tail.writes += 1
        self._retired = add_up([self._retired, tail.tally])
        self.release(tail)
        root = self.table.block(lane.root)
        if root is not None:
            self.release(root)
