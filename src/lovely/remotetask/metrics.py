"""Metrics for Prometheus, by its own library; the extra ``metrics`` installs it.

What is in the database is read when somebody asks: ``Services``.  What happens in a
process is counted there: ``Runs``, a subscriber to the library's events.  Both are
collectors; `make_app` and `serve` have them on a registry of their own.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import zope.event

from lovely.remotetask import health, own
from lovely.remotetask.additions import Additions
from lovely.remotetask.errors import InvalidArgument, InvalidType, NotInstalled
from lovely.remotetask.events import JobAdded, JobsRescued, RunEnded
from lovely.remotetask.sites import find_service
from lovely.remotetask.states import STATUSES

try:
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
except ModuleNotFoundError as error:
    raise NotInstalled(__name__, "metrics") from error

#: The upper bounds (seconds) that durations and waiting times are counted by.
BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 300, 1800, 3600),
)

#: What an outcome is called here.
OUTCOMES = {
    "completed": "completed",
    "error": "failed",
    "delayed": "retried",
    "cancelled": "cancelled",
}

#: So many tasks of all services have numbers of their own; what more there are, as
#: where a program makes tasks as it goes, share a name.
MOST_TASKS = 1_000
OTHERS = "(others)"

#: So many runs are counted together, at most.
AT_ONCE = 256

#: For how long an answer waits for the database: less than Prometheus waits for it
#: (seconds).
PATIENCE = 5.0

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
        self._forget()
        self._additions = Additions(self._is_committed)
        self._handlers: dict[type, Callable[[Any], object]] = {
            RunEnded: self._has_ended,
            JobAdded: self._is_added,
            JobsRescued: self._are_rescued,
        }

    def _forget(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        #: Service and task, by the same: or what they are counted as.
        self._tasks: dict[tuple[str, str], tuple[str, str]] = {}
        #: What has ended and is not counted yet.
        self._runs: deque[RunEnded] = deque()
        #: By service and task, and by outcome.
        self._added: Counts[tuple[str, ...]] = Counts()
        self._ended: Counts[tuple[str, ...]] = Counts()
        self._rescued: Counts[tuple[str, ...]] = Counts()
        self._took: defaultdict[tuple[str, str], _Spread] = defaultdict(_Spread)
        self._waited: defaultdict[tuple[str, str], _Spread] = defaultdict(_Spread)

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
            self._count_runs()
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

    def expect(self, service: str, tasks: Iterable[str]) -> None:
        """Show these at once, with zeros: else nobody could see their first failure.

        Prometheus compares two numbers, and there would be only one.
        """
        with self._lock:
            for task in tasks:
                self._known(service, task)

    def _known(self, service: str, task: str) -> tuple[str, str]:
        """What a task is counted as."""
        try:
            return self._tasks[service, task]
        except KeyError:
            if len(self._tasks) >= MOST_TASKS:
                return service, OTHERS
            found = self._tasks[service, task] = service, task
            for outcome in OUTCOMES.values():
                self._ended[service, task, outcome] = 0
            return found

    def _has_ended(self, event: RunEnded) -> None:
        # One by one it would cost some three times as much, between two jobs.
        self._runs.append(event)
        if len(self._runs) >= AT_ONCE:
            with self._lock:
                self._count_runs()

    def _count_runs(self) -> None:
        """Count those that have ended; with the lock."""
        while self._runs:
            event = self._runs.popleft()
            service, task = known = self._known(event.service, event.task)
            self._ended[service, task, OUTCOMES[event.outcome]] += 1
            self._took[known].add(event.ran)
            self._waited[known].add(event.waited)

    def _is_added(self, event: JobAdded) -> None:
        self._additions.note(event, (event.service.__name__ or "", event.object.task))

    def _is_committed(self, task: tuple[str, str]) -> None:
        with self._lock:
            self._added[self._known(*task)] += 1

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
        self._reader: _Reader | None = None

    def collect(self) -> Iterator[Metric]:
        """What is shown."""
        yield from self.read().metrics()

    def read(self) -> _Families:
        """What can be read of the services within `PATIENCE`.

        One thread at a time reads: with a server that does not answer, each of them
        would wait, and keep a connection for that.
        """
        reader = self._reader
        if reader is None or not reader.is_alive():
            reader = self._reader = _Reader(self._read_all)
            reader.start()
        reader.join(PATIENCE)
        return reader.found or _Families(unread=self._paths)

    def _read_all(self) -> _Families:
        found = _Families()
        for name, path in self._paths.items():
            try:
                with own.reading(self._db) as connection:
                    found.read(name, find_service(connection.root(), path))
            except Exception:
                # What is wrong is seen in the metrics, and in the logs of workers.
                found.up.add_metric([name], 0)
            else:
                found.up.add_metric([name], 1)
        return found


class _Reader(threading.Thread):
    """A thread that reads what one answer needs."""

    def __init__(self, read: Callable[[], _Families]) -> None:
        super().__init__(name="metrics", daemon=True)
        self._read = read
        self.found: _Families | None = None

    def run(self) -> None:
        """Read it."""
        self.found = self._read()


class _Families:
    """The metrics of one answer."""

    def __init__(self, unread: Iterable[str] = ()) -> None:
        """``unread``: the names of services that can't be read."""
        #: The names of the tasks that there are, by service.
        self.tasks: dict[str, list[str]] = {}

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
        for name in unread:
            self.up.add_metric([name], 0)

    def metrics(self) -> list[Metric]:
        """All of them."""
        return [shown for shown in vars(self).values() if isinstance(shown, Metric)]

    def read(self, name: str, service: Any) -> None:
        """Add what one service tells."""
        counts = {status: service.count(status) for status in STATUSES}
        look, now = service.processing, service.environment.time()
        heard = health.storage_time(service)
        states = Counts(state for _, state in look.workers)
        for status, number in counts.items():
            self.jobs.add_metric([name, status], number)
        for state in _STATES:
            self.workers.add_metric([name, state], states[state])
        for worker, _ in look.workers:
            if worker.heartbeat is not None:
                age = max(0.0, heard - worker.heartbeat.timestamp())
                self.heartbeat.add_metric([name, worker.identity], age)
        since = now if look.oldest is None else look.oldest.timestamp()
        self.oldest.add_metric([name], max(0.0, now - since))
        self.stalled.add_metric([name], int(look.stalled))
        self.tasks[service.__name__ or ""] = sorted(service.getAvailableTasks())


