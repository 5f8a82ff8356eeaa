"""The threads of a worker that run jobs.

They share what has been claimed.  One of them at a time is the lookout: it waits
for jobs, claims some, takes the first, and leaves the lookout to the next.  So
there is no thread between a claim and a run, and one claim serves all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from transaction.interfaces import TransientError

from lovely.remotetask.current import Run
from lovely.remotetask.errors import WorkerLost
from lovely.remotetask.session import Session
from lovely.remotetask.wakeup import Bell

if TYPE_CHECKING:
    from lovely.remotetask.environment import Environment

log = logging.getLogger("lovely.remotetask")

#: A claim takes jobs for about so many seconds, and at most so many a thread.
CLAIM_SECONDS = 0.2
CLAIM_MOST = 100
#: What has waited for a thread for so long goes back to the queue (seconds).
PATIENCE = 2.0
#: The pause after an error of the database (seconds).
ERROR_WAIT = 1.0
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

    def took(self, seconds: float) -> None:
        """A job took so long."""
        self._average += 0.2 * (seconds - self._average)

    def in_hand(self) -> int:
        """How many jobs to have claimed: growing step by step, small at once."""
        ahead = min(int(CLAIM_SECONDS / max(self._average, 1e-6)), CLAIM_MOST)
        self._last = min(self._threads * (1 + ahead), 2 * self._last)
        return self._last


class Claimed(NamedTuple):
    """A job that was claimed for a worker."""

    jobid: int
    key: int


class Running(NamedTuple):
    """A job that a thread runs."""

    claimed: Claimed
    #: When it began, in seconds of `Environment.monotonic`.
    since: float
    #: What its task sees.
    run: Run


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
        environment: Environment,
    ) -> None:
        """``key`` is the worker's; ``waitTime`` how long not to look (seconds)."""
        #: None while the worker is lost, until there is a new one.
        self.key: int | None = key
        self._open_session = open_session
        self._bell = bell
        self._wait_time = waitTime
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
        #: With what error jobs broke their connections, by id.
        self._broken: dict[int, BaseException] = {}
        self._running: dict[threading.Thread, Running] = {}
        name = threading.current_thread().name
        self.threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(1, size + 1)
        ]
        for thread in self.threads:
            thread.start()

    def running(self) -> list[Running]:
        """The jobs that run."""
        with self._lock:
            return list(self._running.values())

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
                running = self._next(session)
                if running is not None:
                    self._run(session, running)
            except WorkerLost as error:
                log.warning("%s", error)
            except Exception:
                log.exception("%s: trying again", threading.current_thread().name)
                close(session)
                session = None
                self._stopped.wait(ERROR_WAIT)
        close(session)

    def _next(self, session: Session) -> Running | None:
        """Wait for a job, as the lookout when it is our turn; None at the end."""
        with self._lookout:
            while not self._stopped.is_set():
                running = self._take()
                if running is not None:
                    return running
                self._bell.clear()
                seconds = self._claim(session)
                if seconds > 0:
                    session.rest()
                    self._bell.wait(max(seconds, SHORTEST_WAIT))
        return None

    def _take(self) -> Running | None:
        """Take the first job that waits for a thread."""
        with self._lock:
            if not self._waiting:
                return None
            self._taken_last = self._environment.monotonic()
            run = Run(self._environment)
            running = Running(self._waiting.popleft(), self._taken_last, run)
            self._running[threading.current_thread()] = running
            return running

    def _claim(self, session: Session) -> float:
        """Claim jobs for all; how long to wait before the next look (seconds)."""
        key = self.key
        self._looked_last = self._environment.monotonic()
        if key is None:
            return self._wait_time
        with self._lock:
            busy = [running.claimed.jobid for running in self._running.values()]
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

    def _run(self, session: Session, running: Running) -> None:
        """Run a job.  If the database fails, it is still claimed, and waits.

        If it is the job that broke the connection, it must not do so for ever:
        it fails then, on a new one.
        """
        broken = self._broken.pop(running.claimed.jobid, None)
        try:
            session.run(*running.claimed, running.run, broken)
        except BaseException as error:
            with self._lock:
                self._waiting.appendleft(running.claimed)
                if not isinstance(error, TransientError):
                    self._broken[running.claimed.jobid] = error
            raise
        else:
            with self._lock:
                self._pace.took(self._environment.monotonic() - running.since)
                if self._suspect == running.claimed.jobid:
                    self._suspect = None
                    self._bell.ring()  # the next suspect may be taken
        finally:
            with self._lock:
                del self._running[threading.current_thread()]


def close(session: Session | None) -> None:
    """Close a session, if there is one, whatever state its database is in."""
    try:
        if session is not None:
            session.close()
    except Exception:
        log.debug("error while closing a connection", exc_info=True)
