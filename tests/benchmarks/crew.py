"""Several producers at once: threads of one process, or processes of their own."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.benchmarks.application import Application, noop_task, processing
from tests.benchmarks.stores import Address, open_database

#: How long a member may take to begin, or to end, a turn (seconds).
PATIENCE = 60


@dataclass(frozen=True)
class Turn:
    """What one member, or all, did in a turn."""

    done: int
    rate: float
    conflicts: int
    #: In the library's own transactions, as far as members count them: those
    #: in processes of their own do.
    own_conflicts: int


class OwnConflicts(logging.Handler):
    """Counts the conflicts that the library meets in transactions of its own."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("conflict in a transaction of the lib"):
            self.count += 1


@contextmanager
def own_conflicts() -> Iterator[OwnConflicts]:
    """Counts them within."""
    logger, handler = logging.getLogger("lovely.remotetask"), OwnConflicts()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def produce(
    db: Any, index: int, inbox: Any, outbox: Any, own: OwnConflicts | None = None
) -> None:
    """A member's life: take orders, the arguments of `turn`, until there is a None."""
    app = Application(db)
    actions: dict[str, Callable[[int], object]] = {
        "add": lambda bulk: app.add(bulk=bulk),
        "bare": lambda _: app.bare(index),
    }
    try:
        while (order := inbox.get(timeout=PATIENCE)) is not None:
            name, seconds, pace, bulk = order
            action = partial(actions[name], bulk)
            outbox.put(turn(app, action, seconds, pace, own))
    except BaseException as error:
        outbox.put(error)
    finally:
        app.close()


def turn(
    app: Application,
    action: Callable[[], object],
    seconds: float,
    pace: float = 0,
    own: OwnConflicts | None = None,
) -> Turn:
    """Do something over and over, for so many seconds.

    With a ``pace``, so many times a second; else as fast as can be.
    """
    done, conflicts, others = 0, app.conflicts, own.count if own else 0
    begun = now = time.perf_counter()
    while now < begun + seconds or not done:
        action()
        done += 1
        if pace:
            time.sleep(max(0.0, begun + done / pace - time.perf_counter()))
        now = time.perf_counter()
    others = own.count - others if own else 0
    return Turn(done, done / (now - begun), app.conflicts - conflicts, others)


def produce_in_process(address: Address, index: int, inbox: Any, outbox: Any) -> None:
    """The same, in a process of its own."""
    db = open_database(address)
    try:
        with noop_task(), own_conflicts() as own:
            produce(db, index, inbox, outbox, own)
    finally:
        db.close()


def work_in_process(address: Address, inbox: Any, outbox: Any) -> None:
    """A worker's life in a process of its own: it works until it is told."""
    db = open_database(address)
    app = Application(db)
    try:
        with noop_task(), processing(app):
            outbox.put(None)
            inbox.get()
    finally:
        app.close()
        db.close()


@dataclass
class Crew:
    """The members, told what to do all at once."""

    inboxes: list[Any]
    outbox: Any

    def turn(self, name: str, seconds: float, pace: float = 0, bulk: int = 1) -> Turn:
        """All do the same for so many seconds; the sum of it.

        ``pace`` is that of each: so many times a second, if not 0.  ``bulk``: how many
        jobs are added in one transaction.
        """
        for inbox in self.inboxes:
            inbox.put((name, seconds, pace, bulk))
        turns = []
        for _ in self.inboxes:
            turn = self.outbox.get(timeout=PATIENCE + seconds)
            if isinstance(turn, BaseException):
                raise turn
            turns.append(turn)
        return Turn(
            sum(turn.done for turn in turns),
            sum(turn.rate for turn in turns),
            sum(turn.conflicts for turn in turns),
            sum(turn.own_conflicts for turn in turns),
        )


@contextmanager
def thread_crew(app: Application, count: int) -> Iterator[Crew]:
    """Threads of this process."""
    crew = Crew([queue.Queue() for _ in range(count)], queue.Queue())
    threads = [
        threading.Thread(target=produce, args=(app.db, i, inbox, crew.outbox))
        for i, inbox in enumerate(crew.inboxes)
    ]
    with _started(threads, crew.inboxes):
        yield crew


@contextmanager
def process_crew(address: Address, count: int) -> Iterator[Crew]:
    """Processes that are clients of a server."""
    spawn = multiprocessing.get_context("spawn")
    crew = Crew([spawn.Queue() for _ in range(count)], spawn.Queue())
    processes = [
        spawn.Process(target=produce_in_process, args=(address, i, inbox, crew.outbox))
        for i, inbox in enumerate(crew.inboxes)
    ]
    with _started(processes, crew.inboxes):
        yield crew


@contextmanager
def worker_process(address: Address) -> Iterator[None]:
    """A process that works on the service's jobs."""
    spawn = multiprocessing.get_context("spawn")
    inbox, outbox = spawn.Queue(), spawn.Queue()
    process = spawn.Process(target=work_in_process, args=(address, inbox, outbox))
    with _started([process], [inbox]):
        outbox.get(timeout=PATIENCE)
        yield


@contextmanager
def _started(members: list[Any], inboxes: list[Any]) -> Iterator[None]:
    for member in members:
        member.start()
    try:
        yield
    finally:
        for inbox in inboxes:
            inbox.put(None)
        for member in members:
            member.join(PATIENCE)
