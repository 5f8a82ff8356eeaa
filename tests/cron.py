"""A service with a fake clock and a worker, for tests of cron jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import transaction

from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.stateful.invariants import check
from tests.support import FakeEnvironment, register_full

#: A Thursday; what clocks show at first.
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: What changes what is planned.
VERBS = ["reschedule", "pause", "resume", "runNow"]


class Scene:
    """A service, its clock, and the runs of its task ``note``: seconds after START."""

    def __init__(self, service: Any, environment: FakeEnvironment) -> None:
        self.service, self.environment = service, environment
        environment.now = START.timestamp()
        self.runs: list[float] = []
        #: How long a run takes, and what it does at its end; it fails if it returns.
        self.takes = 0.0
        self.fails = 0
        register_full("note", self._note)

    def _note(self, service: Any, jobid: int, input: Any) -> int:
        self.runs.append(self.passed)
        self.environment.now += self.takes
        if self.fails:
            self.fails -= 1
            raise RuntimeError(f"failed at {self.runs[-1]:g}")
        return len(self.runs)

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return round(self.environment.now - START.timestamp(), 3)

    def add(self, **arguments: Any) -> Any:
        """A new cron job of the task ``note``, committed."""
        jobid = self.service.addCronJob("note", **arguments)
        transaction.commit()
        return self.service.jobs[jobid]

    def process(self, passed: float) -> list[float]:
        """Process what is due at a time, as a worker would; the runs that came."""
        before = len(self.runs)
        self.environment.now = START.timestamp() + passed
        with self.worker() as session:
            work(session)
        transaction.begin()
        check(self.service)
        return self.runs[before:]

    @contextmanager
    def worker(self) -> Iterator[Session]:
        """A registered worker."""
        with closing(Session(self.service._p_jar.db(), ["service"])) as session:
            session.register(1, Lease())
            yield session
            if session.key is not None:
                session.leave()

    def commit(self) -> None:
        """What was asked for holds."""
        transaction.commit()
        check(self.service)


def work(session: Session, most: int = 1000) -> int:
    """Claim and run until nothing is due; how many."""
    done = 0
    while True:
        claim = session.claim(session.own_key, 5)
        for jobid in claim.jobs:
            session.run(jobid, session.own_key)
            done += 1
        assert done < most, "it goes on for ever"
        if not claim.jobs and claim.due != 0:
            return done


def after(seconds: float) -> datetime:
    """The moment so many seconds after the start."""
    return START + timedelta(seconds=seconds)


def outcomes(job: Any) -> list[tuple[float | None, str]]:
    """The last runs: for what, in seconds after the start, and how they ended."""
    start = after(0)
    return [
        (None if run.planned is None else (run.planned - start).total_seconds(), text)
        for run in job.runs
        for text in [run.outcome]
    ]


def claim(scene: Scene, session: Session, passed: float) -> int:
    """What is due at a time is claimed, and the caller's transaction sees it."""
    scene.environment.now = after(passed).timestamp()
    (jobid,) = session.claim(session.own_key, 5).jobs
    transaction.begin()
    return jobid


def end(session: Session, jobid: int) -> None:
    """The run that was claimed is made; then what waits is looked at."""
    session.run(jobid, session.own_key)
    work(session)
    transaction.begin()
