"""Who uses the service in the stateful test: producers, and a worker."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import patch

from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask import pruning
from lovely.remotetask.retention import Keep
from lovely.remotetask.service import TaskService
from lovely.remotetask.session import Session
from lovely.remotetask.states import PROCESSING, QUEUED, REMOVABLE
from lovely.remotetask.workers import Lease
from tests.stateful.model import Model, View

NAME = "service"


class Producer:
    """A connection with a transaction of its own, and the model's view of it."""

    def __init__(self, db: Any, model: Model, *, explicit: bool) -> None:
        self.manager = TransactionManager(explicit=explicit)
        if explicit:
            self.manager.begin()
        self.connection = db.open(self.manager)
        self.model = model
        self._begun()

    def _begun(self) -> None:
        self.view: View = self.model.begin()
        self.since = len(self.model.log)
        self.savepoints: list[tuple[Any, View]] = []

    @property
    def service(self) -> Any:
        """The service as this transaction sees it."""
        return self.connection.root()[NAME]

    def sees_its_lane(self) -> bool:
        """Whether this transaction can look into the lane that it writes to.

        It can't if the lane was made after it began.  Then, until it is committed,
        it finds its new jobs by their ids, but not in the queue and in the counts.
        """
        try:
            writer = self.manager.get().data(self.service)
        except KeyError:
            return True
        lanes = self.service._lanes
        return not writer.open or lanes.get(writer.key) is not None

    def end(self) -> None:
        """Abort, and begin anew."""
        self.manager.abort()
        if self.manager.explicit:
            self.manager.begin()
        self._begun()

    def commit(self) -> bool:
        """Commit, and begin anew; False if there was a conflict."""
        try:
            self.manager.commit()
        except TransientError:
            assert not self.view.only_adds or self.model.cleaned, "an add conflicts"
            self.end()
            return False
        self.model.commit(self.view, self.since)
        if self.manager.explicit:
            self.manager.begin()
        self._begun()
        return True

    def savepoint(self) -> None:
        """Remember how it is now."""
        self.savepoints.append((self.manager.savepoint(), self.view.copy()))

    def rollback(self, number: int) -> None:
        """Go back to a savepoint; it can be used again, later ones can't."""
        savepoint, view = self.savepoints[number]
        savepoint.rollback()
        self.view = view.copy()
        del self.savepoints[number + 1 :]

    def close(self) -> None:
        """Give the connection back."""
        self.manager.abort()
        self.connection.close()


class Worker:
    """A worker whose steps are taken one by one, each with its commit."""

    def __init__(self, db: Any, model: Model) -> None:
        self.session = Session(db, [NAME])
        self.key = self.session.register(1, Lease())
        self.model = model
        #: The jobs that it holds.
        self.held: list[int] = []

    @property
    def identity(self) -> str:
        """What a rescuer knows it by."""
        self.session.manager.begin()
        service = self.session.connection.root()[NAME]
        (worker,) = [w for w in service._workers if w.key == self.key]
        return str(worker.identity)

    def change(self, jobids: list[int], status: str | None) -> None:
        """Note in the model that jobs have this status; None: they have ended."""
        view, since = self.model.begin(), len(self.model.log)
        for jobid in jobids:
            job = view.jobs[jobid]
            changed = job.ended() if status is None else job._replace(status=status)
            view.put(jobid, changed)
        self.model.commit(view, since)

    def claim(self, limit: int, now: float) -> None:
        """Take jobs that are due: as many as there are, up to the limit.

        Those that a worker was lost with come one by one.
        """
        due = self.model.begin().due(now)
        jobids = self.session.claim(self.key, limit, self.held).jobs
        assert set(jobids) <= due
        assert bool(jobids) == bool(due)
        if not due & self.model.suspects:
            assert len(jobids) == min(limit, len(due))
        self.change(jobids, PROCESSING)
        self.held += jobids

    def claim_job(self, jobid: int) -> None:
        """Take a job that waits, out of turn."""
        assert self.session.claim_job(jobid) == [jobid]
        self.change([jobid], PROCESSING)
        self.held.append(jobid)

    def give_back(self, jobids: list[int]) -> None:
        """Note in the model that jobs are queued again, and where they were."""
        self.model.given_back.update(jobids)
        self.change(jobids, QUEUED)

    def prune(self) -> None:
        """Remove all that is over, whoever may be using the blocks."""
        over = [i for i, job in self.model.jobs.items() if job.status in REMOVABLE]
        nothing = dict.fromkeys(REMOVABLE, Keep(number=0))
        with (
            patch.object(TaskService, "retention", nothing),
            patch.object(pruning, "QUIET_SECONDS", -math.inf),
        ):
            self.session._pruner = pruning.Pruner()
            while self.session._pruner.due(-math.inf) is not None:
                self.session.prune()
        view, since = self.model.begin(), len(self.model.log)
        assert view.clean() == len(over)
        self.model.commit(view, since)

    def run(self, status: str | None = None) -> None:
        """Run the first job that it holds; ``status`` as in `change`."""
        jobid = self.held.pop(0)
        self.session.run(jobid, self.key)
        self.change([jobid], status)

    def close(self) -> None:
        """Give the connection back; what it holds is left as it is."""
        self.session.close()
