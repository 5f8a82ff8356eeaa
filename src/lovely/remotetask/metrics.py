"""Metrics for Prometheus, by its own library; the extra ``metrics`` installs it.

What is in the database is read when somebody asks: ``Services``.  What happens in a
process is counted there: ``Runs``, a subscriber to the library's events.  Both are
collectors; `make_app` and `serve` have them on a registry of their own.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import zope.event
from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    make_wsgi_app,
    start_wsgi_server,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from transaction import TransactionManager

from lovely.remotetask import health, own
from lovely.remotetask.errors import InvalidArgument, InvalidType
from lovely.remotetask.events import JobAdded, JobsRescued, RunEnded
from lovely.remotetask.sites import find_service
from lovely.remotetask.states import STATUSES

#: The upper bounds (seconds) that durations and waiting times are counted by.
BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300, 1800, 3600),
)

#: What an outcome is called here.
OUTCOMES = {"error": "failed", "delayed": "retried"}

#: What a WSGI server calls.
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Spread:
    """How values are spread over the buckets."""

    def __init__(self) -> None:
        self._numbers = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self._numbers[bisect_left(BUCKETS, value)] += 1
        self._sum += value

    def show(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add it to a metric."""
        bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
        numbers = accumulate(self._numbers)
        family.add_metric(labels, list(zip(bounds, numbers, strict=True)), self._sum)


class Runs(Collector):
    """What happens in this process, of all services: begin with `start`.

    It counts by itself, and not with the library's own counters, which cost a worker
    ten times as much.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By service and task, and by outcome.
        self._added: Counts[tuple[str, ...]] = Counts()
        self._ended: Counts[tuple[str, ...]] = Counts()
        self._rescued: Counts[tuple[str, ...]] = Counts()
        self._took: defaultdict[tuple[str, str], _Spread] = defaultdict(_Spread)
        self._waited: defaultdict[tuple[str, str], _Spread] = defaultdict(_Spread)
        self._handlers: dict[type, Callable[[Any], object]] = {
            RunEnded: self._has_ended,
            JobAdded: self._is_added,
            JobsRescued: self._are_rescued,
        }

    def start(self) -> None:
        """Begin to count."""
        if self not in zope.event.subscribers:
            zope.event.subscribers.append(self)

    def stop(self) -> None:
        """Count no more."""
        if self in zope.event.subscribers:
            zope.event.subscribers.remove(self)

    def __call__(self, event: object) -> None:
        """Something has happened."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def collect(self) -> Iterator[Metric]:
        """What has been counted."""
        with self._lock:
            yield from [
                _counted(
                    ("jobs_added", "Jobs added by this process"),
                    ("service", "task"),
                    self._added,
                ),
                _counted(
                    ("runs", "Runs ended by this process"),
                    ("service", "task", "outcome"),
                    self._ended,
                ),
                _counted(
                    ("jobs_rescued", "Jobs taken back from lost workers"),
                    ("service", "outcome"),
                    self._rescued,
                ),
                _spread("run_seconds", "How long runs took", self._took),
                _spread("waiting_seconds", "How long due jobs waited", self._waited),
                CounterMetricFamily(
                    "remotetask_conflicts",
                    "Conflicts of the library's transactions and of runs, repeated",
                    own.conflicts(),
                ),
            ]

    def _has_ended(self, event: RunEnded) -> None:
        task = event.service, event.task
        with self._lock:
            outcome = OUTCOMES.get(event.outcome, event.outcome)
            self._ended[event.service, event.task, outcome] += 1
            self._took[task].add(event.ran)
            self._waited[task].add(event.waited)

    def _is_added(self, event: JobAdded) -> None:
        """A job was added: it counts when that is committed."""
        jar = event.service._p_jar
        if jar is None:
            return
        transaction = jar.transaction_manager.get()
        try:
            added: Counts[tuple[str, ...]] = transaction.data(self)
        except KeyError:
            added = Counts()
            transaction.set_data(self, added)
            transaction.addAfterCommitHook(self._committed, (added,))
        added[event.service.__name__ or "", event.object.task] += 1

    def _committed(self, success: bool, added: Counts[tuple[str, ...]]) -> None:
        if success:
            with self._lock:
                self._added.update(added)

    def _are_rescued(self, event: JobsRescued) -> None:
        with self._lock:
            self._rescued[event.service, "queued"] += len(event.queued)
            self._rescued[event.service, "failed"] += len(event.failed)


def _counted(
    about: tuple[str, str], labels: Sequence[str], counts: Counts[tuple[str, ...]]
) -> Metric:
    """A metric, of a name and a text, of what was counted by some labels."""
    name, text = about
    family = CounterMetricFamily(f"remotetask_{name}", text, labels=labels)
    for values, number in counts.items():
        family.add_metric(values, number)
    return family


