"""Pruning: removing jobs that are over, by the service's ``retention``.

Ids ascend with the time when jobs were added, at least within a lane.  So a *pass*
walks through the table from the oldest job, and is over where the jobs of every
lane are too young.  It is made in steps, each a small transaction.

What stays must not be looked at for ever again: the next pass goes on where this
one ended, and one from the beginning follows the later, the more it looked at.

Which jobs are one too many is only known from the beginning: jobs that were passed
while they waited may be over by now, and they are older.  So only a pass from there
removes jobs for their number, and no more than there were too many when it began.

Producers must not have conflicts from this.  What they wrote lately they may write
again now, so it is left for later: whatever was written since, by the storage's
clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from lovely.remotetask import times
from lovely.remotetask.blocks import SLOTS, Block
from lovely.remotetask.job import Job
from lovely.remotetask.own import fetch
from lovely.remotetask.retention import Keep, check_retention
from lovely.remotetask.states import CANCELLED

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

#: How often to look for what can be removed (seconds).
PRUNE_SECONDS = 60.0
#: So much later for each block or job that was looked at in vain, too (seconds).
LOOK_SECONDS = 0.1
#: At most so many jobs are removed, and so many looked at, in a transaction.
MOST_REMOVED = 100
MOST_LOOKED_AT = 1000
#: What was written within so many seconds may be written again now.  Longer than
#: most transactions last.
QUIET_SECONDS = 60.0


class Pass(NamedTuple):
    """How far a pass through the table has come."""

    #: The number of the block to go on with.
    block: int = 0
    #: Whether it began with the first.
    whole: bool = True
    #: The lanes of which all older jobs have been seen.
    young: frozenset[int] = frozenset()
    #: The first block with a job that can be removed later on.
    later: int | None = None
    #: How many blocks and jobs have been looked at, and how many jobs removed.
    looked_at: int = 0
    removed: int = 0
    over: bool = False
    #: How many of a status are still too many; None before the first step.
    excess: Mapping[str, int] | None = None
    #: How many are to be removed, but not now.
    spared: Mapping[str, int] = MappingProxyType({})


class Pruner:
    """When to prune, and where to go on: what a worker remembers."""

    def __init__(self) -> None:
        self._pass: Pass | None = None
        self._next = self._next_whole = float("-inf")
        self._from = 0

    def due(self, now: float) -> Pass | None:
        """The pass to go on with, or a new one, if it is time for one."""
        if self._pass is None and now >= self._next:
            whole = now >= self._next_whole
            self._pass = Pass(0 if whole else self._from, whole)
        return self._pass

    def note(self, done: Pass, now: float) -> None:
        """A step has been committed."""
        if not done.over:
            self._pass = done
            return
        self._pass = None
        self._from = done.block if done.later is None else done.later
        in_vain = (done.looked_at - done.removed) * LOOK_SECONDS
        pause = max(PRUNE_SECONDS, in_vain)
        if done.whole:
            self._next, self._next_whole = now + PRUNE_SECONDS, now + pause
        else:
            self._next = now + pause

    def rest(self, now: float) -> None:
        """Something went wrong: begin again later."""
        self._pass = None
        self._next, self._next_whole = now + PRUNE_SECONDS, now


class Step:
    """One step of a pass, in the caller's transaction."""

    def __init__(self, service: TaskService, done: Pass, storage_now: float) -> None:
        """``done`` is how far the pass has come before.

        ``storage_now`` is the time by the storage's clock, or some seconds before.
        Raise InvalidType or InvalidArgument, if the service's retention is wrong.
        """
        self._service = service
        self._done = done
        # What is removed is gone: a clock that is ahead must not make jobs old.
        now = min(service.environment.time(), storage_now)
        self._now = times.from_seconds(now)
        self._storage_now = storage_now
        self._keep: dict[str, Keep] = check_retention(service.retention)
        self._spared = Counter(done.spared)
        self._excess = self._too_many() if done.whole else {}
        ages = [keep.age for keep in self._keep.values() if keep.age is not None]
        #: What was added later is too young to be removed for its age.
        self._cutoff = self._now - times.from_seconds(min(ages)) if ages else None
        self._young = set(done.young)
        self._later = done.later
        self._looked_at = self._removed = 0
        self._tails = {
            lane.key: tail.number
            for lane in service._lanes
            if (tail := lane.tail(service.jobs)) is not None
        }

    def __call__(self) -> Pass:
        """Remove what can be removed; how far the pass has come."""
        number = self._done.block
        if any(map(self._service.count, self._keep)):
            for block in self._service.jobs.blocks_from(number):
                number = block.number
                if self._is_over(number):
                    break
                if self._is_enough():
                    return self._so_far(number, over=False)
                self._prune(block)
        return self._so_far(number, over=True)

    def _too_many(self) -> dict[str, int]:
        """How many are too many, by status."""
        found = {}
        for status, keep in self._keep.items():
            if keep.number is not None:
                number = self._service.count(status) - keep.number
                number = max(0, number - self._spared[status])
                before = self._done.excess
                found[status] = min(number, (before or {}).get(status, number))
        return found

    def _so_far(self, number: int, *, over: bool) -> Pass:
        return self._done._replace(
            block=number,
            young=frozenset(self._young),
            later=self._later,
            looked_at=self._done.looked_at + self._looked_at,
            removed=self._done.removed + self._removed,
            over=over,
            excess=self._excess,
            spared=self._spared,
        )

    def _is_enough(self) -> bool:
        """Whether another block might be too much for one transaction."""
        return (
            self._removed > MOST_REMOVED - SLOTS
            or self._looked_at >= MOST_LOOKED_AT - SLOTS
        )

    def _is_over(self, number: int) -> bool:
        """Whether nothing from this block on can be removed."""
        if any(self._excess.values()):
            return False
        if self._cutoff is None:
            return True
        return bool(self._young) and all(
            key in self._young or tail < number for key, tail in self._tails.items()
        )

    def _prune(self, block: Block) -> None:
        """Remove what can be removed of one block."""
        self._looked_at += 1
        if block.lane in self._young and not any(self._excess.values()):
            return
        jobs = [job for job in block.jobs if job is not None]
        ghosts = fetch(jobs)
        self._looked_at += len(jobs)
        chosen = [job for job in jobs if self._is_chosen(job, block)]
        if chosen:
            self._remove(block, chosen, len(chosen) == len(jobs))
        for job in ghosts:
            job._p_deactivate()  # unless it was changed

    def _remove(self, block: Block, chosen: list[Job], all_of_it: bool) -> None:
        """Remove jobs, but for those that can't be removed quietly now."""
        quiet = self._is_quiet(block, all_of_it)
        removed = [job for job in chosen if quiet and not self._is_held(job)]
        for job in removed:
            self._service._remove(job)
        self._removed += len(removed)
        if len(removed) < len(chosen):
            self._come_back_to(block)
            self._spared.update(job.status for job in chosen if job not in removed)

    def _is_chosen(self, job: Job, block: Block) -> bool:
        """Whether a job is too old, or one too many."""
        status = job.status
        if self._cutoff is not None and job._created >= self._cutoff:
            self._young.add(block.lane)
            self._come_back_to(block)
        if status not in self._keep:
            return False
        if self._excess.get(status):
            self._excess[status] -= 1
            return True
        return self._is_too_old(job, self._keep[status].age)

    def _come_back_to(self, block: Block) -> None:
        if self._later is None:
            self._later = block.number

    def _is_too_old(self, job: Job, age: float | None) -> bool:
        if age is None:
            return False
        if job.status == CANCELLED:
            # It does not say when: it was the last that was written to it.
            written = job._p_mtime
            return written is not None and self._storage_now - written > age
        ended = job._completed
        return ended is not None and ended < self._now - times.from_seconds(age)

    def _is_quiet(self, block: Block, will_be_empty: bool) -> bool:
        """Whether a block can be written without disturbing a producer."""
        writes: list[Any] = []
        if block.next is None or not block.full:
            writes.append(block)
        if will_be_empty:
            writes.append(self._service.jobs.beside_new(block.number))
        return all(obj is None or self._was_left_alone(obj) for obj in writes)

    def _is_held(self, job: Job) -> bool:
        """Whether a busy worker has it on its record, until its next claim."""
        key = job.claimant
        worker = None if key is None else self._service._workers.get(key)
        held = worker is not None and job.id in worker.held
        return held and not self._was_left_alone(worker)

    def _was_left_alone(self, obj: Any) -> bool:
        written = obj._p_mtime
        return written is not None and self._storage_now - written > QUIET_SECONDS
