"""Producers that are killed between a reservation and a commit, or in a commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from lovely.remotetask.states import COMPLETED
from tests.integration.site import Site, site
from tests.support import wait_until

pytestmark = pytest.mark.zeo

#: What a producer has added when it is killed, in a transaction: more than the
#: numbers that it has reserved at first.
BULK = 100


def kill_producer(found: Site, count: int) -> None:
    """A producer is killed with a transaction open, after it added so many jobs."""
    with found.run("produce", count, BULK) as producer:
        assert producer.line() == "ready"
        producer.tell("go")
        assert producer.line() == f"{count} 0"
        producer.kill()


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    """A killed producer's last transaction leaves nothing but unused numbers."""
    with site(tmp_path) as found:
        kill_producer(found, 0)
        found.check()
        assert found.ask(lambda s: len(s.jobs)) == 0
        kill_producer(found, BULK)
        found.check()
        assert found.ask(lambda s: len(s.jobs)) == BULK
        found.add("count")
        found.check()


def test_lanes_of_killed_producers_are_drained_and_removed(tmp_path: Path) -> None:
    """A worker runs what they have committed; then their lanes go."""
    with site(tmp_path) as found:
        for _ in range(3):
            kill_producer(found, BULK)
        found.check()
        with found.run("work") as worker:
            assert worker.line() == "working"
            found.wait_for_count(COMPLETED, 3 * BULK, seconds=30)
            gone = found.service.environment.is_gone
            wait_until(
                lambda: (
                    found.ask(
                        lambda s: sum(
                            bool(lane.owner and gone(lane.owner)) for lane in s._lanes
                        )
                    )
                    <= 1
                )
            )
            assert worker.finish() == 0
        assert set(found.runs().values()) == {1}
        assert found.effects() == {1}
        found.check()
        found.add("count")
        found.check()


def test_a_producer_that_is_killed_while_it_commits(tmp_path: Path) -> None:
    """Whatever was committed is whole: all jobs of a transaction, or none."""
    with site(tmp_path) as found:
        for more in (7, 35):
            wanted = found.ask(lambda s: s.count()) + more
            with found.run("produce", 100_000, 7) as producer:
                assert producer.line() == "ready"
                producer.tell("go")
                wait_until(lambda n=wanted: found.ask(lambda s: s.count()) >= n)
                producer.kill()
            found.check()
            assert found.ask(lambda s: s.count()) % 7 == 0
        jobs = found.ask(lambda s: s.count())
        with found.run("work") as worker:
            found.wait_for_count(COMPLETED, jobs, seconds=30)
            assert worker.finish() == 0
        assert set(found.runs().values()) == {1}
        found.check()
