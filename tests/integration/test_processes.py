"""Several processes on one store.

``REMOTETASK_EXAMPLES=1000`` in the environment lets each producer add ten times as
many jobs as it says; the default is for every day.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from lovely.remotetask.states import COMPLETED
from tests.integration.site import Site, site
from tests.storages import SHARED

#: Jobs of each producer.
JOBS = max(100, 10 * int(os.environ.get("REMOTETASK_EXAMPLES", "0")))

pytestmark = [pytest.mark.zeo, pytest.mark.timeout(max(120, JOBS))]


def produce(found: Site, bulks: list[int]) -> tuple[int, int]:
    """Producers, at the same time: how many jobs and conflicts there were."""
    with ExitStack() as stack:
        programs = [
            stack.enter_context(found.run("produce", JOBS, bulk)) for bulk in bulks
        ]
        for producer in programs:
            assert producer.line() == "ready"
        for producer in programs:
            producer.tell("go")
        said = [producer.line(JOBS).split() for producer in programs]
        assert [producer.finish() for producer in programs] == [0] * len(bulks)
    return sum(int(jobs) for jobs, _ in said), sum(int(found) for _, found in said)


@pytest.mark.parametrize(
    ("kind", "workers"), [("ZEO", 1), *((kind, 2) for kind in SHARED)]
)
def test_every_job_runs_exactly_once(tmp_path: Path, kind: str, workers: int) -> None:
    """What several producers add, several workers run once each."""
    with site(tmp_path, kind) as found, ExitStack() as stack:
        working = [stack.enter_context(found.run("work")) for _ in range(workers)]
        for worker in working:
            assert worker.line() == "working"
        jobs, conflicts = produce(found, [1, 1, 10])
        assert jobs == 3 * JOBS
        # A lane's first block, removed when it was read, may meet another's second.
        assert conflicts <= max(2, 2 * jobs / 1000)
        found.wait_for_count(COMPLETED, jobs, seconds=30 + jobs / 10)
        assert [worker.finish() for worker in working] == [0] * workers
        assert found.runs() == dict.fromkeys(found.ask(lambda s: list(s.jobs)), 1)
        assert found.effects() == {1}
        assert found.ask(lambda s: len(s.jobs)) == jobs
        assert found.ask(lambda s: s.workers) == []
        found.check()
