"""Who acts on a service in these tests: processes to be killed, and who comes after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transaction

from lovely.remotetask.crew import close
from lovely.remotetask.job import CronJob
from lovely.remotetask.session import Session
from lovely.remotetask.states import DELAYED, STARTLATER
from lovely.remotetask.workers import Lease
from tests.crash.forks import Pipe
from tests.crash.jobs import Effect, check_ends
from tests.stateful.invariants import check


class Actor:
    """One process: a producer's connection, and a worker's session when it is asked."""

    def __init__(self, db: Any, name: str, pipe: Pipe | None = None) -> None:
        self.db, self.name, self._pipe = db, name, pipe
        self.service = db.open().root()[name]
        self._session: Session | None = None

    def add(self, task: str = "count", number: int = 1, **how: Any) -> None:
        """Commit new jobs, and say so."""
        ids = [self.service.add(task, Effect(), **how) for _ in range(number)]
        transaction.commit()
        self.tell("added", *ids)

    def clean(self) -> None:
        """Say that all may be removed that is over, and do it."""
        self.tell("removing", *self.service.jobs)
        self.service.clean()
        transaction.commit()

    def persist(self, act: Callable[[Actor], None]) -> None:
        """Do something, and again after errors of the database, on new connections.

        A worker goes on as the one that it is.
        """
        while True:
            try:
                return act(self)
            except Exception:
                transaction.abort()
                if self._session is not None:
                    key = self._session.key
                    close(self._session)
                    self._session = Session(self.db, [self.name], key)

    def tell(self, *words: object) -> None:
        """Say something to the parent, if there is one."""
        if self._pipe is not None:
            self._pipe.tell(*words)

    @property
    def session(self) -> Session:
        """Its session; it has begun to work when it is asked first."""
        if self._session is None:
            self._session = Session(self.db, [self.name])
            self._session.register(1, Lease())
            self._session.beat()
        return self._session

    def claim(self, most: int = 100) -> list[int]:
        """Claim jobs that are due."""
        return self.session.claim(self.session.own_key, most, ()).jobs

    def run(self, *ids: int) -> None:
        """Run jobs that were claimed."""
        for jobid in ids:
            self.session.run(jobid, self.session.own_key)

    def work(self) -> None:
        """Do what is due."""
        while ids := self.claim():
            self.run(*ids)

    def leave(self) -> None:
        """End as a worker."""
        self.session.leave()
        self.session.close()
        self._session = None


def finish(db: Any, name: str) -> None:
    """A new worker of another process does what there is to do."""
    actor = Actor(db, name)
    actor.session.rescue()
    actor.session.requests()
    for jobid in with_status(actor.service, STARTLATER):
        actor.service.startJob(jobid)
    transaction.commit()
    actor.work()
    for jobid in with_status(actor.service, DELAYED):
        actor.run(*actor.session.claim_job(jobid))
    actor.session.rescue()
    actor.leave()
    transaction.begin()
    check(actor.service)
    check_ends(actor.service)
    assert actor.service.workers == []
    transaction.abort()
    actor.service._p_jar.close()


def with_status(service: Any, status: str) -> list[int]:
    """The ids of the jobs that have a status now."""
    transaction.begin()
    return [job.id for job in service.jobs.values() if job.status == status]


#: What there is to a job; and what the effect of its end says.
OF_JOB = ("status", "attempt", "crashes", "failed", "claimant")
OF_EFFECT = ("done", "ended")
OF_WORKER = ("key", "held")
OF_HEAD = ("number", "slot", "index")
OF_PLAN = ("paused", "late", "changed", "shift")


def picture(service: Any) -> dict[str, Any]:
    """What there is in a service, the same whichever process did it."""
    jobs = service.jobs.values()
    return {
        "jobs": {job.id: [*of(job, OF_JOB), *of(job.input, OF_EFFECT)] for job in jobs},
        "workers": [of(worker, OF_WORKER) for worker in service._workers],
        "pulses": [
            (worker.pulse.beats, dict(worker.pulse.progress))
            for worker in service._workers
        ],
        "lanes": {
            lane.key: (lane.extents, bool(lane.owner)) for lane in service._lanes
        },
        "heads": [of(lane.head, OF_HEAD) for lane in service._lanes],
        "requests": list(service._requests),
        "schedule": [jobid for _, jobid in service._schedule],
        "plans": {job.id: plan_of(job) for job in jobs if isinstance(job, CronJob)},
    }


def plan_of(job: CronJob) -> list[Any]:
    """What there is to a plan; moments are numbers of runs, by the schedule."""
    plan, schedule = job.plan, job.plan.schedule
    moments = [
        None if moment is None else (moment - schedule.anchor) // schedule.interval
        for moment in (plan.next, plan.place, plan.run_for)
    ]
    asked = plan.asked is not None
    return [*of(plan, OF_PLAN), *moments, asked, len(job.runs), len(job.input.runs)]


def of(thing: Any, names: tuple[str, ...]) -> list[Any]:
    """Those attributes of something."""
    return [getattr(thing, name) for name in names]


def crashes(service: Any) -> int:
    """How often workers were lost with jobs, in all."""
    return sum(job.crashes for job in service.jobs.values())
