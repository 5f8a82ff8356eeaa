"""What the dashboard's pages and lists cost with many jobs, and with few."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

from webtest import TestApp

from lovely.remotetask.web import make_app
from tests.benchmarks.application import NAME, Application, application, noop_task
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage

#: How much longer a page may take with many jobs, and how much of a processor's time
#: (milliseconds).
TARGET, PROCESSOR = 3, 100

#: Pages and lists; each status by itself, whether there are such jobs or not.
PATHS = (
    "/",
    "/jobs",
    *(
        f"/jobs?status={status}"
        for status in ("queued", "processing", "completed", "error", "delayed")
    ),
    "/jobs?task=none",
    "/jobs?text=none&status=error",
    "/jobs?text=none",
    "/jobs/1",
    "/queue",
    "/schedule",
    "/workers",
    "/bulk?verb=cancel&scope=matching&status=queued",
    "/api/v1/status",
    "/api/v1/jobs",
    "/api/v1/jobs?status=error&limit=200",
    "/api/v1/jobs?task=none",
    "/api/v1/queue",
    "/api/v1/schedule",
    "/api/v1/history",
)


class Dashboard:
    """An application with so many jobs, and its dashboard."""

    def __init__(self, app: Application, jobs: int, bulk: int) -> None:
        app.add_many(jobs, bulk)
        for number in range(jobs // 20):
            if number % bulk == 0:
                app.manager.commit()
                app.manager.begin()
            app.service.processNext()
        app.manager.commit()
        local = {"REMOTE_ADDR": "127.0.0.1"}
        self._client = TestApp(
            make_app(app.db, NAME, allow_changes=True), extra_environ=local
        )

    def seconds(self, path: str) -> tuple[float, float]:
        """How long a page takes: by the clock, and of the processor."""
        begun = time.process_time()
        passed = elapsed(lambda: self._client.get(path))
        return passed, time.process_time() - begun


def pages(scale: Scale) -> Iterator[Figure]:
    """Pages and lists of the dashboard, with many jobs and with few."""
    with ExitStack() as stack:
        stack.enter_context(noop_task())
        both = [
            Dashboard(
                stack.enter_context(application(stack.enter_context(file_storage()))),
                jobs,
                scale.bulk,
            )
            for jobs in (scale.small, scale.large)
        ]
        for path in PATHS:
            yield from _compare(path, both, scale)


def _compare(path: str, both: list[Dashboard], scale: Scale) -> Iterator[Figure]:
    for dashboard in both:
        dashboard.seconds(path)
    ratios, medians, processor = [], [], []
    for _ in range(scale.rounds):
        found: list[list[tuple[float, float]]] = [[], []]
        for _ in range(scale.calls):
            for dashboard, times in zip(both, found, strict=True):
                times.append(dashboard.seconds(path))
        few, many = (statistics.median(t for t, _ in times) for times in found)
        ratios.append(many / few)
        medians.append((1000 * many, 1000 * few))
        processor.append(1000 * statistics.median(cpu for _, cpu in found[1]))
    many, few = (statistics.median(side) for side in zip(*medians, strict=True))
    what = f"{path}: with {scale.large:,} jobs / with {scale.small:,}"
    yield Figure(what, tuple(ratios), "", TARGET, note=f"{many:.1f} ms, {few:.1f} ms")
    what = f"{path}: processor's time with {scale.large:,} jobs"
    yield Figure(what, tuple(processor), "ms", PROCESSOR)
