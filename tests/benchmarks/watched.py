"""What it costs a worker to be watched."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from lovely.remotetask.events import JobAdded
from lovely.remotetask.metrics import Runs, Services
from tests.benchmarks.application import (
    NAME,
    Application,
    Noop,
    application,
    noop_task,
    processing,
)
from tests.benchmarks.jobs import IN_GROUPS, USUAL, use_threads
from tests.benchmarks.measure import Comparison, Figure, Scale
from tests.benchmarks.stores import file_storage

#: How often Prometheus asks, as it comes (seconds).
SCRAPE_SECONDS = 15


#: What took longer waited for the processor meanwhile (seconds).
LONGEST = 0.001


class Timed(Runs):
    """Counts, and knows how much time that took the worker's thread.

    To ask for processor time would take longer than what is measured.
    """

    spent = 0.0

    def __call__(self, event: object) -> None:
        begun = time.perf_counter()
        super().__call__(event)
        seconds = time.perf_counter() - begun
        if not isinstance(event, JobAdded) and seconds < LONGEST:
            self.spent += seconds


def metrics(scale: Scale) -> Iterator[Figure]:
    """The processor time that metrics take of a worker's."""
    yield from _with_metrics("one by one", USUAL, scale)
    yield from _with_metrics("in groups", IN_GROUPS, scale)


def _with_metrics(how: str, options: dict[str, Any], scale: Scale) -> Iterator[Figure]:
    comparison, runs = Comparison(), Timed()
    shares: list[float] = []
    with (
        file_storage() as address,
        noop_task() as task,
        application(address) as app,
    ):
        use_threads(app, 1, options)

        def rate() -> float:
            return rate_of_work(app, task, scale.jobs)

        def watched() -> float:
            runs.start()
            try:
                runs.spent = 0.0
                found = rate()
            finally:
                runs.stop()
            answer = time_of_answer(app, runs)
            shares.append(runs.spent * found / scale.jobs + answer / SCRAPE_SECONDS)
            return found

        rate()
        for _ in range(scale.rounds):
            comparison.turn(watched, rate)
        answer = 1000 * time_of_answer(app, runs)
    note = f"an answer takes {answer:.1f} ms, {SCRAPE_SECONDS} seconds apart"
    what = f"share of a worker's processor time for metrics, no-op jobs {how}"
    yield Figure(what, tuple(shares), "", 0.03, note=note)
    # Too uncertain to be judged: what else the machine does changes it by more.
    rates = map(statistics.median, (comparison.rates, comparison.references))
    note = "{:.0f} and {:.0f} a second of processor time".format(*rates)
    figure = comparison.figure("rate of the same with metrics / without", 0.97)
    yield replace(figure, target=None, note=note)


def rate_of_work(app: Application, task: Noop, count: int) -> float:
    """Jobs in a second of this process's time: no other process has a part in it."""
    over = app.count("completed") + count
    app.add_many(count, count)
    task.expect(task.calls + count)
    begun = time.process_time()
    with processing(app):
        assert task.done.wait(60 + count / 10)
        while app.count("completed") < over:
            time.sleep(0.01)
    return count / (time.process_time() - begun)


def time_of_answer(app: Application, runs: Runs) -> float:
    """Processor time of showing all there is (seconds)."""
    shown = CollectorRegistry()
    shown.register(runs)
    shown.register(Services(app.db, [[NAME]]))
    begun = time.process_time()
    generate_latest(shown)
    return time.process_time() - begun