_STATES = (health.IDLE, health.WORKING, health.BUSY, health.STALLED, health.SILENT)


def _name(path: Sequence[str]) -> str:
    if isinstance(path, str) or not path:
        raise InvalidType(f"paths: each is a list of names, not {path!r}.")
    return path[-1]


_lock = threading.Lock()
_process: tuple[CollectorRegistry, Runs] | None = None


def registry() -> CollectorRegistry:
    """What this process counts, from the first call on, and what it uses."""
    return _of_process()[0]


def _of_process() -> tuple[CollectorRegistry, Runs]:
    global _process  # noqa: PLW0603 - there is one process
    with _lock:
        if _process is None:
            _process = CollectorRegistry(), Runs()
            shown, runs = _process
            ProcessCollector(registry=shown)
            shown.register(runs)
            runs.start()
        return _process


def _after_fork() -> None:
    """What the parent has counted is its own, and its threads may have had locks."""
    global _lock  # noqa: PLW0603 - the old one may be locked for ever
    _lock = threading.Lock()
    for subscriber in zope.event.subscribers:
        if isinstance(subscriber, Runs):
            subscriber._forget()


os.register_at_fork(after_in_child=_after_fork)


class _Both(Collector):
    """What this process counts, and what is in a database."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._process, self._runs = _of_process()

    def collect(self) -> Iterator[Metric]:
        """One after the other."""
        found = self._services.read()
        for service, tasks in found.tasks.items():
            self._runs.expect(service, tasks)
        yield from self._process.collect()
        yield from found.metrics()


def _shown(db: Any, paths: Sequence[Sequence[str]]) -> CollectorRegistry:
    shown = CollectorRegistry()
    shown.register(_Both(Services(db, paths)))
    return shown


def make_app(db: Any, *paths: Sequence[str]) -> Application:
    """A WSGI application that shows the metrics of services and of this process.

    ``db`` is a ZODB.DB, ``paths`` are those of services in it, each a list of names.
    It answers to GET under any path, and tells names of tasks and hosts, and numbers;
    who may ask is up to whoever mounts it.  Raise InvalidArgument or InvalidType.
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
