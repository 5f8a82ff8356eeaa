"""The sorts of jobs: what they do, how often they are wanted, how they may end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import zope.event
from ZODB.POSException import ConflictError

from lovely import remotetask
from lovely.remotetask import RetryPolicy
from lovely.remotetask.errors import TaskError
from lovely.remotetask.events import JobCancelled, JobCompleted, JobFailed
from lovely.remotetask.states import CANCELLED, COMPLETED, ERROR
from tests.soak.orders import Order
from tests.support import register_full

#: Tried again soon, and often.
SOON = RetryPolicy(retries=20, delay=0.05, factor=1.5, longest=1.0)


@dataclass(frozen=True)
class Kind:
    """A sort of jobs."""

    task: Callable[[Order], Any]
    #: How many of them there are in about a hundred jobs.
    weight: float
    #: How they may end, unless someone cancels them.
    end: str = COMPLETED
    #: For `TaskService.add`.
    options: Mapping[str, Any] = field(default_factory=dict)


def _quick(order: Order) -> str:
    order.done += 1
    return "done"


def _slow(order: Order) -> None:
    order.done += 1
    time.sleep(random.uniform(0.005, 0.05))


def _large(order: Order) -> str:
    order.done += 1
    return "x" * 20_000


def _telling(order: Order) -> None:
    for step in range(10):
        remotetask.current().progress(step / 10, f"step {step}")
        time.sleep(0.15)
    order.done += 1


def _patient(order: Order) -> None:
    """Go on for two seconds, unless it is asked to stop."""
    order.done += 1
    for _ in range(100):
        remotetask.current().checkCancelled()
        time.sleep(0.02)


def _late(order: Order) -> None:
    """Never end by itself."""
    order.done += 1
    while True:
        remotetask.current().checkCancelled()
        time.sleep(0.01)


def _flaky(order: Order) -> None:
    order.done += 1
    if remotetask.current().attempt <= 2:
        raise RuntimeError("the first attempts fail")


def _hopeless(order: Order) -> None:
    order.done += 1
    raise RuntimeError("it fails each time")


def _refusing(order: Order) -> None:
    order.done += 1
    raise TaskError("it gives up")


def _unstorable(order: Order) -> Any:
    order.done += 1
    return lambda: None


def _unlucky(order: Order) -> None:
    order.done += 1
    if random.random() < 0.5:
        raise ConflictError("a conflict of its own")


def _shared(order: Order) -> None:
    """Write what other jobs write at the same time."""
    order.done += 1
    order.shared.value += 1
    time.sleep(0.002)


def _aborting(order: Order) -> None:
    """Undo what it wrote, and write it again."""
    order.done += 1
    remotetask.current().service._p_jar.transaction_manager.abort()
    order.done += 1


def _fatal(order: Order) -> None:
    order.done += 1
    os.kill(os.getpid(), signal.SIGKILL)


KINDS = {
    "quick": Kind(_quick, 30),
    "slow": Kind(_slow, 15),
    "large": Kind(_large, 3),
    "telling": Kind(_telling, 1),
    "patient": Kind(_patient, 1),
    "late": Kind(_late, 1, ERROR, {"timeout": 0.1, "retry": 0}),
    "flaky": Kind(_flaky, 5, options={"retry": SOON}),
    "hopeless": Kind(_hopeless, 3, ERROR, {"retry": RetryPolicy(1, delay=0.02)}),
    "refusing": Kind(_refusing, 5, ERROR),
    "unstorable": Kind(_unstorable, 2, ERROR, {"retry": 0}),
    "unlucky": Kind(_unlucky, 5, options={"retry": SOON}),
    "shared": Kind(_shared, 5, options={"retry": SOON}),
    "aborting": Kind(_aborting, 3, options={"retry": SOON}),
    "held": Kind(_quick, 8, options={"startLater": True}),
    "delayed": Kind(_quick, 13, options={"delay": 0.3}),
}

#: Only where workers are killed anyway: it is given up after some of them.
FATAL = {"fatal": Kind(_fatal, 0.02, ERROR)}


def choose(kinds: Mapping[str, Kind]) -> str:
    """A kind at random."""
    weights = [kind.weight for kind in kinds.values()]
    return random.choices(list(kinds), weights)[0]


def register_kinds() -> None:
    """Register the tasks, and count how often jobs end."""
    for name, kind in {**KINDS, **FATAL}.items():
        register_full(name, _task(kind))
    zope.event.subscribers.append(_note_end)


def _task(kind: Kind) -> Callable[[Any, int, Order], Any]:
    return lambda service, jobid, order: kind.task(order)


def _note_end(event: Any) -> None:
    if isinstance(event, JobCompleted | JobFailed | JobCancelled):
        event.object.input.ended += 1


def verdict(job: Any, *, kills: bool) -> str:
    """What is wrong with a job that is over; '' if nothing is."""
    order, status = job.input, job.status
    lost = kills and status == ERROR and job.failure.type == "WorkerLost"
    expected = {{**KINDS, **FATAL}[order.kind].end, CANCELLED}
    if status not in expected and not lost:
        return f"{order.kind} job {job.id} is {status}: {job.error}"
    if order.done != (status == COMPLETED):
        return f"{order.kind} job {job.id} is {status}, its effects: {order.done}"
    if order.ended != 1 + order.retried:
        return (
            f"{order.kind} job {job.id} is {status}, it ended {order.ended} times and "
            f"was retried {order.retried} times"
        )
    return ""
