"""Worker processes, each of which is told when to work and when to rest."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from zope.interface import implementer

from lovely import remotetask
from lovely.remotetask.environment import Environment
from lovely.remotetask.interfaces import ITask
from tests.benchmarks.application import Application, registered
from tests.benchmarks.crew import PATIENCE, OwnConflicts, own_conflicts, turn
from tests.benchmarks.stores import open_database
from tests.storages import Address

#: A task that goes on only at the second attempt.
HANG = "hang"

_SPAWN = multiprocessing.get_context("spawn")


@implementer(ITask)
class Reporting:
    """A task that does nothing but say in shared memory that it was called.

    What it writes there is (calls, when the last was), the latter in seconds of
    `time.monotonic`, which Linux keeps for all processes.
    """

    inputSchema = None
    outputSchema = None

    def __init__(self, report: Any, hangs: bool = False) -> None:
        self._report = report
        self._hangs = hangs
        self._lock = threading.Lock()

    def __call__(self, service: Any, jobid: int, input: Any) -> None:
        with self._lock:
            self._report[1] = time.monotonic()
            self._report[0] += 1
        if self._hangs and remotetask.current().attempt == 1:
            time.sleep(PATIENCE)


class Elsewhere(Environment):
    """A process that is on another host, as far as it and others can tell."""

    def __init__(self, host: str) -> None:
        self._host = host

    def process(self) -> str:
        return "/".join([self._host, *super().process().split("/")[1:]])

    def is_gone(self, process: str) -> bool:
        """Of this host there is no other process, of others nothing is known."""
        return False


def work(
    address: Address, index: int, pipe: Any, report: Any, host: str | None
) -> None:
    """A member's life in a process of its own: take orders until the end."""
    if host is not None:
        remotetask.TaskService.environment = Elsewhere(host)
    db = open_database(address)
    app = Application(db)
    try:
        with (
            registered(Reporting(report)),
            registered(Reporting(report, hangs=True), HANG),
            own_conflicts() as own,
        ):
            while (order := pipe.recv()) is not None:
                pipe.send(_obey(app, index, order, own))
            _obey(app, index, "rest", own)
    finally:
        app.close()
        db.close()


def _obey(app: Application, index: int, order: Any, own: OwnConflicts) -> Any:
    app.manager.begin()
    if order == "work":
        app.service.startProcessing()
    elif order == "rest":
        assert app.service.stopProcessing(wait=True, timeout=PATIENCE)
    elif order != "report":
        return turn(app, lambda: app.bare(index), order).rate
    app.manager.abort()
    return own.count


class Member:
    """A worker process, as its parent sees it."""

    def __init__(self, address: Address, index: int, host: str | None = None) -> None:
        """``host`` is where it seems to be, if not here."""
        self.pipe, theirs = _SPAWN.Pipe()
        self._report = _SPAWN.RawArray("d", 2)
        arguments = (address, index, theirs, self._report, host)
        self.process = _SPAWN.Process(target=work, args=arguments)
        self.process.start()
        theirs.close()

    @property
    def calls(self) -> int:
        """How many jobs it has begun."""
        return int(self._report[0])

    @property
    def called_at(self) -> float:
        """When it began the last one (seconds of `time.monotonic`)."""
        return float(self._report[1])

    def tell(self, order: Any) -> None:
        """``work``, ``rest``, ``report``, or so many seconds of bare commits."""
        self.pipe.send(order)

    def answer(self) -> Any:
        """The rate of bare commits, or else its conflicts in own transactions."""
        assert self.pipe.poll(PATIENCE), "a worker process does not answer"
        return self.pipe.recv()

    def kill(self) -> float:
        """End it as no process can prevent; when that was."""
        self.process.kill()
        return time.monotonic()

    def close(self) -> None:
        """Let it end, if it has not."""
        if self.process.is_alive():
            self.tell(None)
        self.process.join(PATIENCE)
        self.pipe.close()


def tell(members: Sequence[Member], order: Any) -> list[Any]:
    """Tell members something, all at once; their answers."""
    for member in members:
        member.tell(order)
    return [member.answer() for member in members]


def calls(members: Sequence[Member]) -> int:
    """How many jobs they have begun."""
    return sum(member.calls for member in members)


def wait_for_calls(members: Sequence[Member], wanted: int, seconds: float) -> float:
    """Wait until they have begun so many jobs; when the last began."""
    end = time.monotonic() + seconds
    while calls(members) < wanted:
        assert time.monotonic() < end, f"{calls(members)} of {wanted} jobs were begun"
        time.sleep(0.001)
    return max(member.called_at for member in members)


@contextmanager
def workforce(address: Address, count: int) -> Iterator[list[Member]]:
    """So many worker processes, which rest at first."""
    with ExitStack() as stack:
        members = []
        for index in range(count):
            members.append(Member(address, index))
            stack.callback(members[-1].close)
        tell(members, "report")
        yield members


def settle(app: Application, wanted: int, seconds: float = PATIENCE) -> None:
    """Wait until so many jobs are over, in whatever way."""
    end = time.monotonic() + seconds
    while app.count("completed") + app.count("error") < wanted:
        assert time.monotonic() < end, f"not {wanted} jobs are over"
        time.sleep(0.002)
