"""The queue follows the caller's transaction, whatever becomes of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import transaction
from transaction import TransactionManager

from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.service import TaskService
from tests.support import (
    NoSavepoints,
    ask,
    blocks_with_ids,
    counts,
    in_thread,
    open_connections,
    statuses,
)


def owned_lanes(service: Any) -> list[Any]:
    """The lanes that some process has held, without the spare ones."""
    return [lane for lane in service._lanes if lane.owner]


def test_abort_reuses_ids(service: Any) -> None:
    """A transaction that is aborted leaves no job and no gap."""
    assert service.add("echo") == 1
    transaction.commit()
    assert [service.add("echo") for _ in range(40)][-1] == 41
    transaction.abort()
    assert service.add("echo") == 2
    transaction.commit()
    assert counts(service) == statuses(service) == {"queued": 2}


def test_savepoint_reuses_ids(service: Any) -> None:
    """A savepoint that is rolled back takes its jobs with it."""
    assert service.add("echo", "first") == 1
    savepoint = transaction.savepoint()
    assert [service.add("echo", "lost") for _ in range(40)][-1] == 41
    service.cancel(1)
    savepoint.rollback()
    assert service.getStatus(1) == "queued"
    with pytest.raises(UnknownJob):
        service.getStatus(2)
    assert service.add("echo", "second") == 2
    transaction.commit()
    assert [job.input for job in service.jobs.values()] == ["first", "second"]
    assert counts(service) == {"queued": 2}


def test_savepoint_before_the_first_add(service: Any) -> None:
    """A rollback to before the first add takes all back."""
    for _ in range(2):
        savepoint = transaction.savepoint()
        assert [service.add("echo") for _ in range(20)] == list(range(1, 21))
        savepoint.rollback()
    assert service.count() == 0
    assert service.add("echo") == 1
    transaction.commit()
    assert counts(service) == {"queued": 1}


def test_savepoints_nested(service: Any) -> None:
    """Savepoints may be rolled back one after the other, or to the outer one."""
    service.add("echo", 1)
    outer = transaction.savepoint()
    service.add("echo", 2)
    inner = transaction.savepoint()
    service.add("echo", 3)
    inner.rollback()
    assert service.add("echo", "3") == 3
    outer.rollback()
    assert service.add("echo", "2") == 2
    transaction.commit()
    assert [job.input for job in service.jobs.values()] == [1, "2"]


def test_before_the_first_commit(db: Any, tasks: None) -> None:
    """A service that was never committed takes jobs, across savepoints, too."""
    root = db.open().root()
    service = TaskService()
    assert service.add("echo") == 1
    root["service"] = service
    assert service.add("echo") == 2
    savepoint = transaction.savepoint()
    assert [service.add("echo") for _ in range(30)][-1] == 32
    savepoint.rollback()
    assert service.add("echo") == 3
    transaction.savepoint()
    assert service.add("echo") == 4
    transaction.commit()
    assert service.add("echo") == 5
    service.process()
    transaction.commit()
    assert ask(db, counts) == {"completed": 5}


def test_abort_of_a_new_service(db: Any, tasks: None) -> None:
    """A service whose commit was aborted goes on outside the database."""
    service = TaskService()
    db.open().root()["service"] = service
    service.add("echo")
    transaction.abort()
    assert service.add("echo") == 2
    service.process()
    assert counts(service) == {"completed": 2}


def test_threads_that_die(service: Any, db: Any) -> None:
    """A server whose threads come and go does not need ever more lanes."""

    def request() -> int:
        return ask(db, lambda s: s.add("echo"))

    ids = [in_thread(request) for _ in range(40)]
    transaction.begin()
    assert sorted(ids) == list(range(1, 41))
    assert len(owned_lanes(service)) == 1


def test_many_threads(service: Any, db: Any) -> None:
    """Threads that add at the same time get different ids, and no conflicts."""
    ids: list[int] = []
    start = threading.Barrier(6)

    def request() -> None:
        manager = TransactionManager()
        connection = db.open(manager)
        start.wait(20)
        for _ in range(25):
            manager.begin()
            ids.append(connection.root()["service"].add("echo"))
            manager.commit()
        connection.close()

    threads = [threading.Thread(target=request) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(ids)) == len(ids) == 150
    assert ask(db, counts) == {"queued": 150}
    transaction.begin()
    assert sorted(service.jobs) == sorted(ids)


def test_process_sees_what_it_added(service: Any, db: Any) -> None:
    """Jobs run in the very transaction that added them, in other threads too."""
    held = db.open(TransactionManager())
    held.root()["service"].add("echo")

    def request() -> dict[str, int]:
        with db.transaction() as connection:
            mine = connection.root()["service"]
            for _ in range(80):
                mine.add("echo")
            assert counts(mine) == {"queued": 80}
            mine.process()
            assert counts(mine) == {"completed": 80}
            assert mine.clean() == 80
            mine.add("echo")
            return counts(mine)

    assert in_thread(request) == {"queued": 1}
    held.transaction_manager.commit()
    held.close()
    assert ask(db, counts) == {"queued": 2}


class Refuses(NoSavepoints):
    """A data manager that refuses to commit, at one point of it."""

    def __init__(self, point: str, key: str) -> None:
        self.key = key
        setattr(self, point, self.refuse)

    def sortKey(self) -> str:
        return self.key

    def refuse(self, transaction: Any) -> None:
        raise RuntimeError("refused")


@pytest.mark.parametrize("point", ["tpc_begin", "commit", "tpc_vote"])
@pytest.mark.parametrize("key", ["!", "~~"])
def test_failed_commit(service: Any, db: Any, point: str, key: str) -> None:
    """A commit that fails at any point leaves no job, and adding goes on."""
    service.add("echo")
    transaction.commit()
    for _ in range(3):
        transaction.get().join(Refuses(point, key))
        assert service.add("echo", "lost") == 2
        with pytest.raises(RuntimeError, match="refused"):
            transaction.commit()
        transaction.abort()
    assert service.add("echo", "kept") == 2
    transaction.commit()
    assert counts(service) == statuses(service) == {"queued": 2}
    assert open_connections(db) == 1


def test_clean_drops_blocks(service: Any) -> None:
    """Blocks go when their last job has gone and they have been read."""
    for _ in range(200):
        service.add("echo")
    transaction.commit()
    service.process()
    service.clean()
    transaction.commit()
    assert blocks_with_ids(service) <= 1
    for _ in range(50):
        service.add("echo")
        transaction.commit()
        service.process()
        service.clean()
        transaction.commit()
    assert blocks_with_ids(service) <= 2
    assert service.add("echo") == 251


def test_entries_that_were_read_leave_no_blocks(service: Any) -> None:
    """Blocks that took entries for older jobs, and no job, go when they are read."""
    jobid = service.add("echo")
    for _ in range(500):
        service.cancel(jobid)
        service.retry(jobid)
    service.process()
    transaction.commit()
    assert service.getStatus(jobid) == "completed"
    assert blocks_with_ids(service) <= 2
    assert [service.add("echo") for _ in range(15)] == list(range(2, 17))


def test_clean_before_reading(service: Any) -> None:
    """Blocks of jobs that were cancelled and removed go when they are read."""
    for _ in range(100):
        service.cancel(service.add("echo"))
    service.clean()
    transaction.commit()
    service.add("echo", "last")
    service.process()
    transaction.commit()
    assert service.getResult(101) == "last"
    assert blocks_with_ids(service) <= 1
