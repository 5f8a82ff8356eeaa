"""From the ancestor's state of a service to that of version 1, bit by bit.

The service gets its new parts first, and keeps what it had in a `Conversion`, with a
note of how far that has been read.  Then come, in this order:

- the queue: each job in it is given its place in a lane, in the same order;
- the schedule: each job in it is entered in the new one, at the same time;
- all jobs: each is put into the table under its id, and counted.

Each bit is one transaction, and notes in it how far it has come.  So whoever goes on
after an interruption, or beside another, begins where the last commit ended.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from persistent import Persistent

from lovely.remotetask import ancestor, times
from lovely.remotetask.attempts import Failure
from lovely.remotetask.blocks import NOTHING, SLOTS, Block, number_of
from lovely.remotetask.errors import CannotConvert
from lovely.remotetask.job import CronJob, Job
from lovely.remotetask.schedule import At
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import (
    CRONJOB,
    DELAYED,
    ERROR,
    PROCESSING,
    QUEUED,
    SCHEDULED,
)
from lovely.remotetask.table import JobTable
from lovely.remotetask.writers import LocalWriter

log = logging.getLogger("lovely.remotetask")

#: What the ancestor's service had, by the names that it has here.
PARTS = {
    "jobs": "jobs",
    "_queue": "queue",
    "_scheduledJobs": "scheduled",
    "_scheduledQueue": "unscheduled",
}

#: After so many ids that were read, room is made in the connection's cache.
CACHED = 10_000

#: XML-RPC and 32-bit BTrees know ids up to this one.
LARGEST_ID = 2**31 - 1
#: So many ids are left to new jobs, at least, before those that are larger.
LEAST_ROOM = 2**24


class Conversion(Persistent):
    """What the ancestor left of a service, and how far it has been converted."""

    jobs: Any = None
    queue: Any = None
    scheduled: Any = None
    unscheduled: Any = None
    #: What is being converted: the index among the phases, and the place there.
    phase = 0
    place: int | None = None
    #: The place in the queue that the last job was given.
    stamp = 0
    #: How many entries there are, in all phases; and how many have been converted.
    total = 0
    done = 0
    #: How many jobs there were that nothing would have run.
    lost = 0

    def go_on(self, place: int | None, done: int) -> None:
        """Note how far it has come; None: the phase is over."""
        self.place = place
        self.done += done
        if place is None:
            self.phase += 1


class Done(NamedTuple):
    """How far a step has come with a service."""

    over: bool
    #: How many entries have been converted, and how many there are.
    done: int = 0
    total: int = 0
    #: How many jobs are in error because nothing would have run them.
    lost: int = 0


class Entry(NamedTuple):
    """A job in the ancestor's queue or schedule, by its object id."""

    oid: bytes
    #: When it is due; None if it was not in the schedule yet.
    due: int | None = None


