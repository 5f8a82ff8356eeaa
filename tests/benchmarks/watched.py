"""What it costs a worker to be watched, against the same worker in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lovely.remotetask.metrics import Runs
from tests.benchmarks.application import (
    Application,
    Noop,
    application,
    noop_task,
    processing,
)
from tests.benchmarks.jobs import IN_GROUPS, USUAL, use_threads
from tests.benchmarks.measure import Comparison, Figure, Scale
from tests.benchmarks.stores import file_storage


def metrics(scale: Scale) -> Iterator[Figure]:
    """Jobs in a second of processor time with metrics, against those without."""
    yield _with_metrics("one by one", USUAL, scale)
    yield _with_metrics("in groups", IN_GROUPS, scale)


def _with_metrics(how: str, options: dict[str, Any], scale: Scale) -> Figure:
    comparison, runs = Comparison(), Runs()
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
                return rate()
            finally:
                runs.stop()

        rate()
        for _ in range(scale.rounds):
            comparison.turn(watched, rate)
    what = f"no-op jobs {how} with metrics / without"
    rates = map(statistics.median, (comparison.rates, comparison.references))
    note = "{:.0f} and {:.0f} a second of processor time".format(*rates)
    return replace(comparison.figure(what, 0.97), note=note)


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
