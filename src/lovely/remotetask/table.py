"""The job table: a mapping of id to job, made of blocks.

The directory of blocks is spread over several BTrees by block number, so that
producers that start blocks at the same time write different buckets.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from BTrees.LOBTree import LOBTree
from persistent import Persistent

from lovely.remotetask.blocks import SLOTS, Block, number_of
from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.job import Job

#: How many BTrees the directory has; this is the disk format.
SHARDS = 16

T = TypeVar("T")


def _ends(tree: Any) -> Iterator[bytes]:
    """The object ids of a BTree's root, first and last bucket, as is known.

    A BTree's state is None, or holds its children and the first bucket, or, while
    there is one only, that bucket's state (see BTrees' development notes).
    """
    while tree is not None and tree._p_oid is not None:
        yield tree._p_oid
        state = tree.__getstate__() if isinstance(tree, LOBTree) else None
        if state is None or len(state) == 1:
            return
        children, first = state
        yield first._p_oid
        tree = children[-1]


class Counter(Protocol):
    """What counts jobs."""

    def total(self) -> int:
        """How many there are."""


class JobTable(Persistent, Mapping[int, Job]):
    """See ``ITaskService.jobs``: what the public sees is a read-only mapping."""

    def __init__(self, counter: Counter) -> None:
        """``counter`` is a persistent object that knows how many jobs there are."""
        self._counter = counter
        self._shards: tuple[LOBTree[Block], ...] = tuple(
            LOBTree() for _ in range(SHARDS)
        )

    # The mapping

    def __getitem__(self, jobid: int) -> Job:
        job = self._find(jobid)
        if job is None:
            raise UnknownJob(jobid)
        return job

    # As it is inherited, but quicker: what is not there is no exception.
    def get(self, jobid: object, default: Any = None) -> Job | Any:
        job = self._find(jobid)
        return default if job is None else job

    def __contains__(self, jobid: object) -> bool:
        return self._find(jobid) is not None

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys())

    def __len__(self) -> int:
        return self._counter.total()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"

    def keys(  # type: ignore[override]
        self, min: int | None = None, max: int | None = None
    ) -> JobRange[int]:
        return JobRange(self, min, max, itemgetter(0))

    def values(  # type: ignore[override]
        self, min: int | None = None, max: int | None = None
    ) -> JobRange[Job]:
        return JobRange(self, min, max, itemgetter(1))

    def items(  # type: ignore[override]
        self, min: int | None = None, max: int | None = None
    ) -> JobRange[tuple[int, Job]]:
        return JobRange(self, min, max, lambda item: item)

    def minKey(self, min: int | None = None) -> int:
        """The smallest id (not below ``min``); ValueError if there is none."""
        for jobid in self.keys(min):
            return jobid
        raise ValueError("no job satisfies the conditions")

    def maxKey(self, max: int | None = None) -> int:
        """The largest id (not above ``max``); ValueError if there is none."""
        number = None if max is None else number_of(max)
        while True:
            last = [tree.maxKey(number) for tree in self._shards if _has(tree, number)]
            if not last:
                raise ValueError("no job satisfies the conditions")
            number = builtins.max(last)
            found = [jobid for jobid, _ in self._in_blocks(number, number)]
            found = [jobid for jobid in found if max is None or jobid <= max]
            if found:
                return found[-1]
            number -= 1

    def _find(self, jobid: object) -> Job | None:
        if not isinstance(jobid, int) or isinstance(jobid, bool):
            return None
        block = self.block(number_of(jobid))
        if block is None:
            return None
        jobs, slot = block.jobs, (jobid - 1) % SLOTS
        return jobs[slot] if slot < len(jobs) else None

    def _in_blocks(
        self, first: int | None, last: int | None
    ) -> Iterator[tuple[int, Job]]:
        ranges = [_blocks(tree, first, last) for tree in self._shards]
        for _, block in merge(*ranges, key=itemgetter(0)):
            for jobid, job in enumerate(block.jobs, block.first_id):
                if job is not None:
                    yield jobid, job

    # For the library

    def range_of(self, low: int | None, high: int | None) -> Iterator[tuple[int, Job]]:
        """The items with ids from ``low`` to ``high``, in order."""
        first = None if low is None else number_of(low)
        last = None if high is None else number_of(high)
        for jobid, job in self._in_blocks(first, last):
            if (low is None or jobid >= low) and (high is None or jobid <= high):
                yield jobid, job

    def block(self, number: int) -> Block | None:
        """The block with a number, or None."""
        try:
            block: Block | None = self._shards[number % SHARDS].get(number)
        except (OverflowError, TypeError):
            return None  # beyond 64 bits
        return block

    def growing(self) -> Iterator[bytes]:
        """The object ids of which some change when a block is added.

        New blocks go to the end of a BTree, or, roots of lanes, to its beginning.
        """
        for tree in self._shards:
            yield from _ends(tree)

    def blocks_from(self, number: int) -> Iterator[Block]:
        """The blocks from a number on, in order, whatever is dropped meanwhile."""
        ranges = [_blocks(tree, number, None) for tree in self._shards]
        return (block for _, block in merge(*ranges, key=itemgetter(0)))

    def blocks_before(self, number: int | None) -> Iterator[Block]:
        """The blocks up to a number (None: all), backwards; lazy."""
        ranges = [_blocks_back(tree, number) for tree in self._shards]
        return (block for _, block in merge(*ranges, key=itemgetter(0), reverse=True))

    def beside_new(self, number: int) -> Any:
        """What can't be written without a conflict to drop a block and to add one.

        BTrees merge changes of a bucket, but for the removal of its first key.  So
        it is the last bucket, if the block is the first in it; else None.  Of the
        nodes above, which are written rarely, nothing is said.
        """
        tree: Any = self._shards[number % SHARDS]
        while isinstance(tree, LOBTree):
            state = tree.__getstate__()
            if state is None or len(state) == 1:
                break
            tree = state[0][-1]
        return tree if tree and tree.minKey() == number else None

    def insert(self, block: Block) -> None:
        """Add a new block."""
        self._shards[block.number % SHARDS][block.number] = block

    def drop(self, block: Block) -> None:
        """Remove a block that is not needed any more."""
        self._shards[block.number % SHARDS].pop(block.number, None)

    def take_out(self, jobid: int) -> Block:
        """Remove a job, which `TaskService.clean` counts; return its block."""
        block = self.block(number_of(jobid))
        if block is None:
            raise KeyError(jobid)
        block.jobs[(jobid - 1) % SLOTS] = None
        block._p_changed = True
        return block


def _blocks(
    tree: Any, first: int | None, last: int | None
) -> Iterator[tuple[int, Block]]:
    """The items of a BTree in order, whatever is dropped or added meanwhile."""
    while chunk := list(islice(tree.items(first, last), 100)):
        yield from chunk
        first = chunk[-1][0] + 1


def _blocks_back(tree: Any, last: int | None) -> Iterator[tuple[int, Block]]:
    """The items of a BTree backwards, in steps that load no more than they need."""
    while _has(tree, last):
        last = tree.maxKey(last)
        yield last, tree[last]
        last -= 1


def _has(tree: Any, number: int | None) -> bool:
    """Whether a BTree has a key (not above ``number``)."""
    return bool(tree) and (number is None or tree.minKey() <= number)


class JobRange(Sequence[T]):
    """The jobs of a table, or of a range of ids, in order; lazy."""

    def __init__(
        self,
        table: JobTable,
        low: int | None,
        high: int | None,
        pick: Callable[[tuple[int, Job]], T],
    ) -> None:
        self._table, self._low, self._high, self._pick = table, low, high, pick

    def __iter__(self) -> Iterator[T]:
        # A generator, which zope.security knows, as it does not know map.
        for item in self._table.range_of(self._low, self._high):
            yield self._pick(item)

    def __len__(self) -> int:
        if self._low is None and self._high is None:
            return len(self._table)
        return sum(1 for _ in self)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"
