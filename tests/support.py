"""What several modules of tests need."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transaction
import zope.component

from lovely.remotetask.environment import Environment
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import COMPLETED, ERROR, STATUSES
from lovely.remotetask.task import SimpleTask

#: No test waits longer than so many seconds for anything.
PATIENCE = 20.0


class FakeEnvironment(Environment):
    """A clock that stands still, and processes that are gone when told so."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        #: Beginnings of process names that are gone.
        self.gone: set[str] = set()
        self.name: str | None = None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def process(self) -> str:
        return self.name or super().process()

    def is_gone(self, process: str) -> bool:
        return any(process.startswith(gone) for gone in self.gone)


class Clocks(FakeEnvironment):
    """The storage's clock and the one that only runs forward, both ruled here."""

    def __init__(self) -> None:
        super().__init__()
        self.storage, self.passed = time.time(), 0.0

    def monotonic(self) -> float:
        return self.passed

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.storage += seconds
        self.passed += seconds


class StorageTime:
    """What the storage has for the module ``time``."""

    gmtime = staticmethod(time.gmtime)

    def __init__(self, clocks: Clocks) -> None:
        self.time = lambda: clocks.storage


class FullTask:
    """A task that calls a function of service, id and input."""

    inputSchema = None
    outputSchema = None
    retry = 0

    def __init__(self, function: Callable[[Any, int, Any], Any]) -> None:
        self.function = function

    def __call__(self, service: Any, jobid: int, input: Any) -> Any:
        return self.function(service, jobid, input)


def register(name: str, function: Callable[[Any], Any], interface: Any = None) -> None:
    """Make a function of one argument, the input, a task that is not retried."""
    provide(name, SimpleTask(function, retry=0), interface)


def register_full(name: str, function: Callable[[Any, int, Any], Any]) -> None:
    """Make a function of service, id and input a task that is not retried."""
    provide(name, FullTask(function))


def provide(name: str, task: Any, interface: Any = None) -> None:
    """Register a task as a global utility."""
    interface = interface or TaskService.taskInterface
    zope.component.provideUtility(task, interface, name=name)


class Farewell(BaseException):
    """An exception that ``except Exception`` does not see."""


def echo(value: Any) -> Any:
    """A task's function: return the input."""
    return value


def fail(value: Any) -> Any:
    """A task's function that always fails, with the input as its message."""
    raise RuntimeError(value)


def wait_until(
    condition: Callable[[], Any], seconds: float = PATIENCE, pause: float = 0.002
) -> Any:
    """Wait until a condition holds, looking with pauses; what it returned."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(pause)
    return result


def ask(db: Any, question: Callable[[Any], Any], name: str = "service") -> Any:
    """The answer of the service in a database, as last committed."""
    with db.transaction() as connection:
        return question(connection.root()[name])


def wait_for_status(db: Any, jobid: int, status: str) -> None:
    """Wait until a job has a status."""
    wait_until(lambda: ask(db, lambda service: service.getStatus(jobid)) == status)


def put_service(db: Any, name: str = "service", factory: Any = TaskService) -> Any:
    """Commit a new service to a database's root; it, on the thread's connection."""
    service = factory()
    service.__name__ = name
    connection = db.open()
    root = connection.root()
    service.__parent__ = root
    root[name] = service
    transaction.commit()
    return service


@contextmanager
def processing(service: Any) -> Iterator[None]:
    """Within, the service is processed in the background."""
    service.startProcessing()
    try:
        yield
    finally:
        assert service.stopProcessing(wait=True, timeout=PATIENCE)


def run_all(service: Any, *, here: bool) -> None:
    """Commit, and have all jobs run: here, with a commit, or in the background."""

    def unfinished() -> int:
        return int(service.count("queued") + service.count("processing"))

    transaction.commit()
    if here:
        service.process()
        transaction.commit()
        return
    with processing(service):
        wait_until(lambda: transaction.begin() and not unfinished())
    transaction.begin()


def open_connections(db: Any) -> int:
    """How many connections of a database are in use."""
    return sum(1 for info in db.connectionDebugInfo() if info["opened"])


def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function in a thread that ends then; what it returned."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread does not end"
    if errors:
        raise errors[0]
    return results[0]


def in_child(function: Callable[[], Any]) -> Any:
    """Call a function in a forked process; what it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Or each commit looks at the parent's connections, too, and waits for ever
        # if a thread of the parent was in their storage just now.
        transaction.manager.clearSynchs()
        try:
            answer = json.dumps(function())
        except BaseException:
            answer = json.dumps(traceback.format_exc())
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def counts(service: Any) -> dict[str, int]:
    """What the service counts, without what is none."""
    found = {status: service.count(status) for status in STATUSES}
    assert sum(found.values()) == service.count() == len(service.jobs)
    return {status: number for status, number in found.items() if number}


def statuses(service: Any) -> dict[str, int]:
    """The same, by looking at every job."""
    return dict(Counter(job.status for job in service.jobs.values()))


class NoSavepoints:
    """A data manager that can't go back, as a mail server's."""

    transaction_manager = transaction.manager

    def sortKey(self) -> str:
        return "no savepoints"

    def nothing(self, transaction: Any) -> None:
        """There is nothing to do."""

    abort = tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = nothing


def fails_alone(db: Any, service: Any, task: str) -> int:
    """A job ends in error, and one behind it is completed; the id of the first."""
    poison: int = service.add(task)
    harmless = service.add("echo", 1)
    transaction.commit()
    with processing(service):
        wait_for_status(db, poison, ERROR)
        wait_for_status(db, harmless, COMPLETED)
    return poison


def blocks_with_ids(service: Any) -> int:
    """How many blocks there are, without the first one of each lane, which stays."""
    numbers = [number for shard in service.jobs._shards for number in shard]
    lanes = [lane.root for lane in service._lanes]
    assert {number for number in numbers if number < 0} <= set(lanes)
    return sum(number >= 0 for number in numbers)
