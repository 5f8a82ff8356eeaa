"""The threads of a worker that run jobs.

They share what has been claimed.  One of them at a time is the lookout: it waits
for jobs, claims some, takes the first, and leaves the lookout to the next.  So
there is no thread between a claim and a run, and one claim serves all.

Whoever has run a job goes on with the next one.  Where tasks take hardly any time, the
others mix in only if that has not happened for a moment: threads that meet at the
interpreter's lock and at the storage's are slower than one alone.

With group finish, a thread takes several at a time, and commits them together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from transaction.interfaces import TransientError

from lovely.remotetask.current import Run
from lovely.remotetask.errors import WorkerLost
from lovely.remotetask.hand import Batch, Broken, Hand
from lovely.remotetask.outages import Outages, is_outage
from lovely.remotetask.pace import GROUP_SECONDS
from lovely.remotetask.session import Session
from lovely.remotetask.wakeup import Bell

if TYPE_CHECKING:
    from lovely.remotetask.environment import Environment

log = logging.getLogger("lovely.remotetask")

#: The pause after an error of the database (seconds).
ERROR_WAIT = 1.0
#: A job with which the storage has failed so often in a row has failed.
MOST_OUTAGES = 5
#: For so long another thread is given time to end a short run (seconds).
SHORT_RUN = 0.002
#: The shortest sleep (seconds), so that a waitTime of 0 does not burn a core.
SHORTEST_WAIT = 0.01


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
        outages: Outages,
    ) -> None:
        """``key`` is the worker's; ``waitTime`` how long not to look (seconds).

        ``groupFinish``: whether short jobs are finished many to a commit.
        ``outages``: who is told of what fails.
        """
        #: None while the worker is lost, until there is a new one.
        self.key: int | None = key
        self._open_session = open_session
        self._bell = bell
        self._wait_time = waitTime
        self._environment = environment
        self._outages = outages
        self._hand = Hand(size, environment, groups=groupFinish)
        #: Held by the lookout.
        self._lookout = threading.Lock()
        #: Held by the thread that is to be the lookout after that, or is it.
        self._reserve = threading.Lock()
        self._stopped = threading.Event()
        self._looked_last = environment.monotonic()
        name = threading.current_thread().name
        self.threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(1, size + 1)
        ]

    def start(self) -> None:
        """Begin to look for jobs."""
        for thread in self.threads:
            thread.start()

    def runs(self) -> dict[int, Run]:
        """What the tasks of the jobs that run see, by id."""
        return self._hand.runs()

    def not_looked_for(self) -> float:
        """For how many seconds no thread has looked for jobs, though one was free."""
        now = self._environment.monotonic()
        if self._hand.busy() >= len(self.threads):
            self._looked_last = now
        return now - self._looked_last

    def take_late(self) -> AbstractContextManager[list[int]]:
        """Take back what has waited for too long for a thread.

        Within, the jobs still count as being in hand.
        """
        return self._hand.take_late()

    def drop(self, key: int | None = None) -> None:
        """The worker is lost, and so are its claims; not if it is a new one."""
        if key is None or key == self.key:
            self.key = None
            self._hand.give_up()

    def stop(self) -> list[int]:
        """Let the threads end after the jobs that they run; return at once.

        Returns the jobs that have not begun.
        """
        self._stopped.set()
        self._bell.ring()
        return self._hand.take_all()

    def has_ended(self, timeout: float) -> bool:
        """Wait for the threads to end, at most so many seconds; whether they have."""
        end = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self.threads)

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
                log.warning("%s: %s", threading.current_thread().name, error)
            except BaseException as error:
                self._outages.failed(threading.current_thread().name, error)
                close(session)
                session = None
                self._stopped.wait(ERROR_WAIT)
                self._bell.ring()  # what we had in hand may wait for another thread
        close(session)

    def _next(self, session: Session) -> Batch | None:
        """Wait for jobs; None at the end.

        Whoever comes from a run is ahead of those who wait for their turn.
        """
        batch = self._hand.take()
        if batch is not None:
            return batch
        if self._lookout.acquire(blocking=False):
            try:
                return self._look_out(session)
            finally:
                self._lookout.release()
        seen: Batch | None = None
        with self._reserve:
            while not self._stopped.is_set():
                with self._lookout:
                    soon = self._hand.through_soon()
                    if soon is None or soon is seen:
                        return self._look_out(session)
                seen = soon
                self._stopped.wait(SHORT_RUN)
        return None

    def _look_out(self, session: Session) -> Batch | None:
        """As the lookout, wait for jobs, and take the first; None at the end."""
        while not self._stopped.is_set():
            batch = self._hand.take()
            if batch is not None:
                return batch
            self._bell.clear()
            if self._stopped.is_set():
                break  # that was the ring that we have cleared
            seconds = self._claim(session)
            if seconds > 0:
                session.rest()
                self._bell.wait(max(seconds, SHORTEST_WAIT))
        return None

    def _claim(self, session: Session) -> float:
        """Claim jobs for all; how long to wait before the next look (seconds)."""
        key = self.key
        self._looked_last = self._environment.monotonic()
        if key is None:
            return self._wait_time
        room, in_hand, suspects = self._hand.wants()
        try:
            claim = session.claim(key, room, in_hand, suspects=suspects, shy=True)
        except WorkerLost:
            self.drop(key)
            raise
        self._outages.over()
        self._hand.receive(
            key, claim.jobs, suspect=claim.suspect, crowded=claim.crowded
        )
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
            if self._hand.done(batch, over, lost=batch.key != self.key):
                self._bell.ring()  # for the next suspect

    def _run_all(self, session: Session, batch: Batch) -> Collection[int]:
        """Run jobs; the ids of those that are over."""
        if len(batch.runs) == 1:
            self._try(session, batch)
            return list(batch.runs)
        try:
            return session.run_group(batch.runs, batch.key, self._go_on(batch))
        except BaseException:
            self._hand.apart(batch.runs)
            raise

    def _go_on(self, batch: Batch) -> Callable[[], bool]:
        """Whether to go on with a group, or to commit what there is."""
        end, now = batch.since + GROUP_SECONDS, self._environment.monotonic
        return lambda: now() < end and not self._stopped.is_set()

    def _try(self, session: Session, batch: Batch) -> None:
        """Run a job, or fail it if it is the job that breaks its connections.

        It must not do so for ever.  Raise WorkerLost.
        """
        [(jobid, run)] = batch.runs.items()
        times, broken = self._hand.troubles(jobid)
        if times:
            # Where the storage fails before the job has begun, it is not the job.
            session.beat(batch.key)
        verdict = broken if times >= MOST_OUTAGES else None
        try:
            session.run(jobid, batch.key, run, verdict)
        except BaseException as error:
            if is_outage(error):
                self._hand.apart([jobid], Broken(times + 1, error))
            elif not isinstance(error, TransientError):
                self._hand.apart([jobid], Broken(MOST_OUTAGES, error))
            raise


def close(session: Session | None) -> None:
    """Close a session, if there is one, whatever state its database is in."""
    try:
        if session is not None:
            session.close()
    except Exception:
        log.debug("error while closing a connection", exc_info=True)
