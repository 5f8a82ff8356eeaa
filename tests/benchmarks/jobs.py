"""Jobs that do nothing, each its own commit; and a worker with nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.application import (
    Application,
    Noop,
    application,
    noop_task,
    processing,
)
from tests.benchmarks.measure import Comparison, Figure, Scale, elapsed
from tests.benchmarks.stores import STORES


def jobs(scale: Scale) -> Iterator[Figure]:
    """No-op jobs a second in one background thread, against bare commits."""
    for kind, store in STORES.items():
        comparison = Comparison()
        with store() as address, noop_task() as task, application(address) as app:
            _rate_of_jobs(app, task, scale.jobs // 10)
            _rate_of_commits(app, scale.seconds / 2)
            for _ in range(scale.rounds):
                comparison.turn(
                    lambda: _rate_of_jobs(app, task, scale.jobs),
                    lambda: _rate_of_commits(app, scale.seconds / 2),
                )
        yield comparison.figure(f"no-op jobs / bare commits, {kind}, 1 thread", 0.75)


def _rate_of_jobs(app: Application, task: Noop, count: int) -> float:
    app.add_many(count, count)
    task.expect(task.calls + count)
    begun = time.perf_counter()
    with processing(app):
        assert task.done.wait(60 + count / 10)
        seconds = time.perf_counter() - begun
    return count / seconds


def _rate_of_commits(app: Application, seconds: float) -> float:
    done, spent = 0, 0.0
    while spent < seconds or not done:
        spent += elapsed(app.bare)
        done += 1
    return done / spent


def idle(scale: Scale) -> Iterator[Figure]:
    """Processor time of this process while its worker has nothing to do."""
    for kind, store in STORES.items():
        with store() as address, noop_task(), application(address) as app:
            _idle_seconds(0)
            without = [_idle_seconds(scale.idle_seconds) for _ in range(2)]
            with processing(app):
                _idle_seconds(min(1.0, scale.idle_seconds))
                shares = [_idle_seconds(scale.idle_seconds) for _ in range(2)]
        note = f"without a worker {100 * min(without):.3f} %"
        percents = tuple(100 * share for share in shares)
        yield Figure(
            f"processor time of an idle worker, {kind}", percents, "%", note=note
        )


def _idle_seconds(seconds: float) -> float:
    """The share of a core that this process uses."""
    begun, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / max(time.perf_counter() - begun, 1e-9)
