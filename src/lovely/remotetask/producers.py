"""Who appends to which lane: the side of the queue that lives in a process.

Each process keeps, per service, a pool of *holds*: lanes that it owns.  A hold
belongs to one thread, and to one transaction at a time.  A transaction may use
a hold only if its snapshot has seen the hold's last commit; so it never
conflicts with others, whatever they do.

The `LaneWriter` is what a transaction writes through.  It takes part in the
transaction as a data manager, to learn how it ends and to follow savepoints.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from BTrees.LOBTree import LOBTree, LOBucket
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager
from zope.interface import implementer

from lovely.remotetask import wakeup
from lovely.remotetask.errors import LaneLost
from lovely.remotetask.lanes import RESERVE, RESERVE_KEPT, RESERVE_MOST, Lane
from lovely.remotetask.own import transact
from lovely.remotetask.sites import is_closed
from lovely.remotetask.table import JobTable
from lovely.remotetask.writers import Position, Writer, position_at

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

T = TypeVar("T")


class Hold:
    """A lane that this process owns, as its last commit left it."""

    def __init__(self, key: int, position: Position, numbers: list[int]) -> None:
        self.thread = threading.current_thread()
        self.key = key
        self.position = position
        self.numbers = numbers
        #: How many numbers to reserve next: the more, the busier the producer.
        self.batch = RESERVE
        self.busy = True

    def seen_by(self, table: JobTable) -> bool:
        """Whether this snapshot has seen the last commit."""
        tail = table.block(self.position.tail)
        return (0 if tail is None else tail.writes) == self.position.writes


@implementer(ISavepointDataManager)
class LaneWriter(Writer):
    """Writes through a hold, in one transaction."""

    def __init__(self, pool: LanePool, hold: Hold, service: TaskService) -> None:
        super().__init__(service._lanes, hold.key, hold.position)
        self.transaction_manager = service._p_jar.transaction_manager
        self.numbers = list(hold.numbers)
        self.open = True
        self._pool = pool
        self._hold = hold
        self._service = service
        self._batch = hold.batch
        self._voted = False
        self._reads = _reads(service._p_jar)

    def reserve(self) -> None:
        """Reserve numbers at once: they stay ours whatever becomes of us."""
        hold, count = self._hold, self._batch
        self.numbers = hold.numbers = self._pool.reserve(self._service, hold, count)
        self._batch = min(2 * count, RESERVE_MOST)
        hold.batch = min(2 * count, RESERVE_KEPT)

    # The data manager: how the transaction ends

    def sortKey(self) -> str:
        """After the database, so that what we tell others is true."""
        return "~lovely.remotetask"

    def savepoint(self) -> _Savepoint:
        return _Savepoint(self)

    def abort(self, transaction: Any) -> None:
        """All is undone, or all since a savepoint that was there before."""
        _forget_reads(self._service._p_jar, self._reads)
        self._release()

    def tpc_begin(self, transaction: Any) -> None:
        """Nothing to prepare."""

    def commit(self, transaction: Any) -> None:
        """Nothing to write: the blocks belong to the connection."""

    def tpc_vote(self, transaction: Any) -> None:
        self._voted = True

    def tpc_finish(self, transaction: Any) -> None:
        taken = self.position.taken
        self._hold.position = self.position._replace(taken=0)
        self._hold.numbers = self.numbers[taken:]
        self._voted = False
        self._release()
        if self.appended:
            jar = self._service._p_jar
            wakeup.notify(jar.db(), self._service._p_oid)

    def tpc_abort(self, transaction: Any) -> None:
        """If all had voted, nobody knows whether it was committed."""
        if self._voted:
            self._pool.discard(self._hold)
        self._release()

    def _release(self) -> None:
        if self.open:
            self.open = False
            self._hold.busy = False


@implementer(IDataManagerSavepoint)
class _Savepoint:
    """A writer's position, to go back to; the blocks go back by themselves."""

    def __init__(self, writer: LaneWriter) -> None:
        self._writer = writer
        self._position = writer.position
        self._jar = writer._service._p_jar
        self._reads = _reads(self._jar)

    def rollback(self) -> None:
        self._writer.position = self._position
        _forget_reads(self._jar, self._reads)


def _reads(jar: Any) -> frozenset[bytes]:
    """The object ids that have to be unchanged for a transaction to be committed."""
    return frozenset(jar._readCurrent)


def _forget_reads(jar: Any, before: frozenset[bytes]) -> None:
    """What was read for blocks that have been rolled back may change after all.

    BTrees ask for the nodes on the way to where they write, and ZODB does not take
    that back by itself.
    """
    for oid in set(jar._readCurrent) - before:
        if isinstance(jar._cache.get(oid), (LOBTree, LOBucket)):
            del jar._readCurrent[oid]


