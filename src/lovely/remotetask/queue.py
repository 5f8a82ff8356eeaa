"""Reading the queue: which job is next.

All lanes are merged, by the time of their entries, with the schedule, which has
what waits for a time, and with the suspects, which a worker was lost with.  So the
oldest request comes first.  An entry only says "look at this job"; it counts if the
job still waits in that very place.  What has been cancelled, removed or asked for
again is passed over.

A reader changes nothing until it is told to: looking is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.job import Job
from lovely.remotetask.own import fetch
from lovely.remotetask.states import QUEUED, SCHEDULED
from lovely.remotetask.times import Clock

if TYPE_CHECKING:
    from lovely.remotetask.blocks import Block
    from lovely.remotetask.lanes import Lane, Lanes
    from lovely.remotetask.service import TaskService

#: So many entries are looked at in one transaction, at most: more cancelled
#: jobs than that in a row are passed over in several.
MOST_ENTRIES = 1000

_LAST_ID = 2**63
#: Beside the numbers of lanes: entries that come from the schedule, those that a
#: lane had for it, and suspects.
_SCHEDULE, _FOUND, _SUSPECTS = -1, -2, -3

#: Where several workers share the queue, each has lanes of its own, so that they do
#: not all reach for the same job.  Another's job comes first if it has waited for so
#: much longer (microseconds).
FOREIGN_LATER = 5_000_000
#: A job is left for so long to each worker that is closer to its lane, and for longer
#: if that one is ready to take it: who comes in between makes a conflict.  By the
#: clocks of the hosts; if they differ, that costs time only.
STEP_BACK = 50_000
STEP_BACK_READY = 1_000_000

#: A moment (microseconds) that never comes.
NEVER = 2**63


class Share(NamedTuple):
    """Which lanes are a worker's own: it is one of several, by its rank.

    Lanes have places, see `places_of`.
    """

    rank: int = 0
    of: int = 1
    #: Until when the worker of a rank is taken to be ready for another job.
    ready_until: Callable[[int], int] = lambda rank: 0

    def is_own(self, place: int) -> bool:
        """Whether a lane is this worker's own."""
        return self.distance(place) == 0

    def distance(self, place: int) -> int:
        """How far a lane is from this worker: 0 if it is its own."""
        return (place - self.rank) % self.of

    def left_until(self, place: int, came: int, now: int) -> int:
        """Until when a job that came into a lane is left to those who are closer.

        By then, more may be known of them.  All in microseconds.
        """
        closer = ((place - d) % self.of for d in range(self.distance(place)))
        ready = [self.ready_until(rank) for rank in closer]
        patience = sum(STEP_BACK_READY if end > now else STEP_BACK for end in ready)
        return min([came + patience, *(end for end in ready if end > now)])


class Entry(NamedTuple):
    """A job that asked for a place in the queue."""

    time: int
    jobid: int
    #: Whether that is noted in a log; else the job's slot is its place.
    noted: bool = False

    def is_place_of(self, job: Job) -> bool:
        """Whether the job has no other place by now."""
        return job._queued == (self.time if self.noted else None)


class LaneCursor:
    """A position in one lane, from the head on."""

    def __init__(self, lanes: Lanes, lane: Lane) -> None:
        self._lanes = lanes
        self.lane = lane
        #: How many jobs, at most, are likely to be taken.
        self.ahead = 1
        self._head = lane.head
        self._slot, self._index = lane.head.slot, lane.head.index
        #: Where it is.
        self.block = lanes.table.block(lane.head.number)
        self._passed: list[Block] = []
        self._moved = self._advanced = False

    @property
    def has_ids(self) -> bool:
        """Whether the lane has given ids: its first block has none, and is not last."""
        if self.block is None:
            return False
        return self.block.number != self.lane.root or self.block.next is not None

    def current(self) -> Entry | None:
        """The next entry, or None at the end."""
        while self.block is not None:
            entry = self._oldest(self.block)
            if entry is not None:
                return entry
            following = self.block.successor(self._lanes.table)
            if following is None:
                return None
            self._passed.append(self.block)
            self.block, self._slot, self._index = following, 0, 0
            self._moved = True
            fetch(self.upcoming())
        return None

    def _oldest(self, block: Block) -> Entry | None:
        """The older one of the next job in a slot and the next in the log."""
        first = None
        while self._slot < len(block.jobs):
            job = block.jobs[self._slot]
            # A job that waits elsewhere must not hide what is older and behind it.
            if job is not None and _may_wait_in(block, job):
                first = Entry(job._created, job.id)
                break
            self._slot += 1
        if self._index < block.log_length:
            noted = Entry(*block.entry(self._index), noted=True)
            return noted if first is None else min(first, noted)
        return first

    def upcoming(self) -> list[Job | Block]:
        """What is needed next: jobs of this block, and the one that follows."""
        if self.block is None:
            return []
        jobs = self.block.jobs[self._slot : self._slot + self.ahead]
        following = None
        if self._slot + self.ahead > SLOTS:
            following = self.block.successor(self._lanes.table)
        return [found for found in (*jobs, following) if found is not None]

    def advance(self, entry: Entry, ahead: int = 1) -> None:
        """Go past the current entry; ``ahead`` of it so many may be taken now."""
        if ahead > self.ahead:
            self.ahead = ahead
            fetch(self.upcoming())
        if entry.noted:
            self._index += 1
        else:
            self._slot += 1
        self._moved = self._advanced = True

    def save(self, *, own: bool) -> None:
        """Move the head here.

        Blocks that were passed and hold no jobs any more are dropped.  To pass an
        empty piece of a lane is left to the worker whose ``own`` it is.
        """
        if self.block is None or not (self._moved if own else self._advanced):
            return
        self._head.number = self.block.number
        self._head.slot, self._head.index = self._slot, self._index
        for block in self._passed:
            self._lanes.release(block)
        self._passed, self._moved, self._advanced = [], False, False


