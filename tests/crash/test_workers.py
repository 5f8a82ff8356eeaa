"""Workers that are killed, as no process can prevent."""

from __future__ import annotations

from pathlib import Path

import pytest

from lovely.remotetask.claims import MOST_CRASHES
from lovely.remotetask.states import COMPLETED, ERROR
from tests.integration.program import notes
from tests.integration.site import Site, site
from tests.support import wait_until

pytestmark = pytest.mark.zeo


def crash_with(found: Site, jobid: int, *, reap: bool) -> None:
    """A worker is killed in the middle of a job; another goes on."""
    with found.run("work") as first:
        assert first.line() == "working"
        wait_until(lambda: found.runs()[jobid] == 1)
        with found.run("work") as second:
            assert second.line() == "working"
            first.kill(reap=reap)
            wait_until(lambda: found.status(jobid) == COMPLETED, 15)
            assert second.finish() == 0


@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_a_killed_workers_job_runs_elsewhere(tmp_path: Path, reap: bool) -> None:
    """Another worker of the host runs the job; in the database it is done once.

    So it does if nobody has asked yet how the killed process ended.
    """
    with site(tmp_path) as found:
        jobid = found.add("hang")
        behind = found.add("count")
        crash_with(found, jobid, reap=reap)
        found.wait_for_count(COMPLETED, 2, seconds=10)
        assert found.runs() == {jobid: 2, behind: 1}
        assert found.effects() == {1}
        job = found.ask(lambda s: (s.jobs[jobid].attempt, s.jobs[jobid].crashes))
        assert job == (2, 1)
        found.check()


def test_a_job_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    """After some workers were lost with it, the job is in error; others go on."""
    with site(tmp_path) as found:
        poison, harmless = found.add("die"), found.add("count")
        for number in range(1, MOST_CRASHES + 1):
            with found.run("work") as worker:
                assert worker.process.wait(30) < 0
            assert found.runs()[poison] == number
            found.check()
        with found.run("work") as worker:
            wait_until(lambda: found.status(poison) == ERROR)
            wait_until(lambda: found.status(harmless) == COMPLETED)
            assert worker.finish() == 0
        assert len(notes(found.log)) == MOST_CRASHES + 1
        assert found.effects() == {0, 1}
        found.check()
