"""What a process does with cron jobs when it is killed.

A cron job is added as if some hours ago, so that runs are due; the next one comes
long after the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import transaction

from lovely.remotetask.environment import Environment
from lovely.remotetask.service import TaskService
from tests.crash.actors import Actor
from tests.crash.jobs import new_cron_job
from tests.crash.operations import (
    Operation,
    Script,
    add,
    claim,
    leave,
    register,
    rescue,
    run,
    then,
    work,
)

#: Seconds between two runs; and how long ago the job was added, so that two are due.
EVERY = 3600.0
AGO = 2.5 * EVERY


class Earlier(Environment):
    """A clock that is late."""

    def time(self) -> float:
        return super().time() - AGO


@contextmanager
def earlier() -> Iterator[None]:
    """Within, it is some hours ago."""
    kept, TaskService.environment = TaskService.environment, Earlier()
    try:
        yield
    finally:
        TaskService.environment = kept


def add_cron(actor: Actor, task: str = "count") -> None:
    """Commit a cron job."""
    jobid = new_cron_job(actor.service, task, EVERY)
    transaction.commit()
    actor.tell("added", jobid)


def due(task: str = "count") -> Script:
    """A cron job of which two runs are due, and a worker."""

    def script(actor: Actor) -> None:
        with earlier():
            add_cron(actor, task)
        register(actor)

    return script


def verb(name: str) -> Script:
    """Change what is planned."""

    def script(actor: Actor) -> None:
        getattr(actor.service, name)(1)
        transaction.commit()

    return script


def release(actor: Actor) -> None:
    actor.session.give_back([1])


def process(actor: Actor) -> None:
    actor.service.processNext()
    transaction.commit()


claimed = then(due(), claim)

CRON_OPERATIONS: dict[str, Operation] = {
    "add": Operation(add_cron, add),
    "claim": Operation(claim, due()),
    "run": Operation(run, claimed),
    "run and claim again": Operation(then(run, claim), claimed),
    "fail": Operation(run, then(due("fail"), claim)),
    "fail, and have no time": Operation(run, then(due("fail once"), claim)),
    "release": Operation(release, claimed),
    "leave": Operation(leave, claimed),
    "work": Operation(work, due()),
    "process": Operation(process, due()),
    "run now": Operation(verb("runNow"), then(add_cron, register)),
    "cancel": Operation(verb("cancel"), due()),
    "cancel while it runs": Operation(verb("cancel"), claimed),
    "rescue": Operation(rescue, register, lost=(claimed,)),
    "rescue after the run": Operation(rescue, register, lost=(then(claimed, run),)),
    "give up": Operation(rescue, register, lost=(claimed, *2 * (then(rescue, claim),))),
}
