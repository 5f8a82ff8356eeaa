"""A producer process: it adds jobs at a pace, and meddles with them."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from transaction import TransactionManager
from transaction.interfaces import TransientError

from lovely.remotetask.errors import UnknownJob
from lovely.remotetask.states import CANCELLED, COMPLETED, ERROR, QUEUED
from tests.soak.kinds import FATAL, KINDS, choose
from tests.soak.orders import NAME, SHARED, Order

PATIENCE = 30


class Producer:
    """Adds jobs in a thread of its own until it is told to end."""

    def __init__(self, db: Any, index: float, rate: float, kills: float) -> None:
        """``rate`` is how many transactions there are in a second."""
        self._index, self._rate = int(index), rate
        self._kinds = {**KINDS, **FATAL} if kills else KINDS
        self._manager = TransactionManager(explicit=True)
        self._connection = db.open(transaction_manager=self._manager)
        self._recent: deque[int] = deque(maxlen=50)
        self._held: list[int] = []
        self.added = self.conflicts = self.progress = 0
        self._failed: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce)
        self._thread.start()

    def end(self) -> None:
        """End, when every job has been started or cancelled."""
        self._stopped.set()
        self._thread.join(PATIENCE)

    def report(self) -> dict[str, Any]:
        """What it has counted."""
        failed = repr(self._failed) if self._failed else ""
        return {
            "added": self.added,
            "conflicts": self.conflicts,
            "progress": self.progress,
            "failed": failed,
        }

    def _produce(self) -> None:
        actions = [self._add, self._meddle, self._start_held, self._ask]
        begun, due = time.monotonic(), 0.0
        try:
            while not self._stopped.wait(max(0.0, begun + due - time.monotonic())):
                random.choices(actions, [70, 8, 16, 6])[0]()
                due += random.expovariate(self._rate)
            while self._held:
                self._start_held()
        except BaseException as error:
            self._failed = error
        self._connection.close()

    def _commit(self, work: Callable[[Any], Any]) -> Any:
        """Do something with the service in a transaction, until it succeeds."""
        while True:
            self._manager.begin()
            try:
                result = work(self._connection.root()[NAME])
                self._manager.commit()
                return result
            except TransientError:
                self._manager.abort()
                self.conflicts += 1
            except UnknownJob:
                # It is over, and has been cleaned away.
                self._manager.abort()
                return None

    def _add(self) -> None:
        kinds = [choose(self._kinds) for _ in range(random.choice([1] * 19 + [10]))]

        def work(service: Any) -> list[int]:
            shared = self._connection.root()[SHARED]
            return [
                service.add(
                    kind,
                    Order(kind, self._index, shared),
                    **self._kinds[kind].options,
                )
                for kind in kinds
            ]

        ids = self._commit(work)
        self.added += len(ids)
        self._recent += ids
        self._held += [i for i, kind in zip(ids, kinds, strict=True) if kind == "held"]

    def _start_held(self) -> None:
        if self._held:
            jobid = self._held.pop(random.randrange(len(self._held)))
            self._commit(lambda service: service.startJob(jobid))

    def _meddle(self) -> None:
        """Cancel a job, mostly a new one; or retry it, if it is not as wished."""
        if not self._recent:
            return
        recent = list(self._recent)
        jobid = random.choice(random.choice([recent, recent[-4:]]))

        def work(service: Any) -> None:
            order = service.jobs[jobid].input
            if service.getStatus(jobid) not in {CANCELLED, ERROR}:
                service.cancel(jobid)
            elif service.retry(jobid):
                order.retried += 1

        self._commit(work)

    def _ask(self) -> None:
        """Look at some jobs, and at all."""

        def work(service: Any) -> None:
            assert min(service.count(status) for status in (QUEUED, COMPLETED)) >= 0
            for jobid in list(self._recent)[-10:]:
                shown = service.progress(jobid)
                if shown is not None:
                    assert 0 <= shown.fraction < 1
                    self.progress += 1

        self._commit(work)
