"""Who appends to which lane."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import transaction
from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask import producers
from lovely.remotetask.errors import LaneLost
from lovely.remotetask.producers import pool_of
from lovely.remotetask.writers import LocalWriter
from tests.support import (
    FakeEnvironment,
    ask,
    counts,
    in_thread,
    register,
    statuses,
)


def lanes(service: Any) -> list[tuple[int, str | None]]:
    """Keys and owners of the lanes that some process holds or has held."""
    transaction.begin()
    return [(lane.key, lane.owner) for lane in service._lanes if lane.owner]


def test_one_hold_for_one_thread(service: Any) -> None:
    """A thread goes on with its lane from one transaction to the next."""
    for _ in range(100):
        service.add("echo")
        transaction.commit()
    assert len(lanes(service)) == 1
    assert list(service.jobs) == list(range(1, 101))


def test_bulk(service: Any) -> None:
    """Thousands of jobs in one transaction take a few reservations."""
    for _ in range(3_000):
        service.add("echo")
    (lane,) = [lane for lane in service._lanes if lane.key == 1]
    transaction.commit()
    assert counts(service) == {"queued": 3_000}
    assert len(lane.extents) < 10
    assert [job.id for job in service._queue][-3:] == [2_998, 2_999, 3_000]


def test_writing_in_place_goes_on_and_on(service: Any) -> None:
    """One writer in place can append as much as it likes, in any number of blocks."""
    ids = [service.add("echo", startLater=True) for _ in range(2)]
    transaction.commit()
    writer = LocalWriter(service)
    for moment in range(1_000):
        job = service.jobs[ids[moment % 2]]
        job.queue_at(moment)
        writer.note(job)
    assert service._lanes.get(writer.key).tail(service.jobs).log_length == 1_000 % 64


def test_many_entries_for_older_jobs(service: Any) -> None:
    """Jobs that are started later by the hundred keep their order."""
    order: list[int] = []
    register("note", order.append)
    ids = [service.add("note", number, startLater=True) for number in range(300)]
    transaction.commit()
    for jobid in reversed(ids):
        service.startJob(jobid)
    transaction.commit()
    assert service.add("note", 300) == 301
    transaction.commit()
    service.process()
    transaction.commit()
    assert order == [*range(299, -1, -1), 300]
    assert counts(service) == statuses(service) == {"completed": 301}


def test_an_old_snapshot_gets_another_lane(service: Any, db: Any) -> None:
    """A transaction that has not seen a lane's last commit does not write to it."""
    manager = TransactionManager()
    connection = db.open(manager)
    other = connection.root()["service"]
    assert len(other.jobs) == 0
    first = service.add("echo")
    transaction.commit()
    second = other.add("echo")
    manager.commit()
    connection.close()
    assert len({first, second}) == 2
    assert len(lanes(service)) == 2


def become(environment: FakeEnvironment, process: str) -> None:
    """Forget what this process holds, as if it were another one."""
    producers._pools.clear()
    environment.name = process


def test_lane_of_a_process_that_is_gone(
    service: Any, environment: FakeEnvironment
) -> None:
    """A process goes on with the lane of one that is gone, not of one that lives."""
    become(environment, "old/1/1")
    assert service.add("echo") == 1
    transaction.commit()
    become(environment, "new/2/2")
    assert service.add("echo") > 2
    transaction.abort()
    become(environment, "third/3/3")
    environment.gone.add("old")
    assert service.add("echo") == 2
    transaction.commit()
    assert dict(lanes(service))[1].startswith("third/3/3/")


def test_ids_go_on_behind_a_full_log(
    service: Any, environment: FakeEnvironment
) -> None:
    """So they do where a lane's first blocks took more entries than ids."""
    become(environment, "old/1/1")
    ids = [service.add("echo", startLater=True) for _ in range(40)]
    for jobid in ids:
        service.startJob(jobid)
        service.cancel(jobid)
        service.retry(jobid)
    transaction.commit()
    become(environment, "new/2/2")
    environment.gone.add("old")
    assert [service.add("echo") for _ in range(10)] == list(range(41, 51))
    transaction.commit()
    assert list(service.jobs) == list(range(1, 51))


def add_many(service: Any) -> None:
    """Add more jobs than there are numbers for."""
    for _ in range(2_000):
        service.add("echo")


def test_taken_for_dead(service: Any, environment: FakeEnvironment) -> None:
    """A process whose lane was taken over gets a conflict, and then another lane."""
    for _ in range(40):
        service.add("echo")
    transaction.commit()
    for lane in service._lanes:
        if lane.owner:
            lane.owner = "thief/1/1/1"
    transaction.commit()
    with pytest.raises(LaneLost, match="another process") as caught:
        add_many(service)
    assert isinstance(caught.value, TransientError)
    transaction.abort()
    assert counts(service) == {"queued": 40}
    add_many(service)
    transaction.commit()
    assert counts(service) == {"queued": 2_040}


def test_join_fails(service: Any) -> None:
    """A hold is free again if the transaction can't be joined."""
    pool_of(service)
    service.add("echo")
    transaction.commit()

    class Refuses:
        """A synchroniser is not enough: the transaction itself refuses."""

        def join(self, resource: Any) -> None:
            raise RuntimeError("no more resources")

    current = transaction.get()
    current.join = Refuses().join
    with pytest.raises(RuntimeError, match="no more resources"):
        service.add("echo")
    del current.join
    transaction.abort()
    assert not any(hold.busy for hold in pool_of(service)._holds)
    assert service.add("echo") == 2


def test_dead_threads_leave_their_holds(service: Any, db: Any) -> None:
    """Threads that die at the same time leave lanes for those that come."""
    barrier = threading.Barrier(4)

    def request() -> None:
        with db.transaction() as connection:
            connection.root()["service"].add("echo")
            barrier.wait(20)

    for _ in range(3):
        threads = [threading.Thread(target=request) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert ask(db, counts) == {"queued": 12}
    assert len(lanes(service)) == 4
    in_thread(lambda: ask(db, lambda s: s.add("echo")))
    assert len(lanes(service)) == 4
