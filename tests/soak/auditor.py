"""Looks at all that was committed, counts what is over, and removes it."""

from __future__ import annotations

import traceback
from collections import Counter
from typing import Any

from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask import TaskService
from lovely.remotetask.blocks import number_of
from lovely.remotetask.states import COMPLETED, REMOVABLE, STATUSES
from tests.soak.kinds import verdict
from tests.soak.orders import NAME, SHARED, Shared
from tests.stateful.invariants import blocks, problems

#: Problems that are kept; one is enough to fail.
KEPT = 20


class Auditor:
    """One connection that nobody else uses."""

    def __init__(self, db: Any, *, kills: bool) -> None:
        self._kills = kills
        self._manager = TransactionManager(explicit=True)
        self._connection = db.open(transaction_manager=self._manager)
        #: Jobs that are over and were removed, by their producers and statuses.
        self.by_producer = Counter[int]()
        self.by_status = Counter[str]()
        self.shared = 0
        self.conflicts = 0
        self.problems: list[str] = []

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def create(self) -> None:
        """Commit a service, and what jobs have in common."""
        self._manager.begin()
        root = self._connection.root()
        service = root[NAME] = TaskService()
        service.__name__, service.__parent__ = NAME, root
        root[SHARED] = Shared()
        self._manager.commit()

    def counts(self) -> dict[str, int]:
        """How many jobs there are now, by status."""
        self._manager.begin()
        service = self._connection.root()[NAME]
        found = {status: service.count(status) for status in STATUSES}
        self._manager.abort()
        return found

    def busy(self) -> bool:
        """Whether a job is not over yet, or is still to be asked to stop."""
        self._manager.begin()
        service = self._connection.root()[NAME]
        waiting = any(service.count(s) for s in STATUSES if s not in REMOVABLE)
        requested = bool(service._requests)
        self._manager.abort()
        return waiting or requested

    def audit(self, *, final: bool = False) -> bool:
        """Look at everything, and remove what is over; whether that could be done.

        All in one transaction: what is counted here is exactly what is removed.
        """
        self._manager.begin()
        try:
            found, over = self._inspect(final=final)
            self._manager.commit()
        except TransientError:
            self._manager.abort()
            self.conflicts += 1
            return False
        except Exception:
            self._manager.abort()
            found, over = [traceback.format_exc()], []
        self.problems = [*self.problems, *found][:KEPT]
        for kind, producer, status in over:
            self.by_producer[producer] += 1
            self.by_status[status] += 1
            self.shared += (kind, status) == ("shared", COMPLETED)
        return True

    def _inspect(self, *, final: bool) -> tuple[list[str], list[tuple[str, int, str]]]:
        """What is wrong; and (kind, producer, status) of what is removed."""
        service = self._connection.root()[NAME]
        found = list(problems(service))
        over = [job for job in service.jobs.values() if job.status in REMOVABLE]
        if not final:
            over = _without_those_in_use(service, over)
        found += filter(None, (verdict(job, kills=self._kills) for job in over))
        seen = [(job.input.kind, job.input.producer, job.status) for job in over]
        if final:
            assert service.clean() == len(over)
        else:
            for job in over:
                service._remove(job)
        return found, seen

    def leftovers(self) -> list[str]:
        """What should not be there when all is over."""
        self._manager.begin()
        root = self._connection.root()
        service, lanes = root[NAME], len(list(root[NAME]._lanes))
        found = [
            (len(service.jobs), 0, "jobs"),
            (len(service.workers), 0, "workers"),
            (len(service._schedule), 0, "entries in the schedule"),
            (len(service._requests), 0, "requests to stop"),
            (max(len(list(blocks(service))) - 2 * lanes, 0), 0, "blocks too many"),
            (root[SHARED].value, self.shared, "done by jobs that share an object"),
        ]
        self._manager.abort()
        return [f"{n} {what}, not {right}" for n, right, what in found if n != right]


def _without_those_in_use(service: Any, jobs: list[Any]) -> list[Any]:
    """The jobs that no worker holds, and that are in no lane's last block.

    Workers and producers write what they have in hand so often that removing it
    would end in a conflict nearly each time.
    """
    held = {jobid for worker in service._workers for jobid in worker.held}
    tails = [lane.tail(service.jobs) for lane in service._lanes]
    used = {tail.number for tail in tails if tail is not None}
    return [job for job in jobs if job.id not in held and number_of(job.id) not in used]
