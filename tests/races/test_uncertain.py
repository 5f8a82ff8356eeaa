"""Commits that went through and were reported as failed, as a lost connection does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from transaction.interfaces import TransientError

from lovely.remotetask.states import COMPLETED
from tests.races.interleaved import Uncertain, check_committed, clients
from tests.races.threads import processors
from tests.support import ask, register, wait_until


class Disconnected(TransientError):
    """Nobody knows whether that was committed."""


@pytest.fixture
def uncertain(db: Any) -> Uncertain:
    """The database's commits can be made to look as if they had failed."""
    return Uncertain(db)


@pytest.mark.parametrize("count", [1, 16, 100])
def test_adds_go_on_after_an_uncertain_commit(
    db: Any, service: Any, uncertain: Uncertain, count: int
) -> None:
    """The next jobs get new ids and are found, whether or not it was committed."""
    with clients(db, 1) as (client,):
        client.service.add("echo")
        client.commit()
        first = [client.service.add("echo") for _ in range(count)]
        uncertain.error = Disconnected()
        with pytest.raises(Disconnected):
            client.commit()
        client.abort()
        check_committed(db)
        assert set(first) <= set(client.service.jobs)
        second = [client.service.add("echo") for _ in range(count)]
        client.commit()
        assert not set(first) & set(second)
        check_committed(db)
        client.service.process()
        client.commit()
        assert client.service.count(COMPLETED) == len(client.service.jobs)
        assert len(client.service.jobs) == 1 + 2 * count
    check_committed(db)


def test_reservations_may_be_uncertain(
    db: Any, service: Any, uncertain: Uncertain
) -> None:
    """Numbers whose reservation was in doubt are given once."""
    with clients(db, 1) as (client,):
        ids: list[int] = []
        for round_ in range(20):
            uncertain.error = Disconnected()
            ids += [client.service.add("echo") for _ in range(17 * (round_ % 3) + 1)]
            uncertain.error = None
            client.commit()
            check_committed(db)
        assert len(set(ids)) == len(ids) == client.service.count()


def test_a_worker_runs_what_it_has_claimed_unknowingly(
    db: Any, service: Any, uncertain: Uncertain
) -> None:
    """Where a worker's commits are in doubt, each job runs and ends once."""
    ran: list[int] = []
    register("note", ran.append)
    ours = threading.current_thread()
    uncertain.when = lambda: threading.current_thread() is not ours
    with clients(db, 1) as (client,), processors(db, 1):
        for number in range(40):
            if number % 2:
                # Whichever comes first: a claim, an end, a heartbeat.
                uncertain.error = Disconnected()
            client.service.add("note", number)
            client.commit()
            if number % 3:
                wait_until(lambda: uncertain.error is None)
        wait_until(lambda: done(db) == 40)
    assert ran == list(range(40))
    check_committed(db)


def done(db: Any) -> int:
    """How many jobs are completed."""
    count: int = ask(db, lambda service: service.count(COMPLETED))
    return count
