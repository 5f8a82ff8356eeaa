"""Producers: each is a process, with a transaction that may be open for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask.states import (
    CRONJOB,
    DELAYED,
    QUEUED,
    RETRIABLE,
    STARTLATER,
)
from tests.stateful.crew.chores import Effect
from tests.stateful.crew.model import EVERY, Job, View
from tests.stateful.crew.world import NAME, World


class Producer:
    """A process that adds jobs, and the model's view of what it sees."""

    def __init__(self, world: World, host: str) -> None:
        self.world, self.model = world, world.model
        self.process = world.process(host)
        self.manager = TransactionManager(explicit=True)
        self.connection = self.process.db.open(self.manager)
        self.begin()

    def begin(self) -> None:
        """See what has been committed."""
        self.manager.begin()
        self.removals = self.world.removals
        self.view: View = self.model.begin()
        self.before = dict(self.model.jobs)
        self.savepoints: list[tuple[Any, View]] = []

    @property
    def has_written(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.view.written or self.view.cancels or self.savepoints)

    @contextmanager
    def service(self) -> Iterator[Any]:
        """The service as this transaction sees it; within, its process acts."""
        with self.world.stage.acting(self.process.name):
            yield self.connection.root()[NAME]

    def add(self, kind: str, how: str, count: int) -> None:
        """Add jobs."""
        with self.service() as service:
            for number in range(count):
                job = Job(kind, QUEUED)
                if how == "later":
                    job = job._replace(status=STARTLATER)
                    jobid = service.add(kind, Effect(), startLater=True)
                elif how == "delay":
                    delay = number + 0.5
                    job = job._replace(status=DELAYED, due=self.world.now + delay)
                    jobid = service.add(kind, Effect(), delay=delay)
                else:
                    jobid = service.add(kind, Effect())
                assert jobid not in self.view.jobs
                self.view.put(jobid, job)

    def add_cron(self) -> None:
        """Add a cron job of which no run is left out."""
        with self.service() as service:
            jobid = service.addCronJob(
                "cron", Effect(), every=EVERY, missed="all", overlap="queue"
            )
            due = service.jobs[jobid].plan.next / 1e6
        self.view.put(jobid, Job("cron", CRONJOB, due))

    def pick(self, number: int, *statuses: str) -> int | None:
        """One of the jobs that it sees, but no cron job; or None."""
        found = [
            jobid
            for jobid, job in sorted(self.view.jobs.items())
            if job.kind != "cron" and (not statuses or job.status in statuses)
        ]
        return found[number % len(found)] if found else None

    def start(self, number: int) -> None:
        """Start a job, if there is one."""
        jobid = self.pick(number, STARTLATER)
        if jobid is not None:
            with self.service() as service:
                assert service.startJob(jobid) == self.view.start(jobid)

    def cancel(self, number: int, *statuses: str) -> None:
        """Cancel a job, if there is one."""
        jobid = self.pick(number, *statuses)
        if jobid is not None:
            self.cancel_job(jobid)

    def cancel_job(self, jobid: int) -> None:
        """Cancel a job."""
        with self.service() as service:
            service.cancel(jobid)
        self.view.cancel(jobid)

    def retry(self, number: int) -> None:
        """Try a job again, if there is one."""
        jobid = self.pick(number, *RETRIABLE)
        if jobid is not None:
            with self.service() as service:
                assert service.retry(jobid) == self.view.retry(jobid)

    def run(self, number: int) -> None:
        """Run a job that waits, in this transaction."""
        waiting = self.pick(number, QUEUED, DELAYED)
        if waiting is not None and self.view.jobs[waiting].kind == "count":
            with self.service() as service:
                assert service.processNext(jobid=waiting)
            self.view.run(waiting)

    def clean(self, number: int) -> None:
        """Remove what is over, if the number is odd: it shall not be too often."""
        if not number % 2:
            return
        with self.service() as service:
            assert service.clean() == self.view.clean()

    def commit(self) -> bool:
        """Commit, and begin anew; False if there was a conflict."""
        with self.world.stage.acting(self.process.name):
            try:
                self.manager.commit()
            except TransientError:
                self.world.look()
                excused = self.world.removals > self.removals
                assert excused or not self.view.only_adds, "an add conflicts"
                self.abort()
                return False
        self.model.commit(self.before, self.view)
        self.world.removals += not self.before.keys() <= self.view.jobs.keys()
        self.begin()
        return True

    def abort(self) -> None:
        """Undo it, and begin anew."""
        self.manager.abort()
        self.begin()

    def savepoint(self) -> None:
        """Remember how it is now."""
        with self.world.stage.acting(self.process.name):
            self.savepoints.append((self.manager.savepoint(), self.view.copy()))

    def rollback(self, number: int) -> None:
        """Go back to a savepoint, if there is one; later ones are gone then."""
        if self.savepoints:
            number %= len(self.savepoints)
            savepoint, view = self.savepoints[number]
            savepoint.rollback()
            self.view = view.copy()
            del self.savepoints[number + 1 :]

    def close(self) -> None:
        """The process ends."""
        self.manager.abort()
        self.connection.close()
        self.process.db.close()
