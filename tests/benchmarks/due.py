"""What it costs to look what is due, with many scheduled entries and with few."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing

from lovely.remotetask.environment import Environment
from lovely.remotetask.service import TaskService
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.benchmarks.application import NAME, TASK, Application, application, noop_task
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage

#: How much longer it may take with many.
TARGET = 1.5


class Clock(Environment):
    """Shows what it is told to."""

    def __init__(self) -> None:
        self.now = super().time()

    def time(self) -> float:
        return self.now


class Scheduled:
    """An application with so many cron jobs, of which one falls due each second."""

    def __init__(
        self, app: Application, session: Session, clock: Clock, entries: int, first: int
    ) -> None:
        """The first falls due when the clock shows ``first``."""
        self.session, self.clock = session, clock
        session.register(1, Lease())
        for begin in range(0, entries, 1000):
            app.manager.begin()
            for number in range(begin, min(begin + 1000, entries)):
                clock.now = first - entries + number
                app.service.addCronJob(TASK, None, every=entries)
            app.manager.commit()
        clock.now = first - 0.5
        while session.claim(session.own_key, 1).due == 0:
            pass

    def look(self) -> float:
        """Whether there is something: there is not."""
        return elapsed(self.session.has_jobs)

    def claim(self) -> float:
        """Take the one that has fallen due; what is not timed is its run."""
        found: list[int] = []
        key = self.session.own_key
        seconds = elapsed(lambda: found.extend(self.session.claim(key, 1).jobs))
        for jobid in found:
            self.session.run(jobid, key)
        return seconds


def due(scale: Scale) -> Iterator[Figure]:
    """A due check with many scheduled entries, against one with few."""
    clock = Clock()
    with ExitStack() as stack:
        stack.enter_context(noop_task())
        stack.callback(setattr, TaskService, "environment", TaskService.environment)
        TaskService.environment = clock
        first = int(clock.now) + scale.many_entries
        both = [
            _scheduled(stack, clock, entries, first)
            for entries in (scale.few_entries, scale.many_entries)
        ]
        clock.now = first - 0.5
        yield _compare("look at what is due: there is nothing", both, scale, 0)
        yield _compare("claim the one that has fallen due", both, scale, 1)


def _compare(what: str, both: list[Scheduled], scale: Scale, passes: int) -> Figure:
    """``passes``: so many seconds before each."""
    ratios, medians = [], []
    for _ in range(scale.rounds):
        seconds: list[list[float]] = [[], []]
        for _ in range(scale.calls):
            both[0].clock.now += passes
            for scheduled, found in zip(both, seconds, strict=True):
                found.append(scheduled.claim() if passes else scheduled.look())
        medians.append([statistics.median(found) for found in seconds])
        ratios.append(medians[-1][1] / medians[-1][0])
    few, many = (1000 * statistics.median(side) for side in zip(*medians, strict=True))
    what = f"{what}: at {scale.many_entries:,} scheduled / at {scale.few_entries:,}"
    note = f"{many:.3f} ms, {few:.3f} ms"
    return Figure(what, tuple(ratios), "", TARGET, note=note)


def _scheduled(stack: ExitStack, clock: Clock, entries: int, first: int) -> Scheduled:
    app = stack.enter_context(application(stack.enter_context(file_storage())))
    session = stack.enter_context(closing(Session(app.db, [NAME])))
    return Scheduled(app, session, clock, entries, first)
