"""Servers that are lost and come back, while processes use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import transaction

from lovely.remotetask.states import COMPLETED, DELAYED, PROCESSING, QUEUED
from tests.integration.program import notes
from tests.postgresql import cluster
from tests.programs import Program, program
from tests.stateful.invariants import check
from tests.storages import need, open_database, zeo_server
from tests.support import ask, put_service, wait_until

#: Jobs that are added, and that are begun before the server is lost again.
JOBS = 120
BETWEEN = 20

Restart = Callable[[], None]


@contextmanager
def zeo(directory: Path) -> Iterator[tuple[str, list[Restart]]]:
    """A ZEO server, and how to lose it and get it back."""
    with zeo_server(str(directory / "Data.fs")) as server:

        def restart() -> None:
            server.kill()
            server.start()

        yield server.address, [restart, restart, restart]


@contextmanager
def postgresql(directory: Path) -> Iterator[tuple[str, list[Restart]]]:
    """The same for a PostgreSQL server."""
    need("PostgreSQL")
    with cluster() as server:

        def pause() -> None:
            server.stop()
            server.start()

        address = f"PostgreSQL:{server.create()}"
        yield address, [server.restart, pause, lambda: server.restart("fast")]


Server = Callable[[Path], AbstractContextManager[tuple[str, list[Restart]]]]


@contextmanager
def database(address: str) -> Iterator[Any]:
    """The database, while its server is there."""
    db = open_database(address)
    try:
        yield db
    finally:
        transaction.abort()
        db.close()


def run(address: str, log: str, *words: object) -> AbstractContextManager[Program]:
    """Another process."""
    return program("-m", "tests.integration", address, log, *map(str, words))


@pytest.mark.zeo
@pytest.mark.parametrize("server", [zeo, postgresql])
def test_a_worker_outlives_its_server(tmp_path: Path, server: Server) -> None:
    """A worker goes on by itself; every job is done once, and none is charged."""
    log = str(tmp_path / "log")
    with server(tmp_path) as (address, restarts):
        with database(address) as db:
            put_service(db)
        with run(address, log, "work") as worker:
            assert worker.line() == "working"
            with run(address, log, "persist", JOBS) as producer:
                for restart in restarts:
                    begun = len(notes(log))
                    wait_until(lambda n=begun: len(notes(log)) >= n + BETWEEN, 60)
                    restart()
                # RelStorage prints what PostgreSQL says in parting.
                while producer.line(60) != str(JOBS):
                    pass
                assert producer.finish() == 0
            with database(address) as db:
                wait_until(lambda: not ask(db, unfinished), 60, 0.05)
                ask(db, check_end)
            assert worker.finish() == 0
        with database(address) as db:
            assert ask(db, lambda service: service.workers) == []


def unfinished(service: Any) -> int:
    """How many jobs wait or run."""
    return sum(service.count(status) for status in (QUEUED, DELAYED, PROCESSING))


def check_end(service: Any) -> None:
    """All that was committed was done, once; commits may have come in doubt."""
    jobs = service.jobs.values()
    assert {job.status for job in jobs} == {COMPLETED}
    assert {job.input.done for job in jobs} == {1}
    assert {(job.attempt, job.failed, job.crashes) for job in jobs} == {(1, 0, 0)}
    assert JOBS <= len(jobs) <= JOBS + 3
    assert len(service.workers) == 1
    check(service)
