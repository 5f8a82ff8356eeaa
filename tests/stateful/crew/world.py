"""A service that several processes use, and what is known of it."""

from __future__ import annotations

import logging
from typing import Any

from transaction import TransactionManager
from ZODB.DemoStorage import DemoStorage
from ZODB.mvccadapter import MVCCAdapter

from lovely.remotetask.service import TaskService
from lovely.remotetask.states import REMOVABLE, SCHEDULED
from tests.stateful.crew.chores import GOOD, Tally, register_chores
from tests.stateful.crew.model import Model
from tests.stateful.crew.processes import Process, Stage
from tests.stateful.invariants import blocks, check

NAME = "service"


class World:
    """A service, who uses it, and the model of it."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.kept = TaskService.environment
        self.stage = TaskService.environment = Stage()
        self.clock = self.stage.storage_clock()
        self.clock.start()
        self.shared = MVCCAdapter(DemoStorage())
        self.model = Model()
        self.processes = 0
        #: How often jobs, blocks or lanes were removed: an add then may conflict.
        self.removals = 0
        self._there: set[tuple[str, int]] = set()
        self._seen = b""
        #: Who only looks.
        self._observer = self.process("host")
        self._manager = TransactionManager()
        self._connection = self._observer.db.open(self._manager)
        self._put_service()
        register_chores(self.halt)

    def _put_service(self) -> None:
        with self._observer.db.transaction() as connection:
            root = connection.root()
            service = root[NAME] = TaskService()
            service.__name__, service.__parent__ = NAME, root
            root["tally"] = Tally()

    def halt(self) -> None:
        """A task is in the middle of its work."""

    def process(self, host: str) -> Process:
        """A new process on a host."""
        self.processes += 1
        return Process(self.stage, self.shared, f"{host}/{self.processes}/0")

    @property
    def now(self) -> float:
        """Seconds since the epoch, by all clocks."""
        return self.stage.now

    def observe(self) -> Any:
        """The service as it was committed last."""
        self._manager.begin()
        return self._connection.root()[NAME]

    def look(self) -> None:
        """What was committed is sound, and as in the model."""
        if self._seen == self.shared._storage.lastTransaction():
            return
        self._seen = self.shared._storage.lastTransaction()
        service = self.observe()
        self._compare(service)
        check(service)
        there = {("block", block.number) for block in blocks(service)}
        there |= {("lane", lane.key) for lane in service._lanes}
        self.removals += not self._there <= there
        self._there = there

    def _compare(self, service: Any) -> None:
        known = self.model.jobs
        assert set(service.jobs) == set(known)
        for jobid, job in service.jobs.items():
            model = known[jobid]
            found = (job.status, job.attempt, job.failed, job.crashes, job.input.done)
            wanted = (*model[1:2], *model[4:8])
            assert found == wanted, f"job {jobid}: {found}, not {model}"
        assert set(service._requests) == self.model.requested
        assert {worker.key for worker in service._workers} == set(self.model.workers)
        assert service.__parent__["tally"].value == self.model.tally()

    def look_at_end(self) -> None:
        """All has been done that can be, once, and nothing is left over."""
        service = self.observe()
        check(service)
        waiting = 0
        for jobid, job in self.model.jobs.items():
            found = f"job {jobid}: {job}"
            if job.kind == "cron":
                assert job.due is not None, found
                assert job.due > self.now, found
                waiting += 1
                continue
            assert job.status in REMOVABLE, found
            assert job.done == (job.status == "completed"), found
            if job.status == "error":
                lost = job.crashes and service.jobs[jobid].failure is not None
                assert job.kind not in GOOD or lost, found
        assert len(service._suspects) == 0
        places = [entry for entry in service._schedule if entry[0] <= self.now * 1e6]
        assert places == [], places
        assert sum(map(service.count, SCHEDULED)) == waiting

    def close(self) -> None:
        """Nothing is left."""
        self._manager.abort()
        self._connection.close()
        self._observer.db.close()
        self.clock.stop()
        TaskService.environment = self.kept
        logging.disable(logging.NOTSET)
