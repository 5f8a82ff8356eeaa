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

from tests.benchmarks.application import NAME, Application, application, noop_task
from tests.benchmarks.measure import Figure, Scale, elapsed
from tests.benchmarks.stores import file_storage
from tests.pages.site import configure

#: How much longer a page may take with the many.
TARGET = 3

#: What is asked for: first pages, the oldest jobs, and what only few jobs are.
QUERIES = ("", "?order=id", "?status=queued", "?status=error", "?task=other")


class Site:
    """An application with so many queued jobs, and its pages."""

    def __init__(self, app: Application, jobs: int, bulk: int) -> None:
        app.add_many(jobs, bulk)
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

    def seconds(self, query: str) -> float:
        """How long a page takes, from the request to all of the answer."""
        return elapsed(
            lambda: self._client.get(f"/{NAME}/jobs.html{query}", status=200)
        )


def zope_pages(scale: Scale) -> Iterator[Figure]:
    """The page of the jobs in a Zope application, with many jobs and with few."""
    with ExitStack() as stack:
        stack.enter_context(configured())
        stack.enter_context(noop_task())
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
    what = f"jobs.html{query}: with {scale.large:,} jobs / with {scale.small:,}"
    note = f"{many:.1f} ms, {few:.1f} ms"
    return Figure(what, tuple(ratios), "", TARGET, note=note)
