"""The command ``remotetask bench``: how fast the queue is on the user's storage."""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, final

import click
import transaction
from persistent import Persistent
from zope.component import getGlobalSiteManager

from lovely.remotetask.cli.database import Where, open_database
from lovely.remotetask.cli.options import (
    DATABASE,
    Command,
    as_json,
    wanted_place,
    with_options,
)
from lovely.remotetask.cli.output import print_json, print_table
from lovely.remotetask.cli.problems import Problem
from lovely.remotetask.cli.progress import progress
from lovely.remotetask.interfaces import ITask
from lovely.remotetask.processor import SimpleProcessor
from lovely.remotetask.service import TaskService
from lovely.remotetask.states import COMPLETED
from lovely.remotetask.task import SimpleTask

TASK = "remotetask.bench"
#: What the names of its services begin with, and how long no run takes (seconds).
NAME = "remotetask-bench"
LONGEST_RUN = 3600.0
#: No job is waited for longer (seconds).
PATIENCE = 60.0
#: Jobs whose way from the commit to the start is timed.
STARTS = 50


class Figure(NamedTuple):
    """One result; rates are told beside bare commits of the same storage."""

    what: str
    value: float
    unit: str
    ratio: float | None = None


class Bare(Persistent):
    """A small object: to commit it is what nothing can be faster than."""

    number = 0


