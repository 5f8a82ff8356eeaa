"""Which jobs are in error: an index, so that they are found among many others.

A worker that notes a failure writes the job, and not this.  The id comes here where
the end is counted (see `lovely.remotetask.workers`), and leaves where the job is
queued again or removed.  Until it comes, the worker's record has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import TYPE_CHECKING

from BTrees.LLBTree import LLTreeSet
from persistent import Persistent

from lovely.remotetask.blocks import number_of
from lovely.remotetask.states import ERROR

if TYPE_CHECKING:
    from lovely.remotetask.blocks import Block
    from lovely.remotetask.job import Job
    from lovely.remotetask.table import JobTable

#: How many sets there are; this is the disk format.  A lane's jobs are in one of
#: them: workers that read different lanes write different ones, and those that read
#: the same lane conflict there anyway.
SHARDS = 8


class FailedJobs(Persistent):
    """The ids of the jobs that are in error and counted as such."""

    #: The first block whose jobs may be missing: it is older than this index.  None
    #: if there is none.
    rest: int | None = None

    def __init__(self, table: JobTable, rest: int | None = None) -> None:
        self._table = table
        self._shards = tuple(LLTreeSet() for _ in range(SHARDS))
        if rest is not None:
            self.rest = rest

    @property
    def complete(self) -> bool:
        """Whether all of them are here."""
        return self.rest is None

    def ids(self, start: int | None = None, *, newest_first: bool) -> Iterator[int]:
        """The ids from ``start`` on, in order; lazy."""
        if newest_first:
            return merge(*(_descending(s, start) for s in self._shards), reverse=True)
        return merge(*(_ascending(s, start) for s in self._shards))

    def add(self, jobs: Iterable[Job]) -> None:
        """These jobs are in error."""
        for job in jobs:
            self._shard(job).insert(job.id)

    def discard(self, job: Job) -> None:
        """This job is not in error any more."""
        shard = self._shard(job)
        if job.id in shard:
            shard.remove(job.id)

    def has(self, job: Job) -> int:
        """How often a job is here: once, if all is well; -1 if it is elsewhere."""
        found = [shard for shard in self._shards if job.id in shard]
        own = self._shard(job)
        return len(found) if all(shard is own for shard in found) else -1

    def drop(self, jobid: int) -> None:
        """Forget an id, wherever it is."""
        for shard in self._shards:
            if jobid in shard:
                shard.remove(jobid)

    def catch_up(self, most: int) -> None:
        """Look for jobs that are missing; at most so many are looked at."""
        looked_at = 0
        for block in self._table.blocks_from(self.rest or 0):
            if looked_at >= most:
                self.rest = block.number
                return
            self._look_at(block)
            looked_at += 1 + len(block.jobs)
        self.rest = None

    def _look_at(self, block: Block) -> None:
        for job in block.jobs:
            if job is not None and job.status == ERROR:
                # Written, so that whoever queues it again at the same time conflicts.
                job._p_changed = True
                self.add([job])
            elif job is not None:
                job._p_deactivate()  # unless it was changed

    def _shard(self, job: Job) -> LLTreeSet:
        block = self._table.block(number_of(job.id))
        return self._shards[0 if block is None else block.lane % SHARDS]


def _ascending(tree: LLTreeSet, start: int | None) -> Iterator[int]:
    return iter(tree.keys(start))


def _descending(tree: LLTreeSet, start: int | None) -> Iterator[int]:
    # BTrees know no way back but this.
    while tree:
        try:
            jobid = tree.maxKey() if start is None else tree.maxKey(start)
        except ValueError:
            return
        yield jobid
        start = jobid - 1
