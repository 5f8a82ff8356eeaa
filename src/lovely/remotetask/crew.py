"""The threads of a worker that run jobs.

They share what has been claimed.  One of them at a time is the lookout: it waits
for jobs, claims some, takes the first, and leaves the lookout to the next.  So
there is no thread between a claim and a run, and one claim serves all.

With group finish, a thread takes several at a time, and commits them together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from transaction.interfaces import TransientError

from lovely.remotetask.current import Run
from lovely.remotetask.errors import WorkerLost
from lovely.remotetask.outages import is_outage
from lovely.remotetask.session import Session
from lovely.remotetask.wakeup import Bell

if TYPE_CHECKING:
    from lovely.remotetask.environment import Environment

log = logging.getLogger("lovely.remotetask")

#: A claim takes jobs for about so many seconds, and at most so many a thread.
CLAIM_SECONDS = 0.2
CLAIM_MOST = 100
#: With group finish: how long a thread goes on with a group before it commits
#: (seconds).
GROUP_SECONDS = 0.1
#: What has waited for a thread for so long goes back to the queue (seconds).
PATIENCE = 2.0
#: The pause after an error of the database (seconds).
ERROR_WAIT = 1.0
#: A job with which the storage has failed so often in a row has failed.
MOST_OUTAGES = 5
#: The shortest sleep (seconds), so that a waitTime of 0 does not burn a core.
SHORTEST_WAIT = 0.01


class Pace:
    """How many jobs to have in hand, from how long they have taken lately.

    The more at a time, the fewer commits; but what has been claimed waits for
    this worker, while others might be free.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._average = 5 * CLAIM_SECONDS
        self._last = threads

    def took(self, seconds: float, jobs: int = 1) -> None:
        """So many jobs took so long, all together."""
        share = 1 - 0.8**jobs
        self._average += share * (seconds / jobs - self._average)

    def in_hand(self) -> int:
        """How many jobs to have claimed: growing step by step, small at once."""
        ahead = self._within(CLAIM_SECONDS)
        self._last = min(self._threads * (1 + ahead), 2 * self._last)
        return self._last

    def in_group(self, waiting: int) -> int:
        """How many of the jobs that wait a thread is to take for a group."""
        fair = -(-waiting // self._threads)
        return max(1, min(fair, self._within(GROUP_SECONDS)))

    def _within(self, seconds: float) -> int:
        return min(int(seconds / max(self._average, 1e-6)), CLAIM_MOST)


class Claimed(NamedTuple):
    """A job that was claimed for a worker."""

    jobid: int
    key: int


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


class Crew:
    """Threads that run the jobs of one worker, each on a connection of its own."""

    def __init__(
        self,
        size: int,
        key: int,
        *,
        open_session: Callable[[], Session],
        bell: Bell,
        waitTime: float,
        groupFinish: bool,
        environment: Environment,
    ) -> None:
        """``key`` is the worker's; ``waitTime`` how long not to look (seconds).

        ``groupFinish``: whether short jobs are finished many to a commit.
        """
        #: None while the worker is lost, until there is a new one.
        self.key: int | None = key
        self._open_session = open_session
        self._bell = bell
        self._wait_time = waitTime
        self._group_finish = groupFinish
        self._environment = environment
        self._pace = Pace(size)
        #: Held by the lookout, and by whoever takes a job from it.
        self._lookout = threading.Lock()
        #: Protects what follows; held for moments only.
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._waiting: deque[Claimed] = deque()
        self._returning: list[int] = []
        self._taken_last = 0.0
        self._looked_last = environment.monotonic()
        self._suspect: int | None = None
        #: Jobs that are to run by themselves, and how they broke their connections.
        self._alone: dict[int, Broken] = {}
        self._running: dict[threading.Thread, Batch] = {}
        name = threading.current_thread().name
        self.threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(1, size + 1)
        ]
        for thread in self.threads:
            thread.start()

    def runs(self) -> dict[int, Run]:
        """What the tasks of the jobs that run see, by id."""
        with self._lock:
            return {
                jobid: run
                for batch in self._running.values()
                for jobid, run in batch.runs.items()
            }

    def not_looked_for(self) -> float:
        """For how many seconds no thread has looked for jobs, though one was free."""
        with self._lock:
            now = self._environment.monotonic()
            if len(self._running) >= len(self.threads):
                self._looked_last = now
            return now - self._looked_last

    @contextmanager
    def take_back(self) -> Iterator[list[int]]:
        """Take back what has waited for too long for a thread.

        Within, the jobs still count as being in hand.
        """
        with self._lock:
            waited = self._environment.monotonic() - self._taken_last
            self._returning = self._take_all() if waited > PATIENCE else []
        try:
            yield self._returning
        finally:
            self._returning = []

    def drop(self, key: int | None = None) -> None:
        """The worker is lost, and so are its claims; not if it is a new one."""
        with self._lock:
            if key is None or key == self.key:
                self.key = None
                self._take_all()
                self._alone.clear()

    def stop(self) -> list[int]:
        """Let the threads end after the jobs that they run; return at once.

        Returns the jobs that have not begun.
        """
        self._stopped.set()
        self._bell.ring()
        with self._lock:
            return self._take_all()

    def has_ended(self, timeout: float) -> bool:
        """Wait for the threads to end, at most so many seconds; whether they have."""
        end = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self.threads)

    def _take_all(self) -> list[int]:
        jobs = [claimed.jobid for claimed in self._waiting]
        self._waiting.clear()
        if self._suspect in jobs:
            self._suspect = None
        return jobs

    def _work(self) -> None:
        """What each thread does."""
        session: Session | None = None
        while not self._stopped.is_set():
            try:
                session = session or self._open_session()
                batch = self._next(session)
                if batch is not None:
                    self._run(session, batch)
            except WorkerLost as error:
                log.warning("%s", error)
            except Exception as error:
                log_retry(threading.current_thread().name, error)
                close(session)
                session = None
                self._stopped.wait(ERROR_WAIT)
        close(session)

    def _next(self, session: Session) -> Batch | None:
        """Wait for jobs, as the lookout when it is our turn; None at the end."""
        with self._lookout:
            while not self._stopped.is_set():
                batch = self._take()
                if batch is not None:
                    return batch
                self._bell.clear()
                seconds = self._claim(session)
                if seconds > 0:
                    session.rest()
                    self._bell.wait(max(seconds, SHORTEST_WAIT))
        return None

    def _take(self) -> Batch | None:
        """Take the first job that waits for a thread, or with group finish some."""
        with self._lock:
            if not self._waiting:
                return None
            self._taken_last = self._environment.monotonic()
            jobid, key = self._waiting.popleft()
            batch = Batch(key, self._taken_last, {jobid: Run(self._environment)})
            if self._group_finish and self._is_social(jobid):
                self._fill(batch)
            self._running[threading.current_thread()] = batch
            return batch

    def _fill(self, batch: Batch) -> None:
        """Take more of those that wait, as far as they may run in a group."""
        most, waiting = self._pace.in_group(len(self._waiting) + 1), self._waiting
        while len(batch.runs) < most and waiting:
            jobid, key = waiting[0]
            if key != batch.key or not self._is_social(jobid):
                break
            waiting.popleft()
            batch.runs[jobid] = Run(self._environment)

    def _is_social(self, jobid: int) -> bool:
        return jobid not in self._alone and jobid != self._suspect

    def _claim(self, session: Session) -> float:
        """Claim jobs for all; how long to wait before the next look (seconds)."""
        key = self.key
        self._looked_last = self._environment.monotonic()
        if key is None:
            return self._wait_time
        with self._lock:
            busy = [jobid for batch in self._running.values() for jobid in batch.runs]
            in_hand = {*busy, *self._returning}
            room = max(self._pace.in_hand() - len(busy), 1)
            suspects = self._suspect is None
        try:
            claim = session.claim(key, room, in_hand, suspects=suspects)
        except WorkerLost:
            self.drop(key)
            raise
        with self._lock:
            self._taken_last = self._environment.monotonic()
            self._waiting.extend(Claimed(jobid, key) for jobid in claim.jobs)
            if claim.suspect:
                self._suspect = claim.jobs[0]
        if claim.jobs:
            return 0.0
        if claim.growing != self._bell.interest:
            # A change that came before now went unheard: look once more.
            self._bell.interest = claim.growing
            return 0.0
        if claim.due is None:
            return self._wait_time
        left = claim.due / 1_000_000 - self._environment.time()
        return min(max(left, SHORTEST_WAIT), self._wait_time)

    def _run(self, session: Session, batch: Batch) -> None:
        """Run jobs.  If the database fails, they are still claimed, and wait.

        From then on each runs by itself.
        """
        over: Collection[int] = ()
        try:
            over = self._run_all(session, batch)
        except WorkerLost:
            self.drop(batch.key)
            raise
        finally:
            with self._lock:
                del self._running[threading.current_thread()]
                self._put_back(
                    [jobid for jobid in batch.runs if jobid not in over], batch
                )
                self._note(batch, over)

    def _put_back(self, jobids: list[int], batch: Batch) -> None:
        """Jobs wait again that are not over, unless they are not ours any more."""
        if batch.key == self.key:
            self._waiting.extendleft(Claimed(i, batch.key) for i in reversed(jobids))
        elif self._suspect in jobids:
            self._suspect = None

    def _run_all(self, session: Session, batch: Batch) -> Collection[int]:
        """Run jobs; the ids of those that are over."""
        if len(batch.runs) == 1:
            self._try(session, batch)
            return list(batch.runs)
        try:
            return session.run_group(batch.runs, batch.key, self._go_on(batch))
        except BaseException:
            self._alone |= dict.fromkeys(batch.runs, Broken())
            raise

    def _go_on(self, batch: Batch) -> Callable[[], bool]:
        """Whether to go on with a group, or to commit what there is."""
        end, now = batch.since + GROUP_SECONDS, self._environment.monotonic
        return lambda: now() < end and not self._stopped.is_set()

    def _note(self, batch: Batch, over: Collection[int]) -> None:
        """Jobs are over."""
        if not over:
            return
        seconds = self._environment.monotonic() - batch.since
        self._pace.took(seconds, len(over))
        for jobid in over:
            self._alone.pop(jobid, None)
        if self._suspect in over:
            self._suspect = None
            self._bell.ring()  # the next suspect may be taken

    def _try(self, session: Session, batch: Batch) -> None:
        """Run a job, or fail it if it is the job that breaks its connections.

        It must not do so for ever.  Raise WorkerLost.
        """
        [(jobid, run)] = batch.runs.items()
        times, broken = self._alone.get(jobid, Broken())
        if times:
            # Where the storage fails before the job has begun, it is not the job.
            session.beat(batch.key)
        verdict = broken if times >= MOST_OUTAGES else None
        try:
            session.run(jobid, batch.key, run, verdict)
        except BaseException as error:
            if is_outage(error):
                self._alone[jobid] = Broken(times + 1, error)
            elif not isinstance(error, TransientError):
                self._alone[jobid] = Broken(MOST_OUTAGES, error)
            raise


def log_retry(what: object, error: Exception) -> None:
    """Say that something has failed and is tried again."""
    if is_outage(error):
        log.warning("%s: the storage fails, trying again: %r", what, error)
    else:
        log.error("%s: trying again", what, exc_info=error)


def close(session: Session | None) -> None:
    """Close a session, if there is one, whatever state its database is in."""
    try:
        if session is not None:
            session.close()
    except Exception:
        log.debug("error while closing a connection", exc_info=True)
