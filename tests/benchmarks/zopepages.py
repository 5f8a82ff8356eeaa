"""What the management pages of a Zope application cost with many jobs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from webtest import TestApp
from zope.app.wsgi import WSGIPublisherApplication
from zope.component.globalregistry import base
from zope.component.hooks import setHooks
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from lovely.remotetask import SimpleTask
from lovely.remotetask.states import STATUSES
from tests.benchmarks.application import (
    NAME,
    TASK,
    Application,
    application,
    noop_task,
    registered,
)
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage
from tests.pages.site import configure
from tests.support import fail

#: A task that always fails.
OTHER = "other"

#: How much longer a page may take with the many.
TARGET = 3

#: Jobs of each kind that are few.
FEW = 20

#: What is asked for below jobs.html: first and last pages, in each order; by status,
#: by task, by what is in the error, whether there are such jobs or not.
QUERIES = (
    *("", "order=id", "order=created", "order=-created"),
    *("start=20", "start={middle}", "start={middle}&order=id"),
    *(f"status={status.replace(' ', '+')}" for status in STATUSES),
    *("status=error&order=created", "task=other", "task=none", "text=none"),
    "status=error&text=none",
)


class Site:
    """An application with so many queued jobs, and its pages."""

    def __init__(self, app: Application, jobs: int, bulk: int) -> None:
        self._add_few(app)
        app.add_many(jobs, bulk)
        self._middle = app.add() // 2
        app.manager.begin()
        root = app.connection.root()
        service = root[NAME]
        folder = root["Application"] = rootFolder()
        folder.setSiteManager(LocalSiteManager(folder))
        # The folder's own name for it; where it is stored does not matter.
        service.__parent__ = None
        folder[NAME] = service
        app.manager.commit()
        self._client = TestApp(WSGIPublisherApplication(app.db))
        self._client.authorization = ("Basic", ("manager", "manager"))

    def _add_few(self, app: Application) -> None:
        """Few jobs of each kind, the oldest ones."""
        app.manager.begin()
        service = app.service
        for _ in range(FEW):
            service.add(TASK)
            service.add(OTHER)
        service.process()
        for _ in range(FEW):
            service.cancel(service.add(TASK))
            service.add(TASK, startLater=True)
            service.add(TASK, delay=86_400)
            service.addCronJob(TASK, hour=3)
        app.manager.commit()

    def seconds(self, query: str) -> float:
        """How long a page takes, from the request to all of the answer."""
        query = query.format(middle=self._middle)
        return elapsed(
            lambda: self._client.get(f"/{NAME}/jobs.html?{query}", status=200)
        )


def zope_pages(scale: Scale) -> Iterator[Figure]:
    """The page of the jobs in a Zope application, with many jobs and with few."""
    with ExitStack() as stack:
        stack.enter_context(configured())
        stack.enter_context(noop_task())
        stack.enter_context(registered(SimpleTask(fail, retry=0), OTHER))
        sites = []
        for jobs in (scale.small, scale.large):
            address = stack.enter_context(file_storage())
            app = stack.enter_context(application(address))
            sites.append(Site(app, jobs, scale.bulk))
        for query in QUERIES:
            yield _compare(query, sites, scale)


@contextmanager
def configured() -> Iterator[None]:
    """The application's configuration holds within."""
    kept = dict(vars(base))
    with configure() as registered:
        vars(base).update(registered)
        setHooks()
        yield
    vars(base).update(kept)


def _compare(query: str, sites: list[Site], scale: Scale) -> Figure:
    ratios: list[float] = []
    medians: list[list[float]] = []
    for site in sites:
        site.seconds(query)
    for _ in range(scale.rounds):
        times: list[list[float]] = [[], []]
        for _ in range(scale.calls):
            for site, seconds in zip(sites, times, strict=True):
                seconds.append(site.seconds(query))
        medians.append([1000 * statistics.median(seconds) for seconds in times])
        ratios.append(medians[-1][1] / medians[-1][0])
    few, many = (statistics.median(side) for side in zip(*medians, strict=True))
    what = f"jobs.html?{query}: with {scale.large:,} jobs / with {scale.small:,}"
    note = f"{many:.1f} ms, {few:.1f} ms"
    return Figure(what, tuple(ratios), "", TARGET, note=note)