def places_of(cursors: Iterable[LaneCursor]) -> list[int]:
    """The place of each lane, by which workers share them.

    They count those that have given ids.  The others, such as those that workers write
    to, have only jobs that are tried again.
    """
    number = count()
    return [next(number) if c.has_ids else c.lane.key for c in cursors]


def _may_wait_in(block: Block, job: Job) -> bool:
    """Whether the job's slot may be its place in the queue.

    Where the log is full, there may be older entries in the next block.  So what
    waits for nothing is not looked at; elsewhere it is, and counts as such.
    """
    if job._queued is not None:
        return False
    return not block.log_full or job.status == QUEUED or job.status in SCHEDULED


class QueueReader:
    """Takes jobs that are due, in their order."""

    def __init__(
        self,
        service: TaskService,
        clock: Clock | None = None,
        most: float = MOST_ENTRIES,
        *,
        suspects: bool = True,
        share: Share | None = None,
        ahead: int = 1,
    ) -> None:
        """``clock`` stands in for the system's, if it is given.

        Without ``suspects``, jobs that a worker was lost with are left alone.
        ``share``: which lanes to read first; otherwise all are alike.
        ``ahead``: how many jobs are to be taken.
        """
        self._most = most
        self.clock = clock or Clock.of(service.environment.time())
        self._now = self.clock.now
        self._timetable = service._timetable
        self._table = service.jobs
        self._schedule = service._schedule
        self._suspects = service._suspects
        self._ahead = ahead
        self._share = share or Share()
        lanes = list(service._lanes)
        self._cursors = self._open(service._lanes, lanes)
        places = {
            # What has no lane of its own counts as the first one.
            **dict.fromkeys((_SUSPECTS, _SCHEDULE, _FOUND), 0),
            **dict(enumerate(places_of(self._cursors))),
        }
        #: The places of lanes that are others' own, by source.
        self._foreign = {
            source: place
            for source, place in places.items()
            if not self._share.is_own(place)
        }
        for source, cursor in enumerate(self._cursors):
            if source not in self._foreign:
                cursor.ahead = ahead
        fetch(job for cursor in self._cursors for job in cursor.upcoming())
        #: When to look again, if `take` has left something to others; else None.
        self.left_until: int | None = None
        #: (due, id): for the schedule; and done with there, and among the suspects.
        self._found: set[tuple[int, int]] = set()
        #: Jobs that are to be left alone: they are paused.
        self._resting: list[Job] = []
        self._gone: list[tuple[int, int]] = []
        self._taken: list[tuple[int, int]] = []
        self._looked_at = 0
        self._scheduled = iter(self._schedule.keys(None, (self._now, _LAST_ID)))
        self._suspected = iter(self._suspects if suspects else ())
        #: With when it is to be taken, by what others have, too.
        self._heap: list[tuple[int, Entry, int]] = []
        for source in (_SUSPECTS, _SCHEDULE, *range(len(self._cursors))):
            self._look(source)

    def _open(self, lanes: Lanes, found: list[Lane]) -> list[LaneCursor]:
        """Cursors for lanes; what they need is asked of the storage at once."""
        fetch(found)
        fetch(lane.head for lane in found)
        cursors = [LaneCursor(lanes, lane) for lane in found]
        fetch(cursor.block for cursor in cursors if cursor.block is not None)
        return cursors

    @property
    def gave_up(self) -> bool:
        """Whether `take` stopped early, and there may be more."""
        return self._looked_at >= self._most

    def waits_since(self) -> int | None:
        """When the next job that is due asked for its place, or became due; or None.

        If `gave_up`: when the first did that has not been looked at.
        """
        found = self._next()
        if found is not None:
            return found[1].time
        return self._heap[0][1].time if self.gave_up and self._heap else None

    def take(self, limit: int, *, shy: bool = False) -> list[Job]:
        """The next jobs that are due, at most so many; a suspect comes alone.

        If it is ``shy``, leave to others what is theirs and has just come, or what
        need not be taken yet, as there is something to do.
        """
        taken: list[Job] = []
        own = False
        while len(taken) < limit:
            if shy and self._is_left_to_others(busy=own):
                break
            if (found := self._next()) is None:
                break
            job, entry, source = found
            if source == _SUSPECTS and taken:
                break
            self._pass(entry, source)
            taken.append(job)
            own = own or source not in self._foreign
            if source == _SUSPECTS:
                break
        return taken

    def save(self) -> None:
        """Write down how far it has come."""
        for index, cursor in enumerate(self._cursors):
            cursor.save(own=index not in self._foreign)
        if self._gone or self._found or self._resting:
            self._timetable.note(self._now)
        resting = [job.id for job in self._resting]
        for jobid in (*resting, *(jobid for _, jobid in self._found)):
            self._timetable.see(self._table[jobid])
        for entry in self._gone:
            self._schedule.remove(entry)
        for entry in self._taken:
            self._suspects.remove(entry)
        for due, jobid in self._found:
            self._schedule.insert((due, jobid))
            self._table[jobid].wait_in_schedule(due)
        for job in self._resting:
            job.wait_in_schedule(None)
        self._gone, self._found, self._taken, self._resting = [], set(), [], []

    def _next(self) -> tuple[Job, Entry, int] | None:
        """The first job that is due, without going past it."""
        while self._heap and not self.gave_up:
            _, entry, source = self._heap[0]
            job = self._table.get(entry.jobid)
            if job is not None and self._is_due(job, entry, source):
                return job, entry, source
            self._looked_at += 1
            self._pass(entry, source)
            if job is not None and self._is_there(job, entry, source):
                self._find(job, self.clock if source >= 0 else Clock(self._now))
        return None

    def _look(self, source: int) -> None:
        """Put what a source has next on the heap."""
        if source == _SCHEDULE:
            scheduled = next(self._scheduled, None)
            entry = None if scheduled is None else Entry(*scheduled)
        elif source == _SUSPECTS:
            suspected = next(self._suspected, None)
            entry = None if suspected is None else Entry(*suspected, noted=True)
        else:
            entry = self._cursors[source].current()
        if entry is not None:
            self._push(entry, source)

    def _push(self, entry: Entry, source: int) -> None:
        later = FOREIGN_LATER if source in self._foreign else 0
        heappush(self._heap, (entry.time + later, entry, source))

    def _is_left_to_others(self, *, busy: bool) -> bool:
        """Whether the next entry is another's, and has just come or we are ``busy``."""
        if not self._heap:
            return False
        _, entry, source = self._heap[0]
        if source not in self._foreign:
            return False
        if busy:
            return True
        now = max(self._now, entry.time)
        until = self._share.left_until(self._foreign[source], entry.time, now)
        if until <= now:
            return False
        self.left_until = until
        return True

    def _pass(self, entry: Entry, source: int) -> None:
        """Go past the first entry, and on to the next of its source."""
        heappop(self._heap)
        if source == _FOUND:
            self._found.remove(entry[:2])
            return
        if source == _SCHEDULE:
            self._gone.append(entry[:2])
        elif source == _SUSPECTS:
            self._taken.append(entry[:2])
        else:
            self._cursors[source].advance(entry, self._ahead)
        self._look(source)

    def _is_there(self, job: Job, entry: Entry, source: int) -> bool:
        """Whether an entry is the place where a job waits for a time."""
        if job.status not in SCHEDULED:
            return False
        if source == _SCHEDULE:
            return job.place == entry.time
        return source >= 0 and entry.is_place_of(job)

    def _is_due(self, job: Job, entry: Entry, source: int) -> bool:
        if source == _FOUND:
            return True
        if source == _SCHEDULE:
            # A run may be too late.
            due = job.due_at(Clock(self._now)) if job.place == entry.time else None
            return job.status in SCHEDULED and due is not None and due <= self._now
        return job.status == QUEUED and entry.is_place_of(job)

    def _find(self, job: Job, clock: Clock) -> None:
        """If a lane had a job that waits for a time: keep it for the schedule.

        So too if the schedule had one that is too late, and waits for its next time.
        """
        due = job.due_at(clock)
        if due is None:
            self._resting.append(job)
            return
        self._found.add((due, job.id))
        if due <= self._now:
            self._push(Entry(due, job.id), _FOUND)
