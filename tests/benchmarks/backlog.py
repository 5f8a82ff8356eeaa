"""What operations cost with a long queue, against a short one."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks.application import Application, application, noop_task
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage

#: How much longer an operation may take with the long queue.
TARGET = 1.5

#: With its block and its bucket, each is three objects of the usual 400 in a cache.
WORKING_SET = 40


class Backlog:
    """An application with so many queued jobs, and the operations on it."""

    def __init__(self, app: Application, jobs: int) -> None:
        self.app = app
        spread = range(1, jobs + 1, max(1, jobs // 1000))
        ids = random.Random(1).sample(spread, len(spread))
        self._ids = itertools.cycle(ids)
        #: From all over the queue, but no more than a connection keeps cached.
        self._known = itertools.cycle(ids[:WORKING_SET])

    def add(self) -> float:
        return elapsed(self.app.add)

    def cancel(self) -> float:
        jobid = self._waiting()
        self.app.manager.begin()
        return elapsed(lambda: self._cancel(jobid))

    def _cancel(self, jobid: int) -> None:
        self.app.service.cancel(jobid)
        self.app.manager.commit()

    def status(self) -> float:
        return self._status(next(self._known))

    def any_status(self) -> float:
        return self._status(next(self._ids))

    def _status(self, jobid: int) -> float:
        self.app.manager.begin()
        return elapsed(lambda: self.app.service.getStatus(jobid))

    def claim(self) -> float:
        """Take a job; it is run too, but that is not timed."""
        claimed: list[int | None] = []
        self.app.manager.begin()
        seconds = elapsed(lambda: claimed.append(self._claim()))
        self.app.service.processNext(jobid=claimed[0])
        assert self.app.service.getStatus(claimed[0]) == "completed"
        self.app.manager.commit()
        return seconds

    def _claim(self) -> int | None:
        jobid = self.app.service.claimNextJob()
        self.app.manager.commit()
        return jobid

    def count(self) -> float:
        self.app.manager.begin()
        return elapsed(lambda: self.app.service.count("queued"))

    def _waiting(self) -> int:
        """Some job that is still queued."""
        self.app.manager.begin()
        service = self.app.service
        return next(i for i in self._ids if service.getStatus(i) == "queued")

    def _forget(self) -> None:
        """Empty the connection's cache: what follows reads from the storage."""
        self.app.manager.abort()
        self.app.connection.cacheMinimize()

    def cold_status(self) -> float:
        self._forget()
        return self.any_status()

    def cold_count(self) -> float:
        self._forget()
        return self.count()


@dataclass(frozen=True)
class Operation:
    """What is timed, and how much longer it may take with the long queue."""

    what: str
    call: Callable[[Backlog], float]
    target: float | None = TARGET


OPERATIONS = [
    Operation("add", Backlog.add),
    Operation("cancel", Backlog.cancel),
    Operation("getStatus", Backlog.status),
    Operation("claim", Backlog.claim),
    Operation("count", Backlog.count),
    # What is read from the storage grows with the depth of the BTrees.
    Operation("getStatus of any job", Backlog.any_status, None),
    Operation("getStatus, nothing cached", Backlog.cold_status, None),
    Operation("count, nothing cached", Backlog.cold_count, None),
]


def backlog(scale: Scale) -> Iterator[Figure]:
    """Each operation at a long queue against a short one."""
    with ExitStack() as stack:
        stack.enter_context(noop_task())
        backlogs = []
        for jobs in (scale.small, scale.large):
            address = stack.enter_context(file_storage())
            app = stack.enter_context(application(address))
            app.add_many(jobs, scale.bulk)
            backlogs.append(Backlog(app, jobs))
        for operation in OPERATIONS:
            yield _compare(operation, backlogs, scale)


def _compare(operation: Operation, backlogs: list[Backlog], scale: Scale) -> Figure:
    ratios, medians = [], []
    for backlog in backlogs:
        for _ in range(min(WORKING_SET, scale.small // 10)):
            operation.call(backlog)
    for _ in range(scale.rounds):
        times: list[list[float]] = [[], []]
        for _ in range(scale.calls):
            for backlog, seconds in zip(backlogs, times, strict=True):
                seconds.append(operation.call(backlog))
        medians.append([statistics.median(seconds) for seconds in times])
        ratios.append(medians[-1][1] / medians[-1][0])
    short, long = (
        1000 * statistics.median(side) for side in zip(*medians, strict=True)
    )
    what = f"{operation.what}: at {scale.large:,} queued / at {scale.small:,}"
    note = f"{long:.3f} ms, {short:.3f} ms"
    return Figure(what, tuple(ratios), "", operation.target, note=note)