class FromAncestor:
    """Converts one service; called again and again, each time in a transaction."""

    def __init__(self, batch: int) -> None:
        """``batch``: how many jobs to convert in one transaction."""
        self._batch = batch
        #: What was read of the queue and of the schedule: they do not change.
        self._entries: dict[int, list[Entry]] = {}

    def __call__(self, service: TaskService) -> Done:
        """Convert a bit; how far it has come."""
        found: Conversion | None = vars(service).get("_conversion")
        conversion = self._begin(service) if found is None else found
        phases = (self._queue, self._schedule, self._jobs)
        over = conversion.phase == len(phases)
        if over:
            del service._conversion  # type: ignore[attr-defined]
        elif found is not None:
            phases[conversion.phase](service, conversion)
        return Done(over, conversion.done, conversion.total, conversion.lost)

    def _begin(self, service: TaskService) -> Conversion:
        own, conversion = vars(service), Conversion()
        for name, attribute in PARTS.items():
            setattr(conversion, attribute, own.pop(name, None))
        service._set_up()
        room = Room()
        for jobid in conversion.jobs:
            room.note(jobid)
            if room.noted % CACHED == 0:
                service._p_jar.cacheGC()
        entries = self._queue_entries(conversion), self._schedule_entries(conversion)
        conversion.total = room.noted + sum(map(len, entries))
        room.note(own.pop("_counter", 1) - 1)  # the last id that was given
        sequence = service._lanes._sequence
        sequence.number, sequence.end, sequence.beyond = room.find()
        service._conversion = conversion  # type: ignore[attr-defined]
        return conversion

    # The queue

    def _queue(self, service: TaskService, conversion: Conversion) -> None:
        writer, now = LocalWriter(service), service.environment.stamp()

        def queue(job: Job, entry: Entry) -> None:
            if job.status != QUEUED or job._queued is not None:
                return
            # In the order of the queue, whatever the clocks have shown.
            conversion.stamp = max(conversion.stamp + 1, min(job._created, now))
            job.queue_at(conversion.stamp)
            writer.note(job)

        self._each(service, conversion, self._queue_entries, queue)

    def _queue_entries(self, conversion: Conversion) -> list[Entry]:
        return [Entry(oid) for oid in members(conversion.queue, conversion.jobs)]

    # The schedule

    def _schedule(self, service: TaskService, conversion: Conversion) -> None:
        now = service.environment.stamp()

        def schedule(job: Job, entry: Entry) -> None:
            if isinstance(job, CronJob) and job.status in SCHEDULED:
                enter_schedule(service, job, entry.due, now)

        self._each(service, conversion, self._schedule_entries, schedule)

    def _schedule_entries(self, conversion: Conversion) -> list[Entry]:
        scheduled = conversion.scheduled or {}
        return [
            *(
                Entry(job._p_oid, times.from_seconds(seconds))
                for seconds, jobs in scheduled.items()
                for job in jobs
            ),
            *map(Entry, members(conversion.unscheduled, conversion.jobs)),
        ]

    # All jobs

    def _jobs(self, service: TaskService, conversion: Conversion) -> None:
        jobs = list(islice(conversion.jobs.items(conversion.place), self._batch))
        now, lost = service.environment.stamp(), []
        counts: Counter[str] = Counter()
        for jobid, job in jobs:
            check(job, jobid).id = jobid
            if isinstance(job, CronJob) and is_unplanned(job):
                enter_schedule(service, job, None, now)
            elif is_lost(job):
                lost.append(jobid)
                lose(job)
            put(service.jobs, job)
            counts[job.status] += 1
        failed = (job for _, job in jobs if job.status == ERROR)
        service._lanes.index_failed().add(failed)
        writer = LocalWriter(service)
        for status, number in counts.items():
            writer.count(None, status, number)
        if lost:
            conversion.lost += len(lost)
            log.warning(
                "jobs %s are in error: they had been taken from the queue and were "
                "never finished",
                lost,
            )
        finished = len(jobs) < self._batch
        conversion.go_on(None if finished else jobs[-1][0] + 1, len(jobs))

    def _each(
        self,
        service: TaskService,
        conversion: Conversion,
        entries_of: Callable[[Conversion], list[Entry]],
        convert: Callable[[Job, Entry], None],
    ) -> None:
        """Convert the next entries of the queue or of the schedule."""
        if conversion.phase not in self._entries:
            self._entries = {conversion.phase: entries_of(conversion)}
        entries, start = self._entries[conversion.phase], conversion.place or 0
        batch = entries[start : start + self._batch]
        for entry in batch:
            job = service._p_jar.get(entry.oid)
            jobid = check(job, None).id
            if conversion.jobs.get(jobid) is job:
                convert(job, entry)
            else:
                # Nobody could ask for it, or cancel it.
                log.warning("job %s was queued, but is no job of the service", jobid)
        end = start + len(batch)
        conversion.go_on(end if end < len(entries) else None, len(batch))


def members(queue: Any, jobs: Any) -> Iterator[bytes]:
    """The object ids of the jobs in a queue of zc.queue, in their order.

    That package need not be there: then the queue can't do anything, but has a state.
    A composite queue is made of others.
    """
    if queue is None:
        return
    queue._p_activate()
    for member in queue.__getstate__().get("_data", ()):
        if isinstance(member, int):
            if (job := jobs.get(member)) is not None:
                yield job._p_oid
        elif isinstance(member, Job):
            yield member._p_oid
        else:
            yield from members(member, jobs)