class LanePool:
    """The holds of this process on the lanes of one service."""

    _serial = itertools.count(1)

    def __init__(self, process: str) -> None:
        self.token = f"{process}/{next(self._serial)}"
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        #: One thread at a time opens lanes: two must not adopt the same.
        self._opening = threading.Lock()

    def writer(self, service: TaskService) -> LaneWriter:
        """The writer of the transaction that a service is used in."""
        transaction = service._p_jar.transaction_manager.get()
        try:
            writer: LaneWriter = transaction.data(service)
        except KeyError:
            pass
        else:
            if writer.open:
                return writer
        writer = LaneWriter(self, self._acquire(service), service)
        try:
            transaction.join(writer)
        except BaseException:
            writer.abort(transaction)
            raise
        transaction.set_data(service, writer)
        return writer

    def reserve(self, service: TaskService, hold: Hold, count: int) -> list[int]:
        """More numbers for a hold: all that its lane has ahead."""

        def work(service: TaskService) -> list[int]:
            lane = service._lanes.get(hold.key)
            if lane is None or lane.owner != self.token:
                raise LaneLost(f"Lane {hold.key} belongs to another process now.")
            lane.slot = hold.position.slot
            return service._lanes.reserve(lane, count)

        try:
            return self._transact(service, work)
        except LaneLost:
            self.discard(hold)
            raise

    def discard(self, hold: Hold) -> None:
        """Forget a hold that is in doubt; its lane can be adopted again."""
        with self._lock:
            self._holds = [other for other in self._holds if other is not hold]

    def _transact(self, service: TaskService, work: Callable[[TaskService], T]) -> T:
        jar = service._p_jar
        return transact(jar.db(), service._p_oid, work, service.environment)

    def _acquire(self, service: TaskService) -> Hold:
        """A hold whose last commit this transaction has seen."""
        table = service.jobs
        for hold in list(self._holds):
            if self._take(hold) and self._usable(hold, table):
                return hold
        with self._opening:
            # Rather one that this transaction can see: it shall find its jobs.
            visible = {lane.key for lane in service._lanes}
            is_free = self._free_lanes(service)
            hold = self._open(service, lambda ln: ln.key in visible and is_free(ln))
            if self._usable(hold, table):
                return hold
            return self._open(service, lambda lane: False)

    def _take(self, hold: Hold) -> bool:
        """Take a hold of this thread, or of one that has ended."""
        thread = threading.current_thread()
        with self._lock:
            ours = hold.thread is thread or not hold.thread.is_alive()
            if hold.busy or not ours:
                return False
            hold.busy, hold.thread = True, thread
            return True

    def _usable(self, hold: Hold, table: JobTable) -> bool:
        try:
            seen = hold.seen_by(table)
        except BaseException:
            hold.busy = False
            raise
        hold.busy = seen
        return seen

    def _open(self, service: TaskService, is_free: Callable[[Lane], bool]) -> Hold:
        """Take over a lane that is free, or a new one."""

        def work(service: TaskService) -> Hold:
            lanes = service._lanes
            lane = lanes.adopt(is_free)
            lane.owner = self.token
            lanes.spare()
            tail = lane.tail(lanes.table)
            ahead = lane.ahead(tail)
            if not ahead:
                ahead = lanes.reserve(lane, RESERVE)
            if lane.slot is None and tail is None:
                # From there the ids are found, also those before a full log.
                lane.slot = ahead[0]
            return Hold(lane.key, position_at(lane, tail), ahead)

        hold = self._transact(service, work)
        with self._lock:
            self._holds.append(hold)
        return hold

    def _free_lanes(self, service: TaskService) -> Callable[[Lane], bool]:
        """Which lanes nobody holds any more, as far as can be known."""
        environment = service.environment
        process, living = environment.process(), _living_tokens()
        held = {hold.key for hold in self._holds}

        def is_free(lane: Lane) -> bool:
            owner = lane.owner
            if owner is None:
                return True
            if owner == self.token:
                return lane.key not in held
            if owner.rpartition("/")[0] == process:
                return owner not in living
            return environment.is_gone(owner)

        return is_free


_pools: WeakKeyDictionary[Any, dict[bytes, LanePool]] = WeakKeyDictionary()
_pools_lock = threading.Lock()


def pool_of(service: TaskService) -> LanePool:
    """This process's pool for a service that is in a database."""
    db, oid = service._p_jar.db(), service._p_oid
    with _pools_lock:
        pools = _pools.setdefault(db, {})
        if oid not in pools:
            wakeup.listen(db)
            pools[oid] = LanePool(service.environment.process())
        return pools[oid]


def _living_tokens() -> set[str]:
    """The pools of databases that are open: closing one frees its lanes."""
    with _pools_lock:
        open_ones = [pools for db, pools in _pools.items() if not is_closed(db)]
    return {pool.token for pools in open_ones for pool in pools.values()}


def _after_fork() -> None:
    """A child owns none of its parent's lanes."""
    global _pools_lock  # noqa: PLW0603 - the old one may be locked for ever
    _pools_lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)
