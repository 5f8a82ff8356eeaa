"""A small application: a service, tasks that do nothing, and plain objects."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import zope.component
from persistent import Persistent
from transaction import TransactionManager
from transaction.interfaces import TransientError
from zope.interface import implementer

from lovely.remotetask import TaskService
from lovely.remotetask.interfaces import ITask
from tests.benchmarks.stores import Address, open_database

NAME = "service"
TASK = "noop"
INPUT = "20 bytes of an input"
OBJECTS = "objects"
RECORDS = "records"


class Small(Persistent):
    """What a bare commit writes: one small object."""

    def __init__(self, value: str = "") -> None:
        self.value = value


@implementer(ITask)
class Noop:
    """A task that does nothing but say when it was called."""

    inputSchema = None
    outputSchema = None

    def __init__(self) -> None:
        self.calls = 0
        self.called_at = self.began_at = 0.0
        self.wanted = 0
        self.done = threading.Event()

    def expect(self, calls: int) -> None:
        """Set `done` once there were so many calls, of all."""
        self.wanted = calls
        self.began_at = 0.0
        self.done.clear()
        if self.calls >= calls:
            self.done.set()

    def __call__(self, service: Any, jobid: int, input: Any) -> None:
        self.called_at = time.perf_counter()
        self.began_at = self.began_at or self.called_at
        self.calls += 1
        if self.calls >= self.wanted:
            self.done.set()


class Application:
    """One connection's view of the application's database."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.manager = TransactionManager()
        self.connection = db.open(self.manager)
        self.conflicts = 0
        self._values = itertools.count()

    def close(self) -> None:
        """Give the connection back."""
        self.manager.abort()
        self.connection.close()

    @property
    def service(self) -> TaskService:
        service: TaskService = self.connection.root()[NAME]
        return service

    def add(self, task: str = TASK, bulk: int = 1) -> int:
        """One job in a transaction of its own, or several; the last one's id."""
        while True:
            self.manager.begin()
            for _ in range(bulk):
                jobid = self.service.add(task, INPUT)
            if self._commit():
                return jobid

    def bare(self, index: int = 0) -> None:
        """A bare commit of one of the small objects."""
        self.manager.begin()
        self.connection.root()[OBJECTS][index].value = f"{next(self._values):020}"
        self.manager.commit()

    def new_records(self, count: int, size: int) -> list[Small]:
        """Small objects that are to be loaded, each with so many bytes in its value."""
        root = self.connection.root()
        self.manager.begin()
        root[RECORDS] = [Small(size * "x") for _ in range(count)]
        self.manager.commit()
        self.connection.cacheMinimize()
        self.manager.begin()
        records: list[Small] = root[RECORDS]
        return records

    def write(self, records: Iterable[Small]) -> None:
        """Change small objects, in one commit."""
        self.manager.begin()
        for record in records:
            record.value = record.value[::-1]
        self.manager.commit()

    def configure(self, factory: Any, **arguments: Any) -> None:
        """How the service is processed, from the next start on."""
        self.manager.begin()
        self.service.processorFactory = factory
        self.service.processorArguments = arguments
        self.manager.commit()

    def add_many(self, count: int, bulk: int) -> None:
        """Jobs, so many in a transaction."""
        for first in range(0, count, bulk):
            self.manager.begin()
            for _ in range(min(bulk, count - first)):
                self.service.add(TASK, INPUT)
            self.manager.commit()

    def clean(self) -> int:
        """Remove the jobs that are over; how many."""
        self.manager.begin()
        removed = self.service.clean()
        self.manager.commit()
        return removed

    def count(self, status: str | None = None) -> int:
        """How many jobs have a status, now."""
        self.manager.begin()
        return self.service.count(status)

    def _commit(self) -> bool:
        try:
            self.manager.commit()
        except TransientError:
            self.manager.abort()
            self.conflicts += 1
            return False
        return True


@contextmanager
def application(address: Address, objects: int = 1) -> Iterator[Application]:
    """A new application in a new database."""
    db = open_database(address)
    app = Application(db)
    try:
        root = app.connection.root()
        service = root[NAME] = TaskService()
        service.__name__, service.__parent__ = NAME, root
        root[OBJECTS] = [Small() for _ in range(objects)]
        app.manager.commit()
        yield app
    finally:
        app.close()
        db.close()


@contextmanager
def registered(task: Any, name: str = TASK) -> Iterator[Any]:
    """A task, registered within."""
    registry = zope.component.getGlobalSiteManager()
    registry.registerUtility(task, ITask, name=name)
    try:
        yield task
    finally:
        registry.unregisterUtility(task, ITask, name=name)


def noop_task() -> AbstractContextManager[Noop]:
    """The task that does nothing, registered within."""
    return registered(Noop())


@contextmanager
def processing(app: Application) -> Iterator[None]:
    """The service is processed in the background, in this process."""
    app.manager.begin()
    app.service.startProcessing()
    try:
        yield
    finally:
        app.manager.begin()
        assert app.service.stopProcessing(wait=True, timeout=60)
