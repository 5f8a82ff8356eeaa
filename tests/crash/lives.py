"""Processes that live and die on a service, and what is found after them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ZODB

from lovely.remotetask.service import TaskService
from tests.crash.actors import Actor, finish, picture
from tests.crash.forks import KILLED, Pipe, child
from tests.crash.operations import Operation, Script, nothing
from tests.crash.points import Points
from tests.stateful.invariants import check
from tests.storages import Address, open_database, open_storage
from tests.support import ask


class Death(NamedTuple):
    """How a process was killed in an operation on a service."""

    name: str
    #: The ids of the jobs that must be there, for what has been reported.
    there: set[int]
    #: The points that it had passed; unknown if it was killed at one.
    passed: list[str]


def live(
    address: Address, name: str, before: Script, act: Script, last: int | None = None
) -> Callable[[Pipe], None]:
    """The life of a process that is killed at a point of an act, or after it."""

    def life(pipe: Pipe) -> None:
        logging.disable(logging.CRITICAL)
        points = Points()
        storage = open_storage(address)
        points.watch(storage)
        actor = Actor(ZODB.DB(storage), name, pipe)
        before(actor)
        points.open(last)
        act(actor)
        points.close()
        for point in points.passed:
            pipe.tell("passed", point)
        os.kill(os.getpid(), signal.SIGKILL)

    return life


def kill(
    address: Address, name: str, operation: Operation, last: int | None = None
) -> Death:
    """Let processes live and die on a service, the last one in the operation."""
    lives = [live(address, name, nothing, lost) for lost in operation.lost]
    lives.append(live(address, name, operation.before, operation.act, last))
    there: set[int] = set()
    for life in lives:
        with child(life) as process:
            lines = process.lines()
            assert process.end() == KILLED, lines
        there |= ids_in(lines, "added")
        there -= ids_in(lines, "removing")
    passed = [line.partition(" ")[2] for line in lines if line.startswith("passed")]
    return Death(name, there, passed)


def ids_in(lines: list[str], first: str) -> set[int]:
    """The ids in the lines that begin with a word."""
    said = [line.split() for line in lines]
    return {int(jobid) for word, *ids in said if word == first for jobid in ids}


@contextmanager
def opened(address: Address) -> Iterator[Any]:
    """The database, open in this process as long as the block."""
    db = open_database(address)
    try:
        yield db
    finally:
        db.close()


def put_services(address: Address, *names: str) -> None:
    """Commit new services of these names."""
    with opened(address) as db, db.transaction() as connection:
        for name in names:
            service = connection.root()[name] = TaskService()
            service.__name__, service.__parent__ = name, connection.root()


def judge(db: Any, name: str, there: set[int]) -> dict[str, Any]:
    """What was committed is sound, and all of it is finished; how it was before."""
    ask(db, check, name)
    found = ask(db, picture, name)
    assert there <= set(found["jobs"])
    finish(db, name)
    return found
