"""Blocks: runs of consecutive ids, which are at the same time pieces of lanes.

Whoever adds a job writes its block, and that one record says what the job is
called and that it waits for a processor (see `lovely.remotetask.lanes`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from persistent import Persistent

from lovely.remotetask.job import Job
from lovely.remotetask.states import STATUSES

if TYPE_CHECKING:
    from lovely.remotetask.table import JobTable

#: Ids in a block, and entries in its log.  Both are the disk format: a block's
#: number follows from an id.  ZODB calls Python for every reference in a
#: record, so larger blocks were slower; smaller ones cost more directory.
SLOTS = 16
LOG_SIZE = 64

ENTRY = struct.Struct("<qq")

#: Counts by status, in the order of STATUSES.
Tally = tuple[int, ...]
NOTHING: Tally = (0,) * len(STATUSES)

_CODES = {2: "h", 4: "i", 8: "q"}


def number_of(jobid: int) -> int:
    """The number of the block that an id is in."""
    return (jobid - 1) // SLOTS


def add_up(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    return tuple(map(sum, zip(*tallies, strict=True)))


def pack_tally(tally: Tally) -> bytes:
    """A tally as bytes: 16, 32 or 64 bits for each count.

    One object in the record instead of nine, which ZODB would look at.
    """
    largest = max(map(abs, tally))
    code = "h" if largest < 2**15 else "i" if largest < 2**31 else "q"
    return struct.pack(f"<{len(tally)}{code}", *tally)


def unpack_tally(packed: bytes) -> Tally:
    """The tally that `pack_tally` packed."""
    size = len(packed) // len(STATUSES)
    return struct.unpack(f"<{len(STATUSES)}{_CODES[size]}", packed)


class Block(Persistent):
    """A run of ids, and a piece of one lane.

    What waits for a processor is the jobs in the order of their slots, and the
    log: older jobs that were asked for (again), with the time when they were.

    Written by whoever holds the lane, and when a job is removed.
    """

    number: int
    lane: int
    #: The number of the lane's next block; None in the last.
    next: int | None
    #: The jobs by slot; None where one has been removed.
    jobs: list[Job | None]
    #: Entries (time, id): "look at this older job, it asked for a place then".
    log: bytes
    #: What all writes to this lane have changed in the counts by status.
    tally: Tally
    #: How often the block was written: tells whether a snapshot is recent.
    writes: int

    def __init__(self, number: int, lane: int, tally: Tally) -> None:
        self.__setstate__((number, lane, None, (), b"", pack_tally(tally), 0))

    def __getstate__(self) -> tuple[Any, ...]:
        jobs = tuple(self.jobs)
        return (
            self.number,
            self.lane,
            self.next,
            jobs,
            self.log,
            pack_tally(self.tally),
            self.writes,
        )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.number, self.lane, self.next, jobs, self.log, tally, self.writes = state
        self.jobs = list(jobs)
        self.tally = unpack_tally(tally)

    @property
    def first_id(self) -> int:
        return self.number * SLOTS + 1

    @property
    def full(self) -> bool:
        """Whether every id has been given; the root of a lane has none."""
        return self.number < 0 or len(self.jobs) >= SLOTS

    def successor(self, table: JobTable) -> Block | None:
        """The lane's next block, if it exists."""
        return None if self.next is None else table.block(self.next)

    @property
    def empty(self) -> bool:
        """Whether every id has been given and every job removed."""
        return self.full and not any(job is not None for job in self.jobs)

    @property
    def log_full(self) -> bool:
        return len(self.log) >= LOG_SIZE * ENTRY.size

    @property
    def log_length(self) -> int:
        return len(self.log) // ENTRY.size

    def entry(self, index: int) -> tuple[int, int]:
        """The entry (time, id) at an index of the log."""
        time, jobid = ENTRY.unpack_from(self.log, index * ENTRY.size)
        return time, jobid

    def put(self, job: Job) -> int:
        """Give the job the next id."""
        self.jobs.append(job)
        self._p_changed = True
        return self.first_id + len(self.jobs) - 1

    def note(self, time: int, jobid: int) -> None:
        """Add an entry to the log."""
        self.log += ENTRY.pack(time, jobid)

    def count(self, old: str | None, new: str | None, jobs: int = 1) -> None:
        """Count jobs that went from one status to another; None is nowhere."""
        tally = list(self.tally)
        if old is not None:
            tally[STATUSES.index(old)] -= jobs
        if new is not None:
            tally[STATUSES.index(new)] += jobs
        self.tally = tuple(tally)
