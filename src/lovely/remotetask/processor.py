"""Processors: the loops that take jobs of a service and have them run.

A processor is a worker: a crew of threads claims and runs jobs, while the
processor's own thread shows that the worker lives, and looks after lost ones.
The two kinds differ only in the size of the crew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from lovely.remotetask import times
from lovely.remotetask.crew import ERROR_WAIT, SHORTEST_WAIT, Crew, close
from lovely.remotetask.elsewhere import elsewhere
from lovely.remotetask.errors import (
    DatabaseTooNew,
    DatabaseTooOld,
    InvalidArgument,
    InvalidType,
    ServiceNotFound,
    WorkerLost,
)
from lovely.remotetask.history import Recorder
from lovely.remotetask.interfaces import IProcessor
from lovely.remotetask.outages import Outages
from lovely.remotetask.own import tidy_pool
from lovely.remotetask.session import Session
from lovely.remotetask.sites import is_closed
from lovely.remotetask.upkeep import Upkeep, began
from lovely.remotetask.wakeup import Bell
from lovely.remotetask.workers import Lease

log = logging.getLogger("lovely.remotetask")

#: How long the ancestor waited after it had started a thread, in seconds.
THREAD_STARTUP_WAIT = 0.05
#: How often to look for workers that are lost (seconds).
RESCUE_SECONDS = 1.0
#: How often to have the database's idle connections looked after (seconds).
TIDY_SECONDS = 60.0
#: The pause between two transactions that remove jobs (seconds).
PRUNE_PAUSE = 0.05


class Every:
    """Tells when something is due that is to be done every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next: float | None = None

    def due(self, now: float) -> bool:
        """Whether it is due, now for the first time, or again."""
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._seconds
        return True