def _spread(name: str, text: str, spreads: dict[tuple[str, str], _Spread]) -> Metric:
    """A metric of values by service and task."""
    labels = ("service", "task")
    family = HistogramMetricFamily(f"remotetask_{name}", text, labels=labels)
    for values, spread in spreads.items():
        spread.show(family, values)
    return family


class Services(Collector):
    """What is in a database, of some services, read when somebody asks."""

    def __init__(self, db: Any, paths: Sequence[Sequence[str]]) -> None:
        """``paths`` of the services, whose names must differ.

        Raise InvalidArgument (a ValueError) or InvalidType (a TypeError).
        """
        self._db = db
        self._paths = {_name(path): list(path) for path in paths}
        if len(self._paths) < len(paths):
            raise InvalidArgument("paths: services are told apart by their names.")

    def collect(self) -> Iterator[Metric]:
        """What is shown."""
        found = _Families()
        for name, path in self._paths.items():
            try:
                with self._service(path) as service:
                    found.read(name, service)
            except Exception:
                # What is wrong is seen in the metrics, and in the logs of workers.
                found.up.add_metric([name], 0)
            else:
                found.up.add_metric([name], 1)
        yield from vars(found).values()

    @contextmanager
    def _service(self, path: Sequence[str]) -> Iterator[Any]:
        manager = TransactionManager(explicit=True)
        connection = self._db.open(transaction_manager=manager)
        try:
            manager.begin()
            yield find_service(connection.root(), path)
        finally:
            manager.abort()
            own.close_connection(connection)


class _Families:
    """The metrics of one answer."""

    def __init__(self) -> None:
        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            labels = ("service", *labels)
            return GaugeMetricFamily(f"remotetask_{name}", text, labels=labels)

        self.up = gauge("up", "Whether the service could be read")
        self.jobs = gauge("jobs", "Jobs by status", "status")
        self.workers = gauge("workers", "Workers by what they do", "state")
        self.heartbeat = gauge(
            "heartbeat_age_seconds", "Since a worker's last heartbeat", "worker"
        )
        self.oldest = gauge(
            "oldest_waiting_seconds", "For how long the oldest job that is due waits"
        )
        self.stalled = gauge("stalled", "Whether nobody takes the jobs that are due")

    def read(self, name: str, service: Any) -> None:
        """Add what one service tells."""
        counts = {status: service.count(status) for status in STATUSES}
        look, now = service.processing, service.environment.time()
        states = Counts(state for _, state in look.workers)
        for status, number in counts.items():
            self.jobs.add_metric([name, status], number)
        for state in _STATES:
            self.workers.add_metric([name, state], states[state])
        for worker, _ in look.workers:
            if worker.heartbeat is not None:
                age = max(0.0, now - worker.heartbeat.timestamp())
                self.heartbeat.add_metric([name, worker.identity], age)
        since = now if look.oldest is None else look.oldest.timestamp()
        self.oldest.add_metric([name], max(0.0, now - since))
        self.stalled.add_metric([name], int(look.stalled))


_STATES = (health.IDLE, health.WORKING, health.BUSY, health.STALLED, health.SILENT)


def _name(path: Sequence[str]) -> str:
    if isinstance(path, str) or not path:
        raise InvalidType(f"paths: each is a list of names, not {path!r}.")
    return path[-1]


_lock = threading.Lock()
_registry: CollectorRegistry | None = None


def registry() -> CollectorRegistry:
    """What this process counts, from the first call on, and what it uses."""
    global _registry  # noqa: PLW0603 - there is one process
    with _lock:
        if _registry is None:
            _registry = CollectorRegistry()
            ProcessCollector(registry=_registry)
            runs = Runs()
            _registry.register(runs)
            runs.start()
        return _registry


class _Both(Collector):
    """What this process counts, and what is in a database."""

    def __init__(self, services: Services) -> None:
        self._services, self._process = services, registry()

    def collect(self) -> Iterator[Metric]:
        """One after the other."""
        yield from self._process.collect()
        yield from self._services.collect()


def _shown(db: Any, paths: Sequence[Sequence[str]]) -> CollectorRegistry:
    shown = CollectorRegistry()
    shown.register(_Both(Services(db, paths)))
    return shown


def make_app(db: Any, *paths: Sequence[str]) -> Application:
    """A WSGI application that shows the metrics of services and of this process.

    ``db`` is a ZODB.DB, ``paths`` are those of services in it, each a list of names.
    It answers to GET under any path, and tells names of tasks and numbers; who may
    ask is up to whoever mounts it.  Raise InvalidArgument or InvalidType.
    """
    app: Application = make_wsgi_app(_shown(db, paths))
    return app


@contextmanager
def serve(
    db: Any, *paths: Sequence[str], port: int = 9101, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Within, the metrics are served over HTTP by a thread; the port.

    The rest is as for `make_app`.  ``port`` 0 is any that is free.  Raise OSError if
    it is taken.
    """
    server, thread = start_wsgi_server(port, host, _shown(db, paths))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
