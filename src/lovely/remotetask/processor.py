"""Processors: the loops that take jobs of a service and run them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import implementer

from lovely.remotetask import times
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import ServiceNotFound
from lovely.remotetask.execution import JobRun
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.own import commit_retrying
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.sites import find_service, is_closed
from lovely.remotetask.states import PROCESSING, TRANSITIONS
from lovely.remotetask.wakeup import Bell
from lovely.remotetask.workers import is_held, new_identity

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

T = TypeVar("T")

log = logging.getLogger("lovely.remotetask")

#: How long the ancestor waited after it had started a thread, in seconds.
THREAD_STARTUP_WAIT = 0.05

#: A claim takes jobs for about so many seconds, and at most so many jobs.
CLAIM_SECONDS = 0.2
CLAIM_MOST = 100
#: The shortest sleep, and the pause after an error of the database (seconds).
SHORTEST_WAIT = 0.01
ERROR_WAIT = 1.0
#: How often to look for workers whose processes are gone (seconds).
RESCUE_SECONDS = 1.0


class Pace:
    """How many jobs to claim at a time, from how long they have taken lately.

    The more at a time, the fewer commits; but what has been claimed waits for
    this processor, while others might be free.
    """

    def __init__(self) -> None:
        self._average = CLAIM_SECONDS
        self._last = 1

    def took(self, seconds: float) -> None:
        """A job took so long."""
        self._average += 0.2 * (seconds - self._average)

    def size(self) -> int:
        """How many jobs to claim now."""
        fitting = int(CLAIM_SECONDS / max(self._average, 1e-6))
        self._last = max(1, min(fitting, 2 * self._last, CLAIM_MOST))
        return self._last


class Session:
    """A worker's view of its service through one connection."""

    def __init__(self, db: Any, path: Sequence[str], key: int | None) -> None:
        """``key`` is the worker's; None for one that begins now."""
        self.db = db
        self.connection = db.open()
        self.manager = self.connection.transaction_manager
        try:
            self.manager.begin()
            service = find_service(self.connection.root(), path)
            self.oid: bytes = service._p_oid
            self.environment: Environment = service.environment
            self._next_rescue = self.environment.monotonic()
            self.key = self._register() if key is None else key
        except BaseException:
            self.close()
            raise

    def _register(self) -> int:
        def work(service: TaskService) -> int:
            return service._workers.register(service, new_identity(service))

        return self._commit(work)

    def close(self) -> None:
        """Give the connection back."""
        self.manager.abort()
        self.connection.close()

    def has_jobs(self) -> bool:
        """Whether a job is due."""
        self.manager.begin()
        return self._service().hasJobsWaiting()

    def claim(self, limit: int) -> tuple[list[int], int | None]:
        """Take jobs that are due, at most so many, and commit.

        Return their ids, and, if there are none, when the next one of the
        schedule is due (microseconds since the epoch, or None).
        """

        def work(service: TaskService) -> tuple[list[int], int | None]:
            reader = QueueReader(service)
            jobs = reader.take(limit)
            reader.save()
            if jobs:
                service._workers.claim(service, self.key, jobs)
            ids = [job.id for job in jobs]
            if reader.gave_up:
                return ids, 0
            return ids, service._schedule.minKey()[0] if service._schedule else None

        return self._commit(work)

    def claim_job(self, jobid: int) -> list[int]:
        """Take that job, if it waits or is ours; [its id] or [].

        Raise UnknownJob.
        """

        def work(service: TaskService) -> list[int]:
            job = service._job(jobid)
            if is_held(job, self.key):
                return [jobid]
            if PROCESSING not in TRANSITIONS[job.status]:
                return []
            service._workers.claim(service, self.key, [job])
            return [jobid]

        return self._commit(work)

    def run(self, jobid: int) -> float:
        """Run one of the jobs that were claimed; how long it took (seconds)."""
        begun = self.environment.monotonic()
        JobRun(self.connection, self.oid, jobid, self.key)()
        return self.environment.monotonic() - begun

    def rest(self) -> None:
        """Let go of the snapshot while there is nothing to do."""
        self.manager.abort()

    def held(self) -> list[int]:
        """The claimed jobs that are not over."""
        self.manager.begin()
        service = self._service()
        return service._workers.held_by(service, self.key)

    def rescue(self) -> None:
        """Now and then: queue what dead workers held, and tidy up after them."""
        now = self.environment.monotonic()
        if now < self._next_rescue:
            return
        self._next_rescue = now + RESCUE_SECONDS

        def work(service: TaskService) -> list[int]:
            service._lanes.retire(self.environment.is_gone)
            return service._workers.rescue(service, self.environment.is_gone)

        rescued = self._commit(work)
        if rescued:
            log.warning("jobs %s were held by processes that are gone", rescued)

    def leave(self) -> None:
        """Remove the worker's record; what it holds goes back to the queue."""
        self._commit(lambda service: service._workers.release(service, self.key))

    def _service(self) -> TaskService:
        service: TaskService = self.connection.get(self.oid)
        return service

    def _commit(self, work: Callable[[TaskService], T]) -> T:
        return commit_retrying(
            self.manager, self.environment, lambda: work(self._service())
        )


