"""From add to start, in the same process, when the service is idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.benchmarks.application import (
    Application,
    Noop,
    application,
    noop_task,
    processing,
)
from tests.benchmarks.measure import Figure, Scale, elapsed, percentile
from tests.benchmarks.stores import file_storage

#: So long after a job is over, a processor has looked again and sleeps.
SETTLE = 0.01


def starts(scale: Scale) -> Iterator[Figure]:
    """Milliseconds from the call of add, its commit included, to the task's."""
    medians, nines, committed, bare = [], [], [], []
    with ExitStack() as stack:
        address = stack.enter_context(file_storage())
        task = stack.enter_context(noop_task())
        app = stack.enter_context(application(address))
        stack.enter_context(processing(app))
        for _ in range(5):
            _sample(app, task)
        for _ in range(scale.rounds):
            samples = [_sample(app, task) for _ in range(scale.starts)]
            from_add = [1000 * sample[0] for sample in samples]
            medians.append(statistics.median(from_add))
            nines.append(percentile(from_add, 99))
            bare += [1000 * elapsed(app.bare) for _ in range(scale.starts // 10 + 1)]
            committed.append(1000 * statistics.median(s[1] for s in samples))
    note = f"a bare commit takes {statistics.median(bare):.3f} ms"
    yield Figure("add to start, idle: median", tuple(medians), "ms", 2, note=note)
    yield Figure("add to start, idle: 99th percentile", tuple(nines), "ms", 10)
    yield Figure("end of commit to start, idle: median", tuple(committed), "ms")


def _sample(app: Application, task: Noop) -> tuple[float, float]:
    """Seconds to the task's start, from the call of add and from its commit."""
    task.expect(task.calls + 1)
    begun = time.perf_counter()
    app.add()
    committed = time.perf_counter()
    assert task.done.wait(10)
    done = app.count() - 1
    end = time.monotonic() + 10
    while app.count("completed") < done and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(SETTLE)
    return task.called_at - begun, task.called_at - committed
