"""The survey that the demonstration makes: one job for each file of a directory.

It is a small application of the library.  Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from BTrees.OOBTree import OOTreeSet
from transaction import TransactionManager
from ZODB import DB
from zope.component import getGlobalSiteManager

from lovely import remotetask
from lovely.remotetask.cli.demo.files import Content, inspect_file
from lovely.remotetask.cli.problems import Unusable
from lovely.remotetask.interfaces import COMPLETED, ERROR, ITask

TASK = "demo.inspect"

#: So many files are looked up, and their jobs added, in one transaction; and so
#: many jobs are read at a time.
BATCH = 200
#: So many failures are told in full.
TOLD = 5
#: How long to wait for the job that runs when the survey is stopped (seconds).
STOP_SECONDS = 10.0


class Progress(NamedTuple):
    """How far the survey has come."""

    jobs: int
    completed: int
    failed: int

    @property
    def done(self) -> int:
        return self.completed + self.failed


@dataclass
class Findings:
    """What the jobs have found."""

    files: int = 0
    size: int = 0
    largest: str | None = None
    largest_size: int = -1
    failed: int = 0
    #: The first failures: path and reason.
    failures: list[tuple[str, str]] = field(default_factory=list)
    #: The one thing that grows with the survey: some hundred bytes a file.
    digests: set[bytes] = field(default_factory=set)

    def add(self, path: str, content: Content) -> None:
        """Count a file that was read."""
        self.size += content.size
        self.digests.add(bytes.fromhex(content.sha256))
        if content.size > self.largest_size:
            self.largest, self.largest_size = path, content.size

    def add_failure(self, path: str, reason: str) -> None:
        """Count a file that could not be read."""
        self.failed += 1
        if len(self.failures) < TOLD:
            self.failures.append((path, reason))


class Survey:
    """The jobs for the files of one directory, in a database of their own.

    The root of the database holds the service as ``tasks``, the directory, and
    ``files``: the paths that have a job.  A path is noted in the transaction
    that adds its job, so a survey that was interrupted goes on without gaps and
    without doubles.
    """

    def __init__(self, db: DB, directory: Path) -> None:
        """Begin, or go on.  Raise Unusable."""
        self.directory = directory
        # Its own, so that nothing depends on the transaction of the thread.
        self._manager = TransactionManager()
        self._connection = db.open(transaction_manager=self._manager)
        with self._manager:
            self._set_up()

    def close(self) -> None:
        """Give the connection back."""
        self._manager.abort()
        self._connection.close()

    def _set_up(self) -> None:
        root = self._root
        if not root:
            service = root["tasks"] = remotetask.TaskService()
            service.__parent__, service.__name__ = root, "tasks"
            root["directory"], root["files"] = str(self.directory), OOTreeSet()
        elif not {"tasks", "directory", "files"} <= set(root):
            raise Unusable(
                "The database there belongs to something else. Choose another "
                "directory for --keep."
            )
        elif root["directory"] != str(self.directory):
            raise Unusable(
                f"The database there is about {root['directory']}, not "
                f"{self.directory}. Give that directory, or another one for --keep."
            )

    @property
    def _root(self) -> Any:
        return self._connection.root()

    @property
    def _service(self) -> remotetask.TaskService:
        service: remotetask.TaskService = self._root["tasks"]
        return service

    def add(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Add a job for each file that has none; yield (looked at, added) so far.

        It is yielded after each commit.  A conflict is not tried again, as there
        can be none: the database is this process's own, and nothing is
        processed meanwhile.
        """
        paths = iter(paths)
        seen = added = 0
        while batch := list(islice(paths, BATCH)):
            with self._manager:
                added += self._add_batch(batch)
            seen += len(batch)
            yield seen, added

    def _add_batch(self, paths: list[str]) -> int:
        service, files = self._service, self._root["files"]
        # BTrees' add tells whether the path is new.
        new = [path for path in paths if files.add(path)]
        for path in new:
            service.add(TASK, path)
        return len(new)

    @contextmanager
    def processing(self) -> Iterator[None]:
        """Within, jobs are processed in the background."""
        self._manager.begin()
        self._service.startProcessing()
        try:
            yield
        finally:
            self._service.stopProcessing(wait=True, timeout=STOP_SECONDS)

    def progress(self) -> Progress:
        """How far it has come by now."""
        self._manager.begin()
        count = self._service.count
        return Progress(count(), count(COMPLETED), count(ERROR))

    def check_processing(self) -> None:
        """Raise Unusable if jobs are not processed any more."""
        if not self._service.isProcessing():
            raise Unusable(
                "The processing in the background has ended by itself. Run it again "
                "as 'remotetask --debug demo' to see why."
            )

    def findings(self, check: Callable[[], object]) -> Findings:
        """What the jobs have found, those of earlier runs too.

        Now and then it calls ``check``, which may raise.
        """
        self._manager.begin()
        service, findings = self._service, Findings()
        for jobid, job in service.jobs.items():
            findings.files += 1
            if job.status == COMPLETED:
                findings.add(job.input, Content(*job.output))
            elif job.status == ERROR:
                findings.add_failure(job.input, service.getError(jobid))
            if not findings.files % BATCH:
                # Of itself, ZODB forgets what it has read between transactions.
                self._connection.cacheGC()
                check()
        return findings


@contextmanager
def registered_task(directory: Path) -> Iterator[None]:
    """Within, the task exists: it inspects the file at a path in the directory."""

    @remotetask.task(TASK)
    def inspect(path: str) -> tuple[int, str]:
        # Plain values: to read the database needs no class of this package.
        size, sha256 = inspect_file(directory / path)
        return size, sha256

    try:
        yield
    finally:
        getGlobalSiteManager().unregisterUtility(provided=ITask, name=TASK)
