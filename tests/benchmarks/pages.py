"""What the dashboard's pages and lists cost with many jobs, and with few."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import quote

from webtest import TestApp

from lovely.remotetask.session import Session
from lovely.remotetask.states import STATUSES
from lovely.remotetask.web import make_app
from lovely.remotetask.web.operations import OPERATIONS
from lovely.remotetask.web.pages import FILTERS
from lovely.remotetask.web.verbs import BULK
from lovely.remotetask.workers import Lease
from tests.benchmarks.application import (
    INPUT,
    NAME,
    TASK,
    Application,
    application,
    noop_task,
    registered,
)
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage

#: How much longer a page may take with many jobs, and how much of a processor's time
#: (milliseconds).
TARGET, PROCESSOR = 3, 100

#: What each filter is given: what finds nothing has to look at most.
FILTERED = {
    "status": STATUSES,
    "task": ["none"],
    "text": ["none"],
    "since": ["2999-01-01T00:00"],
    "until": ["2000-01-01T00:00"],
}

#: Each filter by itself, whether there are such jobs or not; some together; and a page
#: that is not the first.
QUERIES = (
    *(
        f"{field.name}={quote(value)}"
        for field in FILTERS
        for value in FILTERED[field.name]
    ),
    *(f"status=error&{name}=none" for name in ("task", "text")),
    "start=700",
)

#: All that can be looked at; of lists each filter.
PATHS = (
    "/",
    "/jobs",
    *(f"/jobs?{query}" for query in QUERIES),
    "/jobs/1",
    "/queue",
    "/schedule",
    "/schedule?start=700",
    "/workers",
    *(f"/bulk?verb={verb}&scope=matching" for verb in BULK),
    "/bulk?verb=remove&scope=matching&status=error&text=none",
    *(
        f"/api/v1{operation.path.replace('{id}', '1')}"
        for operation in OPERATIONS
        if operation.method == "GET"
    ),
    *(f"/api/v1/jobs?{query}" for query in QUERIES),
    "/api/v1/jobs?status=error&limit=200",
    "/api/v1/schedule?status=delayed",
    "/api/v1/queue?limit=200",
)

#: So many jobs of each status there are besides what is queued: more than on a page.
SOME = 60
#: Of how many jobs there are many of each status, more than a page looks at: so many
#: times the small number, and one in so many.
CROWDED, ONE_IN = 20, 8


def fail(service: Any, jobid: int, input: Any) -> None:
    """A task that fails."""
    raise RuntimeError("the benchmark has it so")


class Dashboard:
    """An application with so many jobs, and its dashboard.

    Of each status there are some, the oldest; the others are queued.
    """

    def __init__(self, app: Application, jobs: int, some: int, bulk: int) -> None:
        self._run(app, some, bulk)
        for first in range(0, some, bulk):
            app.manager.begin()
            for _ in range(min(bulk, some - first)):
                app.service.add(TASK, delay=86_400)
                app.service.addCronJob(TASK, every=86_400)
                app.service.add(TASK, startLater=True)
                app.service.cancel(app.service.add(TASK, startLater=True))
            app.manager.commit()
        app.add_many(jobs - 6 * some, bulk)
        self._session = Session(app.db, [NAME])
        held, key = min(SOME, some), self._session.register(SOME, Lease())
        while self._session.claim(key, held) and len(self._session.held()) < held:
            pass
        local = {"REMOTE_ADDR": "127.0.0.1"}
        self._client = TestApp(
            make_app(app.db, NAME, allow_changes=True), extra_environ=local
        )

    def _run(self, app: Application, some: int, bulk: int) -> None:
        """Some jobs complete, and some fail."""
        for first in range(0, some, bulk):
            app.manager.begin()
            for _ in range(min(bulk, some - first)):
                app.service.add(TASK, INPUT)
                app.service.add("fail", INPUT, retry=0)
            while app.service.processNext():
                pass
            app.manager.commit()

    def close(self) -> None:
        """Give the worker's connection back."""
        self._session.close()

    def seconds(self, path: str) -> tuple[float, float]:
        """How long a page takes: by the clock, and of the processor."""
        begun = time.process_time()
        passed = elapsed(lambda: self._client.get(path))
        return passed, time.process_time() - begun


def pages(scale: Scale) -> Iterator[Figure]:
    """Pages and lists of the dashboard, with many jobs and with few."""
    with ExitStack() as stack:
        stack.enter_context(noop_task())
        stack.enter_context(registered(fail, "fail"))
        stack.enter_context(silence())
        some, crowded = min(SOME, scale.small // 10), CROWDED * scale.small
        made = []
        for jobs, of_each in (
            (scale.small, some),
            (scale.large, some),
            (crowded, crowded // ONE_IN),
        ):
            storage = stack.enter_context(file_storage())
            app = stack.enter_context(application(storage))
            dashboard = Dashboard(app, jobs, of_each, scale.bulk)
            made.append(stack.enter_context(closing(dashboard)))
        for path in PATHS:
            yield from _compare(path, made[:2], scale)
            yield _crowded(path, made[2], scale)


@contextmanager
def silence() -> Iterator[None]:
    """What fails on purpose is not logged."""
    log = logging.getLogger("lovely.remotetask")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _crowded(path: str, dashboard: Dashboard, scale: Scale) -> Figure:
    """The processor's time where there are many of each status."""
    dashboard.seconds(path)
    found = tuple(1000 * dashboard.seconds(path)[1] for _ in range(scale.rounds))
    what = f"{path}: processor's time with {CROWDED * scale.small:,} jobs of all kinds"
    return Figure(what, found, "ms", PROCESSOR)


def _compare(path: str, both: list[Dashboard], scale: Scale) -> Iterator[Figure]:
    for dashboard in both:
        dashboard.seconds(path)
    ratios, medians, processor = [], [], []
    for _ in range(scale.rounds):
        found: list[list[tuple[float, float]]] = [[], []]
        for _ in range(max(1, scale.calls // 3)):
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
