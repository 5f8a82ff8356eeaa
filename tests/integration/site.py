"""A store with a service, and the processes that use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import transaction

from tests.integration.program import Effect, notes, register_tasks
from tests.programs import Program, program
from tests.stateful.invariants import check
from tests.storages import Address, open_database, store
from tests.support import ask, put_service, wait_until


class Site:
    """One connection to the store, and what can be asked and done."""

    def __init__(self, db: Any, address: Address, log: str) -> None:
        self.db, self.address, self.log = db, address, log
        self.service = put_service(db)
        register_tasks(log)

    def run(self, *words: object) -> AbstractContextManager[Program]:
        """Another process."""
        arguments = map(str, (self.address, self.log, *words))
        return program("-m", "tests.integration", *arguments)

    def add(self, task: str) -> int:
        """Commit a new job; its id."""
        jobid: int = self.service.add(task, Effect())
        transaction.commit()
        return jobid

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """The answer of the service as last committed."""
        return ask(self.db, question)

    def status(self, jobid: int) -> str:
        """The status of a job, as last committed."""
        status: str = self.ask(lambda service: service.getStatus(jobid))
        return status

    def wait_for_count(self, status: str, count: int, seconds: float) -> None:
        """Wait until so many jobs have a status."""
        wait_until(lambda: self.ask(lambda s: s.count(status)) == count, seconds)

    def runs(self) -> Counter[int]:
        """How often each job was begun, by what it did outside."""
        return Counter(int(jobid) for _, jobid in notes(self.log))

    def effects(self) -> set[int]:
        """How often jobs had their effect in the database: all the numbers."""
        return set(self.ask(lambda s: [job.input.done for job in s.jobs.values()]))

    def check(self) -> None:
        """Check all that was committed."""
        self.ask(check)


@contextmanager
def site(directory: Path, kind: str = "ZEO") -> Iterator[Site]:
    """A new store of some kind with a service; its files are in a directory."""
    with store(kind, directory) as address:
        db = open_database(address)
        try:
            yield Site(db, address, str(directory / "log"))
        finally:
            transaction.abort()
            db.close()
