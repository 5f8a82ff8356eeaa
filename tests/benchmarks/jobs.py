"""Jobs in this process: how many a second; and a worker with nothing to do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from lovely.remotetask.pace import CLAIM_MOST, GROUP_MOST
from lovely.remotetask.processor import MultiProcessor, SimpleProcessor
from tests.benchmarks.application import (
    Application,
    Noop,
    application,
    noop_task,
    processing,
    registered,
)
from tests.benchmarks.crew import thread_crew, turn
from tests.benchmarks.measure import Comparison, Figure, Scale
from tests.benchmarks.stores import STORES, file_storage

#: How a service is processed as a rule.
USUAL: dict[str, Any] = {"waitTime": 1.0}
#: How many short jobs finish in one commit.
IN_GROUPS: dict[str, Any] = {**USUAL, "groupFinish": True}

#: With so many bytes in its value, a record is as large as that of such a job.
SIZE = 120

#: Jobs that wait for something outside: how long (seconds), and how many at a time.
NAP = 0.05
NAPPERS = 5


class Nap(Noop):
    """A task that sleeps."""

    def __call__(self, service: Any, jobid: int, input: Any) -> None:
        time.sleep(NAP)
        super().__call__(service, jobid, input)


def jobs(scale: Scale) -> Iterator[Figure]:
    """No-op jobs a second, each its own commit, against bare commits."""
    what = "no-op jobs / bare commits"
    for kind in STORES:
        yield _against_commits(what, kind, 1, 0.75, scale)
        yield _limit(what, kind, scale, in_groups=False)
    yield _against_commits(what, "FileStorage", 4, 0.65, scale)


def groups(scale: Scale) -> Iterator[Figure]:
    """No-op jobs a second, many to a commit, against bare commits."""
    what = "no-op jobs in groups / bare commits"
    scale = scale.for_groups()
    yield _against_commits(what, "FileStorage", 1, 5, scale, options=IN_GROUPS)
    yield _limit(what, "FileStorage", scale, in_groups=True)


def _against_commits(
    what: str,
    kind: str,
    threads: int,
    target: float,
    scale: Scale,
    *,
    options: dict[str, Any] = USUAL,
) -> Figure:
    """As many threads that run jobs as those that commit."""
    comparison = Comparison()
    with ExitStack() as stack:
        address = stack.enter_context(STORES[kind]())
        task = stack.enter_context(noop_task())
        app = stack.enter_context(application(address, threads))
        crew = stack.enter_context(thread_crew(app, threads))
        use_threads(app, threads, options)
        rate_of_jobs(app, task, scale.jobs // 10)
        crew.turn("bare", scale.seconds / 2)
        for _ in range(scale.rounds):
            comparison.turn(
                lambda: rate_of_jobs(app, task, scale.jobs),
                lambda: crew.turn("bare", scale.seconds / 2).rate,
            )
    who = "1 thread" if threads == 1 else f"{threads} threads"
    return comparison.figure(f"{what}, {kind}, {who}", target)


def _limit(what: str, kind: str, scale: Scale, *, in_groups: bool) -> Figure:
    """What the database itself could do, if nothing else took any time.

    Plain objects are loaded, written, and written again, in as many commits as jobs
    are.
    """
    comparison = Comparison()
    batch = GROUP_MOST if in_groups else CLAIM_MOST
    with STORES[kind]() as address, application(address) as app:

        def rate() -> float:
            return _rate_of_records(app, scale.jobs, batch, in_groups=in_groups)

        def bare() -> float:
            return turn(app, app.bare, scale.seconds / 2).rate

        rate()
        for _ in range(scale.rounds):
            comparison.turn(rate, bare)
    limit = what.replace("no-op jobs", "records that are written like no-op jobs")
    return comparison.figure(f"{limit}, {kind}, 1 thread")


def _rate_of_records(
    app: Application, count: int, batch: int, *, in_groups: bool
) -> float:
    """Records a second."""
    records = app.new_records(count, SIZE)
    begun = time.perf_counter()
    for first in range(0, count, batch):
        claimed = records[first : first + batch]
        app.write(claimed)
        for ended in [claimed] if in_groups else [[record] for record in claimed]:
            app.write(ended)
    return count / (time.perf_counter() - begun)


def use_threads(
    app: Application, threads: int, options: dict[str, Any] = USUAL
) -> None:
    """How many jobs of the service run at a time, from the next start on."""
    if threads == 1:
        app.configure(SimpleProcessor, **options)
    else:
        app.configure(MultiProcessor, maxThreads=threads, **options)


def rate_of_jobs(app: Application, task: Noop, count: int) -> float:
    """Jobs a second, from the start of the first to the end of the last one."""
    over = app.count("completed") + count
    app.add_many(count, count)
    task.expect(task.calls + count)
    with processing(app):
        assert task.done.wait(60 + count / 10)
        while app.count("completed") < over:
            time.sleep(0.0005)
        seconds = time.perf_counter() - task.began_at
    return count / seconds


def naps(scale: Scale) -> Iterator[Figure]:
    """Jobs a second that sleep 50 ms each, 5 at a time."""
    with (
        file_storage() as address,
        registered(Nap()) as task,
        application(address, NAPPERS) as app,
    ):
        use_threads(app, NAPPERS)
        rates, limits = [], []
        for _ in range(scale.rounds):
            limits.append(_rate_of_naps(app, scale.naps))
            rates.append(rate_of_jobs(app, task, scale.naps))
    what = f"jobs that sleep {1000 * NAP:.0f} ms, FileStorage, {NAPPERS} threads"
    note = (
        f"a bare commit after each, and nothing else: {statistics.median(limits):.1f}"
    )
    yield Figure(what, tuple(rates), "a second", 95, at_most=False, note=note)


def _rate_of_naps(app: Application, count: int) -> float:
    """Bare commits a second in as many threads, each after a sleep."""

    def nap(index: int) -> None:
        own = Application(app.db)
        for _ in range(count // NAPPERS):
            time.sleep(NAP)
            own.bare(index)
        own.close()

    begun = time.perf_counter()
    with ThreadPoolExecutor(NAPPERS) as pool:
        list(pool.map(nap, range(NAPPERS)))
    return count / (time.perf_counter() - begun)


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
        what = f"processor time of an idle worker, {kind}"
        yield Figure(what, percents, "%", 0.5, note=note)


def _idle_seconds(seconds: float) -> float:
    """The share of a core that this process uses."""
    begun, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / max(time.perf_counter() - begun, 1e-9)
