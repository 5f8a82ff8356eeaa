"""Lanes of processes that are gone: removed when all was read, and not before."""

from __future__ import annotations

from typing import Any

import pytest
from transaction.interfaces import TransientError

from lovely.remotetask import producers
from lovely.remotetask.blocks import SLOTS
from lovely.remotetask.session import Session
from lovely.remotetask.workers import Lease
from tests.races.interleaved import Client, check_committed, clients
from tests.support import FakeEnvironment, ask


def in_process(environment: FakeEnvironment, name: str) -> None:
    """From now on, everything happens in a process of that name."""
    environment.name = f"host/{name}/0"
    # As a new process, it holds no lane.
    producers._after_fork()


def keys(db: Any) -> list[int]:
    """The lanes that there are."""
    return ask(db, lambda service: [lane.key for lane in service._lanes])


def use_lanes(found: list[Client], environment: FakeEnvironment) -> None:
    """Each client adds a job in process 1; all are run; then that process is gone."""
    in_process(environment, "1")
    for client in found:
        client.service.add("echo")
    for client in found:
        client.commit()
    in_process(environment, "2")
    found[0].abort()
    found[0].service.process()
    found[0].service.clean()
    found[0].commit()
    for client in found:
        client.abort()
    environment.gone.add("host/1/")


def test_a_lane_is_not_adopted_and_removed_at_a_time(
    db: Any, service: Any, environment: FakeEnvironment
) -> None:
    """A lane that a producer takes over is not removed from under it."""
    with clients(db, 3) as found:
        use_lanes(found, environment)
        remover, producer, _ = found
        removed = remover.service._lanes.retire(environment.is_gone)
        kept = {lane.key for lane in remover.service._lanes}
        (first, *_) = set(keys(db)) - kept
        assert removed
        producer.service._lanes.get(first).owner = "other/3/0/1"
        producer.commit()
        with pytest.raises(TransientError):
            remover.commit()
    assert first in keys(db)


def test_a_lane_that_was_read_in_part_stays(
    db: Any, service: Any, environment: FakeEnvironment
) -> None:
    """A head that is as far in its block as the last block goes is not at the end."""
    with clients(db, 3) as (first, second, third):
        in_process(environment, "1")
        for client, count in ((first, 1), (second, 1), (third, SLOTS + 5)):
            for _ in range(count):
                client.service.add("echo")
        for client in (third, second, first):
            client.commit()
        environment.gone.add("host/1/")
        in_process(environment, "2")
        for left in reversed(range(SLOTS + 7)):
            first.service.processNext()
            first.service._lanes.retire(environment.is_gone)
            first.commit()
            check_committed(db)
            assert len(ask(db, lambda service: list(service._queue))) == left


class LastCommit(FakeEnvironment):
    """A process that commits something while it is asked whether it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.producers: list[Client] = []

    def is_gone(self, process: str) -> bool:
        for producer in self.producers:
            producer.commit()
        self.producers.clear()
        return super().is_gone(process)


@pytest.mark.parametrize("count", [1, SLOTS, 3 * SLOTS])
def test_a_last_commit_is_not_overlooked(
    db: Any, service: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """What a process commits just before it is gone is not lost with its lane."""
    environment = LastCommit()
    monkeypatch.setattr(type(service), "environment", environment)
    with clients(db, 3) as found:
        use_lanes(found, environment)
        environment.gone.clear()
        in_process(environment, "1")
        jobids = [client.service.add("echo") for client in found * count]
        in_process(environment, "2")
        session = Session(db, ["service"])
        session.register(1, Lease())
        environment.producers.extend(found)
        environment.gone.add("host/1/")
        for _ in range(2):
            session.rescue()
            check_committed(db)
        session.leave()
        session.close()
    queued = ask(db, lambda service: [job.id for job in service._queue])
    assert sorted(queued) == sorted(jobids)


def test_lanes_that_were_read_are_removed(
    db: Any, service: Any, environment: FakeEnvironment
) -> None:
    """Of the lanes of a process that is gone one stays, for the next process."""
    with clients(db, 4) as found:
        in_process(environment, "1")
        for client in found:
            client.service.add("echo")
        for client in found:
            client.commit()
        before = len(keys(db))
        in_process(environment, "2")
        environment.gone.add("host/1/")
        session = Session(db, ["service"])
        key = session.register(1, Lease())
        assert len(session.claim(key, 10).jobs) == 4
        session.rescue()
        session.leave()
        session.close()
        # The worker has one of its own now: one of the gone ones, or a free one.
        assert len(keys(db)) <= before - 2
    check_committed(db)