@implementer(IProcessor)
class SimpleProcessor:
    """Runs the jobs of one service one at a time, in their order."""

    #: How many jobs run at a time.
    maxThreads = 1

    def __init__(
        self,
        db: Any,
        servicePath: Sequence[str],
        waitTime: float = 1.0,
        *,
        groupFinish: bool = False,
        heartbeat: float = Lease().heartbeat,
        lease: float = Lease().seconds,
    ) -> None:
        """Numbers are seconds.

        ``waitTime``
            look for jobs at least so often, even if nothing has been heard.
        ``groupFinish``
            whether to finish many short jobs in one commit: faster, and more of
            them run again after a crash or a conflict.
        ``heartbeat``
            show so often that the worker lives.
        ``lease``
            a worker that has not done so for that long is taken for lost.

        Raise InvalidType (a TypeError) or InvalidArgument (a ValueError).
        """
        self.db = db
        if isinstance(servicePath, str) or not isinstance(servicePath, Sequence):
            raise InvalidType(
                f"servicePath: a list of names is needed, not {servicePath!r}."
            )
        self.servicePath = [str(name) for name in servicePath]
        wait_time = times.check_seconds("waitTime", waitTime)
        self.waitTime = min(wait_time, threading.TIMEOUT_MAX)
        if not isinstance(groupFinish, bool):
            raise InvalidType(f"groupFinish: True or False, not {groupFinish!r}.")
        self.groupFinish = groupFinish
        self._lease = Lease.checked(heartbeat, lease)
        self._crew: Crew | None = None
        self._stopped, self._abandoned = threading.Event(), threading.Event()
        self._bell: Bell | None = None
        name = "/".join(self.servicePath)
        self._upkeep, self._outages = Upkeep(name), Outages(name)
        self._recorder = Recorder()
        #: The worker's key, and that of claims by calls, outside the loop.
        self._key: int | None = None
        self._caller: int | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {'/'.join(self.servicePath)}>"

    @property
    def running(self) -> bool:
        """Whether it has not been told to stop.

        A thread that runs a processor may also be told by its attribute
        ``running``.
        """
        told = getattr(threading.current_thread(), "running", True)
        return bool(told) and not self._stopped.is_set()

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that run jobs."""
        return [] if self._crew is None else list(self._crew.threads)

    def stop(self) -> None:
        """Ask the processor to end; return at once."""
        self._stopped.set()
        if self._bell is not None:
            self._bell.ring()

    def abandon(self) -> None:
        """End within some seconds: jobs that still run go back to the queue.

        For a process that has to end.  The attempts are not counted.
        """
        self._abandoned.set()
        self.stop()

    def hasJobsWaiting(self) -> bool:
        with self._session(None) as session:
            return session.has_jobs()

    def claimNextJob(self) -> int | None:
        with self._claiming() as session:
            claimed = session.claim_next()
            return claimed[0] if claimed else None

    def processNext(self, jobid: int | None = None) -> bool:
        with self._claiming() as session:
            if jobid is None:
                claimed = session.claim_next()
            else:
                claimed = session.claim_job(jobid)
            for claim in claimed:
                session.run(claim, session.own_key)
            return bool(claimed)

    def __call__(self) -> None:
        try:
            while self.running:
                self._serve_until_error()
            self._end_in_trouble()
        finally:
            if self._crew is not None:
                self._crew.stop()

    def _end_in_trouble(self) -> None:
        """If it was told to stop and could not end in order: wait for jobs that run.

        Meanwhile, and at last when they are over, try again to.
        """
        while self._crew is not None:
            self._crew.stop()
            over = self._crew.has_ended(RESCUE_SECONDS) or self._abandoned.is_set()
            self._serve_until_error()
            if over:
                break

    def _serve_until_error(self) -> None:
        """Serve until told to stop, or until something is wrong.

        The crew goes on with its jobs meanwhile.
        """
        if self._key is None and self._crew is None:
            # What was claimed before the loop is for the crew.
            self._key, self._caller = self._caller, None
        try:
            with self._session(self._key) as session:
                self._serve(session)
        except (ServiceNotFound, DatabaseTooOld, DatabaseTooNew) as error:
            self._upkeep.missing(error)
            self._stopped.wait(max(self.waitTime, SHORTEST_WAIT))
        except WorkerLost as error:
            log.warning("%r: %s Going on as a new worker.", self, error)
            self._key = None
            self._upkeep.start_anew()
            if self._crew is not None:
                self._crew.drop()
        except Exception as error:
            if is_closed(self.db):
                self._stopped.set()
                return
            self._outages.failed(self, error)
            self._stopped.wait(ERROR_WAIT)

    def _serve(self, session: Session) -> None:
        """Look after the crew until told to stop, or the service is removed.

        Then clear up; until the crew has ended, the worker shows that it lives.
        """
        bell = self._bell = self._bell or Bell(session.jar.db(), session.oid)
        self._key = session.register(self.maxThreads, self._lease)
        if self._crew is None:
            self._crew = Crew(
                self.maxThreads,
                self._key,
                open_session=lambda: self._open(None),
                bell=bell,
                waitTime=self.waitTime,
                groupFinish=self.groupFinish,
                environment=session.environment,
                outages=self._outages,
            )
            # From the first job on, it can be seen whose threads they are.
            self._crew.start()
        crew = self._crew
        crew.key = self._key
        self._upkeep.found()
        beat, rescue = Every(self._lease.heartbeat), Every(RESCUE_SECONDS)
        tidy, look = Every(TIDY_SECONDS), Every(self._lease.heartbeat)
        while self.running:
            self._look_after(session, crew, beat, rescue)
            now = session.environment.monotonic()
            if tidy.due(now):
                tidy_pool(self.db)
            if look.due(now) and not session.is_there():
                break
            self._upkeep.notice_stall(crew, self.waitTime)
            pruned = self._upkeep.prune(session)
            self._stopped.wait(PRUNE_PAUSE if pruned else RESCUE_SECONDS)
        session.give_back(crew.stop())
        while not crew.has_ended(RESCUE_SECONDS) and not self._abandoned.is_set():
            self._look_after(session, crew, beat, rescue)
        # What still runs goes back: its thread will find that it is not its own.
        session.leave()
        self._key = self._crew = self._bell = None

    def _look_after(
        self, session: Session, crew: Crew, beat: Every, rescue: Every
    ) -> None:
        """What is to be done now and then.  Raise WorkerLost."""
        now = session.environment.monotonic()
        if crew.key is None:
            raise WorkerLost("The worker was lost.")
        if beat.due(now):
            session.beat(began=began(crew.runs()))
            self._upkeep.notice_clock(session)
        if rescue.due(now):
            session.rescue()
        with crew.take_late() as late:
            if late:
                session.give_back(late)
        runs = crew.runs()
        for jobid in session.requests().intersection(runs):
            runs[jobid].ask_to_stop()
        self._upkeep.show_progress(session, runs)
        session.rest()
        self._outages.over()

    def _open(self, key: int | None) -> Session:
        return Session(self.db, self.servicePath, key, self._recorder)

    @contextmanager
    def _session(self, key: int | None) -> Iterator[Session]:
        session = self._open(key)
        try:
            yield session
        finally:
            close(session)

    @contextmanager
    def _claiming(self) -> Iterator[Session]:
        """A session for single calls; the worker ends when it holds no job.

        It is not that of the loop, whose crew runs what that holds.
        """
        with self._session(self._caller) as session:
            session.register(1, self._lease)
            try:
                yield session
            finally:
                self._caller = session.key
                if not session.held():
                    self._caller = None
                    session.leave()


@implementer(IProcessor)
class MultiProcessor(SimpleProcessor):
    """Runs several jobs of one service at a time, each in a thread."""

    def __init__(
        self,
        db: Any,
        servicePath: Sequence[str],
        waitTime: float = 1.0,
        maxThreads: int = 5,
        **options: Any,
    ) -> None:
        """``maxThreads``: how many jobs run at a time, an int from 1 on.

        The rest is as in `SimpleProcessor`.
        """
        super().__init__(db, servicePath, waitTime, **options)
        if isinstance(maxThreads, bool) or not isinstance(maxThreads, int):
            raise InvalidType(
                f"maxThreads: an int is needed, not {type(maxThreads).__name__}."
            )
        if maxThreads < 1:
            raise InvalidArgument(f"maxThreads: 1 or more, not {maxThreads!r}.")
        self.maxThreads = maxThreads


if TYPE_CHECKING:
    # Under the same name, which means that it may be imported from here.
    from lovely.remotetask.principals import (
        ProcessorRequest as ProcessorRequest,  # noqa: PLC0414
    )
else:
    __getattr__ = elsewhere(
        __name__, "zope", {"ProcessorRequest": "lovely.remotetask.principals"}
    )
