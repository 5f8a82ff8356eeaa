"""What the tests' other processes do: produce jobs, or work on them.

    python -m tests.integration ADDRESS LOG produce COUNT BULK
    python -m tests.integration ADDRESS LOG work

A line on standard output says how far it is; it ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import transaction
from persistent import Persistent
from transaction.interfaces import TransientError

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
    """The tasks: ``count``, ``hang`` at the first attempt, ``die`` at each."""

    def count(service: Any, jobid: int, effect: Effect) -> None:
        note(log, "run", jobid)
        effect.done += 1

    def hang(service: Any, jobid: int, effect: Effect) -> None:
        count(service, jobid, effect)
        if service.jobs[jobid].attempt == 1:
            sys.stdin.read()

    def die(service: Any, jobid: int, effect: Effect) -> None:
        count(service, jobid, effect)
        os.kill(os.getpid(), 9)

    for function in (count, hang, die):
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


def work(service: Any) -> None:
    """Process the service until the end."""
    service.startProcessing()
    print("working")
    sys.stdin.read()
    assert service.stopProcessing(wait=True, timeout=20)


def main(address: str, log: str, what: str, *numbers: str) -> None:
    """Do what the arguments say."""
    logging.disable(logging.CRITICAL)
    register_tasks(log)
    db = open_database(address)
    try:
        service = db.open().root()[NAME]
        if what == "produce":
            print("ready")
            produce(service, log, *map(int, numbers))
        else:
            work(service)
    finally:
        transaction.abort()
        db.close()
