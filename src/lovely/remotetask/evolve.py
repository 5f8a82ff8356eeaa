"""Bringing the services in a database to the version that this code works with.

Each step leads from one version to the next; the version of a service is noted on
it.  A step is called again and again, each time in a transaction of its own, and
keeps what it has to remember in the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from transaction import TransactionManager
from ZODB.POSException import StateLoadError
from zope.component.interfaces import ISite

from lovely.remotetask import ancestor, versions, zones
from lovely.remotetask.conversion import Done, FromAncestor
from lovely.remotetask.errors import CannotConvert, InvalidArgument, InvalidType
from lovely.remotetask.own import close_connection, commit_retrying
from lovely.remotetask.service import TaskService
from lovely.remotetask.sites import find_service, names_of

log = logging.getLogger("lovely.remotetask")

#: What converts a service to the next version, a bit at a time.
Step = Callable[[TaskService], Done]

#: What makes the step from each version to the next, given how many jobs to convert in
#: one transaction.
STEPS: tuple[Callable[[int], Step], ...] = (FromAncestor,)

#: So many objects are looked at while services are searched, before room is made.
CACHED = 10_000


class Progress(NamedTuple):
    """How far the conversion of a service has come."""

    #: The names on the way to the service, its own last, with slashes between them.
    service: str
    #: The version that it is converted from.
    version: int
    #: How many entries are done: jobs, and what is queued or scheduled.
    done: int
    #: How many there are.
    total: int


class Evolved(NamedTuple):
    """What has been done to a service."""

    #: The names on the way to it, its own last, with slashes between them.
    service: str
    #: The version that it had; if that is the current one, nothing was to be done.
    version: int
    #: How many jobs it has now.
    jobs: int
    #: How many of them are in error because nothing would have run them.
    lost: int


def evolve(
    db: Any,
    paths: Sequence[Sequence[str]] | None = None,
    *,
    timezone: str | ZoneInfo | None = None,
    batch: int = 1000,
    progress: Callable[[Progress], object] | None = None,
) -> list[Evolved]:
    """Convert the services in a database, each to the current version.

    It commits, and can be interrupted at any time: called again, it goes on.  What is
    up to date is left alone.

    ``paths``
        where the services are, each a list of names, as processors have it; None:
        wherever `find_services` finds some.
    ``timezone``
        the zone that the clock showed where the ancestor ran, by name; None: that of
        this process.
    ``batch``
        how many jobs are converted in one transaction.
    ``progress``
        is called with a `Progress` after each commit.

    Raise DatabaseTooNew before anything is changed; CannotConvert; ServiceNotFound;
    InvalidArgument (a ValueError) or InvalidType (a TypeError).
    """
    _check_batch(batch)
    zone = None if timezone is None else ZoneInfo(zones.check_timezone(timezone))
    with versions.evolving(), ancestor.wall(zone), _loading():
        found = _find(db, paths)
        report = progress or (lambda progress: None)
        return [_Evolution(*place, batch, report)() for place in found]


def _check_batch(batch: object) -> None:
    if isinstance(batch, bool) or not isinstance(batch, int):
        raise InvalidType(f"batch: an int is needed, not {batch!r}.")
    if batch < 1:
        raise InvalidArgument(f"batch: 1 or more is needed, not {batch!r}.")


@contextmanager
def _loading() -> Iterator[None]:
    """Raise CannotConvert for what can't be loaded."""
    try:
        yield
    except StateLoadError as error:
        raise CannotConvert(
            "An object can't be loaded: ZODB has logged which, and why. If Python 2 "
            "wrote the database, run zodbupdate first, as the documentation says."
        ) from error


class _Place(NamedTuple):
    """Where a service is, and what it is called."""

    db: Any
    oid: bytes
    name: str


def _find(db: Any, paths: Sequence[Sequence[str]] | None) -> list[_Place]:
    with _connected(db) as (manager, connection):
        manager.begin()
        root = connection.root()
        if paths is None:
            services = find_services(root)
        else:
            services = (find_service(root, path) for path in paths)
        return [
            _Place(service._p_jar.db(), service._p_oid, "/".join(names_of(service)))
            for service in services
        ]


@contextmanager
def _connected(db: Any) -> Iterator[tuple[Any, Any]]:
    """A connection with a transaction manager of its own."""
    manager = TransactionManager()
    connection = db.open(transaction_manager=manager)
    try:
        yield manager, connection
    finally:
        manager.abort()
        # Who is given the connection next shall not find old services loaded.
        for each in connection.connections.values():
            each.cacheMinimize()
        close_connection(connection)


class _Evolution:
    """Converts one service, however long it takes."""

    def __init__(
        self,
        db: Any,
        oid: bytes,
        name: str,
        batch: int,
        report: Callable[[Progress], object],
    ) -> None:
        self._db, self._oid, self._name = db, oid, name
        self._batch, self._report = batch, report
        self._steps: dict[int, Step] = {}

    def __call__(self) -> Evolved:
        first, lost = None, 0
        with _connected(self._db) as (manager, connection):

            def work() -> tuple[int, Done]:
                return self._go_on(connection.get(self._oid))

            while True:
                version, done = commit_retrying(manager, TaskService.environment, work)
                first = version if first is None else first
                if version == versions.CURRENT:
                    break
                lost = max(lost, done.lost)
                connection.cacheMinimize()
                self._report(Progress(self._name, version, done.done, done.total))
            manager.begin()
            jobs = connection.get(self._oid).count()
        if first < version:
            log.info("service %s: converted, %d jobs", self._name, jobs)
        return Evolved(self._name, first, jobs, lost)

    def _go_on(self, service: TaskService) -> tuple[int, Done]:
        """Convert a bit; the version from which, and how far it has come."""
        service._p_activate()
        version = versions.of(service)
        if version == versions.CURRENT:
            return version, Done(over=True)
        if version not in self._steps:
            log.info("service %s: converting from version %d", self._name, version)
            self._steps[version] = STEPS[version](self._batch)
        done = self._steps[version](service)
        if done.over:
            service._version = version + 1
        return version, done


def find_services(root: Any) -> Iterator[TaskService]:
    """The services at and below an object: in folders and sites, or registered there.

    Only objects that may hold others are loaded.  ``root`` is the root of a database,
    or another persistent object.
    """
    seen: set[Any] = set()
    todo, looked_at = [root], 0
    while todo:
        obj = todo.pop()
        oid = getattr(obj, "_p_oid", None)
        key = id(obj) if oid is None else (obj._p_jar.db().database_name, oid)
        if key in seen:
            continue
        seen.add(key)
        if isinstance(obj, TaskService):
            yield obj
            continue
        for child in _children(obj):
            looked_at += 1
            if looked_at % CACHED == 0:
                root._p_jar.cacheGC()
            if isinstance(child, TaskService) or hasattr(type(child), "values"):
                todo.append(child)


def _children(obj: Any) -> Iterator[Any]:
    """What an object holds, as far as it can be read."""
    for part in (_registered, _contained):
        try:
            yield from part(obj)
        except StateLoadError:
            raise
        except Exception:
            # Not the object: to show it might fail for the same reason.
            name = type(obj).__qualname__
            log.warning("a %s can't be searched for services", name, exc_info=True)


def _registered(obj: Any) -> Iterator[Any]:
    if ISite.providedBy(obj):
        manager = obj.getSiteManager()
        yield manager
        for registration in manager.registeredUtilities():
            yield registration.component


def _contained(obj: Any) -> Iterator[Any]:
    yield from obj.values()
