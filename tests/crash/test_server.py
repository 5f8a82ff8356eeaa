"""A ZEO server that is killed, and started again on its file and port.

Those who use it live on: they do again what failed, as the library's threads do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import ZODB

from tests.crash.actors import Actor, crashes
from tests.crash.cron import CRON_OPERATIONS
from tests.crash.forks import Pipe, child
from tests.crash.jobs import register_tasks
from tests.crash.kills import TIMEOUT, chosen
from tests.crash.lives import ids_in, judge, kill, opened, put_services
from tests.crash.operations import OPERATIONS, Operation, nothing
from tests.crash.server import Server, reconnect_soon, server
from tests.storages import open_storage
from tests.support import ask

pytestmark = [pytest.mark.zeo, TIMEOUT]


def outlive(address: str, name: str, operation: Operation) -> Callable[[Pipe], None]:
    """The life of a process whose server is killed in an operation, but not it."""

    def life(pipe: Pipe) -> None:
        logging.disable(logging.CRITICAL)
        storage = open_storage(address)
        reconnect_soon(storage)
        actor = Actor(ZODB.DB(storage), name, pipe)
        operation.before(actor)
        pipe.tell("ready")
        pipe.line()
        actor.persist(operation.act)
        pipe.tell("acted")
        pipe.line()
        actor.persist(operation.after)
        actor.persist(Actor.work)
        assert actor.session.held() == []
        actor.persist(Actor.leave)
        actor.db.close()

    return life


def serve(
    found: Server, name: str, operation: Operation, last: int | None = None
) -> tuple[set[int], list[str]]:
    """Kill the server at a point of an operation, or not.

    The ids of jobs that must be there, and the points that it has passed.
    """
    there = set()
    for lost in operation.lost:
        there |= kill(found.address, name, Operation(nothing, lost)).there
    with child(outlive(found.address, name, operation)) as client:
        before = client.pipe.until("ready")
        found.arm(last)
        client.pipe.tell("go")
        if last is not None:
            found.await_death()
        within = client.pipe.until("acted")
        passed = found.passed()
        client.pipe.tell("go")
        assert client.lines() == []
        assert client.end() == 0
    lines = [*before, *within]
    there = (there | ids_in(lines, "added")) - ids_in(lines, "removing")
    return there, passed


@pytest.mark.parametrize("operation", OPERATIONS)
def test_server_killed_at_each_point(operation: str, tmp_path: Path) -> None:
    """Who uses it goes on; nothing is lost, and nothing is done twice."""
    survive(OPERATIONS[operation], len(operation), tmp_path)


@pytest.mark.parametrize("operation", ["work", "run now"])
def test_server_killed_with_a_cron_job(operation: str, tmp_path: Path) -> None:
    """No planned run is lost, and none is doubled."""
    survive(CRON_OPERATIONS[operation], len(operation), tmp_path)


def survive(operation: Operation, first: int, path: Path) -> None:
    """Kill the server at the points of an operation, each on a service of its own.

    ``first`` as in `chosen`.
    """
    register_tasks()
    with server(str(path / "Data.fs")) as found:
        put_services(found.address, "whole")
        there = {}
        there["whole"], passed = serve(found, "whole", operation)
        numbers = chosen(passed, first)
        put_services(found.address, *map(str, numbers))
        for number in numbers:
            name = str(number)
            there[name], _ = serve(found, name, operation, number)
        with opened(found.address) as db:
            for name, ids in there.items():
                judge(db, name, ids)
                if not operation.lost:
                    assert ask(db, crashes, name) == 0
