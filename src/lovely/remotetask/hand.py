"""What a worker has in hand: jobs that wait for a thread, and those that run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lovely.remotetask.current import Run
from lovely.remotetask.pace import Pace

if TYPE_CHECKING:
    from lovely.remotetask.environment import Environment

#: If the first that waits for a thread has done so for so long (seconds), all go back
#: to the queue: others may be free.  More were claimed than could be run soon.
PATIENCE = 2.0


class Claimed(NamedTuple):
    """A job that was claimed for a worker."""

    jobid: int
    key: int
    #: Since when it has waited for a thread, in seconds of `Environment.monotonic`.
    since: float


class Batch(NamedTuple):
    """The jobs that a thread has taken, to run them one after the other."""

    #: The worker's key.
    key: int
    #: When it began, in seconds of `Environment.monotonic`.
    since: float
    #: By id, in their order: what their tasks see.
    runs: dict[int, Run]


class Broken(NamedTuple):
    """How often a job broke its connection in a row, and with what at last."""

    times: int = 0
    error: BaseException | None = None


class Hand:
    """What a worker has in hand.  Any thread may use it."""

    def __init__(self, threads: int, environment: Environment, *, groups: bool) -> None:
        """``groups``: whether threads take several short jobs at a time."""
        self._environment = environment
        self._groups = groups
        self._pace = Pace(threads, groups=groups)
        #: Protects all of it; held for moments only.
        self._lock = threading.Lock()
        self._waiting: deque[Claimed] = deque()
        #: What goes back to the queue just now, if that can be committed.
        self._returning: list[Claimed] = []
        self._running: list[Batch] = []
        #: The most that ran at a time since the last claim.
        self._busiest = 1
        #: The one that a worker was lost with before; None if there is none.
        self._suspect: int | None = None
        #: Jobs that are to run by themselves, and how they broke their connections.
        self._alone: dict[int, Broken] = {}

    def runs(self) -> dict[int, Run]:
        """What the tasks of the jobs that run see, by id."""
        with self._lock:
            return self._runs()

    def busy(self) -> int:
        """How many threads run jobs."""
        with self._lock:
            return len(self._running)

    def wants(self) -> tuple[int, set[int], bool]:
        """What to claim: how many, which jobs are in hand, whether a suspect may be."""
        with self._lock:
            room = max(self._pace.in_hand(self._busiest) - len(self._runs()), 1)
            self._busiest = max(len(self._running), 1)
            return room, self._in_hand(), self._suspect is None

    def receive(
        self, key: int, jobids: list[int], *, suspect: bool, crowded: bool = False
    ) -> None:
        """Jobs were claimed for a worker; ``suspect`` if that is what the first is.

        ``crowded``: whether others reached for the same at the same time.

        What is in hand already was given back, though that was reported as failed.
        """
        with self._lock:
            self._pace.claimed(crowded=crowded)
            in_hand = self._in_hand()
            new = [jobid for jobid in jobids if jobid not in in_hand]
            now = self._environment.monotonic()
            self._waiting.extend(Claimed(jobid, key, now) for jobid in new)
            if suspect:
                self._suspect = jobids[0]

    def take(self) -> Batch | None:
        """For a thread: the first job that waits, or a group of them."""
        with self._lock:
            if not self._waiting:
                return None
            jobid, key, _ = self._waiting.popleft()
            now = self._environment.monotonic()
            batch = Batch(key, now, {jobid: Run(self._environment)})
            if self._groups and self._is_social(jobid):
                self._fill(batch)
            self._running.append(batch)
            self._busiest = max(len(self._running), self._busiest)
            return batch

    def through_soon(self) -> Batch | None:
        """What a thread has begun last, if tasks have been short lately."""
        with self._lock:
            if self._running and self._pace.is_short():
                return self._running[-1]
            return None

    def troubles(self, jobid: int) -> Broken:
        """How a job has broken its connections so far."""
        return self._alone.get(jobid, Broken())

    def apart(self, jobids: Collection[int], broken: Broken | None = None) -> None:
        """From now on, these jobs run by themselves."""
        with self._lock:
            self._alone |= dict.fromkeys(jobids, broken or Broken())

    def done(self, batch: Batch, over: Collection[int], *, lost: bool) -> bool:
        """A thread is through: these jobs are over, the others wait again.

        Not if they are ``lost``.  Return whether another suspect may be claimed now.
        """
        with self._lock:
            self._running = [other for other in self._running if other is not batch]
            ended = set(over)
            left = [jobid for jobid in batch.runs if jobid not in ended]
            now = self._environment.monotonic()
            if not lost:
                again = [Claimed(jobid, batch.key, now) for jobid in reversed(left)]
                self._waiting.extendleft(again)
            tasks = [run.took for run in batch.runs.values() if run.took is not None]
            if tasks:
                self._pace.tasks_took(sum(tasks), len(tasks))
            if over:
                self._pace.took(now - batch.since, len(over))
            return self._let_go(batch.runs if lost else over)

    def give_up(self) -> None:
        """The worker is lost, and so is what it has claimed."""
        with self._lock:
            self._take_all()
            self._returned()
            self._alone.clear()

    def take_all(self) -> list[int]:
        """Take back the jobs that have not begun."""
        with self._lock:
            return self._take_all()

    @contextmanager
    def take_late(self) -> Iterator[list[int]]:
        """Take back what has waited for too long for a thread.

        Within, the jobs still count as being in hand; and they are so afterwards, if
        they could not be given back.
        """
        with self._lock:
            now = self._environment.monotonic()
            if self._waiting and now - self._waiting[0].since > PATIENCE:
                self._returning = list(self._waiting)
                self._waiting.clear()
            late = [claimed.jobid for claimed in self._returning]
        try:
            yield late
        except BaseException:
            with self._lock:
                self._waiting.extendleft(reversed(self._returning))
                self._returning = []
            raise
        with self._lock:
            self._returned()

    def _in_hand(self) -> set[int]:
        claimed = (*self._waiting, *self._returning)
        return {*self._runs(), *(one.jobid for one in claimed)}

    def _runs(self) -> dict[int, Run]:
        runs: dict[int, Run] = {}
        for batch in self._running:
            runs |= batch.runs
        return runs

    def _fill(self, batch: Batch) -> None:
        """Take more of those that wait, as far as they may run in a group."""
        waiting = self._waiting
        most = self._pace.in_group(len(waiting) + 1, len(self._running))
        while len(batch.runs) < most and waiting:
            jobid, key, _ = waiting[0]
            if key != batch.key or not self._is_social(jobid):
                break
            waiting.popleft()
            batch.runs[jobid] = Run(self._environment)

    def _is_social(self, jobid: int) -> bool:
        return jobid not in self._alone and jobid != self._suspect

    def _take_all(self) -> list[int]:
        jobs = [claimed.jobid for claimed in self._waiting]
        self._waiting.clear()
        self._let_go(jobs)
        return jobs

    def _returned(self) -> None:
        self._let_go([claimed.jobid for claimed in self._returning])
        self._returning = []

    def _let_go(self, jobids: Collection[int]) -> bool:
        """Jobs are not in hand any more; whether the suspect was among them."""
        for jobid in jobids:
            self._alone.pop(jobid, None)
        gone = self._suspect in jobids
        if gone:
            self._suspect = None
        return gone
