"""The database that the state machine plays with, and who uses it."""

from __future__ import annotations

from typing import Any

import ZODB
from ZODB.MappingStorage import MappingStorage

from lovely.remotetask.errors import TaskError
from lovely.remotetask.service import TaskService
from tests.stateful.actors import NAME, Producer, Worker
from tests.stateful.invariants import blocks, check
from tests.stateful.model import Model
from tests.support import FakeEnvironment, put_service, register_full


class World:
    """A service with two producers and sometimes a worker, and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = TaskService.environment
        self.environment = TaskService.environment = FakeEnvironment()
        self.processes = 1
        self.environment.name = "host/1/0"
        #: The jobs that were run, in this order.
        self.ran: list[int] = []
        register_full("echo", self._echo)
        register_full("fail", self._fail)
        self.model = Model()
        self.open()
        put_service(self.db, NAME)._p_jar.close()
        self.begin()

    def _echo(self, service: Any, jobid: int, input: Any) -> Any:
        self.ran.append(jobid)
        return input

    def _fail(self, service: Any, jobid: int, input: Any) -> None:
        self.ran.append(jobid)
        service.add("echo", "written by a failed attempt: not kept")
        raise TaskError("as told")

    # The database

    def storage(self) -> Any:
        """A storage; when asked again, one with the same data."""
        if not hasattr(self, "data"):
            self.data = MappingStorage()
        return self.data

    def open(self) -> None:
        """Open the database."""
        self.db = ZODB.DB(self.storage())

    def close(self) -> None:
        """Close the database, so that it can be opened again."""
        # A mapping storage forgets everything when it is closed.
        self.data.close = lambda: None
        self.db.close()

    def begin(self) -> None:
        """Everybody opens a connection."""
        self.producers = [
            Producer(self.db, self.model, explicit=explicit)
            for explicit in (False, True)
        ]
        self.worker: Worker | None = None

    def end(self) -> None:
        """Everybody closes it."""
        for producer in self.producers:
            producer.close()
        if self.worker is not None:
            self.worker.close()

    def teardown(self) -> None:
        """Nothing is left."""
        self.end()
        self.close()
        TaskService.environment = self.kept

    def check(self) -> None:
        """The committed state is sound, and as in the model."""
        with self.db.transaction() as connection:
            service = connection.root()[NAME]
            check(service)
            self.model.see_blocks({block.number for block in blocks(service)})
            found = {jobid: job.status for jobid, job in service.jobs.items()}
            assert found == self.model.begin().statuses()