@implementer(IProcessor)
class SimpleProcessor:
    """Runs the jobs of one service one at a time, in their order."""

    def __init__(
        self, db: Any, servicePath: Sequence[str], waitTime: float = 1.0
    ) -> None:
        """``waitTime``: look for jobs at least every so many seconds.

        Raise InvalidType (a TypeError) or InvalidArgument (a ValueError).
        """
        self.db = db
        self.servicePath = list(servicePath)
        self.waitTime = times.check_seconds("waitTime", waitTime)
        self._key: int | None = None
        self._started = False
        self._stopped = threading.Event()
        self._bell: Bell | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {'/'.join(self.servicePath)}>"

    @property
    def running(self) -> bool:
        """Whether it runs and has not been told to stop.

        A thread that runs a processor may also be told by its attribute
        ``running``.
        """
        told = getattr(threading.current_thread(), "running", True)
        return self._started and bool(told) and not self._stopped.is_set()

    def stop(self) -> None:
        """Ask the processor to end; return at once."""
        self._stopped.set()
        if self._bell is not None:
            self._bell.ring()

    def hasJobsWaiting(self) -> bool:
        with self._session() as session:
            return session.has_jobs()

    def claimNextJob(self) -> int | None:
        with self._session() as session:
            claimed, _ = session.claim(1)
            return claimed[0] if claimed else None

    def processNext(self, jobid: int | None = None) -> bool:
        with self._session() as session:
            claimed = session.claim(1)[0] if jobid is None else session.claim_job(jobid)
            for claim in claimed:
                session.run(claim)
            if not session.held():
                session.leave()
            return bool(claimed)

    def __call__(self) -> None:
        self._started = True
        try:
            while self.running:
                self._serve_until_error()
        finally:
            self._started = False

    def _serve_until_error(self) -> None:
        """Serve until told to stop, or until the database fails."""
        try:
            with self._session() as session:
                self._serve(session)
        except ServiceNotFound as error:
            log.warning("%s", error)
            self._stopped.wait(max(self.waitTime, SHORTEST_WAIT))
        except Exception:
            if is_closed(self.db):
                self._stopped.set()
                return
            log.exception("processor of %s: trying again", "/".join(self.servicePath))
            self._stopped.wait(ERROR_WAIT)

    def _serve(self, session: Session) -> None:
        self._bell = Bell(self.db, session.oid)
        waiting = deque(session.held())
        pace = Pace()
        while self.running:
            self._bell.clear()
            due = None
            if not waiting:
                session.rescue()
                claimed, due = session.claim(pace.size())
                waiting.extend(claimed)
            if waiting:
                pace.took(session.run(waiting[0]))
                waiting.popleft()
            else:
                session.rest()
                self._bell.wait(self._idle_seconds(session.environment, due))
        session.leave()

    def _idle_seconds(self, environment: Environment, due: int | None) -> float:
        """How long to sleep when the next scheduled job is due then."""
        seconds = self.waitTime
        if due is not None:
            seconds = min(seconds, due / 1_000_000 - environment.time())
        return max(seconds, SHORTEST_WAIT)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = Session(self.db, self.servicePath, self._key)
        self._key = session.key
        try:
            yield session
        finally:
            session.close()