@click.pass_context
def _bench(
    ctx: click.Context,
    /,
    seconds: float,
    producers: int,
    json: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Measure the queue: on a file of its own, or on a database that is named.

    It makes a service of its own in the database, and removes it, and what a run has
    left that was killed more than an hour ago.  That writes and takes commits from
    those who use it meanwhile, so --yes is needed to allow it.  The space is free again
    after the next pack.
    """
    where = wanted_place(ctx, options).where
    with (
        _database(where, allowed=yes) as (db, name),
        registered() as task,
        Stage(db) as stage,
    ):
        measures = list(_measures(stage, task, seconds, producers))
        figures: list[Figure] = []
        with progress("Measuring", len(measures)) as show:
            for done, measure in enumerate(measures, 1):
                figures.extend(measure(figures))
                show(done)
    if json:
        print_json({"database": name, "figures": [f._asdict() for f in figures]})
        return
    click.echo(f"Measured on {name}.\n")
    print_table(("what", "value", "unit", "of bare commits"), map(_row, figures))


_bench.__name__ = "bench"
bench = click.command("bench", cls=Command)(
    with_options(
        _bench,
        [
            click.option(
                "--seconds",
                metavar="SECONDS",
                type=click.FloatRange(0.01, 60),
                default=2.0,
                show_default=True,
                help="For how long each thing is measured.",
            ),
            click.option(
                "--producers",
                metavar="NUMBER",
                type=click.IntRange(1, 64),
                default=8,
                show_default=True,
                help="How many threads add jobs at a time.",
            ),
            click.option(
                "--yes", "-y", is_flag=True, help="Write to the database that is named."
            ),
            as_json,
        ],
        DATABASE,
    )
)


def _row(figure: Figure) -> list[object]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return [figure.what, f"{figure.value:,.4g}", figure.unit, ratio]


@contextmanager
def _database(where: Where, *, allowed: bool) -> Iterator[tuple[Any, str]]:
    """The database that is named, if that is allowed, or a new one in a file."""
    if where.uri or where.zconfig:
        if not allowed:
            raise Problem(
                f"This would write to {where}. Allow it with --yes; or measure on a "
                "new file, without --database (REMOTETASK_DATABASE= for none)."
            )
        db = open_database(where, read_only=False)
        try:
            yield db, str(where)
        finally:
            db.close()
        return
    from ZODB import DB
    from ZODB.FileStorage import FileStorage

    with tempfile.TemporaryDirectory(prefix="remotetask-bench-") as directory:
        new = DB(FileStorage(str(Path(directory, "Data.fs"))))
        try:
            yield new, f"a new file in {tempfile.gettempdir()}"
        finally:
            new.close()


class Task:
    """A task that does nothing, and tells when it was called."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.at = 0.0

    def __call__(self, input: Any) -> None:
        self.at = time.perf_counter()
        self.called.set()


@contextmanager
def registered() -> Iterator[Task]:
    """Within, there is such a task."""
    task, registry = Task(), getGlobalSiteManager()
    registry.registerUtility(SimpleTask(task), ITask, name=TASK)
    try:
        yield task
    finally:
        registry.unregisterUtility(provided=ITask, name=TASK)


@final
class Stage:
    """Within, a database has a service of its own under a name that nobody uses."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.name = f"{NAME}-{os.getpid()}-{time.time_ns():x}"

    def __enter__(self) -> Stage:
        with self.db.transaction() as connection:
            for name in list(filter(is_left, connection.root())):
                del connection.root()[name]
            service, root = TaskService(), connection.root()
            service.__parent__, service.__name__ = root, self.name
            root[self.name] = service
        with self.db.transaction() as connection:
            # Beside the others' records, not in them.
            connection.root()[f"{self.name}-bare"] = Bare()
        return self

    def __exit__(self, *raised: object) -> None:
        with self.db.transaction() as connection:
            for name in (self.name, f"{self.name}-bare"):
                connection.root().pop(name, None)

    def each_commit(self, seconds: float, step: Callable[[Any], object]) -> float:
        """So many times a second a step can be made, each in a transaction."""
        manager = transaction.TransactionManager()
        connection = self.db.open(transaction_manager=manager)

        def once() -> None:
            for attempt in manager.attempts(10):
                with attempt:
                    step(connection.root())

        try:
            once()  # to warm up
            done, begun = 0, time.perf_counter()
            while time.perf_counter() < begun + seconds:
                once()
                done += 1
            return done / (time.perf_counter() - begun)
        finally:
            manager.abort()
            connection.close()

    def bare(self, root: Any) -> None:
        """Commit a small object."""
        root[f"{self.name}-bare"].number += 1

    def add(self, root: Any) -> None:
        """Add a job."""
        root[self.name].add(TASK)

    def count(self, status: str | None = None) -> int:
        """How many jobs there are."""
        with self.db.transaction() as connection:
            count: int = connection.root()[self.name].count(status)
            return count


def is_left(name: object) -> bool:
    """Whether a name is of a run that was killed: none takes as long."""
    found = re.fullmatch(rf"{NAME}-\d+-([0-9a-f]+)(-bare)?", str(name))
    return found is not None and time.time() - int(found[1], 16) / 1e9 > LONGEST_RUN


#: Measures something, knowing what was measured before.
Measure = Callable[[list[Figure]], list[Figure]]


def _measures(
    stage: Stage, task: Task, seconds: float, producers: int
) -> Iterator[Measure]:
    def rate(what: str, measure: Callable[[], float]) -> Measure:
        def run(before: list[Figure]) -> list[Figure]:
            value = measure()
            ratio = value / before[0].value if before else None
            return [Figure(what, value, "a second", ratio)]

        return run

    yield rate("bare commits", lambda: stage.each_commit(seconds, stage.bare))
    yield rate("adds, one to a commit", lambda: stage.each_commit(seconds, stage.add))
    yield rate(
        f"adds, {producers} at a time", lambda: _adds_at_once(stage, seconds, producers)
    )
    yield rate("jobs, one to a commit", lambda: _jobs(stage, seconds))
    yield rate(
        "jobs, many to a commit", lambda: _jobs(stage, seconds, groupFinish=True)
    )
    yield lambda before: _starts(stage, task)


def _adds_at_once(stage: Stage, seconds: float, producers: int) -> float:
    rates: list[float] = []

    def produce() -> None:
        rates.append(stage.each_commit(seconds, stage.add))

    threads = [threading.Thread(target=produce) for _ in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _jobs(stage: Stage, seconds: float, **options: Any) -> float:
    """Claim, run and finish jobs that do nothing."""
    _fill(stage, max(100, round(1500 * seconds)))
    with _processing(stage, **options):
        before, begun = stage.count(COMPLETED), time.perf_counter()
        while True:
            time.sleep(min(0.02, seconds / 10))
            done = stage.count(COMPLETED) - before
            passed = time.perf_counter() - begun
            # A slow machine may need longer for the first.
            if not _left(stage) or passed > (seconds if done else PATIENCE):
                return done / passed


def _fill(stage: Stage, jobs: int) -> None:
    """See to it that there are enough jobs."""
    missing = jobs - _left(stage)
    if missing > 0:
        with stage.db.transaction() as connection:
            for _ in range(missing):
                connection.root()[stage.name].add(TASK)


def _left(stage: Stage) -> int:
    return stage.count() - stage.count(COMPLETED)


def _starts(stage: Stage, task: Task) -> list[Figure]:
    """From the commit of an add to the start of the job, while nothing else waits."""
    waits: list[float] = []
    with _processing(stage, groupFinish=True):
        _wait(lambda: not _left(stage), "the jobs are not done")
        for _ in range(STARTS):
            task.called.clear()
            with stage.db.transaction() as connection:
                connection.root()[stage.name].add(TASK)
            committed = time.perf_counter()
            if not task.called.wait(PATIENCE):
                raise Problem(f"No job was begun within {PATIENCE:.0f} seconds.")
            waits.append(max(0.0, task.at - committed))
            time.sleep(0.005)
    ordered = sorted(waits)
    return [
        Figure("commit to start, median", 1000 * statistics.median(ordered), "ms"),
        Figure("commit to start, slowest of 20", 1000 * ordered[-STARTS // 20], "ms"),
    ]


@contextmanager
def _processing(stage: Stage, **options: Any) -> Iterator[None]:
    processor = SimpleProcessor(stage.db, [stage.name], **options)
    thread = threading.Thread(target=processor, name="bench")
    thread.start()
    try:
        yield
    finally:
        processor.stop()
        thread.join(PATIENCE)


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Problem(f"Within {PATIENCE:.0f} seconds {otherwise}.")
        time.sleep(0.05)
