"""The end of the interpreter, with jobs that run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ZODB
from ZODB.FileStorage import FileStorage

from tests.programs import PATIENCE, program
from tests.races.interleaved import check_committed
from tests.support import ask

ROOT = Path(__file__).parents[1]

#: It ends while a job runs; told how long that takes, how long the
#: exit waits, and whether to stop and start before.
PROGRAM = """
import sys, threading
import transaction, ZODB
from lovely.remotetask import processing
from lovely.remotetask.processor import MultiProcessor
from tests.support import put_service, register

path, job, wait = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
processing.EXIT_SECONDS = wait
begun = threading.Event()

def work(value):
    begun.set()
    threading.Event().wait(job)
    return "done"

register("work", work)
db = ZODB.DB(path)
service = put_service(db)
service.processorFactory = MultiProcessor
service.processorArguments = {"waitTime": 0.05, "maxThreads": 1}
print(service.add("work"), service.add("work"))
transaction.commit()
service.startProcessing()
assert begun.wait(20)
if sys.argv[4:] == ["again"]:
    service.stopProcessing()
    service.startProcessing()
"""


def run(path: Path, job: float, wait: float, *more: str) -> Any:
    """Run the program to its end; the database that it has left."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(job), str(wait), *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 2\n", "")
    return ZODB.DB(FileStorage(str(path)))


@pytest.mark.parametrize(
    ("job", "wait", "more", "first"),
    [
        (0.2, 20.0, [], ("completed", 1, 0)),
        (60.0, 0.1, [], ("queued", 0, 0)),
        (60.0, 0.1, ["again"], ("queued", 0, 0)),
    ],
    ids=["finished", "given back", "given back by one that was stopped"],
)
def test_a_job_that_runs_at_the_end(
    tmp_path: Path,
    job: float,
    wait: float,
    more: list[str],
    first: tuple[str, int, int],
) -> None:
    """It is finished; or, if it takes too long, given back and not charged."""
    db = run(tmp_path / "data.fs", job, wait, *more)
    try:
        check_committed(db)
        found = ask(
            db,
            lambda s: [(j.status, j.attempt, j.crashes) for j in s.jobs.values()],
        )
        assert found == [first, ("queued", 0, 0)]
        assert ask(db, lambda s: s.workers) == []
    finally:
        db.close()


#: It works until somebody ends it; told whether it listens to SIGTERM.
SERVER = """
import signal, sys, threading
import transaction, ZODB
from tests.support import put_service, register

begun = threading.Event()

def work(value):
    print("begun", flush=True)
    begun.wait(0.3)
    return "done"

register("work", work)
service = put_service(ZODB.DB(sys.argv[1]))
service.add("work")
transaction.commit()
if sys.argv[2] == "True":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
service.startProcessing()
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("listens", "code", "found"),
    [
        (True, 0, ("completed", 1)),
        (False, -signal.SIGTERM, ("processing", 1)),
    ],
)
def test_told_to_terminate(
    tmp_path: Path, listens: bool, code: int, found: tuple[str, int]
) -> None:
    """SIGTERM kills, unless the program turns it into an exit: then jobs finish."""
    path = str(tmp_path / "data.fs")
    with program("-c", SERVER, path, str(listens)) as server:
        assert server.line() == "begun"
        server.process.terminate()
        assert server.process.wait(PATIENCE) == code
    db = ZODB.DB(FileStorage(path))
    try:
        check_committed(db)
        jobs = ask(db, lambda s: [(j.status, j.attempt) for j in s.jobs.values()])
        assert jobs == [found]
    finally:
        db.close()
