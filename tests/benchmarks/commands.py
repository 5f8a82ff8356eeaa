"""What the command takes, with many jobs."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator

from lovely.remotetask import TaskService
from tests.benchmarks.application import NAME, Application, noop_task
from tests.benchmarks.measure import Figure, Scale
from tests.benchmarks.stores import STORES, Address, open_database

#: The most that ``status`` may take of a processor once Python runs (milliseconds).
TARGET = 500

COMMAND = ["-m", "lovely.remotetask.cli", "status"]


def milliseconds(*words: str) -> float:
    """How much of a processor's time a process takes, whatever else there is to do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, check=False)
    # 2: jobs wait and there is no worker.
    assert done.returncode in {0, 2}, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return 1000 * (user + system)


def status(scale: Scale) -> Iterator[Figure]:
    """What ``remotetask status`` takes, with many jobs, over ZEO and on a file."""
    for kind, named in (("ZEO", "zeo://"), ("FileStorage", "")):
        with STORES[kind]() as address:
            with noop_task():
                _fill(address, scale)
            yield _figure(kind, f"{named}{address.partition(':')[2]}", scale)


def _fill(address: Address, scale: Scale) -> None:
    """A service with many jobs, and nothing whose class is of these modules."""
    db = open_database(address)
    with db.transaction() as connection:
        service, root = TaskService(), connection.root()
        root[NAME], service.__parent__, service.__name__ = service, root, NAME
    app = Application(db)
    app.add_many(scale.large, scale.bulk)
    app.close()
    db.close()


def _figure(kind: str, database: str, scale: Scale) -> Figure:
    command = [*COMMAND, "-d", database, "-s", NAME]
    milliseconds(*command)
    start = [milliseconds("-c", "") for _ in range(scale.rounds)]
    whole = [milliseconds(*command) for _ in range(scale.rounds)]
    began = statistics.median(start)
    what = f"{kind}: remotetask status, with {scale.large:,} jobs"
    note = f"besides Python's start, {began:.0f} ms"
    return Figure(what, tuple(each - began for each in whole), "ms", TARGET, note=note)