def check(job: Any, jobid: int | None) -> Job:
    """The job, if it is one.  Raise CannotConvert."""
    if not isinstance(job, Job):
        cls = type(job)
        raise CannotConvert(
            f"Job {jobid or ''} can't be read: its class {cls.__module__}."
            f"{cls.__name__} can't be imported, or is none of jobs. Install what it "
            "comes with and go on."
        )
    return job


def enter_schedule(
    service: TaskService, job: CronJob, due: int | None, now: int
) -> None:
    """Enter a job in the schedule; without a time, when it is due by its own."""
    plan = job.plan
    again = plan.place is not None
    if plan.place is not None:
        if due is not None:
            return
        # It was to be scheduled anew: that comes first.
        service._schedule.remove((plan.place, job.id))
    if due is None:
        due = next_time(job, now if again else job._created, now)
    if isinstance(plan.schedule, At):
        plan.schedule = At(due)
    plan.next = due
    plan.wait(due)
    service._schedule.insert((due, job.id))
    job._p_changed = True


def next_time(job: CronJob, start: int, now: int) -> int:
    """When a job is due that was never entered in the schedule.

    A delay counts from ``start``; all others come next after now.
    """
    if job.status == DELAYED:
        return times.later(start, job.plan.delay or 0)
    return job.plan.schedule.next(now) or now


def is_unplanned(job: CronJob) -> bool:
    """Whether a job comes back and is not in the schedule."""
    return job.status == CRONJOB and job.plan.place is None


def is_lost(job: Job) -> bool:
    """Whether nothing would have run the job, though it is not over.

    The ancestor took jobs out of the queue before they were run in threads; what
    failed or was interrupted there stayed as it was.
    """
    if job.status in SCHEDULED:
        return not isinstance(job, CronJob) or job.plan.place is None
    return job.status == PROCESSING or (job.status == QUEUED and job._queued is None)


def lose(job: Job) -> None:
    """The job is in error: nobody knows whether, or how far, it was run."""
    message = (
        f"Its status was {job.status!r}, but version 0.5.2 had taken it from the queue "
        "and never finished it. If it is still wanted, retry it."
    )
    record = ancestor.failed(vars(job), Failure("Lost", message, ""))
    job._failures = (*job._failures, record)
    job.attempt = 1
    job.enter(ERROR, new=True)


def put(table: JobTable, job: Job) -> None:
    """Put a job into the table, under the id that it has.

    The block is in no lane; only id 0 is in what is the root of the first.
    """
    number = number_of(job.id)
    block = table.block(number)
    if block is None:
        block = Block(number, max(0, -number), NOTHING)
        table.insert(block)
    slot = (job.id - 1) % SLOTS
    block.jobs += [None] * (slot - len(block.jobs))
    block.jobs.append(job)
    block._p_changed = job._p_changed = True


class Room:
    """Finds the block numbers for new jobs, among ids that are taken."""

    def __init__(self) -> None:
        self.noted = 0
        self._after = 0
        self._largest = 0
        #: The largest gap: how many block numbers it has, and the first.
        self._gap = (0, 0)

    def note(self, jobid: Any) -> None:
        """An id is taken.  They come in ascending order.  Raise CannotConvert."""
        if not isinstance(jobid, int) or jobid < 0:
            raise CannotConvert(f"A job has the id {jobid!r}: 0 or more is needed.")
        self.noted += 1
        number = number_of(jobid)
        self._gap = max(self._gap, (number - self._after, -self._after))
        self._after = max(self._after, number + 1)
        self._largest = max(self._largest, jobid)

    def find(self) -> tuple[int, int | None, int]:
        """The first number; where the gap ends, if it is in one; what is beyond.

        New ids are larger than the others, unless that would soon be too large for
        those who have only 31 bits for them.
        """
        left = LARGEST_ID - self._after * SLOTS
        if self._largest > LARGEST_ID or left >= LEAST_ROOM:
            return self._after, None, self._after
        size, first = self._gap
        return -first, size - first, self._after
