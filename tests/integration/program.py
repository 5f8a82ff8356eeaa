"""What the tests' other processes do: produce jobs, or work on them.

    python -m tests.integration ADDRESS LOG produce COUNT BULK
    python -m tests.integration ADDRESS LOG persist COUNT
    python -m tests.integration ADDRESS LOG work

A line on standard output says how far it is; it ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transaction
from persistent import Persistent
from transaction.interfaces import TransientError

from lovely.remotetask.outages import is_outage
from lovely.remotetask.own import close_connection
from tests.storages import open_database
from tests.support import register_full

NAME = "service"


class Effect(Persistent):
    """What a job writes to the database: how often it was done."""

    done = 0


def note(log: str, *words: object) -> None:
    """Add a line to a file that all processes write to: an effect outside."""
    line = " ".join(map(str, words)) + "\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def notes(log: str) -> list[list[str]]:
    """The words of the lines that were noted."""
    path = Path(log)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line.split() for line in text.splitlines()]


def register_tasks(log: str) -> None:
    """The tasks: ``count``; ``nap``; ``hang`` at first attempt, ``die`` at each."""

    def count(service: Any, jobid: int, effect: Effect) -> None:
        note(log, "run", jobid)
        effect.done += 1

    def nap(service: Any, jobid: int, effect: Effect) -> None:
        note(log, "run", jobid)
        time.sleep(0.1)
        effect.done += 1

    def hang(service: Any, jobid: int, effect: Effect) -> None:
        count(service, jobid, effect)
        if service.jobs[jobid].attempt == 1:
            sys.stdin.read()

    def die(service: Any, jobid: int, effect: Effect) -> None:
        count(service, jobid, effect)
        os.kill(os.getpid(), 9)

    for function in (count, nap, hang, die):
        register_full(function.__name__, function)


def add_committed(service: Any, bulk: int) -> int:
    """Commit so many new jobs; how many conflicts there were."""
    conflicts = 0
    while True:
        transaction.begin()
        for _ in range(bulk):
            service.add("count", Effect())
        try:
            transaction.commit()
        except TransientError:
            transaction.abort()
            conflicts += 1
        else:
            return conflicts


def produce(service: Any, log: str, count: int, bulk: int) -> None:
    """Add jobs, so many in a transaction; then hold one open till the end."""
    sys.stdin.readline()
    conflicts = sum(add_committed(service, bulk) for _ in range(count // bulk))
    for _ in range(bulk):
        service.add("count", Effect())
    print(f"{count // bulk * bulk} {conflicts}")
    sys.stdin.read()
    transaction.abort()


def once(db: Any, action: Callable[[Any], Any]) -> Any:
    """Commit something, on a connection that is closed whatever fails."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    try:
        with manager:
            return action(connection.root()[NAME])
    finally:
        close_connection(connection)


def insist(db: Any, action: Callable[[Any], Any]) -> Any:
    """The same, until the storage does not fail."""
    while True:
        try:
            return once(db, action)
        except Exception as error:
            if not is_outage(error):
                raise
            time.sleep(0.05)


def persist(db: Any, count: int) -> None:
    """Add jobs, one in a transaction, however often the storage fails."""
    for number in range(count):
        task = "count" if number % 3 else "nap"
        insist(db, lambda service, task=task: service.add(task, Effect()))
    print(count)
    sys.stdin.read()


def work(db: Any) -> None:
    """Process the service until the end."""
    insist(db, lambda service: service.startProcessing())
    print("working")
    sys.stdin.read()
    assert insist(db, lambda service: service.stopProcessing(wait=True, timeout=20))


def main(address: str, log: str, what: str, *numbers: str) -> None:
    """Do what the arguments say."""
    logging.disable(logging.CRITICAL)
    register_tasks(log)
    db = open_database(address)
    try:
        if what == "produce":
            print("ready")
            produce(db.open().root()[NAME], log, *map(int, numbers))
        elif what == "persist":
            persist(db, *map(int, numbers))
        else:
            work(db)
    finally:
        transaction.abort()
        db.close()
