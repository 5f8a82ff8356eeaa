"""A worker's view of its service: claims, heartbeats, rescue."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from persistent.timestamp import TimeStamp
from ZODB.utils import z64
from zope.event import notify

from lovely.remotetask.claims import Rescued
from lovely.remotetask.current import Progress, Run
from lovely.remotetask.environment import Environment
from lovely.remotetask.errors import ServiceNotFound, WorkerLost
from lovely.remotetask.events import JobsRescued, RunEnded
from lovely.remotetask.execution import announce_cancelled
from lovely.remotetask.groups import GroupRun
from lovely.remotetask.history import Recorder, Rows, keep, write
from lovely.remotetask.own import (
    close_connection,
    commit_retrying,
    forget,
    open_connection,
)
from lovely.remotetask.pruning import MOST_LOOKED_AT, Pass, Pruner, Step
from lovely.remotetask.queue import QueueReader
from lovely.remotetask.rescue import report, rescue
from lovely.remotetask.runs import JobRun, Thread
from lovely.remotetask.sites import find_service
from lovely.remotetask.states import (
    CANCELLABLE,
    CANCELLED,
    COMPLETED,
    PROCESSING,
    TRANSITIONS,
)
from lovely.remotetask.times import Clock
from lovely.remotetask.timetable import follow
from lovely.remotetask.workers import Lease, Pulse, Watch, Worker, is_held

if TYPE_CHECKING:
    from lovely.remotetask.service import TaskService

T = TypeVar("T")

log = logging.getLogger("lovely.remotetask")


class Claim(NamedTuple):
    """What a claim brought."""

    #: The ids of the jobs that were taken.
    jobs: list[int]
    #: Whether that is one job which a worker was lost with before.
    suspect: bool = False
    #: When to look again, at the latest: microseconds since the epoch.
    due: int | None = None
    #: If there are none: the object ids of which some change when one comes.
    growing: frozenset[bytes] = frozenset()
    #: Whether others reached for the same: it was tried again after a conflict.
    crowded: bool = False


class Session:
    """One connection to a service, used by one thread of a worker."""

    def __init__(
        self,
        db: Any,
        path: Sequence[str],
        key: int | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """``key`` is the worker's; None before it is registered.

        ``recorder`` counts what it runs.  Raise ServiceNotFound.
        """
        self.key = key
        self._path = path
        self._recorder = recorder or Recorder()
        self._name = path[-1] if path else ""
        self.connection = open_connection(db)
        self.manager = self.connection.transaction_manager
        try:
            self.manager.begin()
            service = find_service(self.connection.root(), path)
            # Not this connection, if the service is in a database that is mounted.
            self.jar: Any = service._p_jar
            self.oid: bytes = service._p_oid
            self.environment: Environment = service.environment
        except BaseException:
            self.close()
            raise
        self._watch = Watch()
        #: How many seconds this machine's clock is ahead of the storage's, or, below
        #: zero, behind it, as far as that is sure.
        self.ahead = 0
        self._pruner = Pruner()
        #: Whether it is known of all jobs which are in error.
        self._caught_up = False

    def close(self) -> None:
        """Give the connection back."""
        try:
            self.manager.abort()
        finally:
            close_connection(self.connection)

    def rest(self) -> None:
        """Let go of the snapshot while there is nothing to do."""
        self.manager.abort()

    def is_there(self) -> bool:
        """Whether the path still leads to the service."""
        self.manager.begin()
        try:
            found = find_service(self.connection.root(), self._path)
        except ServiceNotFound:
            return False
        return found._p_jar is self.jar and bool(found._p_oid == self.oid)

    def has_jobs(self) -> bool:
        """Whether a job is due."""
        self.manager.begin()
        return self._service().hasJobsWaiting()

    def register(self, threads: int, lease: Lease) -> int:
        """Begin as a worker, unless it has a key already; the key."""
        if self.key is None:
            self.key = self._commit(
                lambda service: service._workers.register(service, threads, lease)
            )
        return self.key

    def leave(self) -> None:
        """End as a worker; what has been claimed and not begun goes back."""
        key, self.key = self.own_key, None

        def work(service: TaskService, rows: Rows) -> None:
            keep(service, rows)
            service._workers.leave(service, key)

        self._recording(work)

    def beat(
        self, key: int | None = None, began: Mapping[int, int] | None = None
    ) -> None:
        """Show that the worker lives, ours or that with a key.  Raise WorkerLost.

        What was counted meanwhile is written with it; and when the jobs ``began`` that
        run now, if that is known: microseconds by id.
        """

        def work(service: TaskService, rows: Rows) -> tuple[Pulse, float]:
            worker = self._record(service, self.own_key if key is None else key)
            pulse, before = worker.pulse, self.environment.time()
            pulse.beats += 1
            if began is not None:
                pulse.began = dict(began)
            if pulse.ahead != self.ahead:
                pulse.ahead = self.ahead
            write(pulse, rows, self.environment.stamp())
            return pulse, before

        pulse, before = self._recording(work)
        if pulse._p_serial != z64:
            storage_time = TimeStamp(pulse._p_serial).timeTime()
            # At some time in between, both clocks were read.
            least, most = before - storage_time, self.environment.time() - storage_time
            self.ahead = round(max(least, min(most, 0.0)))

    def claim(
        self,
        key: int,
        limit: int,
        in_hand: Collection[int] = (),
        *,
        suspects: bool = True,
        shy: bool = False,
    ) -> Claim:
        """Take jobs for a worker that are due, at most so many, and commit.

        What the worker has claimed and does not have in hand comes first: such
        jobs are left when a commit was reported as failed, but was none.

        Without ``suspects``, leave jobs that a worker was lost with.  Such a job
        is taken alone, lest others be suspected with it.  ``shy``: see
        `QueueReader.take`.  Raise WorkerLost.
        """

        tried = itertools.count()

        def work(service: TaskService) -> Claim:
            crowded = next(tried) > 0
            self._record(service, key)
            held = service._workers.held_by(service, key)
            forgotten = [jobid for jobid in held.unfinished if jobid not in in_hand]
            if forgotten:
                doubtful = [i for i in forgotten if service.jobs[i].crashes]
                return Claim(doubtful[:1] or forgotten, bool(doubtful))
            behind = follow(service, Clock.of(self.environment.time()))
            share = service._workers.share(service, key)
            reader = QueueReader(service, suspects=suspects, share=share, ahead=limit)
            jobs = reader.take(limit, shy=shy)
            reader.save()
            if jobs:
                service._workers.claim(service, key, jobs, held, reader.clock)
            due = service._schedule.minKey()[0] if service._schedule else None
            suspect = bool(jobs and jobs[0].crashes)
            due = 0 if reader.gave_up or behind else reader.left_until or due
            growing = frozenset() if jobs else service._lanes.growing()
            return Claim([job.id for job in jobs], suspect, due, growing, crowded)

        return self._commit(work)

    def claim_next(self) -> list[int]:
        """Take the next job that is due, however many are passed over for it."""
        while not (claim := self.claim(self.own_key, 1)).jobs and claim.due == 0:
            pass
        return claim.jobs

    def claim_job(self, jobid: int) -> list[int]:
        """Take that job, if it waits or is ours; [its id] or [].

        Raise UnknownJob, WorkerLost.
        """

        def work(service: TaskService) -> list[int]:
            job = service._job(jobid)
            if is_held(job, self.own_key):
                return [jobid]
            if PROCESSING not in TRANSITIONS[job.status]:
                return []
            self._record(service, self.own_key)
            job.leave_place()
            service._workers.claim(service, self.own_key, [job])
            return [jobid]

        return self._commit(work)

    def give_back(self, jobids: Sequence[int]) -> None:
        """Put jobs back that have been claimed and not begun."""
        self._commit(
            lambda service: service._workers.give_back(service, self.own_key, jobids)
        )

    def run(
        self,
        jobid: int,
        key: int,
        run: Run | None = None,
        broken: BaseException | None = None,
    ) -> None:
        """Run a job that was claimed for a worker.

        With ``broken``, it has failed with that, and could not note it.
        """
        attempt = JobRun(self._thread(key), jobid, run or Run(self.environment))
        if broken is None:
            attempt()
        else:
            attempt.fail(broken)

    def run_group(
        self, runs: Mapping[int, Run], key: int, go_on: Callable[[], bool]
    ) -> list[int]:
        """Run jobs that were claimed for a worker, in one commit if it can be.

        ``runs`` by id, in their order; before each but the first, ``go_on`` is
        asked whether to.  Return the ids of those that were begun: they are over.
        """
        return GroupRun(self._thread(key), runs, go_on)()

    def show(self, progress: dict[int, Progress]) -> None:
        """Let others see how far jobs are.  Raise WorkerLost."""

        def work(service: TaskService) -> None:
            pulse = self._record(service, self.own_key).pulse
            pulse.progress = {
                jobid: (shown.fraction, shown.message)
                for jobid, shown in progress.items()
            }

        self._commit(work)

    def requests(self) -> set[int]:
        """The running jobs that someone wants to be stopped."""

        def work(service: TaskService) -> set[int]:
            requests, jobs = set(service._requests), service.jobs
            running = {
                jobid
                for jobid in requests
                if jobid in jobs and jobs[jobid].status == PROCESSING
            }
            for jobid in requests - running:
                service._requests.remove(jobid)
                job = jobs.get(jobid)
                if job is not None and job.status in CANCELLABLE:
                    # It went back to wait before it could be asked.
                    service._workers.settle(service, job)
                    service._writer().move(job, CANCELLED)
                    announce_cancelled(service, job)
            return running

        return self._commit(work)

    def held(self) -> list[int]:
        """The claimed jobs that are not over."""
        self.manager.begin()
        service = self._service()
        return service._workers.held_by(service, self.own_key).unfinished

    def rescue(self) -> None:
        """Queue what lost workers held; tidy up after processes that are gone."""

        def work(service: TaskService) -> list[Rescued]:
            is_gone = self.environment.is_gone
            service._lanes.retire(is_gone)
            own = service._workers.get(self.own_key)
            beat = None if own is None else own.beat
            return rescue(
                service,
                lambda worker: (
                    is_gone(worker.identity) or self._is_silent(worker, beat)
                ),
            )

        rescued = self._commit(work)
        report("/".join(self._path), rescued)
        if rescued:
            queued = [found.jobid for found in rescued if not found.failed]
            failed = [found.jobid for found in rescued if found.failed]
            self._recorder.lost(len(failed), self.environment.stamp())
            self._tell(JobsRescued(self._name, queued, failed))

    def prune(self) -> bool:
        """Remove some of what need not be kept; whether there was anything.

        Only the worker that began first does, so that they do not conflict.  Raise
        InvalidType or InvalidArgument, if the service's retention is wrong.
        """
        due = self._pruner.due(self.environment.monotonic())
        if due is None:
            return False

        def work(service: TaskService) -> Pass:
            worker = self._record(service, self.own_key)
            if not service._workers.is_first(worker.key):
                return due._replace(over=True)
            return Step(service, due, worker.beat or 0.0)()

        try:
            done = self._commit(work)
        except BaseException:
            self._pruner.rest(self.environment.monotonic())
            raise
        self._pruner.note(done, self.environment.monotonic())
        return done.removed > due.removed

    def catch_up(self) -> bool:
        """Find some older jobs that are in error; whether there may be more.

        There are none but in a service that was stored by an older version.
        """
        if self._caught_up:
            return False

        def work(service: TaskService) -> tuple[bool, bool]:
            index = service._lanes.index_failed()
            first = service._workers.is_first(self.own_key)
            if not index.complete and first:
                index.catch_up(MOST_LOOKED_AT)
            return index.complete, first

        self._caught_up, first = self._commit(work)
        return first and not self._caught_up

    def _is_silent(self, worker: Worker, own_beat: float | None) -> bool:
        """Whether a worker's lease has run out, by the storage's clock."""
        silence = self._watch.silence(worker, self.environment.monotonic())
        if own_beat is None or worker.beat is None or worker.key == self.key:
            return False
        lease = worker.lease
        return own_beat - worker.beat > lease.seconds and silence > 2 * lease.heartbeat

    @property
    def own_key(self) -> int:
        """The worker's key.  Raise WorkerLost before it is registered."""
        if self.key is None:
            raise WorkerLost("The worker has not been registered.")
        return self.key

    def _record(self, service: TaskService, key: int) -> Worker:
        worker = service._workers.get(key)
        if worker is None:
            raise WorkerLost(
                f"Worker {key} was silent for longer than its lease; its jobs "
                "have been taken back."
            )
        return worker

    def _thread(self, key: int) -> Thread:
        """What this thread runs the jobs of a worker with."""
        name = "/".join(self._path)
        return Thread(self.jar, self.oid, key, self.manager, name, self._report)

    def _report(self, ended: RunEnded) -> None:
        """A run has ended, and that is committed."""
        self._recorder.count(ended)
        if ended.outcome == COMPLETED and log.isEnabledFor(logging.INFO):
            log.info(
                "%s: job %s of task %r completed in %.3g seconds",
                "/".join(self._path),
                ended.jobid,
                ended.task,
                ended.ran,
                extra={**ended.context, "seconds": ended.ran, "waited": ended.waited},
            )
        self._tell(ended)

    def _tell(self, event: JobsRescued | RunEnded) -> None:
        """Tell subscribers of what is committed; what they raise is logged."""
        try:
            notify(event)
        except BaseException as error:
            tags = event.context if isinstance(event, RunEnded) else {}
            name = "/".join(self._path)
            log.exception("%s: error in a subscriber to %r", name, event, extra=tags)
            main = threading.current_thread() is threading.main_thread()
            if isinstance(error, KeyboardInterrupt) and main:
                raise

    def _recording(self, work: Callable[[TaskService, Rows], T]) -> T:
        """Commit something with what has been counted; if it can't be, keep that."""
        rows = self._recorder.take()
        try:
            return self._commit(lambda service: work(service, rows))
        except BaseException:
            self._recorder.put(rows)
            raise

    def _service(self) -> TaskService:
        service: TaskService = self.jar.get(self.oid)
        return service

    def _commit(self, work: Callable[[TaskService], T]) -> T:
        try:
            return commit_retrying(
                self.manager, self.environment, lambda: work(self._service())
            )
        except BaseException:
            forget(self.jar)
            raise
